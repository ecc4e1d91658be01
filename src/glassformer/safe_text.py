"""Text that can't steer a terminal, whoever wrote it: a model, a file, a file's name."""

import re
import unicodedata

_NOT_PLAIN = re.compile("[^ -~\n\t]")
_UNSEEN = ("C", "Zl", "Zp")  # controls, marks of direction, half characters; two line separators


def harmless(text: str) -> str:
    """Running text in which all that is no visible letter, space, tab or line end is written out.

    Doing it twice changes nothing more.

    >>> harmless("a cat\\n\\x1b[2J\\r"), harmless("caf\u00e9 \u202eabc")
    ('a cat\\n\\\\x1b[2J\\\\r', 'caf\u00e9 \\\\u202eabc')
    """
    return _NOT_PLAIN.sub(_written, text)


def _written(match: re.Match[str]) -> str:
    letter = match[0]
    if unicodedata.category(letter).startswith(_UNSEEN):
        return letter.encode("unicode_escape").decode()
    return letter
