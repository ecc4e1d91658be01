"""A transformer language model with glass walls.

One model implementation that trains as fast as code with no glass, and in which every number has a
name, an address and an explanation that can be redone by hand.

The public names live in the modules that define them and are imported when first used, so that
`import glassformer` and the command line's help do not wait for torch.
"""

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from glassformer import rendering
from glassformer.errors import check_platform

check_platform()


def _drawn_by(module: str, function: str) -> Callable[[], rendering.Renderer]:
    return lambda: getattr(importlib.import_module(f"glassformer.{module}"), function)


rendering.register("Explanation", _drawn_by("show.notebook", "explanation_html"))
rendering.register("PastRun", _drawn_by("server.notebook", "run_html"))
rendering.register("Trace", _drawn_by("server.notebook", "trace_html"))

if TYPE_CHECKING:
    from glassformer import lab as lab
    from glassformer.errors import GlassformerError as GlassformerError
    from glassformer.generation.generate import generate as generate
    from glassformer.generation.generate import generate_batch as generate_batch
    from glassformer.generation.packed import pack as pack
    from glassformer.interop.folder import save as save
    from glassformer.interop.open import load as load
    from glassformer.model.config import Config as Config
    from glassformer.model.decoder import Decoder as Decoder
    from glassformer.model.encoder import Encoder as Encoder
    from glassformer.model.encoder_decoder import EncoderDecoder as EncoderDecoder
    from glassformer.model.towers_config import TowersConfig as TowersConfig
    from glassformer.server.notebook import page as page
    from glassformer.server.record import watch as watch
    from glassformer.text.tokenizer import Tokenizer as Tokenizer
    from glassformer.trace.explain import Explanation as Explanation
    from glassformer.trace.trace import Trace as Trace
    from glassformer.training.loop import train as train
    from glassformer.training.recipe import Recipe as Recipe
    from glassformer.training.run import load_run as load_run
    from glassformer.training.watched import watch_step as watch_step

_HOME = {  # public name -> the module that defines it; the imports above say the same to checkers
    "Config": "glassformer.model.config",
    "Explanation": "glassformer.trace.explain",
    "GlassformerError": "glassformer.errors",
    "Recipe": "glassformer.training.recipe",
    "Tokenizer": "glassformer.text.tokenizer",
    "Trace": "glassformer.trace.trace",
    "Decoder": "glassformer.model.decoder",
    "Encoder": "glassformer.model.encoder",
    "EncoderDecoder": "glassformer.model.encoder_decoder",
    "TowersConfig": "glassformer.model.towers_config",
    "generate": "glassformer.generation.generate",
    "generate_batch": "glassformer.generation.generate",
    "lab": "glassformer",  # a module of it
    "load": "glassformer.interop.open",
    "load_run": "glassformer.training.run",
    "pack": "glassformer.generation.packed",
    "page": "glassformer.server.notebook",
    "save": "glassformer.interop.folder",
    "train": "glassformer.training.loop",
    "watch": "glassformer.server.record",
    "watch_step": "glassformer.training.watched",
}


def __getattr__(name: str) -> Any:
    if name == "Transformer":  # as 0.1 called it
        return importlib.import_module("glassformer.model").Transformer
    if name not in _HOME:
        raise AttributeError(f"module 'glassformer' has no attribute {name!r}")
    home = _HOME[name]
    if home == __name__:
        value: Any = importlib.import_module(f"{home}.{name}")
    else:
        value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


class _Package(ModuleType):
    """Importing `glassformer.watch`, the package, does not take the place of the function."""

    def __setattr__(self, name: str, value: object) -> None:
        if _HOME.get(name, __name__) == __name__ or not isinstance(value, ModuleType):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
