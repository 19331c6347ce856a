"""How well methods estimate the index they name, on games of a few blocks of patches and a phrase, whose values are known."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmark.explainers.exact import LARGEST, Exact, Index
from benchmark.explanations import Explanation, Players
from benchmark.metrics import approximation
from benchmark.metrics.base import Score
from benchmark.tasks.base import Evaluation, Explained, Probe, Protocol, Task

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder

INDICES: dict[str, Index] = {"SV": "SV", "BV": "BV", "FSII": "FSII", "FBII": "FBII", "FWBII": "FBII"}
"""What explanations call their index, to what ``exact`` calls it."""


@dataclass(frozen=True)
class Blocks(Probe):
    """The encoder with its patches in ``grid`` blocks."""

    grid: tuple[int, int]

    changes = "encoder"

    @property
    def name(self) -> str:
        return f"blocks-{self.grid[0]}x{self.grid[1]}"

    def encoder(self, encoder: "DualEncoder") -> "DualEncoder":
        from benchmark.encoders.coarse import CoarseEncoder

        return CoarseEncoder(encoder, self.grid)


@dataclass(frozen=True, kw_only=True)
class SmallExact(Protocol):
    """How near a method's estimate of its index comes to the exact values of a game of at most 14 players.

    The players are ``grid`` blocks of patches and the text's tokens. The method explains this game beside the pair itself,
    under its own parameters: its budget decides how well it can do, and one of all coalitions leaves no error. Main effects,
    and pairs where it gives them, are compared with the same index computed from all coalitions, patches removed by
    ``mask_pixels`` and tokens by ``attention_mask``. Texts with too many tokens are left out.
    """

    grid: tuple[int, int] = (3, 3)

    @property
    def probes(self) -> tuple[Probe, ...]:
        return (Blocks(self.grid),)

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(approximation.chance_values(1))

    def excluded(self, evaluation: Evaluation) -> str | None:
        most = LARGEST - self.grid[0] * self.grid[1]
        n = evaluation.pair.n_tokens
        return f"the text has {n} tokens; exact values are computed for at most {most}" if n > most else None

    def score(self, explanation: Explanation, evaluation: Evaluation) -> dict[str, Score | str]:
        del explanation, evaluation
        return dict.fromkeys(self.metrics, "this task explains a smaller game beside the pair itself; it needs a run")

    def compare(self, explained: Explained, probes: Mapping[str, Explained], evaluation: Evaluation) -> dict[str, Score | str]:
        del explained
        estimated = probes[Blocks(self.grid).name].explanation
        index, players = INDICES.get(estimated.index or ""), estimated.players
        if index is None or players is None:
            return dict.fromkeys(self.metrics, "this explanation estimates no index that has exact values")
        exact = self._exact(index, _keeping_probability(estimated), evaluation)
        found = approximation.approximation_scores(*(approximation.index_values(p.main, p.pairs) for p in (players, exact)))
        return {**found}

    def chance(self, evaluation: Evaluation) -> dict[str, float]:
        return approximation.chance_values(self.grid[0] * self.grid[1] + evaluation.pair.n_tokens)

    def _exact(self, index: Index, p: float, evaluation: Evaluation) -> Players:
        key = (type(self).__name__, self.grid, index, p)
        if key not in evaluation.shared:
            encoder = Blocks(self.grid).encoder(evaluation.encoder)
            found = Exact(index=index, p=p).explain(encoder, evaluation.pair, np.random.default_rng(0))
            evaluation.shared[key] = found.players
        return evaluation.shared[key]


def _keeping_probability(explanation: Explanation) -> float:
    """Return the ``p`` of a weighted index, which its first-order scores tell: main effects plus ``p`` times their pairs."""
    players, image = explanation.players, explanation.image
    if explanation.index != "FWBII" or players is None or players.pairs is None or image is None:
        return 0.5
    sums = players.pairs.sum(axis=1)[: image.size]
    return round(float(sums @ (image.ravel() - players.main[: image.size]) / (sums @ sums)), 6) if sums.any() else 0.5


TASKS = tuple(
    Task(
        id=f"{data}-small-exact",
        version=1,
        data=data,
        view="phrases",
        protocol=SmallExact(),
        summary="How near an estimate comes to the exact values of its index, on 3 x 3 blocks of patches and a short phrase.",
    )
    for data in ("scenes", "phantoms", "coco")
)
