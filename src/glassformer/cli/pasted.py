"""Commands that are printed to be pasted into a shell."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from glassformer.safe_text import harmless


def word(text: object) -> str:
    """A word as bash and zsh read it back, whatever its letters.

    >>> print(word("my run"), word("runs/demo"), word("it's\\n\\x1b[2J"))
    'my run' runs/demo $'it\\'s\\x0a\\x1b[2J'
    """
    text = str(text)
    if harmless(text) == text and not set("\n\t") & set(text):
        return shlex.quote(text)
    return f"$'{''.join(map(_letter, text))}'"


def _letter(letter: str) -> str:
    if letter in "\\'":
        return f"\\{letter}"
    if letter not in "\n\t" and harmless(letter) == letter:
        return letter
    return "".join(f"\\x{byte:02x}" for byte in letter.encode("utf-8", "surrogateescape"))


def parts(verb: str, words: Sequence[object], *options: str) -> list[str]:
    """The parts of a command, the verb with its first word; join them with spaces, or line by line.

    >>> parts("ask", ["my run", "the cat"], "--seed 1")
    ["glassformer ask 'my run'", "'the cat'", '--seed 1']
    >>> parts("ask", ["my run", "-5 degrees"], "--seed 1")
    ["glassformer ask --seed 1 -- 'my run'", "'-5 degrees'"]
    """
    first, *others = map(word, words)
    if any(str(text).startswith("-") for text in words):
        return [" ".join([f"glassformer {verb}", *options, "--", first]), *others]
    return [f"glassformer {verb} {first}", *others, *options]
