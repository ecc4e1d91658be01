"""Relative positions: what a head adds to a score, by how far the key is from the query."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from glassformer import ops
from glassformer.model.config import Config
from glassformer.ops import Tape
from glassformer.watch.view import Source, View, itself


class Distances(nn.Module):
    """A table W_rel [bucket, head], which all layers share; Raffel et al. 2020, section 2.1.

    Near distances have a bucket each, farther ones share one with others as far, the more the
    farther, and all beyond `relative_distance` the last. An encoder keeps half of the buckets for
    keys after the query.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.W_rel = nn.Parameter(torch.empty(config.relative_buckets, config.n_heads))
        half = 0 if config.causal else config.relative_buckets // 2
        ways = half or config.relative_buckets
        self.params = {"exact": ways // 2, "last": ways - 1, "far": config.relative_distance}
        self.params["half"] = half

    def forward(
        self, position: Int[Tensor, "*batch query"], n_keys: int, t: Tape
    ) -> Float[Tensor, "*batch query key head"]:
        """What is added to the scores of queries at `position` for keys from 0 on."""
        bucket = t("bucket", ops.distance_buckets, position, n_keys=n_keys, **self.params)
        return t("pos_bias", ops.embed_distances, self.W_rel, bucket)

    def views(self, source: Source = itself, scope: str = "") -> Iterator[View]:
        yield View(f"{scope}W_rel", source(self.W_rel), ("bucket", "head"))
