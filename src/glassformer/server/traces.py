"""Live traces: made on request, held in memory, read by byte range; the least used go first."""

from __future__ import annotations

import gzip
import secrets
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import cached_property

from torch import Tensor

from glassformer.memory import machine_memory
from glassformer.server import schemas
from glassformer.server.errors import ApiError
from glassformer.server.record import LIGHT_BYTES, TraceResult, record
from glassformer.server.schemas import TraceRequest
from glassformer.text.tokenizer import Tokenizer
from glassformer.trace import Address, Trace
from glassformer.trace.cancel import CancelCheck, never_cancelled
from glassformer.trace.file import node_table
from glassformer.trace.values_file import ValuesFile
from glassformer.training.train_state import TrainState

HELD_BYTES, HELD_SHARE = 1_000_000_000, 8
"""The most that all live traces take together: this, or an eighth of the machine's memory."""

HELD_TRACES = 128
"""How many there are at most: a page has one to four, and Python looks through all of them."""

STEP_BYTES = 2_500
"""What a step takes beside its value: measured, 1,900 to 2,200 bytes of Python objects."""


def held_bytes() -> int:
    """The default of what all live traces may take together."""
    return min(HELD_BYTES, machine_memory() // HELD_SHARE)


class LiveTrace:
    """A trace, what it is about, and its two files."""

    def __init__(
        self,
        state: TrainState,
        request: TraceRequest,
        patches: Mapping[str, Tensor] | None = None,
        is_cancelled: CancelCheck = never_cancelled,
        light_bytes: int = LIGHT_BYTES,
    ) -> None:
        """`patches`: the values of the request's patches, by address; the others: see `record`."""
        known = patches or {}
        edits = {
            str(Address.parse(address)): known[address] if isinstance(new, schemas.Patch) else new
            for address, new in request.edits.items()
        }
        self.id = secrets.token_urlsafe(12)
        self.model = state.model
        self.result: TraceResult = record(state, request, edits, is_cancelled, light_bytes)
        self.values = ValuesFile(self.result.trace)
        self.about = self._about(state.tokenizer, request)

    @cached_property
    def table(self) -> bytes:
        """trace.json"""
        return node_table(self.result.trace, self.values.extents).encode()

    @cached_property
    def table_gzip(self) -> bytes:
        return gzip.compress(self.table, compresslevel=1, mtime=0)

    @property
    def nbytes(self) -> int:
        """Bytes of values, steps and written tables, weights apart."""
        trace = self.result.trace
        tables = (self.__dict__.get(name, b"") for name in ("table", "table_gzip"))
        values = trace.nbytes + self.values.copied
        return values + STEP_BYTES * len(trace.nodes) + sum(len(table) for table in tables)

    @property
    def weights(self) -> dict[int, int]:
        """Every memory of the weights that this trace keeps alive, and its bytes."""
        rerun = self.result.trace.rerun
        return self._leaves | _memories(rerun.held if rerun else [])

    @cached_property
    def _leaves(self) -> dict[int, int]:
        leaves = self.result.trace.leaves
        return _memories(leaf.value for leaf in leaves if leaf.value is not None)

    def _about(self, tokenizer: Tokenizer, request: TraceRequest) -> schemas.TraceAbout:
        result = self.result
        return schemas.TraceAbout(
            id=self.id,
            run=request.run,
            prompt=_text(tokenizer, request, result.ids),
            added=request.added,
            ids=result.ids,
            tokens=[tokenizer.shown(token) for token in result.ids],
            target=None if result.target is None else tokenizer.shown(result.target),
            backward=result.backward,
            optimizer=result.optimizer,
            at_step=request.at_step,
            edits=request.edits,
            sampling=request.sampling,
            chosen=schemas.Chosen(id=result.chosen, token=tokenizer.shown(result.chosen)),
            nbytes=self.values.size,
            precision=precision_of(result.trace),
        )


def precision_of(trace: Trace) -> str:
    """The dtype that a trace was computed in."""
    return str(trace.node("logits").dtype).removeprefix("torch.")


def _memories(tensors: Iterable[Tensor]) -> dict[int, int]:
    result = (tensor.untyped_storage() for tensor in tensors)
    return {memory.data_ptr(): memory.nbytes() for memory in result}


def _text(tokenizer: Tokenizer, options: schemas.TraceOptions, ids: list[int]) -> str:
    """The prompt with the text of the tokens that were added to it."""
    if not options.added:
        return options.prompt
    before, text = (tokenizer.decode(part) for part in (ids[: -len(options.added)], ids))
    return options.prompt + text[len(before) :] if text.startswith(before) else text


class TraceStore:
    """The live traces by id."""

    def __init__(self, most_bytes: int | None = None) -> None:
        self._held_bytes = held_bytes() if most_bytes is None else most_bytes
        self._traces: OrderedDict[str, LiveTrace] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, trace: LiveTrace) -> None:
        """Hold a trace; those not looked at for longest go until all fit. The newest stays."""
        with self._lock:
            self._traces[trace.id] = trace
            while len(self._traces) > 1 and self._full:
                self._traces.popitem(last=False)

    @property
    def _full(self) -> bool:
        return len(self._traces) > HELD_TRACES or self.nbytes > self._held_bytes

    @property
    def nbytes(self) -> int:
        """What they take, but for the weights of the last one used: its model is open anyway."""
        traces = [*self._traces.values()]
        weights = {memory: n for trace in traces for memory, n in trace.weights.items()}
        shared = traces[-1].weights if traces else {}
        unshared = sum(n for memory, n in weights.items() if memory not in shared)
        return unshared + sum(trace.nbytes for trace in traces)

    def __getitem__(self, trace_id: str) -> LiveTrace:
        with self._lock:
            trace = self._traces.get(trace_id)
            if trace is None:
                raise ApiError(
                    "unknown_trace",
                    "this trace is no longer held (or never was); open the prompt again",
                )
            self._traces.move_to_end(trace_id)
            return trace
