"""What every metric does about ties, constant maps, negative scores and bad numbers, in one place.

- Ties in a ranking fall at random, seeded, over several permutations and their reverses: a constant map removes nothing
  in particular and has an area of exactly 0 (``perturbation.removal_orders``).
- Ties at the maximum share the hit (``localisation.pointing_hit``); ties in average precision count as one group.
- A constant map says nothing: its score is the metric's chance value, marked ``degenerate``.
- Mass is the positive part of the raw map, never of a shifted one; rankings read the signed map.
- What is not finite is an error here; the runner makes it a failure, which scores chance and is counted.
"""

import numpy as np
from jaxtyping import Float

from benchmark.errors import InvalidInput
from benchmark.metrics.base import Score

ROUND_OFF = 1e-12  # spread, as a share of the largest magnitude, below which scores are one constant


def is_constant(scores: Float[np.ndarray, "*player"]) -> bool:
    """Return whether the scores cannot rank anything: all equal up to round-off, which one score alone always is."""
    low, high = float(scores.min()), float(scores.max())
    return high - low <= ROUND_OFF * max(abs(low), abs(high))


def tie_fraction(scores: Float[np.ndarray, "*player"]) -> float:
    """Return the share of players whose score equals another player's exactly, 0 to 1."""
    _, counts = np.unique(scores, return_counts=True)
    return float(counts[counts > 1].sum() / scores.size)


def negative_fraction(scores: Float[np.ndarray, "*player"]) -> float:
    """Return the share of the absolute mass that is negative, 0 to 1; 0 for an all-zero map."""
    total = float(np.abs(scores).sum())
    return float(np.abs(scores[scores < 0]).sum() / total) if total > 0 else 0.0


def at_chance(chance: float, **flags: float) -> Score:
    """Return the score of an explanation that the metric cannot read: the chance value, marked degenerate."""
    return Score(value=chance, chance=chance, degenerate=True, flags=flags)


def require_finite(what: str, array: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return the array in float64; raise ``InvalidInput`` if it is empty or holds NaN or infinity."""
    array = np.asarray(array, dtype=np.float64)
    if array.size == 0:
        raise InvalidInput(f"{what} must not be empty")
    bad = int((~np.isfinite(array)).sum())
    if bad:
        raise InvalidInput(f"{what} must be finite; {bad} of {array.size} are not")
    return array
