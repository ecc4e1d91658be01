"""The models that are served to clients, each with its engine while it is used."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch

from glassformer.errors import GlassformerError
from glassformer.generation.batch import Text
from glassformer.generation.defaults import Defaults, end_ids, read_defaults
from glassformer.generation.prompt import PromptTooLongError, check_prompt
from glassformer.generation.room import room_of
from glassformer.generation.rules import Rules, rules
from glassformer.generation.sampling import COLDEST, Sampling, fresh_seed
from glassformer.model import EncoderDecoder
from glassformer.model.ids import refuse_outside
from glassformer.server.errors import ApiError, code_of
from glassformer.server.handlers import shorten
from glassformer.server.runs import OPEN_MODELS, Runs, Source
from glassformer.server.v1.answer import Answer
from glassformer.server.v1.apart import EngineApart, can_be_apart
from glassformer.server.v1.choice import Choice
from glassformer.server.v1.engine import QUEUE, Engine
from glassformer.server.v1.errors import FieldError
from glassformer.server.v1.glass import refuse_unshown
from glassformer.server.v1.news import News
from glassformer.server.v1.schemas import PROMPTS, ChatRequest, Request
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.train_state import TrainState

LOOK_SECONDS = 0.5
"""How long a model is taken for the one in its folder before the folder is looked at again."""


@dataclass(frozen=True)
class Served:
    """A model as clients use it; its engine is made when the first text is asked for.

    apart: a small model's texts come from a process of its own, as soon as that has started.
    """

    run: str
    state: TrainState
    defaults: Defaults
    rules: Rules
    queue: int
    apart: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)
    engines: list[Engine | EngineApart] = field(default_factory=list)
    news: News = field(default_factory=News)

    @property
    def tokenizer(self) -> Tokenizer:
        return self.state.tokenizer

    @cached_property
    def capacity(self) -> int:
        """Tokens that a text may have, of all that the model could read."""
        return room_of(self.state.model)[1]

    @property
    def towers(self) -> EncoderDecoder | None:
        """The model, if it translates."""
        model = self.state.model
        return model if isinstance(model, EncoderDecoder) else None

    @property
    def engine(self) -> Engine | EngineApart:
        """The one that begins texts: that of the process where there is one."""
        with self.lock:
            if not self.engines:
                engine = Engine(self.state.model, self.news.wake, self.queue).start()
                self.engines.append(engine)
                if self.apart and can_be_apart(self.state.model):
                    threading.Thread(target=self._part, daemon=True).start()
            alive = [engine for engine in self.engines if not engine.ended]
            return (alive or self.engines[:1])[-1]

    def _part(self) -> None:
        try:
            engine = EngineApart(self.state.model, self.news.wake, self.queue)
        except OSError:  # there is no memory for it, say: texts come from here all the same
            return
        with self.lock:
            if self.engines[0].ended:  # the model was replaced meanwhile
                engine.retire()
            self.engines.append(engine)

    def retire(self) -> None:
        """Take no more texts, and end when those that there are have ended."""
        with self.lock:
            for engine in self.engines:
                engine.retire()


class Engines:
    """The engines by run: as many as models are held, and one for each state of a model."""

    def __init__(self, runs: Runs, queue: int = QUEUE, apart: bool = False) -> None:
        self._runs, self._queue, self._apart = runs, queue, apart
        self._served: OrderedDict[str, Served] = OrderedDict()
        self._looked: dict[str | None, tuple[float, Served]] = {}  # when, by what a client calls it
        self._lock = threading.Lock()
        self._leaving = False

    def source(self, model: str | None) -> Source:
        """The run of this name, or the first one."""
        sources = self._runs.present
        names = [source.id for source in sources]
        if model is None and sources:
            return sources[0]
        for source in sources:
            if model in (source.id, source.name, source.where):
                return source
        listed = f"; there are {', '.join(names[:20])}" if names else "; there is none"
        name = shorten(str(model))
        raise FieldError("model", f"no model is called {name!r} here{listed}", "unknown_run")

    @property
    def sources(self) -> list[Source]:
        """What can be asked for."""
        return self._runs.present

    def recent(self, model: str | None) -> Served | None:
        """A model that writes texts already and was opened a moment ago."""
        with self._lock:
            when, served = self._looked.get(model, (0.0, None))
            if served is None or time.monotonic() - when > LOOK_SECONDS or not served.engines:
                return None
            return served if self._served.get(served.run) is served else None

    def open(self, model: str | None) -> Served:
        """A model; takes long where it is new."""
        served = self._open(self.source(model).id)
        with self._lock:
            self._looked[model] = (time.monotonic(), served)
        return served

    def _open(self, run: str) -> Served:
        state = self._runs.train_state(run)
        with self._lock:
            known = self._served.get(run)
            if known is not None and known.state.model is state.model:
                self._served.move_to_end(run)
                return known
            if self._leaving:
                raise ApiError("ending", "the server is ending; start it again")
            settings = state.model.folder_settings
            rule = rules(settings, state.model.config.vocab_size)
            defaults = read_defaults(settings)
            served = Served(run, state, defaults, rule, self._queue, self._apart)
            if known is not None:  # it was trained meanwhile
                known.retire()
            self._served[run] = served
            self._served.move_to_end(run)
            while len(self._served) > OPEN_MODELS:
                self._served.popitem(last=False)[1].retire()
            return served

    @property
    def engines(self) -> list[Engine | EngineApart]:
        with self._lock:
            return [engine for served in self._served.values() for engine in served.engines]

    def is_busy(self) -> bool:
        """Whether texts are being written."""
        return any(engine.running for engine in self.engines)

    def begin(self) -> None:
        """Take requests, after an end too."""
        with self._lock:
            if self._leaving:
                self._served.clear()
            self._leaving = False

    def leave(self) -> None:
        """Take no more requests; see `Engine.leave`."""
        self._leaving = True
        for served in [*self._served.values()]:
            for engine in served.engines:
                engine.leave()


def ask(
    served: Served,
    answer: Answer,
    prompts: Sequence[list[int]],
    request: Request,
    *,
    most: int | None,
    logprobs: int | None,
    score: bool = False,
) -> None:
    """Give an answer its texts, and the engine what it has to do.

    most: new tokens; score: with the log-probabilities of the prompts' own tokens. Two towers read
    a prompt as their source, and the text is its translation.
    """
    refuse_unshown(request, served.rules)
    if request.stream_options is not None and not request.stream:
        raise FieldError("stream_options", "it goes with stream: true; give both")
    n = request.n or 1
    if n * len(prompts) > PROMPTS:
        raise FieldError(
            "n", f"{len(prompts)} prompts times n={n} are more than {PROMPTS} texts; ask for fewer"
        )
    model, tokenizer = served.state.model, served.tokenizer
    sampling = _sampling(served, request)
    bias = _bias(request, model.config.vocab_size)
    stop = [request.stop] if isinstance(request.stop, str) else request.stop
    stop = [*served.defaults.stop_strings] if stop is None else stop
    seed = fresh_seed() if request.seed is None else request.seed
    ends = frozenset(end_ids(model, tokenizer))
    towers, is_chat = served.towers, isinstance(request, ChatRequest)
    for prompt in prompts:
        try:
            _check(served, prompt)
        except GlassformerError as error:
            field = "messages" if is_chat else "prompt"
            raise FieldError(field, str(error), code_of(error)) from error
        begin = prompt if towers is None else [towers.config.start_id]
        max_new = served.defaults.most_new(len(begin)) if most is None else most
        capacity = served.capacity - len(begin) + 1
        for i in range(n):
            choice = Choice(
                len(answer.choices),
                prompt,
                tokenizer,
                stop,
                answer.at_once,
                answer.touch,
                is_chat or towers is not None,
            )
            text = Text(
                begin,
                choice,
                capacity if max_new is None else min(max_new, capacity),
                sampling,
                seed + i,
                ends,
                logprobs,
                score and logprobs is not None and i == 0,
                bias,
                served.rules,
                None if towers is None else prompt,
                answer.at_once and not stop,
            )
            answer.add(choice, text)
    engine = served.engine
    served.news.watch(answer)
    try:
        engine.submit(answer.texts)
    except ApiError:
        answer.cancel()
        raise
    answer.at_end(lambda over: engine.cancel(over.texts))


def _check(served: Served, prompt: list[int]) -> None:
    towers = served.towers
    most = served.capacity if towers is None else towers.config.encoder.n_ctx
    if len(prompt) > most:
        raise PromptTooLongError(
            f"the prompt has {len(prompt):,} tokens and this server reads at most"
            f" {most:,}; shorten it"
        )
    if towers is None:
        return check_prompt(served.state.model, prompt)
    refuse_outside(torch.tensor(prompt), towers.config.encoder.vocab_size)
    if set(prompt) == {towers.config.pad_id}:
        raise GlassformerError("it is nothing but padding; give it a word")
    return None


def _sampling(served: Served, request: Request) -> Sampling:
    temperature = request.temperature
    if served.towers is not None and temperature is None:
        # a translation is the likeliest one, where a continuation is drawn
        temperature = served.defaults.settings.get("temperature", 0)
    if temperature is not None and 0 < temperature < COLDEST:
        raise FieldError(
            "temperature", f"it is too small to divide by; give 0, or at least {COLDEST:g}"
        )
    return served.defaults.sampling(
        temperature=temperature,
        top_k=request.top_k,
        top_p=request.top_p,
        min_p=request.min_p,
        repetition_penalty=request.repetition_penalty,
    )


def _bias(request: Request, vocab_size: int) -> dict[int, float]:
    result: dict[int, float] = {}
    for name, value in (request.logit_bias or {}).items():
        if not (name.isascii() and name.isdigit() and int(name[:10]) < vocab_size):
            raise FieldError(
                "logit_bias", f"{name[:40]!r} is no token; ids are 0 to {vocab_size - 1}"
            )
        result[int(name)] = value
    return result
