"""Points read off a map to prompt an interactive segmenter: whether they fall where a person would have clicked."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage

from benchmark.errors import InvalidInput
from benchmark.metrics import localisation, policy
from benchmark.metrics.base import Metric, Score

_SOURCE = "CLIP Surgery (2304.05653), points for interactive segmentation"
_DRAWS = 16  # random orders of tied scores that are averaged
Metric(
    name="prompt_accuracy",
    unit="share of points",
    better="higher",
    low=0.0,
    high=1.0,
    track="localisation",
    summary="Share of all points, as many negative as positive, on the right side of the region's outline.",
    source=_SOURCE,
    chance="0.5",
    known_failures="in a small region almost any low point is right, so that half of the score is nearly free",
)
Metric(
    name="prompt_positive",
    unit="share of points",
    better="higher",
    low=0.0,
    high=1.0,
    track="localisation",
    summary="Share of the positive points, local maxima near the top of the map, that lie inside the region.",
    source=_SOURCE,
    chance="share of the image inside the region",
    known_failures="few points: a map with one peak is judged by it alone; patches at the border have fewer neighbours to beat",
)
Metric(
    name="prompt_negative",
    unit="share of points",
    better="higher",
    low=0.0,
    high=1.0,
    track="localisation",
    summary="Share of the negative points, the lowest of the map, that lie outside the region.",
    source=_SOURCE,
    chance="share of the image outside the region",
    known_failures="close to 1 for most maps where the region is small",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Points:
    """Positive and negative points as patches, (row, column) each; there are as many of one as of the other."""

    positive: Int[np.ndarray, "point 2"]
    negative: Int[np.ndarray, "point 2"]


def point_prompts(
    heat: Float[np.ndarray, "row column"],
    rng: np.random.Generator,
    *,
    n_points: int = 8,
    threshold: float = 0.8,
    min_distance: float = 2.0,
) -> Points:
    """Read points off a map: at most ``n_points`` local maxima, from the top, and as many of the lowest patches.

    A positive point is no lower than its eight neighbours, reaches ``threshold`` after min-max scaling, and is at least
    ``min_distance`` patches from those already taken. Equal scores come in random order. The top patch is always taken.
    """
    heat = policy.require_finite("map", heat)
    if n_points < 1 or not 0 <= threshold <= 1 or min_distance < 0:
        raise InvalidInput(f"points need n_points of 1 or more and a threshold of 0 to 1; got {n_points} and {threshold}")
    order = np.lexsort((rng.random(heat.size), -heat.ravel()))
    places = np.stack(np.unravel_index(order, heat.shape), axis=1)
    peaks = heat == ndimage.maximum_filter(heat, size=3, mode="nearest")
    low, high = heat.min(), heat.max()
    taken: list[Int[np.ndarray, " 2"]] = []
    for place in places:
        score = heat[tuple(place)]
        if len(taken) == min(n_points, heat.size // 2) or score - low < threshold * (high - low):
            break
        if peaks[tuple(place)] and all(np.hypot(*(place - other)) >= min_distance for other in taken):
            taken.append(place)
    return Points(positive=np.array(taken).reshape(-1, 2), negative=places[::-1][: len(taken)])


def prompt_scores(
    heat: Float[np.ndarray, "row column"],
    coverage: Float[np.ndarray, "row column"],
    *,
    n_points: int = 8,
    threshold: float = 0.8,
    min_distance: float = 2.0,
) -> dict[str, Score]:
    """Score the points of a map against a region, by metric name; 0 to 1, higher is better.

    A point counts by its patch's share inside the region (or outside, for negative ones). Maps with tied scores are read in
    several fixed random orders and averaged. A constant map scores chance. Flags: ``points`` (of one kind), ``tie_fraction``.
    """
    area = localisation.pointing_hit(heat, coverage).chance
    assert area is not None  # pointing_hit always says what chance is: the region's share
    chances = {"prompt_positive": area, "prompt_negative": 1 - area, "prompt_accuracy": 0.5}
    ties = policy.tie_fraction(heat)
    if policy.is_constant(heat) or heat.size == 1:
        return {name: policy.at_chance(chance, tie_fraction=ties) for name, chance in chances.items()}
    rng, shares, counts = np.random.default_rng(0), [], []
    for _ in range(_DRAWS if ties else 1):
        points = point_prompts(heat, rng, n_points=n_points, threshold=threshold, min_distance=min_distance)
        inside, outside = coverage[tuple(points.positive.T)].mean(), 1 - coverage[tuple(points.negative.T)].mean()
        shares.append((inside, outside, (inside + outside) / 2))
        counts.append(len(points.positive))
    flags = {"tie_fraction": ties, "points": float(np.mean(counts))}
    values = np.mean(shares, axis=0)
    return {
        name: Score(value=float(value), chance=chance, flags=flags)
        for (name, chance), value in zip(chances.items(), values, strict=True)
    }
