"""C code that is compiled once and kept."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import subprocess
import tempfile
from pathlib import Path

from glassformer.errors import GlassformerError
from glassformer.files import cache_folder

FLAGS = ("-O3", "-march=native", "-std=gnu11", "-fopenmp-simd", "-fno-math-errno", "-fPIC")


class NotCompiledError(GlassformerError):
    """No C compiler, one that failed, or no place for what it makes."""


def c_library(source: str) -> ctypes.CDLL:
    """The functions of a C source, compiled by `cc`, or $CC, unless this machine did it before.

    Raises NotCompiledError.
    """
    compiler = os.environ.get("CC") or "cc"
    said = "\n".join((compiler, *FLAGS, _processor(), source))
    key = hashlib.blake2b(said.encode(), digest_size=12).hexdigest()
    library = cache_folder() / "steps" / f"{key}.so"
    try:
        if not library.exists():
            library.parent.mkdir(parents=True, exist_ok=True)
            _compile(shlex.split(compiler), source, library)
        return ctypes.CDLL(str(library))
    except subprocess.CalledProcessError as error:
        raise NotCompiledError(f"{compiler}: {error.stderr.strip()[:200]}") from error
    except OSError as error:  # no compiler, or no folder that can be written to and run from
        raise NotCompiledError(str(error)) from error


def _compile(compiler: list[str], source: str, library: Path) -> None:
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        file, built = Path(folder, "step.c"), Path(folder, "step.so")
        file.write_text(source, encoding="ascii")
        command = [*compiler, *FLAGS, "-shared", str(file), "-o", str(built), "-lm"]
        subprocess.run(command, check=True, capture_output=True, text=True)
        built.replace(library)


def _processor() -> str:
    """What the code is made for: a home folder may be shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.platform() + platform.processor()
    about = ("model name", "flags", "CPU part", "Features")
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(about)))
