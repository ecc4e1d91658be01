"""How a model's folder asks for text to be generated: its generation_config.json."""

from __future__ import annotations

from typing import Any, NamedTuple

from glassformer.errors import GlassformerError
from glassformer.generation.rules import longer_bad_words
from glassformer.generation.sampling import Sampling, sampling_of
from glassformer.model.folder_settings import FolderSettings
from glassformer.model.language_model import LanguageModel
from glassformer.text.tokenizer import Tokenizer

SETTINGS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
NOTHING: dict[str, tuple[Any, ...]] = {  # settings that are not done here -> what asks for nothing
    "num_beams": (None, 1),
    "num_beam_groups": (None, 1),
    "no_repeat_ngram_size": (None, 0),
    "encoder_no_repeat_ngram_size": (None, 0),
    "encoder_repetition_penalty": (None, 1, 1.0),
    "typical_p": (None, 1, 1.0),
    "penalty_alpha": (None, 0, 0.0),
    "min_length": (None, 0),
    "min_new_tokens": (None, 0),
    "sequence_bias": (None, {}),
    "guidance_scale": (None, 1, 1.0),
    "epsilon_cutoff": (None, 0, 0.0),
    "eta_cutoff": (None, 0, 0.0),
    "top_h": (None,),
    "exponential_decay_length_penalty": (None,),
    "watermarking_config": (None,),
}


class Defaults(NamedTuple):
    """`settings`: those of `Sampling` that the folder names; `not_done`: what is left out.

    `max_length` counts the prompt's tokens too; `stop_strings` are texts to end before.
    """

    settings: dict[str, Any]
    max_new_tokens: int | None = None
    max_length: int | None = None
    stop_strings: tuple[str, ...] = ()
    not_done: tuple[str, ...] = ()

    def sampling(self, **settings: float | None) -> Sampling:
        """How a token is chosen: as asked, and where nothing is, as the folder says."""
        requested: dict[str, Any] = {k: v for k, v in settings.items() if v is not None}
        return sampling_of(**self.settings | requested)

    def most_new(self, n_prompt: int) -> int | None:
        """How many tokens may follow a prompt of n_prompt; None: any number.

        >>> Defaults({}, max_length=5).most_new(3), Defaults({}, 9, 5).most_new(3)
        (2, 9)
        """
        if self.max_new_tokens is not None or self.max_length is None:
            return self.max_new_tokens
        return max(self.max_length - n_prompt, 0)


def read_defaults(folder: FolderSettings) -> Defaults:
    """How a model's folder asks for text: greedy where it says do_sample=false.

    Errors: a setting that can't be, named with the file.

    >>> generation = {"do_sample": True, "top_k": 40, "num_beams": 4}
    >>> defaults = read_defaults(FolderSettings(generation=generation))
    >>> defaults.settings, defaults.not_done
    ({'top_k': 40}, ('num_beams=4',))
    """
    generation = folder.generation
    settings = {name: generation[name] for name in SETTINGS if generation.get(name) is not None}
    if settings.get("top_k") == 0:
        del settings["top_k"]  # there it means: all of them
    if generation.get("do_sample") is False:
        settings["temperature"] = 0
    stop = generation.get("stop_strings") or ()
    texts = (stop,) if isinstance(stop, str) else stop
    try:
        Sampling(**settings)
        for name in ("max_new_tokens", "max_length"):
            most = generation.get(name)
            if most is not None and (type(most) is not int or most < 0):
                raise GlassformerError(f"{name}={most!r} is not a whole number of 0 or more")
        if not (isinstance(texts, (list, tuple)) and all(isinstance(t, str) and t for t in texts)):
            raise GlassformerError(f"stop_strings={stop!r} is neither a text nor a list of texts")
    except GlassformerError as error:
        raise GlassformerError(
            f"the folder's generation_config.json: {error}; mend it or take it out"
        ) from error
    unused = {name: generation[name] for name in NOTHING if name in generation}
    not_done = [f"{name}={value!r}" for name, value in unused.items() if value not in NOTHING[name]]
    if longer := longer_bad_words(folder):
        not_done.append(f"bad_words_ids={longer!r}")
    lengths = generation.get("max_new_tokens"), generation.get("max_length")
    return Defaults(settings, *lengths, tuple(texts), tuple(not_done))


def start_ids(tokenizer: Tokenizer, prompt: str) -> list[int]:
    """The tokens that a text goes on from; after no text, the end mark that stands before each."""
    ids, eos = tokenizer.encode_prompt(prompt), tokenizer.eos_id
    return [eos] if not ids and eos is not None else ids


def end_ids(model: LanguageModel[Any], tokenizer: Tokenizer) -> tuple[int, ...]:
    """The tokens at which a text ends: those that the folder names, else the tokenizer's own."""
    ids = () if tokenizer.eos_id is None else (tokenizer.eos_id,)
    return model.folder_settings.end_ids or ids
