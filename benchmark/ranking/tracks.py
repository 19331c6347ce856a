"""Several boards as one track: mean ranks over tasks and models, and which differences are more than luck.

A block is one task with one model; images are no blocks, because those of one task are not independent of each other.
Tracks are never averaged with each other. Source: Demsar 2006 (JMLR 7); protocols.md 1.16.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.stats import f as f_distribution
from scipy.stats import rankdata, studentized_range

from benchmark.ranking.boards import Row

LEVEL = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One method in a track. ``mean_rank`` is 1 at best; ``wins`` is the share of comparisons won over blocks, ties half."""

    method: str
    mean_rank: float
    wins: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackTable:
    """The methods that are ranked in every block of a track, best first.

    ``p`` is the Iman-Davenport form of Friedman's test that all are alike. Two methods whose mean ranks are no further apart
    than ``critical_difference`` (Nemenyi, 5 %) are not told apart; ``groups`` are the largest such sets, by place. Both are
    ``None`` with fewer than two blocks or methods. ``partial`` methods are missing in some block.
    """

    track: str
    blocks: tuple[str, ...]
    places: tuple[Place, ...]
    partial: tuple[str, ...]
    p: float | None
    critical_difference: float | None
    groups: tuple[tuple[int, int], ...] = ()


def track_tables(rows: Sequence[Row], headlines: Mapping[str, str]) -> list[TrackTable]:
    """Gather boards into tracks; ``headlines`` names the one metric of every task that counts."""
    tracks: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in rows:
        if headlines.get(row.task) == row.metric and row.better != "neither":
            block = tracks[row.track][f"{row.task} · {row.model}"]
            if row.rank is not None and row.mean is not None:
                block[row.method] = row.mean if row.better == "lower" else -row.mean
    return [_table(track, blocks) for track, blocks in tracks.items()]


def friedman_p(ranks: Float[np.ndarray, "block method"]) -> float | None:
    """Return the p value of Iman and Davenport's F on Friedman's statistic; ``None`` for fewer than two blocks or methods.

    Blocks that agree entirely give 0; the statistic knows no correction for ties.
    """
    n, k = ranks.shape
    if n < 2 or k < 2:
        return None
    chi = 12 * n / (k * (k + 1)) * float((ranks.mean(axis=0) ** 2).sum() - k * (k + 1) ** 2 / 4)
    rest = n * (k - 1) - chi
    if rest <= 1e-9 * n * k:
        return 0.0
    return float(f_distribution.sf((n - 1) * chi / rest, k - 1, (k - 1) * (n - 1)))


def nemenyi(n_blocks: int, n_methods: int) -> float | None:
    """Return Nemenyi's critical difference of mean ranks at 5 %; ``None`` for fewer than two blocks or methods.

    >>> round(nemenyi(6, 2), 3)  # 1.960 * sqrt(2 * 3 / (6 * 6))
    0.8
    """
    if n_blocks < 2 or n_methods < 2:
        return None
    q = float(studentized_range.ppf(1 - LEVEL, n_methods, np.inf)) / math.sqrt(2)
    return q * math.sqrt(n_methods * (n_methods + 1) / (6 * n_blocks))


def _table(track: str, blocks: Mapping[str, Mapping[str, float]]) -> TrackTable:
    everyone = sorted({method for block in blocks.values() for method in block})
    methods = [method for method in everyone if all(method in block for block in blocks.values())]
    costs = np.array([[block[method] for method in methods] for block in blocks.values()]).reshape(len(blocks), len(methods))
    ranks = rankdata(costs, axis=1) if methods else costs
    means = ranks.mean(axis=0)
    order = sorted(range(len(methods)), key=lambda i: (means[i], methods[i]))
    others = max(len(methods) - 1, 1)
    distance = nemenyi(*ranks.shape)
    return TrackTable(
        track=track,
        blocks=tuple(blocks),
        places=tuple(
            Place(method=methods[i], mean_rank=float(means[i]), wins=float((len(methods) - means[i]) / others)) for i in order
        ),
        partial=tuple(method for method in everyone if method not in methods),
        p=friedman_p(ranks),
        critical_difference=distance,
        groups=_groups([float(means[i]) for i in order], distance),
    )


def _groups(means: Sequence[float], distance: float | None) -> tuple[tuple[int, int], ...]:
    """Return first and last place of every longest run of means within ``distance``; single methods are left out."""
    if distance is None:
        return ()
    runs = [(i, max(j for j in range(len(means)) if means[j] - means[i] <= distance)) for i in range(len(means))]
    return tuple((i, j) for i, j in runs if j > i and not any(a < i and j <= b for a, b in runs))
