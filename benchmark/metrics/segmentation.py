"""Whether a map, cut at a threshold, outlines the region: scores on the pixels of the frame that the encoder sees.

Maps come to pixels by ``upsample``, the same for all methods. IoU of a whole data set is a ratio of sums over its samples and
has no value per sample: ``dataset_iou`` takes the counts that every score here carries as flags.
"""

import numpy as np
from jaxtyping import Bool, Float

from benchmark.errors import InvalidInput
from benchmark.metrics import localisation, policy
from benchmark.metrics.base import Metric, Score

BINS = 256
_THRESHOLDS = {
    "mean": ("the map's own mean", "Chefer et al. 2021 (2012.09838), ImageNet-Segmentation; LeGrad (2404.03214)"),
    "half": ("0.5 after min-max scaling", "AdaIB on RefCOCOg; protocols.md 1.7"),
    "otsu": ("Otsu's threshold", "CheXlocalize (Saporta et al. 2022); Otsu 1979"),
}
for _name, (_rule, _source) in _THRESHOLDS.items():
    Metric(
        name=f"iou_{_name}",
        unit="intersection over union",
        better="higher",
        low=0.0,
        high=1.0,
        track="localisation",
        summary=f"Intersection over union of the region and the pixels above {_rule}, per image.",
        source=_source,
        chance="g / (1 + g) for a region of share g: half of the pixels, wherever they lie",
        known_failures="the threshold can decide which of two methods leads; small regions score low whatever the map",
    )
Metric(
    name="mean_iou",
    unit="intersection over union",
    better="higher",
    low=0.0,
    high=1.0,
    track="localisation",
    summary="Mean of the intersections over union of region and background at the map's mean, per image.",
    source="Chefer et al. 2021 (2012.09838), there as a ratio over the whole data set: `dataset_iou` of the flags",
    chance="mean of g / (1 + g) and (1 - g) / (2 - g) for a region of share g",
    known_failures="far from 0 for any map; an empty foreground scores (1 - g) / 2",
)
Metric(
    name="pixel_accuracy",
    unit="share of pixels",
    better="higher",
    low=0.0,
    high=1.0,
    track="localisation",
    summary="Share of the pixels that the map, cut at its mean, puts on the right side.",
    source="Chefer et al. 2021 (2012.09838); protocols.md 1.7",
    chance="0.5, half of the pixels wherever they lie",
    known_failures="calling everything background scores 1 - g, more than most maps reach where regions are small",
)
Metric(
    name="two_channel_ap",
    unit="average precision",
    better="higher",
    low=0.0,
    high=1.0,
    track="localisation",
    summary="Average precision of the soft map and its complement against region and background, all pixels pooled.",
    source="Chefer et al. 2021 (2012.09838), their mAP; protocols.md 1.7",
    chance="mean over seeded random maps on the encoder's patches: a little above 0.5, more so the fewer patches there are",
    known_failures=(
        "a sparse map wins on background alone: where regions are small, one bright pixel beats most maps; "
        "the region's exact negative still scores 0.5"
    ),
)
Metric(
    name="mean_score_contrast",
    unit="per cent of the map's range",
    better="higher",
    low=-100.0,
    high=100.0,
    track="localisation",
    summary="Mean of the min-max scaled map inside the region minus its mean outside, times 100.",
    source="CLIP Surgery (2304.05653), mSC",
    chance="0",
    known_failures="depends on the map's scale: one extreme pixel compresses all the others",
)


def upsample(heat: Float[np.ndarray, "row column"], size: tuple[int, int]) -> Float[np.ndarray, "height width"]:
    """Interpolate a map bilinearly to ``size`` (height, width) pixels; corners are not aligned, edges repeat.

    >>> upsample(np.array([[0.0, 1.0]]), (1, 4))
    array([[0.  , 0.25, 0.75, 1.  ]])
    """
    rows, columns = (_weights(n, wanted) for n, wanted in zip(heat.shape, size, strict=True))
    return rows @ heat @ columns.T


