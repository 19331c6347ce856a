"""Ranks as estimates: a paired bootstrap over the samples that methods share, resampled by cluster (image).

Resampling weights are seeded by the samples' names, and every method's sums are taken by themselves. So adding or
removing a method never changes another's mean and interval, nor the order of two others.
"""

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, UInt16
from scipy.stats import norm
from scipy.stats import t as student

from benchmark.types import Better

RESAMPLES = 10_000
LEVEL = 0.95
BLOCK = 1_000_000
"""Weights that are multiplied at once."""

KEPT = 50_000_000
"""Weights that are kept for the next metric of the same samples, in 2 bytes each."""

DIGITS = 12
"""Means are rounded to this many decimals: floating-point sums do not carry more, and equal ones must tie."""


@dataclass(frozen=True, slots=True)
class Resampled:
    """The mean of one method's values, as they are and under every resample of the clusters."""

    mean: float
    means: Float[np.ndarray, " resample"]
    tail: float

    @property
    def interval(self) -> tuple[float, float]:
        """The expanded percentile interval of the mean."""
        return interval(self.means, self.tail)


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where one method stands among others. Rank 1 is best, equal means share it; its interval holds 95 % of resampled ranks.

    ``tie_group`` counts from 1, the best. A group reaches from its best method down to the last one that cannot be told apart
    from it, the interval of their paired difference holding 0; so its best is told apart from every method of later groups,
    and groups never cross ranks. ``p_best`` is the share of resamples it leads, ties split.
    """

    rank: int
    rank_low: int
    rank_high: int
    tie_group: int
    p_best: float


class Bootstrap:
    """Resamples of a set of samples. ``clusters`` names the image of each; samples of one image stay together."""

    def __init__(self, samples: Sequence[str], clusters: Sequence[str], n_resamples: int = RESAMPLES) -> None:
        names, self._cluster_of = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
        self._n_clusters, self._n_resamples = len(names), n_resamples
        self._kept: UInt16[np.ndarray, "resample cluster"] | None = None
        identity = "\n".join(sorted(f"{cluster}\t{sample}" for sample, cluster in zip(samples, clusters, strict=True)))
        self._tail = _tail(self._n_clusters)
        self._seed = int.from_bytes(hashlib.sha256(identity.encode()).digest()[:8], "little")

    def resample(self, values: Mapping[str, Float[np.ndarray, " sample"]]) -> dict[str, Resampled]:
        """Return every method's mean and resampled means; all methods meet the same resamples."""
        sums = {name: np.bincount(self._cluster_of, weights=column) for name, column in values.items()}
        sizes = np.bincount(self._cluster_of).astype(np.float64)
        means = {name: np.empty(self._n_resamples) for name in values}
        for rows, weights in self._weights():
            drawn = weights @ sizes
            for name, total in sums.items():
                means[name][rows] = (weights @ total) / drawn
        return {
            name: Resampled(round(math.fsum(column) / len(column), DIGITS), means[name].round(DIGITS), self._tail)
            for name, column in values.items()
        }

    def _weights(self) -> Iterator[tuple[slice, Float[np.ndarray, "resample cluster"]]]:
        """Yield how often each cluster is drawn, some resamples at a time, and keep what is small enough."""
        step = max(1, BLOCK // self._n_clusters)
        blocks = [slice(start, min(start + step, self._n_resamples)) for start in range(0, self._n_resamples, step)]
        if self._kept is not None:
            for block in blocks:
                yield block, self._kept[block].astype(np.float64)
            return
        is_small = self._n_resamples * self._n_clusters <= KEPT and self._n_clusters <= np.iinfo(np.uint16).max
        kept = np.empty((self._n_resamples, self._n_clusters), dtype=np.uint16) if is_small else None
        rng = np.random.default_rng(self._seed)
        shares = np.full(self._n_clusters, 1 / self._n_clusters)
        for block in blocks:
            drawn = rng.multinomial(self._n_clusters, shares, size=block.stop - block.start)
            if kept is not None:
                kept[block] = drawn
            yield block, drawn.astype(np.float64)
        self._kept = kept


def standings(resampled: Mapping[str, Resampled], better: Better) -> dict[str, Standing]:
    """Rank methods by their mean, best first; equal means are in order of name."""
    sign = -1.0 if better == "lower" else 1.0
    if not resampled:
        return {}
    order = sorted(resampled, key=lambda name: (-sign * resampled[name].mean, name))
    drawn = sign * np.stack([resampled[name].means for name in order])
    ranks = np.stack([1 + (drawn > row).sum(axis=0) for row in drawn])
    leads = drawn == drawn.max(axis=0)
    best = (leads / leads.sum(axis=0)).mean(axis=1)
    groups = _tie_groups([resampled[name].means for name in order], next(iter(resampled.values())).tail)
    found: dict[str, Standing] = {}
    for i, name in enumerate(order):
        mean = resampled[name].mean
        low, high = np.quantile(ranks[i], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="closest_observation")
        found[name] = Standing(
            rank=1 + sum(sign * other.mean > sign * mean for other in resampled.values()),
            rank_low=int(low),
            rank_high=int(high),
            tie_group=groups[i],
            p_best=float(best[i]),
        )
    return found


def _tie_groups(means: Sequence[Float[np.ndarray, " resample"]], tail: float) -> list[int]:
    """Cut methods, given best first, into groups: each reaches from its best down to the last not told apart from it."""
    groups: list[int] = []
    while len(groups) < len(means):
        leader = len(groups)
        within = leader
        for i in range(leader + 1, len(means)):
            low, high = interval(means[leader] - means[i], tail)
            if low <= 0 <= high:
                within = i
        groups += [groups[-1] + 1 if groups else 1] * (within + 1 - leader)
    return groups


def _tail(n_clusters: int) -> float:
    """Return the share of resamples beyond each end of an interval: 2.5 % for many clusters, less for few.

    Resampled means of few clusters spread too little, by the factor that Student's t has over the normal and the sample's
    variance over that of the resamples. Source: Hesterberg 2015 (The American Statistician 69), expanded percentile interval.
    """
    if n_clusters < 2:
        return 0.0
    return float(norm.cdf(math.sqrt(n_clusters / (n_clusters - 1)) * student.ppf((1 - LEVEL) / 2, n_clusters - 1)))


def interval(values: Float[np.ndarray, " resample"], tail: float) -> tuple[float, float]:
    """Return the values below and above which a share of ``tail`` of the resamples lies."""
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
