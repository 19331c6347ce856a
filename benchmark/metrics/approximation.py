"""How near an estimate of an index comes to its exact values, on games small enough to have them (at most 14 players)."""

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import kendalltau

from benchmark.errors import InvalidInput
from benchmark.metrics import policy
from benchmark.metrics.base import Metric, Score

TOP = 5
WORST = 10.0

_SOURCE = "protocols.md 1.11, approximation quality on tiny games"
_FAILURES = "says how well an index is estimated, not whether the index explains anything; players are blocks of patches"
Metric(
    name="exact_mse",
    unit="share of the mean square",
    better="lower",
    low=0.0,
    high=WORST,
    track="interaction faithfulness",
    summary=f"Mean squared error over the mean square of the exact values; above {WORST:g} counts as {WORST:g}.",
    source=_SOURCE,
    chance="1, estimating zero",
    known_failures=_FAILURES,
)
Metric(
    name="exact_kendall",
    unit="correlation",
    better="higher",
    low=-1.0,
    high=1.0,
    track="interaction faithfulness",
    summary="Kendall's tau-b of estimated and exact values.",
    source=_SOURCE,
    chance="0",
    known_failures=f"{_FAILURES}; swaps of values near zero count as much as any",
)
Metric(
    name="exact_precision5",
    unit="fraction",
    better="higher",
    low=0.0,
    high=1.0,
    track="interaction faithfulness",
    summary=f"Share of the {TOP} largest exact values, by magnitude, that are among the {TOP} largest estimated ones.",
    source=_SOURCE,
    chance=f"{TOP} of the number of values",
    known_failures=_FAILURES,
)


def index_values(
    main: Float[np.ndarray, " player"], pairs: Float[np.ndarray, "player player"] | None = None
) -> Float[np.ndarray, " value"]:
    """Return an index as one vector: main effects, then the pairs above the diagonal row by row if it has any."""
    return main if pairs is None else np.concatenate([main, pairs[np.triu_indices(len(main), 1)]])


def chance_values(n: int) -> dict[str, float]:
    """Return what estimates that know nothing of ``n`` exact values score, by metric name."""
    return {"exact_mse": 1.0, "exact_kendall": 0.0, "exact_precision5": min(TOP, n) / n}


def approximation_scores(estimated: Float[np.ndarray, " value"], exact: Float[np.ndarray, " value"]) -> dict[str, Score]:
    """Score estimates of an index against its exact values, in the same order and unit, by metric name.

    Values that are all equal, estimated or exact, have no order: all metrics are at chance, degenerate.
    """
    estimated, exact = policy.require_finite("estimates", estimated), policy.require_finite("exact values", exact)
    if estimated.shape != exact.shape or exact.ndim != 1:
        raise InvalidInput(f"estimates of shape {estimated.shape} do not pair with exact values of shape {exact.shape}")
    chance = chance_values(len(exact))
    if policy.is_constant(estimated) or policy.is_constant(exact):
        return {name: policy.at_chance(value) for name, value in chance.items()}
    error = float(((estimated - exact) ** 2).sum() / (exact**2).sum())
    found = {
        "exact_mse": min(error, WORST),
        "exact_kendall": _kendall(estimated, exact),
        "exact_precision5": precision(estimated, exact, TOP),
    }
    return {name: Score(value=value, chance=chance[name], flags={"unclipped": error}) for name, value in found.items()}


def _kendall(estimated: Float[np.ndarray, " value"], exact: Float[np.ndarray, " value"]) -> float:
    found: Any = kendalltau(estimated, exact)  # scipy's result type has no attributes that a checker knows
    return float(found.statistic)


def precision(estimated: Float[np.ndarray, " value"], exact: Float[np.ndarray, " value"], k: int) -> float:
    """Return the share of the ``k`` largest magnitudes that both have, 0 to 1; ties at the edge fall at random, on average.

    >>> precision(np.array([3.0, 2.0, 0.0, 1.0]), np.array([-3.0, 1.0, 2.0, 0.0]), 2)
    0.5
    """
    k = min(k, len(exact))
    return float((_among_top(np.abs(estimated), k) * _among_top(np.abs(exact), k)).sum() / k)


def _among_top(magnitudes: Float[np.ndarray, " value"], k: int) -> Float[np.ndarray, " value"]:
    """Return each value's probability of being among the ``k`` largest when ties fall at random."""
    edge = np.sort(magnitudes)[-k]
    above, level = magnitudes > edge, magnitudes == edge
    return above + level * (k - above.sum()) / level.sum()
