"""Whether an explanation knows which labels are true of an image: labels ranked by their scores."""

import numpy as np
from jaxtyping import Bool, Float

from benchmark.errors import InvalidInput
from benchmark.metrics import localisation, policy
from benchmark.metrics.base import Metric, Score

Metric(
    name="recognition_ap",
    unit="average precision",
    better="higher",
    low=0.0,
    high=1.0,
    track="recognition",
    summary="Average precision of the labels, ranked by their scores, against those true of the image.",
    source="CLIP Surgery (2304.05653), multi-label recognition; there per class over a data set: `class_mean_ap`",
    chance="expected value under a random order of the labels",
    known_failures="a label's score is pooled over the image: a map can be right about the label and wrong about the place",
)


def recognition_ap(scores: Float[np.ndarray, " label"], truth: Bool[np.ndarray, " label"]) -> Score:
    """Average precision of one image's labels, 0 to 1; higher is better. Tied labels form one group.

    Constant scores give chance, degenerate. An image of which all labels are true, or none, raises ``InvalidInput``.

    >>> recognition_ap(np.array([3.0, 2.0, 1.0]), np.array([True, False, False])).value
    1.0
    """
    truth = np.asarray(truth, dtype=bool)
    if truth.all() or not truth.any():
        raise InvalidInput("all labels are true of this image, or none: their ranking says nothing; exclude it and count it")
    found = localisation.average_precision(scores, truth.astype(np.float64))
    flags = {"labels": float(truth.size), "tie_fraction": found.flags["tie_fraction"]}
    return Score(value=found.value, chance=found.chance, degenerate=found.degenerate, flags=flags)


def class_mean_ap(scores: Float[np.ndarray, "sample label"], truth: Bool[np.ndarray, "sample label"]) -> float:
    """Return the mean average precision of a data set: images ranked for every label, then the mean over labels, 0 to 1.

    Labels that are true of no image are left out. It has no value per sample: bootstrap the samples and compute it anew.

    >>> class_mean_ap(np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[True, True], [False, False]]))
    0.75
    """
    scores, truth = policy.require_finite("scores", scores), np.asarray(truth, dtype=bool)
    if scores.shape != truth.shape:
        raise InvalidInput(f"scores of shape {scores.shape} do not pair with labels of shape {truth.shape}")
    known = truth.any(axis=0)
    if not known.any():
        raise InvalidInput("no label is true of any image")
    return float(np.mean([_average_precision(scores[:, label], truth[:, label]) for label in np.flatnonzero(known)]))


def _average_precision(scores: Float[np.ndarray, " sample"], truth: Bool[np.ndarray, " sample"]) -> float:
    """Return average precision; scores that are all the same form one group, whose precision is the prevalence."""
    if policy.is_constant(scores):
        return float(truth.mean())
    return localisation.average_precision(scores, truth.astype(np.float64)).value
