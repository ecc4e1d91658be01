"""C code that is compiled once and kept."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import shlex
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from glassformer.errors import GlassformerError
from glassformer.files import cache_folder, sync

NATIVE = "-march=native"
FLAGS = ("-O3", "-std=gnu11", "-fopenmp-simd", "-fno-math-errno", "-fPIC", "-shared")


class NotCompiledError(GlassformerError):
    """No C compiler, one that failed, no place for what it makes, or a formula without loops."""


def c_library(source: str) -> ctypes.CDLL:
    """The functions of a C source, compiled by `cc`, or $CC, unless this machine did it before.

    Raises NotCompiledError.
    """
    compiler = shlex.split(os.environ.get("CC", "")) or ["cc"]
    made_for = (_run([*compiler, "--version"]), *platform.libc_ver(), _processor())
    key_text = "\n".join((*compiler, *made_for, NATIVE, *FLAGS, source))
    key = hashlib.blake2b(key_text.encode(), digest_size=12).hexdigest()
    try:
        library = _private_folder() / f"{key}.so"
        if library.exists():
            with suppress(OSError):  # it does not load: a crash, or a full disk, cut it short
                return ctypes.CDLL(str(library))
        _compile(compiler, source, library)
        return ctypes.CDLL(str(library))
    except OSError as error:  # no folder that can be written to and run from
        raise NotCompiledError(f"{error}; name another folder in $XDG_CACHE_HOME") from error


def _private_folder() -> Path:
    """Where libraries are kept. What lies there is run, so nobody else may write to it."""
    try:
        folder = cache_folder() / "steps"
    except GlassformerError as error:
        raise NotCompiledError(str(error)) from error
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    about = folder.stat()
    if about.st_uid != os.geteuid() or about.st_mode & 0o022:
        raise NotCompiledError(
            f"{folder} is another user's, or others may write to it, and what lies there is run;"
            " name a folder of your own in $XDG_CACHE_HOME"
        )
    return folder


def _compile(compiler: list[str], source: str, library: Path) -> None:
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:
        file, built = Path(folder, "step.c"), Path(folder, "step.so")
        file.write_text(source, encoding="ascii")
        rest = [*FLAGS, str(file), "-o", str(built), "-lm"]
        try:
            _run([*compiler, NATIVE, *rest])
        except NotCompiledError:  # Apple's clang before 15 does not know it on arm64
            _run([*compiler, *rest])
        sync(built)
        built.replace(library)


def _run(command: list[str]) -> str:
    """What the compiler prints."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
        )
    except OSError as error:
        raise NotCompiledError(f"{error}; install a C compiler, or name one in $CC") from error
    if done.returncode:
        lines = done.stderr.splitlines() or [f"exit code {done.returncode}"]
        fault = next((line for line in lines if "error:" in line), lines[0])
        raise NotCompiledError(f"{command[0]}: {fault[:400]}")
    return done.stdout


def _processor() -> str:
    """What the code is made for: a home folder may be shared by unlike machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.platform() + platform.processor()
    about = ("model name", "flags", "CPU part", "Features")
    return "\n".join(dict.fromkeys(line for line in lines if line.startswith(about)))
