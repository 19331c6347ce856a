"""How concentrated an explanation is: a description, neither good nor bad, and never part of a ranking."""

import sys
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from benchmark.metrics import policy
from benchmark.metrics.base import Metric, Score

NEGLIGIBLE = 0.05
"""Share of the largest magnitude below which a player does not count in ``complexity_effective``."""
_DRAWS = 400

for _name, _unit, _high, _summary in (
    (
        "complexity_entropy",
        "nats",
        sys.float_info.max,
        "Entropy of the shares of mass: 0 for one player, ln n if equal.",
    ),
    (
        "complexity_gini",
        "Gini coefficient",
        1.0,
        "Inequality of the absolute scores: 0 if equal, 1 - 1/n for one player.",
    ),
    ("complexity_effective", "share of players", 1.0, f"Players above {NEGLIGIBLE:.0%} of the largest magnitude."),
    ("complexity_n_eff", "share of players", 1.0, "exp(entropy) / n: how many equal players would be as spread out."),
):
    Metric(
        name=_name,
        unit=_unit,
        better="neither",
        low=0.0,
        high=_high,  # entropy has no bound, and JSON knows no infinity
        track="complexity",
        summary=_summary,
        source="Bhatt et al. 2020 (2005.00631), Chalasani et al. 2020 (1810.06583); protocols.md 1.14",
        chance="mean of independent standard normal scores for as many players",
        known_failures="reads magnitudes alone; depends on the method's unit where scores have an offset",
    )


def complexity(scores: Float[np.ndarray, "*player"]) -> dict[str, Score]:
    """Describe the absolute scores of an explanation, by metric name; positive scaling changes nothing, signs neither.

    A constant map scores what independent normal scores would, degenerate.
    """
    scores = policy.require_finite("the explanation", scores).ravel()
    chance = random_complexity(scores.size)
    if policy.is_constant(scores):
        return {name: policy.at_chance(value) for name, value in chance.items()}
    return {name: Score(value=value, chance=chance[name]) for name, value in _describe(scores).items()}


@lru_cache(maxsize=64)
def random_complexity(n: int) -> dict[str, float]:
    """Return the mean of every metric over independent standard normal scores of ``n`` players (a fixed draw)."""
    drawn = np.random.default_rng(n).standard_normal((_DRAWS, n))
    found = [_describe(scores) for scores in drawn]
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def entropy(shares: Float[np.ndarray, " player"]) -> float:
    """Return the entropy of shares that sum to 1, in nats; empty ones add nothing.

    >>> round(entropy(np.array([0.5, 0.5, 0.0])), 6)
    0.693147
    """
    present = shares[shares > 0]
    return max(0.0, float(-(present * np.log(present)).sum()))


def gini(magnitudes: Float[np.ndarray, " player"]) -> float:
    """Return the Gini coefficient of scores of at least 0 that are not all 0: 0 if all are equal, 1 - 1/n if one has all.

    >>> gini(np.array([0.0, 0.0, 0.0, 2.0]))
    0.75
    """
    ranked, n = np.sort(magnitudes), magnitudes.size
    return float(((2 * np.arange(1, n + 1) - n - 1) * ranked).sum() / (n * ranked.sum()))


def _describe(scores: Float[np.ndarray, " player"]) -> dict[str, float]:
    magnitudes = np.abs(scores) / np.abs(scores).max()
    spread = entropy(magnitudes / magnitudes.sum())
    return {
        "complexity_entropy": spread,
        "complexity_gini": gini(magnitudes),
        "complexity_effective": float((magnitudes > NEGLIGIBLE).mean()),
        "complexity_n_eff": float(np.exp(spread)) / scores.size,
    }
