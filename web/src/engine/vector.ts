/**
 * Expressions computed for a block of elements at a time: each part of a tree is one loop over a
 * register, a row of float64 numbers. Composed of closures once; nothing is compiled at run time.
 */
import { rule, type FunctionName } from "../trace/functions";
import type { Operator } from "../trace/formula";
import { count, type Expr, type Sizes, type Strides } from "./lower";

/** What a kernel's closures read when they run; arrays are bound before. */
export interface Bound {
  arrays: Float64Array[];
  params: Record<string, number>;
}

const BLOCK = 2048; // elements: a few registers stay within the nearest cache

/** An index space, row-major, cut into blocks of its last axes. */
export class Space {
  /** How many elements a block has, and how many blocks there are. */
  readonly block: number;
  readonly blocks: number;
  private outer: string[];
  private inner: string[];

  constructor(
    readonly axes: string[],
    private sizes: Sizes,
  ) {
    let cut = Math.max(axes.length - 1, 0);
    while (cut > 0 && count(axes.slice(cut - 1), sizes) <= BLOCK) cut--;
    this.outer = axes.slice(0, cut);
    this.inner = axes.slice(cut);
    this.block = count(this.inner, sizes);
    this.blocks = count(this.outer, sizes);
  }

  /** Where each block begins in an array with these strides. */
  starts = (strides: Strides, offset = 0): Int32Array =>
    offsets(this.outer, this.sizes, strides, offset);

  /** Where each element of a block lies, from the block's beginning. */
  within = (strides: Strides): Int32Array => offsets(this.inner, this.sizes, strides);

  /** The runs of evenly spaced elements within a block: where they begin, their length and stride. */
  runs(strides: Strides): { starts: Int32Array; length: number; stride: number } {
    let length = 1;
    let stride = 1;
    let rest = this.inner;
    while (rest.length) {
      const axis = rest[rest.length - 1];
      const by = strides[axis] ?? 0;
      if (length > 1 && by !== stride * length) break;
      if (length === 1) stride = by;
      length *= this.sizes[axis];
      rest = rest.slice(0, -1);
    }
    return { starts: offsets(rest, this.sizes, strides), length, stride };
  }
}

/** The place of every combination of indices of some axes, row-major. */
export function offsets(axes: string[], sizes: Sizes, strides: Strides, offset = 0): Int32Array {
  let result = Int32Array.of(offset);
  for (const axis of axes) {
    const [n, by] = [sizes[axis], strides[axis] ?? 0];
    const next = new Int32Array(result.length * n);
    let at = 0;
    for (const start of result) for (let i = 0; i < n; i++) next[at++] = start + i * by;
    result = next;
  }
  return result;
}

const REGISTERS: Float64Array[] = [];

/** Registers are shared by all kernels, since only one runs at a time. */
export function register(i: number, length: number): Float64Array {
  if (!REGISTERS[i] || REGISTERS[i].length < length) REGISTERS[i] = new Float64Array(length);
  return REGISTERS[i];
}

/** Computes block number j of an expression into the register that it was compiled for. */
type Loop = (j: number) => void;

export function compile(expr: Expr, space: Space, bound: Bound, into: number): Loop {
  const n = space.block;
  switch (expr.kind) {
    case "constant":
      return () => register(into, n).fill(expr.value, 0, n);
    case "param":
      return () => register(into, n).fill(bound.params[expr.name], 0, n);
    case "load":
      return load(expr.array, expr.offset, expr.strides, space, bound, into);
    case "gather": {
      const index = compile(expr.index, space, bound, into);
      return (j) => {
        index(j);
        gather(bound.arrays[expr.array], register(into, n), n);
      };
    }
    case "call": {
      const x = compile(expr.x, space, bound, into);
      const run = CALLS[expr.name] ?? each(rule(expr.name).of);
      return (j) => {
        x(j);
        run(register(into, n), n);
      };
    }
    case "select": {
      const parts = [expr.condition, expr.a, expr.b].map((part, i) =>
        compile(part, space, bound, into + i),
      );
      return (j) => {
        for (const part of parts) part(j);
        choose(register(into, n), register(into + 1, n), register(into + 2, n), n);
      };
    }
    case "binary": {
      const power = wholePower(expr);
      const a = compile(expr.a, space, bound, into);
      if (power) return (j) => (a(j), power(register(into, n), n));
      const b = compile(expr.b, space, bound, into + 1);
      const run = BINARIES[expr.operator];
      return (j) => {
        a(j);
        b(j);
        run(register(into, n), register(into + 1, n), n);
      };
    }
  }
}

