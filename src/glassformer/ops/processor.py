"""Which processor computes: some kernels are chosen by who made it."""

from __future__ import annotations

from pathlib import Path


def is_amd() -> bool:
    """Whether Linux says that the processor is one of AMD's."""
    processors = Path("/proc/cpuinfo")
    return processors.is_file() and "AuthenticAMD" in processors.read_text()


AMD = is_amd()
