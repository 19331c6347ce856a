"""How alike two explanations are: of a pair and a changed copy (robustness), of an encoder and a randomised one (sanity).

All four measures compare scores player by player. A constant map agrees with nothing: beside a map that says something it
scores what two unrelated maps would, and as the original it is degenerate.
"""

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.lib.stride_tricks import sliding_window_view
from scipy.stats import spearmanr

from benchmark.errors import InvalidInput
from benchmark.metrics import policy
from benchmark.metrics.base import Metric, Score

Scores = Float[np.ndarray, "*player"]
Heat = Float[np.ndarray, "row column"]
Measure = Callable[[np.ndarray, np.ndarray], float]

SSIM_WINDOW = 7
SSIM_CONSTANTS = (0.01**2, 0.03**2)  # of a data range of 1
_DRAWS = 400

_MPRT = "Adebayo et al. 2018 (1810.03292); protocols.md 1.12"
_NOISE = "noise passes: a map unrelated to itself is unrelated to everything (read the contrast beside it)"
_TOWERS = {"image": "the image tower", "text": "the text tower", "both": "both towers", "projection": "both projections alone"}
for _part, _what in _TOWERS.items():
    Metric(
        name=f"randomisation_spearman_{_part}",
        unit="correlation",
        better="lower",
        low=-1.0,
        high=1.0,
        track="sanity",
        summary=f"Signed rank correlation of the image map with the one after {_what} lost their weights, top-down.",
        source=_MPRT,
        chance="0, two unrelated maps",
        known_failures=f"{_NOISE}; top-down order is biased towards methods that read late blocks (2211.12486)",
    )
for _name, _unit, _low, _summary, _chance, _failures in (
    (
        "randomisation_contrast",
        "correlation",
        -1.0,
        "Absolute rank agreement with itself under another seed (1 if deterministic) less that with randomised encoders.",
        "0: noise, a fixed map and an edge detector alike",
        "says that a map depends on the weights, not that it is right",
    ),
    (
        "randomisation_abs_spearman",
        "correlation",
        0.0,
        "Absolute rank correlation of the image map with those of all randomised encoders, averaged.",
        "sqrt(2 / (pi (n - 1))) for n patches, two unrelated maps",
        _NOISE,
    ),
    (
        "randomisation_ssim",
        "structural similarity",
        -1.0,
        "Structural similarity of the image map with those of all randomised encoders, each stretched to 0..1, averaged.",
        "0, two unrelated maps",
        f"{_NOISE}; smooth maps score high whatever they show",
    ),
    (
        "randomisation_spearman_tokens",
        "correlation",
        -1.0,
        "Signed rank correlation of the token scores with those of all randomised encoders, averaged.",
        "0, two unrelated texts",
        f"{_NOISE}; a short text has few ranks",
    ),
    (
        "caption_spearman",
        "correlation",
        -1.0,
        "Signed rank correlation of the image map with the one for a caption of something else.",
        "0, two unrelated maps",
        f"{_NOISE}; two captions may speak of the same place",
    ),
    (
        "nonsense_spearman",
        "correlation",
        -1.0,
        "Signed rank correlation of the image map with the one for words that mean nothing.",
        "0, two unrelated maps",
        _NOISE,
    ),
    (
        "label_spearman",
        "correlation",
        -1.0,
        "Signed rank correlation of the maps of two labels of one image, each explained alone.",
        "0, two unrelated maps",
        _NOISE,
    ),
    (
        "label_contrast",
        "correlation",
        -1.0,
        "Absolute rank agreement with itself under another seed (1 if deterministic) less that of two labels of one image.",
        "0: noise, and any map that does not read the text",
        "two labels may lie side by side",
    ),
    (
        "caption_contrast",
        "correlation",
        -1.0,
        "Absolute rank agreement with itself under another seed (1 if deterministic) less that with another caption.",
        "0: noise, and any map that does not read the text",
        "two captions may speak of the same place",
    ),
):
    Metric(
        name=_name,
        unit=_unit,
        better="higher" if "contrast" in _name else "lower",
        low=_low,
        high=1.0,
        track="sanity",
        summary=_summary,
        source=_MPRT if "contrast" not in _name else "this suite, after 1810.03292 and 2211.12486",
        chance=_chance,
        known_failures=_failures,
    )
