"""One safetensors file: whatever is wrong in it, the error names the file, and the tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from glassformer.jsons import DamagedFileError

FIX = "copy or save it again"
MAPPED_BYTES = 16 << 20
LFS = b"version https://git-lfs"


class TensorFile:
    """An open safetensors file: names and shapes at once, numbers when asked for.

    Every read of such a file goes through here. `fix`: what an error advises.
    """

    def __init__(self, path: Path, fix: str = FIX) -> None:
        self.path, self.fix = path, fix
        with self._naming("is no whole safetensors file"):
            self._state = _state(path)
            _refuse_pointer(path)
            self._file: Any = safe_open(path, "pt")
            self._mapped = 0
            self.names: list[str] = list(self._file.keys())
            self.metadata: Mapping[str, str] = self._file.metadata() or {}

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.__exit__(kind, error, traceback)

    def shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._slice(name).get_shape())

    def dtype(self, name: str) -> str:
        """A tensor's dtype as safetensors calls it: F32, BF16, I64, ..."""
        return str(self._slice(name).get_dtype())

    def read(self, name: str) -> Tensor:
        if self._mapped > MAPPED_BYTES:
            self._open_anew()
        with self._naming(f"holds a tensor {name!r} that can't be read"):
            tensor: Tensor = self._file.get_tensor(name)
        self._mapped += tensor.nbytes
        return tensor

    def _open_anew(self) -> None:
        """Give back the memory of what was read: a file that is mapped fills it like the copy."""
        with self._naming("can't be read on"):
            self._file.__exit__(None, None, None)
            self._file, self._mapped = safe_open(self.path, "pt"), 0
            if _state(self.path) != self._state:
                raise ValueError("another program wrote it meanwhile")

    def read_all(self) -> dict[str, Tensor]:
        return {name: self.read(name) for name in self.names}

    def _slice(self, name: str) -> Any:
        with self._naming(f"holds a tensor {name!r} that can't be read"):
            return self._file.get_slice(name)

    @contextmanager
    def _naming(self, problem: str) -> Iterator[None]:
        try:
            yield
        except (SafetensorError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            # the library raises its own error, and others for a dtype that torch has not
            raise DamagedFileError(self.path, f"{problem} ({error})", self.fix) from error


def _refuse_pointer(path: Path) -> None:
    """What stands in a file's place where a repository was cloned without Git LFS."""
    with path.open("rb") as file:
        if file.read(len(LFS)) == LFS:
            raise DamagedFileError(
                path, "is a pointer of Git LFS and not the file itself", "fetch it: git lfs pull"
            )


def _state(path: Path) -> tuple[int, int, int]:
    """What changes when a file is replaced or written to."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns
