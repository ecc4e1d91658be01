"""Reference pages made from the code itself, so that none of it can be missing or out of date."""

import importlib
import inspect
import textwrap
from collections.abc import Iterable, Iterator
from pkgutil import iter_modules
from types import CodeType
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.util.typing import ExtensionMetadata

from glassformer import ops
from glassformer.cli.app import VERBS, load_verb
from glassformer.formula.latex import to_latex
from glassformer.ops.axes import AXES
from glassformer.ops.op import REGISTRY, TEMPLATES, Composite, Op
from glassformer.trace.address import KINDS

FAMILIES = {  # module in glassformer.ops -> its title, in story order; others follow by their name
    "embedding": "Embeddings and positions",
    "norm": "Normalization: layer norm, RMS norm, QK-norm",
    "linear": "Linear layers",
    "rotary": "Rotary positions",
    "attention": "Attention",
    "softmax": "Softmax: over keys, the vocabulary, the candidates",
    "activation": "Activations",
    "residual": "The residual stream",
    "loss": "Probabilities and loss",
    "sampling": "The choice of a token",
    "optimizer": "Clipping and AdamW",
    "muon": "Muon",
}


def families() -> dict[str, list[Op | Composite]]:
    """Title to ops: every op of the registry, under the module that declares it."""
    modules = dict.fromkeys([*FAMILIES, *(result.name for result in iter_modules(ops.__path__))])
    held = {
        name: [*_ops_in(vars(importlib.import_module(f"glassformer.ops.{name}")).values())]
        for name in modules
    }
    result: dict[str, list[Op | Composite]] = {}
    for op in REGISTRY.values():
        homes = [name for name, own in held.items() if any(op is value for value in own)]
        if not homes:
            raise LookupError(f"the op {op.name!r} is a name of no module in glassformer.ops")
        result.setdefault(homes[0], []).append(op)
    return {
        FAMILIES.get(name, name.replace("_", " ").capitalize()): result[name]
        for name in modules
        if name in result
    }


def _ops_in(values: Iterable[Any]) -> Iterator[Op | Composite]:
    """The ops among some values; those of a softmax or a norm stand together in a tuple or dict."""
    for value in values:
        if isinstance(value, Op | Composite):
            yield value
        elif isinstance(value, tuple):
            yield from _ops_in(value)
        elif isinstance(value, dict):
            yield from _ops_in(value.values())


def ops_text() -> str:
    """The ops, each with its sentence, formula, axes, source and what runs in its place."""
    result = families()  # imports every module, so that all ops are registered
    inside = {op.name: sub_steps(op) for op in REGISTRY.values() if isinstance(op, Composite)}
    parts = []
    for family, declared in result.items():
        parts.append(f"## {family}\n")
        parts += [_op_text(op, inside) for op in declared]
    return "\n".join(parts)


def _op_text(op: Op | Composite, inside: dict[str, list[str]]) -> str:
    lines = [f"(op-{op.name})=", f"### `{op.name}`\n", f"{op.said()}\n"]
    if isinstance(op, Op):
        for formula in op.outputs:
            lines += ["```{math}", to_latex(formula), "```\n"]
        axes = list(dict.fromkeys(axis for formula in op.outputs for axis in formula.axes))
        facts = {
            "Template": f"`{TEMPLATES[op.declaration].formula}`"
            if op.declaration in TEMPLATES
            else "",
            "Axes": ", ".join(f"`{axis}`" for axis in axes) or "none: one number",
            "Reads": ", ".join(f"`{operand}`" for operand in op.operands),
            "Step of": ", ".join(
                f"[{n}](#op-{n})" for n, subs in inside.items() if op.name in subs
            ),
        }
    else:
        facts = {
            "Silent": "one fused kernel",
            "Watched": ", ".join(f"[{name}](#op-{name})" for name in inside[op.name]),
        }
    facts["Source"] = op.source
    lines += [f"- {word}: {fact}" for word, fact in facts.items() if fact]
    return "\n".join(lines) + "\n"