def iou_mean(heat: Float[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"]) -> Score:
    """Intersection over union of the region and the pixels above the map's mean, 0 to 1; higher is better.

    Does not change under positive scaling and shifts. A constant map scores chance. Flags: ``intersection`` and ``union``
    in pixels, for ``dataset_iou``.

    >>> iou_mean(np.array([[3.0, 2.0, 0.0, 0.0]]), np.array([[True, False, False, False]])).value
    0.5
    """
    heat, mask = _checked(heat, mask)
    return _iou(heat, mask, float(heat.mean()))


def iou_half(heat: Float[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"]) -> Score:
    """The same above the middle of the map's range, which is 0.5 after min-max scaling."""
    heat, mask = _checked(heat, mask)
    return _iou(heat, mask, (float(heat.min()) + float(heat.max())) / 2)


def iou_otsu(heat: Float[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"]) -> Score:
    """The same above Otsu's threshold."""
    heat, mask = _checked(heat, mask)
    if not policy.is_constant(heat):
        heat = _scaled(heat)  # fine bins need room: a tiny spread about a large score has none
    return _iou(heat, mask, otsu_threshold(heat))


def mean_iou(heat: Float[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"]) -> Score:
    """Mean of the intersections over union of region and background, cut at the map's mean, 0 to 1; higher is better.

    A constant map scores chance. Flags: ``intersection`` and ``union`` of the region, ``background_intersection`` and
    ``background_union``, in pixels.
    """
    heat, mask = _checked(heat, mask)
    share = float(mask.mean())
    chance = (_iou_by_chance(share) + _iou_by_chance(1 - share)) / 2
    if policy.is_constant(heat):
        return policy.at_chance(chance)
    above = heat > heat.mean()
    flags = {**_counts(above, mask), **{f"background_{name}": count for name, count in _counts(~above, ~mask).items()}}
    inside, outside = flags["intersection"] / flags["union"], flags["background_intersection"] / flags["background_union"]
    return Score(value=(inside + outside) / 2, chance=chance, flags=flags)


def pixel_accuracy(heat: Float[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"]) -> Score:
    """Share of pixels on the right side of the map's mean, 0 to 1; higher is better.

    A constant map scores chance. Flags: ``correct`` and ``labelled`` pixels, whose sums give the accuracy of a data set.
    """
    heat, mask = _checked(heat, mask)
    if policy.is_constant(heat):
        return policy.at_chance(0.5)
    correct = (heat > heat.mean()) == mask
    flags = {"correct": float(correct.sum()), "labelled": float(mask.size)}
    return Score(value=float(correct.mean()), chance=0.5, flags=flags)


def two_channel_ap(
    heat: Float[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"], *, chance: float = 0.5
) -> Score:
    """Average precision of the min-max scaled map H for region and of 1 - H for background, pooled, 0 to 1; higher is better.

    Scores within 1e-12 tie and form one group. A constant map scores ``chance``: 0.5 for pixels that are scored
    independently and evenly about the middle of their range, ``two_channel_ap_by_chance`` for interpolated patches.
    """
    heat, mask = _checked(heat, mask)
    if policy.is_constant(heat):
        return policy.at_chance(chance)
    scaled = _scaled(heat).round(12)  # so that H here and 1 - H there tie where they do on paper
    both = localisation.average_precision(np.stack([1 - scaled, scaled]), np.stack([~mask, mask]).astype(np.float64))
    return Score(value=both.value, chance=chance)


def two_channel_ap_by_chance(mask: Bool[np.ndarray, "height width"], grid: tuple[int, int], n_maps: int = 128) -> float:
    """Return the mean over random maps on ``grid``, interpolated to the pixels of ``mask``; to about .003.

    Maps are normal, seeded, and used with their negatives, which cancels most of the noise; about four pixels of each patch are
    read in each direction. Few patches make the pixels' scores lean to one end of their range, and an average precision gains
    more from leaning one way than it loses by the other.
    """
    step = tuple(max(1, round(pixels / patches / 4)) for pixels, patches in zip(mask.shape, grid, strict=True))
    read = mask[:: step[0], :: step[1]]
    half = np.random.default_rng(0).standard_normal((n_maps // 2, *grid))
    maps = (upsample(heat, mask.shape)[:: step[0], :: step[1]] for heat in np.concatenate([half, -half]))
    return float(np.mean([two_channel_ap(heat, read).value for heat in maps])) if read.any() else 0.5


def mean_score_contrast(heat: Float[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"]) -> Score:
    """Mean inside minus mean outside of the min-max scaled map, times 100, -100 to 100; higher is better.

    Negative: the background is brighter than the object. A constant map scores 0, degenerate; a region that is the whole
    image has no outside and raises ``InvalidInput``.

    >>> mean_score_contrast(np.array([[8.0, 4.0, 0.0]]), np.array([[True, False, False]])).value
    75.0
    """
    heat, mask = _checked(heat, mask)
    if mask.all():
        raise InvalidInput("the region is the whole image: there is no outside to contrast it with")
    if policy.is_constant(heat):
        return policy.at_chance(0.0)
    scaled = _scaled(heat)
    return Score(value=100 * float(scaled[mask].mean() - scaled[~mask].mean()), chance=0.0)


def otsu_threshold(heat: Float[np.ndarray, "height width"]) -> float:
    """Return the threshold of largest variance between the classes, over ``BINS`` equal bins of the map's range.

    It is an edge between two bins, the first of equally good ones; a pixel above it is foreground.
    """
    counts, edges = np.histogram(heat, bins=BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)[:-1] / heat.size
    mass = np.cumsum(counts * centres)[:-1] / heat.size
    spread = below * (1 - below)
    total = float(counts @ centres) / heat.size
    between = np.divide((total * below - mass) ** 2, spread, out=np.zeros_like(spread), where=spread > 0)
    return float(edges[1 + int(between.argmax())])


def dataset_iou(intersections: Float[np.ndarray, "sample *part"], unions: Float[np.ndarray, "sample *part"]) -> float:
    """Return the IoU of a data set: sums over samples, one ratio per part (region, background), then their mean; 0 to 1.

    A ratio of sums: bootstrap the samples and compute it anew for each draw.

    >>> dataset_iou(np.array([1.0, 8.0]), np.array([10.0, 8.0]))
    0.5
    """
    intersections = policy.require_finite("intersections", intersections)
    unions = policy.require_finite("unions", unions)
    totals = unions.sum(axis=0)
    if intersections.shape != unions.shape or (intersections > unions).any() or not (totals > 0).all():
        raise InvalidInput("an intersection pairs with a union that is no smaller, and unions must not all be 0")
    return float(np.mean(intersections.sum(axis=0) / totals))


def _iou(heat: np.ndarray, mask: np.ndarray, threshold: float) -> Score:
    chance = _iou_by_chance(float(mask.mean()))
    if policy.is_constant(heat):
        return policy.at_chance(chance)
    flags = _counts(heat > threshold, mask)
    return Score(value=flags["intersection"] / flags["union"], chance=chance, flags=flags)


def _iou_by_chance(share: float) -> float:
    """Return the IoU of a region and of half of the pixels, chosen without looking."""
    return share / (1 + share)


def _counts(above: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    return {"intersection": float((above & mask).sum()), "union": float((above | mask).sum())}


def _scaled(heat: np.ndarray) -> np.ndarray:
    low, high = heat.min(), heat.max()
    return (heat - low) / (high - low)


def _weights(n: int, wanted: int) -> Float[np.ndarray, "pixel position"]:
    """Return how much each of ``n`` positions counts at each of ``wanted`` pixel centres."""
    place = np.clip((np.arange(wanted) + 0.5) * n / wanted - 0.5, 0, n - 1)
    return np.clip(1 - np.abs(place[:, None] - np.arange(n)), 0, None)


def _checked(
    heat: Float[np.ndarray, "height width"], mask: Bool[np.ndarray, "height width"]
) -> tuple[Float[np.ndarray, "height width"], Bool[np.ndarray, "height width"]]:
    """Return the map in float64 and its region, or raise ``InvalidInput``: shapes that differ, an empty region."""
    heat, mask = policy.require_finite("map", heat), np.asarray(mask, dtype=bool)
    if heat.shape != mask.shape:
        raise InvalidInput(f"a map of shape {heat.shape} cannot be scored on a region of shape {mask.shape}")
    if not mask.any():
        raise InvalidInput("the region holds no pixel; exclude the sample and count it")
    return heat, mask


SEGMENTATION = {
    "two_channel_ap": two_channel_ap,
    "iou_mean": iou_mean,
    "iou_half": iou_half,
    "iou_otsu": iou_otsu,
    "mean_iou": mean_iou,
    "pixel_accuracy": pixel_accuracy,
    "mean_score_contrast": mean_score_contrast,
}
"""Every metric here by name, the threshold-free one first."""
