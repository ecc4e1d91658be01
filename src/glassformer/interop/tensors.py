"""The weights of a folder, one tensor at a time, each checked before it is used.

Only safetensors is read: other formats are pickles, and reading a pickle runs what is in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from contextlib import ExitStack
from functools import reduce
from pathlib import Path
from types import TracebackType

import torch
from safetensors.torch import save_file
from torch import Tensor

from glassformer.errors import GlassformerError
from glassformer.files import ordinary_mode
from glassformer.interop.tensor_file import TensorFile
from glassformer.jsons import parse_object, read_json

FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
DIGESTS = "glassformer.sha256"  # header metadata: the SHA-256 of each tensor, as JSON
FLOATS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
}
NO_NOTES: Mapping[str, str] = {}
_PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack")


class Tensors:
    """The tensors of a folder: names and shapes at once, numbers when asked for.

    A folder has one model.safetensors, or several files and an index of what is where; or they are
    in the `files` of other names.
    """

    def __init__(self, folder: Path, files: tuple[str, ...] = ()) -> None:
        self.folder, self._files = folder, files
        self.metadata: dict[str, str] = {}
        self._stack = ExitStack()
        self._file_of: dict[str, str] = {}
        self._open: dict[str, TensorFile] = {}
        self._digests: dict[str, str] = {}

    def __enter__(self) -> Tensors:
        try:
            for file in self._files or _files(self.folder):
                self._read_header(file)
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def _read_header(self, file: str) -> None:
        path = self.folder / file
        opened = self._stack.enter_context(TensorFile(path))
        for name in opened.names:
            if name in self._file_of:
                raise GlassformerError(
                    f"{name} is in both {self._file_of[name]} and {path}; keep one of them"
                )
            self._file_of[name] = file
        self._open[file] = opened
        self.metadata |= opened.metadata
        self._digests |= _digests(path, opened.metadata)

    @property
    def names(self) -> list[str]:
        return list(self._file_of)

    def location(self, name: str) -> str:
        """A tensor and its file, for messages."""
        return f"{name} in {self.folder / self._file_of[name]}"

    def shape(self, name: str) -> tuple[int, ...]:
        return self._file(name).shape(name)

    def dtype(self, name: str) -> torch.dtype:
        """The dtype of a tensor; weights are floating-point numbers, anything else is refused."""
        stored = self._file(name).dtype(name)
        if stored not in FLOATS:
            raise GlassformerError(
                f"{self.location(name)} holds {stored} numbers; weights are {', '.join(FLOATS)}:"
                " save the model in one of these"
            )
        return FLOATS[stored]

    def widest_dtype(self, names: list[str]) -> torch.dtype:
        """The narrowest dtype that holds every one of these tensors exactly."""
        return reduce(torch.promote_types, {self.dtype(name) for name in names})

    def read(self, name: str) -> Tensor:
        """A tensor's numbers: those that were written, and finite."""
        tensor = self._file(name).read(name)
        if name in self._digests and digest(tensor) != self._digests[name]:
            raise GlassformerError(
                f"{self.location(name)} does not hold the numbers that were written (its SHA-256"
                " differs from the one in the file's header); copy or save the folder again"
            )
        refuse_non_finite(self.location(name), tensor)
        return tensor

    def _file(self, name: str) -> TensorFile:
        return self._open[self._file_of[name]]


def write_tensors(
    path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str] = NO_NOTES
) -> None:
    """Write a safetensors file whose header holds the SHA-256 of each tensor, and `notes`.

    Equal tensors make equal files, byte for byte.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    digests = {name: digest(tensor) for name, tensor in plain.items()}
    with ordinary_mode(path):
        save_file(plain, path, metadata={"format": "pt", DIGESTS: json.dumps(digests), **notes})
    _sort_metadata(path)


def _sort_metadata(path: Path) -> None:
    """Put the header's notes in order: safetensors writes them in a random one."""
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        file.seek(8)
        file.write(text.ljust(length))


def digest(tensor: Tensor) -> str:
    """The SHA-256 of a tensor's bytes, row by row."""
    # one dimension by hand: a dimension of length 1 may have any stride, which view refuses
    numbers = tensor.contiguous().as_strided((tensor.numel(),), (1,))
    return hashlib.sha256(numbers.view(torch.uint8).numpy().data).hexdigest()


def refuse_non_finite(where: str, tensor: Tensor) -> None:
    """Raise for a tensor that holds NaN or infinity."""
    if torch.isfinite(tensor.sum()):
        return  # one bad number makes the sum bad; a sum is 40 times faster
    wrong = ~torch.isfinite(tensor)
    if wrong.any():
        first = wrong.nonzero()[0].tolist()
        raise GlassformerError(
            f"{where} holds {tensor[tuple(first)].item()} at {first} ({int(wrong.sum()):,} of"
            f" {tensor.numel():,} numbers are not finite); go back to weights from before training"
            " broke down"
        )


def _files(folder: Path) -> list[str]:
    """The safetensors files of a folder; an index can't name a file outside it."""
    if (folder / FILE).is_file():
        return [FILE]
    index = folder / INDEX
    if index.is_file():
        weight_map = read_json(index).get("weight_map")
        if not isinstance(weight_map, dict) or not weight_map:
            raise GlassformerError(f"{index} has no weight_map; download the folder again")
        files = sorted({str(file) for file in weight_map.values()})
        for file in files:
            if Path(file).name != file or not file.endswith(".safetensors"):
                raise GlassformerError(
                    f"{index} names {file!r}; it may name .safetensors files of its folder only"
                )
            if not (folder / file).is_file():
                raise GlassformerError(f"{index} names {file}, which is not there; download it too")
        return files
    shards = sorted(path.name for path in folder.glob("*-of-*.safetensors"))
    if shards:
        raise GlassformerError(
            f"{folder} holds {shards[0]} and no {INDEX}, which says what lies where; download it"
            " too"
        )
    pickles = sorted(path.name for kind in _PICKLES for path in folder.glob(kind))
    if pickles:
        raise GlassformerError(
            f"{folder} holds its weights only as {pickles[0]}, and reading such a file can run code"
            " from it; convert it to safetensors where you trust it, with transformers:"
            " AutoModelForCausalLM.from_pretrained(folder).save_pretrained(new_folder)"
        )
    if ggufs := sorted(path.name for path in folder.glob("*.gguf")):
        raise GlassformerError(
            f"{folder} holds its weights only as {ggufs[0]}, a form that is written here and not"
            " read; give the folder that it was made from"
        )
    raise GlassformerError(f"{folder} has no {FILE}; give a folder that holds a model's weights")


def _digests(path: Path, metadata: Mapping[str, str]) -> dict[str, str]:
    digests = metadata.get(DIGESTS, "{}").encode(errors="surrogatepass")
    return parse_object(digests, Path(f"{path}: {DIGESTS} in its header"), "save the folder again")
