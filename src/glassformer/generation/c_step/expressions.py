"""Numbers, functions and operators of formulas as C expressions, each with its type.

What follows from places and parameters alone is integer or double; a model's numbers are `real`,
and what meets them is brought to it.
"""

from __future__ import annotations

from math import isfinite

from glassformer.formula.functions import FUNCTIONS

INTEGER, DOUBLE, REAL = "int64_t", "double", "real"
"""C types of expressions, each wider than the one before; `real` is the type of the model."""

PREAMBLE = """\
#include <math.h>
#include <stdint.h>
#include <string.h>
#if defined(__GLIBC__) && defined(__x86_64__) && !defined(__clang__)
/* glibc computes these for many numbers at once, and tells the compiler so only in -ffast-math */
#define VECTORIZED __attribute__((simd("notinbranch")))
#if __GLIBC_PREREQ(2, 22)
VECTORIZED float expf(float); VECTORIZED double exp(double);
#endif
#if __GLIBC_PREREQ(2, 35)
VECTORIZED float tanhf(float); VECTORIZED double tanh(double);
VECTORIZED float erff(float); VECTORIZED double erf(double);
#endif
#endif
static inline float bf16f(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  bits = (bits + 0x7fff + (bits >> 16 & 1)) & 0xffff0000u;
  memcpy(&x, &bits, 4);
  return x;
}
static inline double bf16(double x) { return bf16f((float)x); }
/* inlined into their callers, functions take three times as long to compile */
#define NO_INLINE static __attribute__((noinline))
"""

_SUFFIX = {"float": "f", "double": ""}
_C_NAMES = {name: function.c or name for name, function in FUNCTIONS.items() if name != "sign"}
_COMPARISONS = ("<", "<=", ">", ">=", "==", "!=")


def preamble(real: str) -> str:
    """What the functions need before them, where `real` is float or double."""
    functions = (*_C_NAMES.values(), "pow", "fma", "floor")
    names = (f"#define real_{name} {name}{_SUFFIX[real]}\n" for name in functions)
    return f"{PREAMBLE}typedef {real} real;\n{''.join(names)}{MULTIPLY_ADD}"


MULTIPLY_ADD = """\
#if defined(__FP_FAST_FMA) && defined(__FP_FAST_FMAF)
#define multiply_add(a, b, sum) real_fma(a, b, sum)
#else
#define multiply_add(a, b, sum) ((sum) + (a) * (b))
#endif
"""
"""Said, not left to the compiler: it could fuse the sums of one row and not those of another."""


Typed = tuple[str, str]
"""A C type and an expression of it that needs no further brackets."""


def constant(value: float) -> Typed:
    """A number."""
    if not isfinite(value):
        return DOUBLE, "INFINITY" if value > 0 else "(-INFINITY)"
    if float(value).is_integer() and abs(value) < 2**53:
        return INTEGER, str(int(value))
    return DOUBLE, repr(float(value))


def wider(a: Typed, b: Typed) -> str:
    """The type that holds both."""
    return max(a[0], b[0], key=(INTEGER, DOUBLE, REAL).index)


def cast(kind: str, typed: Typed) -> str:
    """The expression in this type."""
    type_of, code = typed
    return code if type_of == kind else f"({kind}){code}"


def call(function: str, x: Typed) -> Typed:
    """A function of the formula language."""
    kind, code = x
    if function == "neg":
        return kind, f"(-{code})"
    if function == "sign":
        return INTEGER, f"(({code} > 0) - ({code} < 0))"
    name = _C_NAMES[function]
    return (REAL, f"real_{name}({code})") if kind == REAL else (DOUBLE, f"{name}({code})")


def combine(operator: str, a: Typed, b: Typed) -> Typed:
    """An operator of the formula language between two expressions."""
    kind = wider(a, b)
    if operator == "**":
        if b in ((INTEGER, "2"), (INTEGER, "3")) and kind == REAL:
            return REAL, f"({' * '.join([a[1]] * int(b[1]))})"
        kind = REAL if kind == REAL else DOUBLE
        return kind, f"{'real_' * (kind == REAL)}pow({cast(kind, a)}, {cast(kind, b)})"
    if operator in ("//", "%"):
        if kind != INTEGER and operator == "//":
            return kind, f"{'real_' * (kind == REAL)}floor({cast(kind, a)} / {cast(kind, b)})"
        if kind != INTEGER:
            raise ValueError("% is for integers")
        operator = operator[0]
    elif operator == "/" and kind == INTEGER:
        kind = DOUBLE
    code = f"({cast(kind, a)} {operator} {cast(kind, b)})"
    return (INTEGER if operator in _COMPARISONS else kind), code