Metric(
    name="label_set_spearman",
    unit="correlation",
    better="higher",
    low=-1.0,
    high=1.0,
    track="sanity",
    summary="Signed rank correlation of a label's map alone with that label's part of the explanation of a set of labels.",
    source="protocols.md 1.12, label sensitivity",
    chance="0, two unrelated maps",
    known_failures="a map that ignores the text is perfectly stable; an encoder may itself read a label otherwise among others",
)
_TRIVIAL = "a map that ignores the image is perfectly stable (flag ignores_input); stochastic methods carry their own noise"
for _name, _unit, _low, _what, _chance in (
    ("robustness_spearman", "correlation", -1.0, "Signed rank correlation", "0, two unrelated maps"),
    ("robustness_ssim", "structural similarity", -1.0, "Structural similarity, each map stretched to 0..1,", "0"),
    ("robustness_top10", "share of patches", 0.0, "Overlap of the highest tenth of the patches", "that tenth's share"),
):
    Metric(
        name=_name,
        unit=_unit,
        better="higher",
        low=_low,
        high=1.0,
        track="robustness",
        summary=f"{_what} of the image map with those after JPEG 75 and a 2 % crop, averaged.",
        source="protocols.md 1.13",
        chance=_chance,
        known_failures=_TRIVIAL,
    )
Metric(
    name="mirror_spearman",
    unit="correlation",
    better="higher",
    low=-1.0,
    high=1.0,
    track="robustness",
    summary="Signed rank correlation of the image map with that of the mirrored image (and text), mirrored back.",
    source="protocols.md 1.13",
    chance="0, two unrelated maps",
    known_failures="the encoder itself need not treat a mirror image alike, and some shapes are not their mirror image",
)
for _radius in (2, 8):
    Metric(
        name=f"max_sensitivity_{_radius}",
        unit="share of the map's norm",
        better="lower",
        low=0.0,
        high=sys.float_info.max,  # no bound, and JSON knows no infinity
        track="robustness",
        summary=f"Largest relative change of the image map under pixel noise up to {_radius}/255 that keeps the similarity.",
        source="Yeh et al. 2019 (1901.09392); protocols.md 1.13",
        chance="that of independent standard normal maps, a little above the square root of 2",
        known_failures=f"{_TRIVIAL}; an offset that all patches share makes any map look stable",
    )
Metric(
    name="seed_agreement",
    unit="correlation",
    better="higher",
    low=-1.0,
    high=1.0,
    track="robustness",
    summary="Signed rank correlation of the image map with the same method's under another seed; 1 for deterministic methods.",
    source="protocols.md 1.13",
    chance="0, two unrelated maps",
    known_failures="a wrong map can be drawn again and again (flag deterministic)",
)


def spearman(original: Scores, other: Scores) -> float:
    """Return the signed rank correlation, -1 to 1; ties share their mean rank, and a constant side gives 0.

    >>> spearman(np.array([1.0, 2.0, 3.0]), np.array([30.0, 20.0, 10.0]))
    -1.0
    """
    original, other = _checked(original, other)
    if policy.is_constant(original) or policy.is_constant(other):
        return 0.0
    found: Any = spearmanr(original.ravel(), other.ravel())  # its stub knows no attribute
    return float(found.statistic)


def absolute_spearman(original: Scores, other: Scores) -> float:
    """Return the absolute rank correlation, 0 to 1: a map turned upside down is the same map."""
    return abs(spearman(original, other))


def unrelated_absolute_spearman(n: int) -> float:
    """Return the mean absolute rank correlation of two unrelated orders of ``n`` players, by its normal limit."""
    return math.sqrt(2 / (math.pi * (n - 1))) if n > 1 else 0.0


def ssim(original: Heat, other: Heat) -> float:
    """Return the mean structural similarity of two maps, each stretched to 0..1 first; -1 to 1, 1 for the same map.

    Flat windows of 7 patches a side, or the largest odd number that fits; sample variances; constants .01 and .03 of a
    data range of 1 (Wang et al. 2004, without the Gaussian). A constant side gives 0.
    """
    original, other = _checked(original, other)
    if original.ndim != 2:
        raise InvalidInput(f"structural similarity compares maps over rows and columns; got shape {original.shape}")
    if policy.is_constant(original) or policy.is_constant(other):
        return 0.0
    side = min(SSIM_WINDOW, *original.shape)
    side -= 1 - side % 2
    if side < 3:
        raise InvalidInput(f"a map of {original.shape} patches is too small for structural similarity")
    x, y = (sliding_window_view(_stretched(heat), (side, side)) for heat in (original, other))
    axes, n = (2, 3), side * side
    mean_x, mean_y = x.mean(axes), y.mean(axes)
    var_x, var_y = x.var(axes, ddof=1), y.var(axes, ddof=1)
    covariance = ((x * y).mean(axes) - mean_x * mean_y) * n / (n - 1)
    c1, c2 = SSIM_CONSTANTS
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float((numerator / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))).mean())


def top_overlap(original: Scores, other: Scores, share: float = 0.1) -> float:
    """Return how many of the highest ``share`` of the players two maps have in common, 0 to 1; at least one player.

    Players tied at the threshold are in by chance, each map on its own: the result is the expected overlap.
    """
    original, other = _checked(original, other)
    k = n_top(original.size, share)
    return float((_top(original, k) * _top(other, k)).sum() / k)