function load(
  array: number,
  offset: number,
  strides: Strides,
  space: Space,
  bound: Bound,
  into: number,
): Loop {
  const bases = space.starts(strides, offset);
  const { starts, length, stride } = space.runs(strides);
  const n = space.block;
  return (j) => {
    const out = register(into, n);
    const from = bound.arrays[array];
    const base = bases[j];
    let o = 0;
    for (let r = 0; r < starts.length; r++) {
      let at = base + starts[r];
      if (stride === 0) out.fill(from[at], o, (o += length));
      else for (const end = o + length; o < end; at += stride) out[o++] = from[at];
    }
  };
}

function gather(from: Float64Array, indices: Float64Array, n: number): void {
  for (let i = 0; i < n; i++) indices[i] = from[indices[i] | 0];
}

function choose(condition: Float64Array, a: Float64Array, b: Float64Array, n: number): void {
  for (let i = 0; i < n; i++) condition[i] = condition[i] !== 0 ? a[i] : b[i];
}

type Unary = (x: Float64Array, n: number) => void;

const each =
  (f: (x: number) => number): Unary =>
  (x, n) => {
    for (let i = 0; i < n; i++) x[i] = f(x[i]);
  };

/** Functions that one machine instruction computes; a call of a function would take longer. */
const CALLS: Partial<Record<FunctionName, Unary>> = {
  neg: (x, n) => {
    for (let i = 0; i < n; i++) x[i] = -x[i];
  },
  sqrt: (x, n) => {
    for (let i = 0; i < n; i++) x[i] = Math.sqrt(x[i]);
  },
};

/** Squares and cubes, which are multiplied out. */
function wholePower(expr: Extract<Expr, { kind: "binary" }>): Unary | null {
  if (expr.operator !== "**" || expr.b.kind !== "constant") return null;
  if (expr.b.value === 2)
    return (x, n) => {
      for (let i = 0; i < n; i++) x[i] *= x[i];
    };
  if (expr.b.value === 3)
    return (x, n) => {
      for (let i = 0; i < n; i++) x[i] *= x[i] * x[i];
    };
  return null;
}

/** a becomes a OPERATOR b. */
type Pairwise = (a: Float64Array, b: Float64Array, n: number) => void;

const BINARIES: Record<Operator, Pairwise> = {
  "+": (a, b, n) => {
    for (let i = 0; i < n; i++) a[i] += b[i];
  },
  "-": (a, b, n) => {
    for (let i = 0; i < n; i++) a[i] -= b[i];
  },
  "*": (a, b, n) => {
    for (let i = 0; i < n; i++) a[i] *= b[i];
  },
  "/": (a, b, n) => {
    for (let i = 0; i < n; i++) a[i] /= b[i];
  },
  "//": (a, b, n) => {
    for (let i = 0; i < n; i++) a[i] = Math.floor(a[i] / b[i]);
  },
  "%": (a, b, n) => {
    for (let i = 0; i < n; i++) a[i] -= b[i] * Math.floor(a[i] / b[i]);
  },
  "**": (a, b, n) => {
    for (let i = 0; i < n; i++) a[i] **= b[i];
  },
  "<": (a, b, n) => {
    for (let i = 0; i < n; i++) a[i] = a[i] < b[i] ? 1 : 0;
  },
  "<=": (a, b, n) => {
    for (let i = 0; i < n; i++) a[i] = a[i] <= b[i] ? 1 : 0;
  },
  ">": (a, b, n) => {
    for (let i = 0; i < n; i++) a[i] = a[i] > b[i] ? 1 : 0;
  },
  ">=": (a, b, n) => {
    for (let i = 0; i < n; i++) a[i] = a[i] >= b[i] ? 1 : 0;
  },
  "==": (a, b, n) => {
    for (let i = 0; i < n; i++) a[i] = a[i] === b[i] ? 1 : 0;
  },
  "!=": (a, b, n) => {
    for (let i = 0; i < n; i++) a[i] = a[i] !== b[i] ? 1 : 0;
  },
};
