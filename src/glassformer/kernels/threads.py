"""How many threads a small work takes: one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread(small: bool) -> Iterator[None]:
    """Inside, PyTorch computes on one thread if the work is small.

    Threads of short kernels mostly wait for each other, and on a busy machine for the scheduler.
    """
    threads = torch.get_num_threads()
    if small:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if small:
            torch.set_num_threads(threads)
