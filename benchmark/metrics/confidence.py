"""Confidence drop and increase: the similarity once one input is reduced to what its explanation calls important.

The image is multiplied by the map, the text keeps the tokens above the map's median, and a version of fixed mass keeps a
share of the patches. The other input stays whole. This module turns scores into masks and similarities into scores.
"""

from collections.abc import Mapping
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from benchmark.errors import InvalidInput
from benchmark.metrics import policy
from benchmark.metrics.base import Metric, Score, Track

Kind = Literal["image", "text", "image_top10", "image_top25", "image_top50"]

KINDS: dict[Kind, tuple[Track, str]] = {
    "image_top25": ("image faithfulness", "only the top 25 % of patches are kept"),  # the headline: no scaling, no density
    "image_top10": ("image faithfulness", "only the top 10 % of patches are kept"),
    "image_top50": ("image faithfulness", "only the top 50 % of patches are kept"),
    "image": ("image faithfulness", "pixels are multiplied by the map, scaled to 0 to 1"),
    "text": ("text faithfulness", "only tokens that score above the text's median are kept"),
}
SHARES: dict[Kind, float] = {"image_top10": 0.1, "image_top25": 0.25, "image_top50": 0.5}
MARGIN = 1e-5
"""A rise of the cosine up to this is round-off between batches in single precision, and no increase."""

_SOFT = "; depends on the map's scaling: an all-ones map has drop 0, an all-half map dims everything evenly; rewards dense maps"
_FIXED = "; masked inputs are out of distribution"

for _kind, (_track, _how) in KINDS.items():
    _source = "protocols.md 1.9, fixed mass" if _kind in SHARES else "Grad-CAM++ (1710.11063), absolute; M2IB (2312.17174)"
    _chance = "mean of random soft maps on the same sample" if _kind == "image" else "mean of random choices on the same sample"
    Metric(
        name=f"drop_{_kind}",
        unit="cosine points x 100",
        better="lower",
        low=0.0,
        high=200.0,
        track=_track,
        summary=f"How far the similarity falls, 0 where it rises, not divided by its size: {_how}.",
        source=_source,
        chance=_chance,
        known_failures="a rise is not told from no change" + (_SOFT if _kind == "image" else _FIXED),
    )
    Metric(
        name=f"increase_{_kind}",
        unit="per cent of pairs",
        better="higher",
        low=0.0,
        high=100.0,
        track=_track,
        summary=f"Whether the similarity rises by more than {MARGIN}: {_how}.",
        source=_source,
        chance=_chance,
        known_failures="counts any rise in full; the margin suits single precision" + (_SOFT if _kind == "image" else _FIXED),
    )


def soft_map(scores: Float[np.ndarray, "*patch"]) -> Float[np.ndarray, "*patch"]:
    """Return scores shifted and scaled to run from 0 to 1; a constant map has no such scale and is refused.

    >>> soft_map(np.array([-1.0, 0.0, 3.0])).tolist()
    [0.0, 0.25, 1.0]
    """
    scores = policy.require_finite("scores", scores)
    if policy.is_constant(scores):
        raise InvalidInput("a constant map cannot be scaled to run from 0 to 1")
    return (scores - scores.min()) / (scores.max() - scores.min())


def above_median(scores: Float[np.ndarray, "*map token"]) -> Bool[np.ndarray, "*map token"]:
    """Return tokens that score strictly above the median: of an odd number without ties fewer than half, of a constant none.

    >>> above_median(np.array([1.0, 3.0, 2.0])).tolist()
    [False, True, False]
    """
    scores = policy.require_finite("scores", scores)
    return scores > np.median(scores, axis=-1, keepdims=True)


def top_players(orders: Int[np.ndarray, "order player"], share: float) -> Bool[np.ndarray, "order player"]:
    """Return the first ``share`` of each order as kept: the nearest number of players, and at least one.

    >>> top_players(np.array([[2, 0, 1, 3]]), 0.5).tolist()
    [[True, False, True, False]]
    """
    kept = np.zeros(orders.shape, dtype=bool)
    np.put_along_axis(kept, orders[:, : max(1, round(share * orders.shape[1]))], True, axis=1)
    return kept


def drop(original: float, masked: Float[np.ndarray, " mask"]) -> float:
    """Return 100 times the mean fall of the cosine, a rise counting as 0; 0 at best.

    >>> drop(0.5, np.array([0.25, 0.75]))
    12.5
    """
    return float(100 * np.maximum(0.0, original - policy.require_finite("similarities", masked)).mean())


def increase(original: float, masked: Float[np.ndarray, " mask"]) -> float:
    """Return the percentage of masks under which the cosine rises by more than ``MARGIN``; 100 at best.

    >>> increase(0.5, np.array([0.25, 0.75]))
    50.0
    """
    return float(100 * (policy.require_finite("similarities", masked) - original > MARGIN).mean())


def confidence(original: float, masked: Float[np.ndarray, " mask"], kind: Kind) -> dict[str, float]:
    """Return drop and increase by metric name, as plain numbers: of random masks they are the chance values."""
    return {f"drop_{kind}": drop(original, masked), f"increase_{kind}": increase(original, masked)}


def confidence_scores(
    original: float, masked: Float[np.ndarray, " mask"], kind: Kind, chance: Mapping[str, float], flags: Mapping[str, float]
) -> dict[str, Score]:
    """Return drop (lower is better) and increase (higher) of one explanation, averaged over the ways in which ties fall.

    ``original`` is the cosine of the whole pair, ``masked`` that of the reduced one; ``chance`` is keyed by metric name.
    """
    found = confidence(original, masked, kind)
    return {name: Score(value=value, chance=chance[name], flags=flags) for name, value in found.items()}
