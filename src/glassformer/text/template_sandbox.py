"""The sandbox of chat templates, which come with models: no files, no Python, and an end.

jinja's own sandbox keeps a template from files and from Python. It lets one go on for ever, or ask
for a text of a terabyte, and whoever waits for it would wait for ever.
"""

from __future__ import annotations

import functools
import re
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

import jinja2
import jinja2.filters
import jinja2.nodes
import jinja2.sandbox
import jinja2.visitor

SECONDS = 1.0
"""Processor time that a template may take for one chat; usual ones take a millisecond."""

LETTERS = 10_000_000
"""The longest text or list that it may make on the way; a chat has 2 MB at most."""

TOTAL = 10 * LETTERS
"""The length of all texts and lists together that it may make for one chat."""

PRODUCT = 100 * LETTERS
"""The largest product of the sizes of what one call is given: what it may come to."""

POWER_BITS = 4096
"""The longest whole number that a power may give."""

_WIDE = re.compile(r"[0-9]{6}|\*")  # in a format: so many columns

_used = threading.local()


class BoundedEnvironment(jinja2.sandbox.ImmutableSandboxedEnvironment):
    """jinja's sandbox, whose loops and macros look at the clock and whose texts have a longest.

    Its templates are rendered by `rendered_in_time`.
    """

    intercepted_binops = frozenset(("+", "*", "**", "%"))

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.filters = {name: _bounded(function) for name, function in self.filters.items()}
        del self.globals["lipsum"]

    def tick(self) -> bool:
        """Raise when the time is over; asked in every round of a loop."""
        if time.thread_time() > _used.end:
            raise _limit(f"it takes longer than {SECONDS:g} seconds")
        return True

    def concat(self, parts: Iterable[str]) -> str:
        """Parts of the output as one text."""
        result, size = [], 0
        for part in parts:
            size += len(part)
            _refuse_beyond(LETTERS, size)
            result.append(part)
        return _checked("".join(result))

    def joined(self, *parts: Any) -> str:
        """What ``a ~ b`` gives."""
        return self.concat(map(str, parts))

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """What ``left operator right`` gives, its size looked at before it is made."""
        sizes = [_size(left), _size(right)]
        if operator == "*" and sizes != [None, None]:
            times = right if sizes[1] is None else left
            _refuse_beyond(LETTERS, (sizes[0] or sizes[1] or 0) * times)
        if operator == "**" and isinstance(left, int) and isinstance(right, int):
            _refuse_beyond(POWER_BITS, left.bit_length() * right)
        if operator == "%" and isinstance(left, str):
            _refuse_wide(left)
        return _checked(super().call_binop(context, operator, left, right))

    def call(self, *what: Any, **named: Any) -> Any:
        """A call: of the context, a function, and what the function is given."""
        owner = getattr(what[1], "__self__", None)
        if isinstance(owner, str):
            _refuse_large(owner, [*what[2:], *named.values()])
        return _checked(super().call(*what, **named))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """``text.format``, if the value is that."""
        result = super().wrap_str_format(value)
        if result is not None:
            _refuse_wide(value.__self__)
        return result

    def _parse(self, source: str, name: str | None, filename: str | None) -> jinja2.nodes.Template:
        tree = super()._parse(source, name, filename)
        tree = _Bounding().visit(tree)
        return tree.set_environment(self)


def rendered_in_time(template: jinja2.Template, **values: Any) -> str:
    """The text that a template of a `BoundedEnvironment` makes."""
    _used.end, _used.made = time.thread_time() + SECONDS, 0
    return template.render(**values)


class _Bounding(jinja2.visitor.NodeTransformer):
    """Puts the looks at clock and size into a template."""

    def _rounds(self, node: Any) -> Any:
        self.generic_visit(node)
        node.body.insert(0, jinja2.nodes.ExprStmt(_call("tick")))
        return node

    visit_Macro = visit_CallBlock = _rounds  # noqa: N815 (jinja2 calls them so)

    def visit_For(self, node: jinja2.nodes.For) -> jinja2.nodes.For:  # noqa: N802 (as above)
        self._rounds(node)
        if node.test is not None:
            node.test = jinja2.nodes.And(_call("tick"), node.test)
        return node

    def visit_Concat(self, node: jinja2.nodes.Concat) -> jinja2.nodes.Call:  # noqa: N802
        self.generic_visit(node)
        return _call("joined", node.nodes)


def _call(name: str, arguments: list[jinja2.nodes.Expr] | None = None) -> jinja2.nodes.Call:
    function = jinja2.nodes.EnvironmentAttribute(name)
    return jinja2.nodes.Call(function, arguments or [], [], None, None)


def _bounded(function: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that looks at the size of what it is given before, and of what it made after."""

    @functools.wraps(function)  # with what it says to jinja of its first argument
    def bounded(*arguments: Any, **named: Any) -> Any:
        n = 2 if hasattr(function, "jinja_pass_arg") else 1
        _refuse_large(arguments[n - 1], [*arguments[n:], *named.values()])
        if function is jinja2.filters.do_format:
            _refuse_wide(str(arguments[0]))
        return _checked(function(*arguments, **named))

    return bounded


def _refuse_large(first: Any, others: list[Any]) -> None:
    """Raise where a function of these could come to too much: widths, counts and long texts."""
    product = _size(first) or 1
    for value in others:
        if isinstance(value, int):
            _refuse_beyond(LETTERS, value)
        product *= _size(value) or 1
    _refuse_beyond(PRODUCT, product)


def _size(value: Any) -> int | None:
    return len(value) if isinstance(value, str | bytes | list | tuple) else None


def _checked(value: Any) -> Any:
    """What was made, counted."""
    size = _size(value) or 0
    _refuse_beyond(LETTERS, size)
    _used.made += size
    _refuse_beyond(TOTAL, _used.made)
    return value


def _refuse_wide(form: str) -> None:
    """Raise for a format that asks for very many columns, or for a number of them."""
    if _WIDE.search(form):
        raise _limit("it makes a text that is too wide")


def _refuse_beyond(most: int, size: int) -> None:
    if size > most:
        raise _limit("it makes a text, a list or a number that is too long")


def _limit(why: str) -> jinja2.TemplateRuntimeError:
    return jinja2.TemplateRuntimeError(why)
