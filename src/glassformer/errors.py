"""The one error that Glassformer raises for what its user can mend, and the nearest known name."""

import difflib
import os
import sys
from collections.abc import Iterable

from glassformer.safe_text import harmless

LONGEST_MESSAGE = 2000  # characters; what is longer quotes a file, and its middle is left out
LONGEST_NAME = 200  # characters; comparing takes time by the square of them


class GlassformerError(Exception):
    """Something the caller can mend: its message is one line of fact, cause and fix.

    The command line prints it as `error: ...` and exits with code 2. What it quotes (a file's name,
    what stands in the file) can't steer the terminal that shows it, nor fill it.

    >>> raise GlassformerError("d_model=10 does not split into n_heads=4 heads; try 8 or 12")
    Traceback (most recent call last):
    ...
    glassformer.errors.GlassformerError: d_model=10 does not split into n_heads=4 heads; try 8 or 12
    >>> str(GlassformerError("there is no file \x1b[2J"))
    'there is no file \\\\x1b[2J'
    >>> str(GlassformerError("it says: no such version\\n at line 1"))
    'it says: no such version  at line 1'
    """

    def __init__(self, message: str) -> None:
        one_line = message.replace("\n", " ").replace("\t", " ")
        super().__init__(_shortened(harmless(one_line)))


class GlassformerWarning(UserWarning):
    """Something the caller should know and need not mend: the command line prints `note: ...`."""


class UnsupportedPlatformError(GlassformerError, ImportError):
    """This system lacks what Glassformer needs: raised by `import glassformer`."""


def check_platform() -> None:
    """Raise unless this is a POSIX system, whose calls lock runs and count the memory.

    The command ends here, in one line: it is imported before a line of it runs.
    """
    if os.name == "posix":
        return
    message = (
        "Glassformer runs on Linux and macOS, and this is another system; on Windows, use it"
        " inside WSL (https://learn.microsoft.com/windows/wsl/install)"
    )
    if _is_command(sys.argv[0] if sys.argv else "", sys.orig_argv):
        print(f"error: {message}", file=sys.stderr)
        sys.exit(2)
    raise UnsupportedPlatformError(message)


def _is_command(program: str, arguments: list[str]) -> bool:
    """Whether it is `glassformer` or `python -m glassformer` that is being started.

    >>> _is_command("C:\\\\Scripts\\\\glassformer.exe", []), _is_command("train.py", [])
    (True, False)
    >>> _is_command("-m", ["python", "-m", "glassformer", "ask"])
    True
    """
    module = (
        arguments[arguments.index("-m") + 1 :][:1] if program == "-m" and "-m" in arguments else []
    )
    name = program.replace("\\", "/").rpartition("/")[2].removesuffix(".exe")
    return name == "glassformer" or module == ["glassformer"]


def _shortened(message: str) -> str:
    if len(message) <= LONGEST_MESSAGE:
        return message
    half = LONGEST_MESSAGE // 2
    return f"{message[:half]} [...] {message[-half:]}"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence that names the known name nearest to `name`, or "" when none is near.

    It begins with a space, so that it can follow the sentence that says what was not found.

    >>> did_you_mean("GTP2", ["gpt2", "miniature"])
    " Did you mean 'gpt2'?"
    >>> did_you_mean("llama", ["gpt2", "miniature"])
    ''
    """
    if len(name) > LONGEST_NAME:
        return ""
    spellings = {spelling.lower(): spelling for spelling in known}
    nearest = difflib.get_close_matches(name.lower(), spellings, n=1)
    return f" Did you mean {spellings[nearest[0]]!r}?" if nearest else ""
