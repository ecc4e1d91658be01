"""How much memory there is, and how it is asked for; nothing heavy is imported here."""

import os
from contextlib import suppress
from functools import cache


def use_huge_pages() -> None:
    """Have PyTorch ask Linux for pages of 2 MiB; it must be said before the first tensor is made.

    A fresh page costs about two microseconds, whatever its size: of a watched pass of GPT-2, there
    and back, that was two fifths of the time. Programs call this and the library does not: how its
    importer's memory is asked for is not for a library to set.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")


@cache
def machine_memory() -> int:
    """Bytes of memory in this machine, in use or not."""
    import psutil

    return int(psutil.virtual_memory().total)


def give_back_memory() -> None:
    """Return to the system what was freed and is kept for the next time, where that is known."""
    import ctypes

    with suppress(OSError, AttributeError):  # no glibc
        ctypes.CDLL(None).malloc_trim(0)
