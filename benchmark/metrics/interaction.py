"""Whether an explanation, read as a surrogate game, predicts the similarity of coalitions it has not seen."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.stats import kendalltau, pearsonr, spearmanr

from benchmark.errors import InvalidInput
from benchmark.metrics import policy
from benchmark.metrics.base import Metric, Score

_FAILURES = "favours methods that query the same game; masked inputs are out of distribution"
_CORRELATIONS = {
    "spearman": "Rank correlation of predicted and true similarity over held-out coalitions.",
    "pearson": "Linear correlation of predicted and true similarity over held-out coalitions.",
    "kendall": "Kendall's tau-b of predicted and true similarity over held-out coalitions.",
}
for _name, _summary in _CORRELATIONS.items():
    Metric(
        name=f"faithfulness_{_name}",
        unit="correlation",
        better="higher",
        low=-1.0,
        high=1.0,
        track="interaction faithfulness",
        summary=_summary,
        source="FIxLIP (2508.05430), p-faithfulness; protocols.md 1.11",
        chance="0",
        known_failures=f"{_FAILURES}; a uniform map correlates through the size of the coalition",
    )
Metric(
    name="faithfulness_r2",
    unit="explained variance",
    better="higher",
    low=-1.0,
    high=1.0,
    track="interaction faithfulness",
    summary="Plain R2 of a surrogate on the game's own scale over held-out coalitions; below -1 counts as -1.",
    source="FIxLIP (2508.05430); protocols.md 1.11",
    chance="0, predicting the mean",
    known_failures=f"{_FAILURES}; means nothing for explanations on another scale, which do not get it",
)
Metric(
    name="faithfulness_r2_calibrated",
    unit="explained variance",
    better="higher",
    low=-1.0,
    high=1.0,
    track="interaction faithfulness",
    summary="R2 over held-out coalitions after a rising affine calibration fitted on the other half of them.",
    source="protocols.md 1.11",
    chance="0, predicting the mean",
    known_failures=f"{_FAILURES}; a uniform map scores through the size of the coalition",
)


def interaction_faithfulness(
    predicted: Float[np.ndarray, " coalition"], values: Float[np.ndarray, " coalition"], *, on_scale: bool = True
) -> dict[str, Score]:
    """Score a surrogate's predictions against the game's values of the same coalitions, by metric name; higher is better.

    Correlations and the calibrated R2 do not change under positive scaling and shifts of ``predicted``; the plain R2 does,
    and is left out unless the surrogate is ``on_scale``, the game's. Tied values share their mean rank (Spearman) or are
    corrected for (tau-b). A constant prediction, or a game that is constant over the coalitions, scores 0, degenerate. An
    R2 below -1 counts as -1, with ``unclipped`` beside it.
    """
    predicted, values = policy.require_finite("predictions", predicted), policy.require_finite("values", values)
    if predicted.shape != values.shape or predicted.ndim != 1:
        raise InvalidInput(f"predictions of shape {predicted.shape} do not pair with values of shape {values.shape}")
    metrics = _METRICS if on_scale else {name: metric for name, metric in _METRICS.items() if name != "faithfulness_r2"}
    flags = {"tie_fraction": policy.tie_fraction(predicted), "coalitions": float(len(values))}
    if policy.is_constant(predicted) or policy.is_constant(values):
        return {name: policy.at_chance(0.0, **flags) for name in metrics}
    return {name: _score(metric(predicted, values), flags) for name, metric in metrics.items()}


def explained_variance(predicted: Float[np.ndarray, " coalition"], values: Float[np.ndarray, " coalition"]) -> float:
    """Return the plain R2, 1 - squared error / squared deviation from the mean: 1 at best, unbounded below.

    >>> explained_variance(np.array([0.0, 1.0, 1.0]), np.array([0.0, 1.0, 2.0]))
    0.5
    """
    return float(1 - ((values - predicted) ** 2).sum() / ((values - values.mean()) ** 2).sum())


def calibrated(
    predicted: Float[np.ndarray, " coalition"], values: Float[np.ndarray, " coalition"]
) -> Float[np.ndarray, " coalition"]:
    """Return predictions on the scale of the values: even rows calibrated on odd ones, odd rows on even ones.

    The calibration is least squares with an intercept and a slope of at least 0: an explanation that predicts the opposite
    is not turned round, it predicts the mean. Rows must come in random order.
    """
    result = np.empty_like(values)
    for fitted, used in ((0, 1), (1, 0)):
        x, y = predicted[fitted::2], values[fitted::2]
        spread = ((x - x.mean()) ** 2).sum()
        slope = max(0.0, float(((x - x.mean()) * (y - y.mean())).sum() / spread)) if not policy.is_constant(x) else 0.0
        result[used::2] = y.mean() + slope * (predicted[used::2] - x.mean())
    return result


def _correlation(function: Callable[..., Any]) -> Callable[[np.ndarray, np.ndarray], float]:
    return lambda predicted, values: float(function(predicted, values).statistic)


def _calibrated_r2(predicted: Float[np.ndarray, " coalition"], values: Float[np.ndarray, " coalition"]) -> float:
    return explained_variance(calibrated(predicted, values), values)


def _score(value: float, flags: dict[str, float]) -> Score:
    clipped = max(value, -1.0)
    return Score(value=clipped, chance=0.0, flags=flags if clipped == value else {**flags, "unclipped": value})


_METRICS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "faithfulness_spearman": _correlation(spearmanr),
    "faithfulness_pearson": _correlation(pearsonr),
    "faithfulness_kendall": _correlation(kendalltau),
    "faithfulness_r2": explained_variance,
    "faithfulness_r2_calibrated": _calibrated_r2,
}