def sub_steps(op: Composite) -> list[str]:
    """The ops that a composite's steps name, in the order in which its source does."""
    seen: dict[str, None] = {}

    def visit(function: Any) -> None:
        function = inspect.unwrap(function)  # the tests wrap functions in type checks
        closed = [cell.cell_contents for cell in function.__closure__ or ()]
        seen.update((op.name, None) for op in _ops_in(closed))
        names = [*_global_names(function.__code__)]
        for name in names:
            value = function.__globals__.get(name)
            of_module = vars(value) if inspect.ismodule(value) else {}
            parts = [of_module[other] for other in names if other in of_module]
            seen.update((op.name, None) for op in _ops_in([value, *parts]))
            for part in parts:
                if inspect.isfunction(part) and part.__module__.startswith("glassformer.ops."):
                    visit(part)
            if inspect.isfunction(value) and value.__module__.startswith("glassformer.ops."):
                visit(value)

    visit(op.steps)
    return [*seen]


def _global_names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for constant in code.co_consts:
        if inspect.iscode(constant):
            yield from _global_names(constant)


def commands_text() -> str:
    """Every verb of the command line, with its arguments and options."""
    return "\n".join(_verb_text("glassformer", name, load_verb(name)) for name in VERBS)


def _verb_text(parent: str, name: str, command: Any, level: int = 2) -> str:
    title = f"{parent} {name}"
    lines = [f"{'#' * level} `{title}`\n"]
    verbs = getattr(command, "commands", None)
    if verbs:
        lines.append(f"{_first_sentence(command.help)}\n")
        lines += [
            _verb_text(title, sub, load_verb(sub, f"glassformer.cli.{name}"), level + 1)
            for sub in verbs
        ]
        return "\n".join(lines)
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and p.name != "help"]
    usage = " ".join(
        [title, *(_placeholder(p) for p in arguments), *(["[OPTIONS]"] if options else [])]
    )
    lines += ["```text", usage, "```\n", f"{_plain(command.help)}\n"]
    rows = [(f"`{_placeholder(p)}`", p.help or "", "") for p in arguments]
    rows += [(_names(p), p.help or "", _default(p)) for p in options]
    if any(help_text for _, help_text, _ in rows):
        lines += ["| | | default |", "|---|---|---|"]
        lines += [f"| {a} | {_cell(b)} | {c} |" for a, b, c in rows]
    return "\n".join(lines) + "\n"


def _placeholder(parameter: Any) -> str:
    return parameter.metavar or (parameter.name or "").upper()


def _names(option: Any) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    return (
        names
        if option.is_flag or not option.metavar
        else f"{names} {option.metavar}".replace("|", r"\|")
    )


def _default(option: Any) -> str:
    value = option.default
    quiet = value is None or value is False or callable(value) or value in ([], ())
    return (
        "" if quiet or "Sentinel" in type(value).__name__ else f"`{getattr(value, 'value', value)}`"
    )


def _cell(text: str) -> str:
    return " ".join(text.replace(r"\[", "[").split()).replace("|", r"\|").replace("*", r"\*")


def _plain(text: str | None) -> str:
    return textwrap.dedent(text or "").replace("\b", "").replace(r"\[", "[").strip()


def _first_sentence(text: str | None) -> str:
    return _plain(text).split("\n\n")[0]


def table_text(rows: dict[str, str], first: str, second: str) -> str:
    return "\n".join(
        [f"| {first} | {second} |", "|---|---|", *(f"| `{a}` | {b} |" for a, b in rows.items())]
    )


TEXTS = {
    "ops-reference": ops_text,
    "command-reference": commands_text,
    "axes-table": lambda: table_text(AXES, "axis", "what it counts"),
    "kinds-table": lambda: table_text(
        {f"{k}/": v for k, v in KINDS.items()}, "kind", "what it answers"
    ),
}


class Generated(SphinxDirective):
    """A directive without arguments that stands for a text made from the code."""

    def run(self) -> list[nodes.Node]:
        return self.parse_text_to_nodes(TEXTS[self.name](), allow_section_headings=True)


class ModuleText(SphinxDirective):
    """The docstring of a module, read as Markdown."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        doc = inspect.getdoc(importlib.import_module(self.arguments[0])) or ""
        text = doc.replace("``", "`")
        return self.parse_text_to_nodes(text)


def setup(app: Sphinx) -> ExtensionMetadata:
    for name in TEXTS:
        app.add_directive(name, Generated)
    app.add_directive("module-text", ModuleText)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
