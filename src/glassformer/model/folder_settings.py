"""What a model's folder says beside its configuration and its weights."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class FolderSettings:
    """Settings that change no logit, as they were read; `save` writes them back.

    `config`: those of config.json; `generation`: generation_config.json; `model_type`: the family
    whose form the folder had, in which it is written again where that expresses the model. `base`:
    of a model with adapters, the name of the one that they are for.

    >>> FolderSettings(generation={"eos_token_id": [7, 9]}).end_ids
    (7, 9)
    """

    config: dict[str, Any] = field(default_factory=dict)
    generation: dict[str, Any] = field(default_factory=dict)
    model_type: str = ""
    base: str = ""

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The tokens at which a text ends, as generation_config.json says, else config.json."""
        for source in (self.generation, self.config):
            ids = source.get("eos_token_id")
            if ids is not None:
                return tuple(ids) if isinstance(ids, list) else (ids,)
        return ()
