"""A source of a run: what it learns from, and the new model and tokens that it makes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from glassformer.errors import GlassformerError
from glassformer.model import Config, EncoderDecoder, TowersConfig
from glassformer.model.kinds import AnyModel, kind_of
from glassformer.text.tokenizer import Tokenizer
from glassformer.training.choices import Choices
from glassformer.training.corpora import Progress
from glassformer.training.new_tokenizer import first_characters, new_tokenizer
from glassformer.training.plan import refuse_larger_than_memory
from glassformer.training.recipe import Recipe
from glassformer.training.trainable import HEAD, check_trainable

Preset = dict[str, Any]
AnyConfig = TypeVar("AnyConfig", Config, TowersConfig)

TOKENIZER_CHARACTERS = 20_000_000  # of a corpus are enough to learn its vocabulary
REHEARSED = 1_000_000  # characters that are read before anything is begun


class Begun(NamedTuple):
    """What is decided before tokens are written."""

    model: AnyModel
    tokenizer: Tokenizer
    recipe: Recipe
    n_ctx: int
    progress: Progress
    """Is told which share of the text is tokens by now."""


class Written(NamedTuple):
    """What run.json says of the tokens, and what the person should know of them."""

    corpus: dict[str, Any]
    notes: tuple[str, ...] = ()


class Source(ABC):
    """A corpus that a model of one tower learns from."""

    def __init__(self, choices: Choices, preset: Preset) -> None:
        self.choices, self.preset = choices, preset

    def begin(self, recipe: Recipe) -> tuple[AnyModel, Tokenizer]:
        """A new model and its tokenizer, of the sizes of the preset and of the choices."""
        tokenizer = self.new_tokenizer(TOKENIZER_CHARACTERS)
        sizes = self.sizes(tokenizer)
        if "n_ctx" not in self.choices.model:
            sizes["n_ctx"] = max(sizes["n_ctx"], self.longest(tokenizer))
        config = self.trainable(Config.from_dict(sizes), recipe)
        return kind_of(config)(config), tokenizer

    def rehearse(self, recipe: Recipe) -> tuple[AnyModel, Tokenizer]:
        """As `begin`, and raising what it raises, without weights and from the beginning alone."""
        tokenizer = self.new_tokenizer(REHEARSED)
        config = self.trainable(Config.from_dict(self.sizes(tokenizer)), recipe)
        return kind_of(config).unfilled(config, device="meta"), tokenizer

    @staticmethod
    def trainable(config: AnyConfig, recipe: Recipe) -> AnyConfig:
        """A configuration that can be trained here."""
        check_trainable(config)
        refuse_larger_than_memory(config, recipe.batch_size)
        return config

    def new_tokenizer(self, n_characters: int) -> Tokenizer:
        """Learned from no more of the texts."""
        texts = first_characters(self.texts(), n_characters)
        return new_tokenizer(self.choices, self.preset.get("tokenizer", {}), texts)

    def longest(self, tokenizer: Tokenizer) -> int:
        """How many positions its longest text needs; 0 where blocks cut them."""
        del tokenizer
        return 0

    def check_context(self, n_ctx: int) -> None:
        """Raise where a model that reads so many positions can't learn from this."""
        del n_ctx

    @property
    def is_short(self) -> bool:
        """Whether its tokens are written so soon that they can be tried first."""
        return False

    def sizes(self, tokenizer: Tokenizer) -> dict[str, Any]:
        """The model's, the neurons as many times the stream's width as in the preset.

        An output head that is trained alone has a matrix of its own.
        """
        usual = self.preset["model"]
        if HEAD in self.choices.recipe.get("only", ()):
            usual = {**usual, "tied": False}
        sizes = {**usual, **self.choices.model, "vocab_size": tokenizer.vocab_size}
        if "d_mlp" in sizes:
            sizes["d_mlp"] = sizes["d_mlp"] * sizes["d_model"] // usual["d_model"]
        return sizes

    def accept(self, model: AnyModel) -> None:
        """Refuse a trained model that can't go on learning from this."""
        if isinstance(model, EncoderDecoder):
            raise GlassformerError(
                "an encoder-decoder learns from pairs of sentences; say which by --preset"
                " translation"
            )

    def with_template(self, tokenizer: Tokenizer) -> Tokenizer:
        """The tokenizer with all that the corpus needs of it."""
        return tokenizer

    def texts(self) -> Iterable[str]:
        """Texts to learn a vocabulary from; none where a tokenizer is there already."""
        return ()

    @abstractmethod
    def write(self, folder: Path, begun: Begun) -> Written:
        """Write the tokens into a folder."""
