"""How memory is asked for; nothing heavy is imported here."""

import os


def use_huge_pages() -> None:
    """Have PyTorch ask Linux for pages of 2 MiB; it must be said before the first tensor is made.

    A fresh page costs about two microseconds, whatever its size: of a watched pass of GPT-2, forward
    and backward, that was two fifths of the time. Programs call this, the library does not: it is
    not for a library to set how its importer's memory is asked for.
    """
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