def n_top(n: int, share: float = 0.1) -> int:
    """Return how many players the highest ``share`` of ``n`` are."""
    return max(1, round(share * n))


def relative_change(original: Scores, other: Scores) -> float:
    """Return the Euclidean distance of two maps as a share of the original's norm; 0 for the same map, no upper bound."""
    original, other = _checked(original, other)
    norm = float(np.linalg.norm(original))
    if norm == 0:
        raise InvalidInput("the change of a map that is zero everywhere has no scale")
    return float(np.linalg.norm(other - original)) / norm


def agreement(original: Scores, others: Mapping[str, Scores], measure: Measure, *, chance: float) -> Score:
    """Average a measure of the original map beside each of ``others``; every single value is a flag of its name.

    A constant original scores chance, degenerate. ``constant_others`` is the share of maps that became constant.
    """
    original, maps = _all_checked(original, others)
    if policy.is_constant(original):
        return policy.at_chance(chance)
    values = {name: measure(original, other) for name, other in maps.items()}
    constant = float(np.mean([policy.is_constant(other) for other in maps.values()]))
    return Score(value=float(np.mean(list(values.values()))), chance=chance, flags={**values, "constant_others": constant})


def contrast(original: Scores, again: Scores, others: Mapping[str, Scores]) -> Score:
    """Return the agreement with ``again`` (the same under another seed) less the mean agreement with ``others``; -1 to 1.

    Both are absolute rank correlations, so that chance is exactly 0 for noise, which agrees with neither, and for a map
    that never changes, which agrees with both. A constant original scores 0, degenerate.
    """
    original, maps = _all_checked(original, others)
    if policy.is_constant(original):
        return policy.at_chance(0.0)
    same = absolute_spearman(original, again)
    different = float(np.mean([absolute_spearman(original, other) for other in maps.values()]))
    return Score(value=same - different, chance=0.0, flags={"same": same, "different": different})


def difference(same: float, original: Scores, other: Scores) -> Score:
    """Return an agreement already measured less the absolute rank correlation of two maps; -1 to 1.

    A constant original scores 0, degenerate.
    """
    original, other = _checked(original, other)
    if policy.is_constant(original):
        return policy.at_chance(0.0)
    different = absolute_spearman(original, other)
    return Score(value=same - different, chance=0.0, flags={"same": same, "different": different})


def max_sensitivity(original: Scores, others: Sequence[Scores]) -> Score:
    """Return the largest relative change over ``others``, the maps of slightly changed pairs; lower is better.

    A constant original scores ``unrelated_change``, degenerate.
    """
    original, maps = _all_checked(original, dict(enumerate(others)))
    chance = unrelated_change(original.size, len(maps))
    if policy.is_constant(original):
        return policy.at_chance(chance)
    changes = [relative_change(original, other) for other in maps.values()]
    return Score(value=max(changes), chance=chance, flags={"draws": float(len(changes))})


@lru_cache(maxsize=64)
def unrelated_change(n: int, draws: int) -> float:
    """Return the mean largest change over ``draws`` of independent standard normal maps of ``n`` players (a fixed draw)."""
    rng = np.random.default_rng([n, draws])
    originals, others = rng.standard_normal((_DRAWS, n)), rng.standard_normal((draws, _DRAWS, n))
    changes = np.linalg.norm(others - originals, axis=2) / np.linalg.norm(originals, axis=1)
    return float(changes.max(axis=0).mean())


def _checked(original: Scores, other: Scores) -> tuple[np.ndarray, np.ndarray]:
    original, other = policy.require_finite("the explanation", original), policy.require_finite("the other one", other)
    if original.shape != other.shape:
        raise InvalidInput(f"maps of shapes {original.shape} and {other.shape} cannot be compared")
    return original, other


def _all_checked[K](original: Scores, others: Mapping[K, Scores]) -> tuple[np.ndarray, dict[K, np.ndarray]]:
    if not others:
        raise InvalidInput("there is no other explanation to compare with")
    maps = {name: _checked(original, other)[1] for name, other in others.items()}
    return policy.require_finite("the explanation", original), maps


def _stretched(heat: Heat) -> Heat:
    return (heat - heat.min()) / (heat.max() - heat.min())


def _top(scores: Scores, k: int) -> Scores:
    """Return the chance of each player to be among the ``k`` highest: 1, 0, or a fair share where it is tied."""
    threshold = np.partition(scores.ravel(), -k)[-k]
    above, tied = scores > threshold, scores == threshold
    return above + tied * (k - above.sum()) / tied.sum()
