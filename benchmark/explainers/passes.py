"""Methods of one forward or backward pass for each pair: written for a batch, so that pairs share passes."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import batched
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from benchmark.explainers.base import Explainer
from benchmark.explainers.reading import array
from benchmark.explanations import Explanation

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair
    from benchmark.encoders.tower import Tower

MOST = 32
"""Pairs that share a pass, at most; the scores do not depend on it."""

MEMORY_PER_BATCH = 1e9
"""Bytes that the graph of one batch may take, all attention weights kept."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Pairs whose inputs have one shape, stacked."""

    pairs: tuple["Pair", ...]
    pixel_values: Float[Tensor, "pair 3 height width"]
    input_ids: Int[Tensor, "pair position"]

    @classmethod
    def stack(cls, pairs: Sequence["Pair"]) -> "Batch":
        pixel_values = torch.cat([pair.pixel_values for pair in pairs])
        return cls(pairs=tuple(pairs), pixel_values=pixel_values, input_ids=torch.cat([pair.input_ids for pair in pairs]))

    def content(self, rows: Float[Tensor, "pair position"]) -> list[Float[np.ndarray, " token"]]:
        """Return the scores of each pair's content tokens."""
        return [row[list(pair.token_positions)] for pair, row in zip(self.pairs, array(rows), strict=True)]


class PassExplainer(Explainer):
    """A method that takes one pass for each pair and draws nothing; ``explain`` is its batch of one."""

    shares_passes: ClassVar[bool] = True

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        return self.explain_pairs(encoder, [pair], [rng])[0]

    def explain_pairs(
        self, encoder: "DualEncoder", pairs: Sequence["Pair"], rngs: Sequence[np.random.Generator]
    ) -> list[Explanation]:
        """Explain pairs in shared passes; those whose inputs differ in shape (pairs made from tensors) run apart."""
        del rngs
        alike: dict[tuple[int, ...], list[int]] = {}
        for place, pair in enumerate(pairs):
            alike.setdefault((*pair.pixel_values.shape, pair.input_ids.shape[1]), []).append(place)
        found: dict[int, Explanation] = {}
        for places in alike.values():
            for part in batched(places, _fitting(encoder)):
                explained = self.explain_batch(encoder, Batch.stack([pairs[place] for place in part]))
                found |= dict(zip(part, explained, strict=True))
        return [found[place] for place in range(len(pairs))]

    @abstractmethod
    def explain_batch(self, encoder: "DualEncoder", batch: Batch) -> list[Explanation]:
        """Explain all pairs of a batch; none depends on the others."""


def _fitting(encoder: "DualEncoder") -> int:
    """Return how many pairs' graphs fit ``MEMORY_PER_BATCH``; only the order of magnitude matters."""
    needed = 1.0
    if encoder.has_tower("image"):
        needed += _graph(encoder.image, encoder.n_patches + 1)
    if encoder.has_tower("text"):
        needed += _graph(encoder.text, encoder.probe_ids().shape[1])
    return max(1, min(MOST, int(MEMORY_PER_BATCH / needed)))


def _graph(tower: "Tower", n_positions: int) -> float:
    """Return about how many bytes one input's graph takes: four maps of attention, sixteen states of 64 channels a head."""
    heads = sum(block.heads for block in tower.blocks)
    return 4.0 * heads * n_positions * (4 * n_positions + 16 * 64)
