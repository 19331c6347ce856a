"""From a region to its words: whether the tokens that an image region speaks to are those of its phrase.

The transpose of localisation. Patch-token scores are added up over the region's patches; the token scores that remain are
read like a map whose region is the phrase's span among all content tokens.
"""

import numpy as np
from jaxtyping import Float

from benchmark.errors import InvalidInput
from benchmark.metrics import localisation, policy
from benchmark.metrics.base import Metric

_SOURCE = "exCLIP (2408.14153), point game from image to text; protocols.md 1.6"
_SHARE = "share of the content tokens inside the span"
_FAILURES = "rewards words that matter in any image: a text map alone, blind to the region, may score well"
Metric(
    name="span_average_precision",
    unit="average precision",
    better="higher",
    low=0.0,
    high=1.0,
    track="localisation",
    summary="Average precision of the token ranking, given a region, against the phrase's span.",
    source=f"{_SOURCE}; average precision as on patches",
    chance="expected value under a random order of the tokens",
    known_failures=_FAILURES,
)
Metric(
    name="span_energy",
    unit="share of positive mass",
    better="higher",
    low=0.0,
    high=1.0,
    track="localisation",
    summary="Share of the positive token mass, given a region, on the phrase's span.",
    source=_SOURCE,
    chance=_SHARE,
    known_failures=f"{_FAILURES}; sums over opposite signs may leave little mass",
)
Metric(
    name="span_hit",
    unit="hits per phrase",
    better="higher",
    low=0.0,
    high=1.0,
    track="localisation",
    summary="Does the highest-scoring token, given a region, belong to the phrase? Equal maxima share the hit.",
    source=_SOURCE,
    chance=_SHARE,
    known_failures=_FAILURES,
)

SPANS = {
    "span_average_precision": localisation.average_precision,
    "span_energy": localisation.pointing_energy,
    "span_hit": localisation.pointing_hit,
}
"""What scores a token vector against a span (1 for its tokens, else 0): the functions that score a map against a region."""


def tokens_of_region(
    cross: Float[np.ndarray, "row column token"], coverage: Float[np.ndarray, "row column"]
) -> Float[np.ndarray, " token"]:
    """Return each token's scores added up over a region; a patch half inside counts half.

    >>> tokens_of_region(np.array([[[1.0, 2.0], [4.0, 8.0]]]), np.array([[1.0, 0.5]]))
    array([3., 6.])
    """
    cross, coverage = policy.require_finite("patch-token scores", cross), policy.require_finite("region", coverage)
    if cross.shape[:2] != coverage.shape:
        raise InvalidInput(f"patch-token scores of shape {cross.shape} do not fit a region of shape {coverage.shape}")
    return np.tensordot(coverage, cross, axes=2)
