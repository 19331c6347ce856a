from collections.abc import Callable

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, jaccard_score

from benchmark.errors import InvalidInput
from benchmark.metrics.base import METRICS, Score
from benchmark.metrics.segmentation import (
    SEGMENTATION,
    dataset_iou,
    iou_half,
    iou_mean,
    iou_otsu,
    mean_iou,
    mean_score_contrast,
    otsu_threshold,
    pixel_accuracy,
    two_channel_ap,
    two_channel_ap_by_chance,
    upsample,
)

Segmentation = Callable[[np.ndarray, np.ndarray], Score]
every = pytest.mark.parametrize("metric", SEGMENTATION.values(), ids=SEGMENTATION.keys())

HEAT = np.array([[8.0, 4.0, 1.0], [3.0, 0.0, 2.0]])  # mean 3, middle 4
MASK = np.array([[True, False, False], [True, False, True]])


def block(height: int = 40, width: int = 40) -> np.ndarray:
    mask = np.zeros((height, width), dtype=bool)
    mask[5:20, 8:30] = True
    return mask


def test_thresholds_by_hand() -> None:
    # Above the mean of 3: the scores 8 and 4, one of them in the region of three.
    score = iou_mean(HEAT, MASK)
    assert score.value == 1 / 4
    assert score.flags == {"intersection": 1, "union": 4}
    assert score.chance == pytest.approx(0.5 / 1.5)
    # Above 4: only 8.
    assert iou_half(HEAT, MASK).value == 1 / 3


def test_mean_iou_and_pixel_accuracy_by_hand() -> None:
    score = mean_iou(HEAT, MASK)
    assert score.value == pytest.approx((1 / 4 + 2 / 5) / 2)
    assert score.flags == {"intersection": 1, "union": 4, "background_intersection": 2, "background_union": 5}
    assert score.chance == pytest.approx(1 / 3)
    assert pixel_accuracy(HEAT, MASK).value == 3 / 6
    assert pixel_accuracy(HEAT, MASK).flags == {"correct": 3, "labelled": 6}


def test_score_contrast_by_hand() -> None:
    assert mean_score_contrast(HEAT, MASK).value == pytest.approx(100 * (13 / 3 - 5 / 3) / 8)
    assert mean_score_contrast(-HEAT, MASK).value == pytest.approx(-mean_score_contrast(HEAT, MASK).value)


def test_two_channel_ap_pools_the_map_and_its_complement() -> None:
    scaled = HEAT / 8
    labels, scores = np.concatenate([~MASK, MASK]), np.concatenate([1 - scaled, scaled])
    assert two_channel_ap(HEAT, MASK).value == pytest.approx(average_precision_score(labels.ravel(), scores.ravel()))


@pytest.mark.parametrize("n", [4, 8])
def test_two_channel_ap_by_chance_is_the_mean_of_random_maps(n: int) -> None:
    rng = np.random.default_rng(9)
    maps = rng.standard_normal((250, n, n))
    values = [two_channel_ap(upsample(sign * heat, (40, 40)), block()).value for heat in maps for sign in (1, -1)]
    chance = two_channel_ap_by_chance(block(), (n, n))
    assert chance == pytest.approx(np.mean(values), abs=0.01)
    assert 0.5 < chance < 0.56
    assert two_channel_ap(np.ones((40, 40)), block(), chance=chance).value == chance


def test_iou_agrees_with_scikit_learn() -> None:
    heat = np.random.default_rng(1).standard_normal((40, 40))
    above = heat > heat.mean()
    assert iou_mean(heat, block()).value == pytest.approx(jaccard_score(block().ravel(), above.ravel()))
    macro = jaccard_score(block().ravel(), above.ravel(), average="macro")
    assert mean_iou(heat, block()).value == pytest.approx(macro)


def test_otsu_parts_two_clusters() -> None:
    rng = np.random.default_rng(0)
    mask = block()
    heat = np.where(mask, rng.normal(6, 0.5, mask.shape), rng.normal(0, 0.5, mask.shape))
    assert heat[~mask].max() < otsu_threshold(heat) < heat[mask].min()
    assert iou_otsu(heat, mask).value == 1
    assert otsu_threshold(heat) == pytest.approx(_otsu_by_search(heat))


def _otsu_by_search(heat: np.ndarray) -> float:
    counts, edges = np.histogram(heat, bins=256)
    centres = (edges[1:] + edges[:-1]) / 2
    best = (-1.0, 0.0)
    for cut in range(1, 256):
        low, high = counts[:cut], counts[cut:]
        if low.sum() and high.sum():
            gap = np.average(centres[:cut], weights=low) - np.average(centres[cut:], weights=high)
            best = max(best, (low.sum() * high.sum() * gap**2, -edges[cut]))
    return -best[1]


@every
def test_the_oracle_is_at_the_optimum(metric: Segmentation) -> None:
    name = metric.__name__
    assert metric(block().astype(float), block()).value == pytest.approx(METRICS[name].high)


@every
def test_the_opposite_of_the_oracle_is_below_chance(metric: Segmentation) -> None:
    score = metric(1.0 - block(), block())
    assert score.chance is not None
    if metric is two_channel_ap:
        assert score.value == score.chance  # its known failure: all positives tie at 0, half of all pixels
    else:
        assert score.value < score.chance


@every
@pytest.mark.parametrize("draw", ["normal", "uniform"])
def test_random_pixels_are_at_chance(metric: Segmentation, draw: str) -> None:
    rng = np.random.default_rng(3)
    scores = [metric(rng.normal(size=(40, 40)) if draw == "normal" else rng.random((40, 40)), block()) for _ in range(200)]
    values = np.array([score.value for score in scores])
    assert abs(values.mean() - scores[0].chance) < 4 * values.std() / np.sqrt(len(values)) + 1e-3


@every
def test_random_patches_are_near_chance(metric: Segmentation) -> None:
    """Few independent patches make a ratio's mean differ from the ratio of means, by .03 of the range at most."""
    rng = np.random.default_rng(4)
    scores = [metric(upsample(rng.normal(size=(8, 8)), (40, 40)), block()) for _ in range(300)]
    values = np.array([score.value for score in scores])
    span = METRICS[metric.__name__].high - METRICS[metric.__name__].low
    assert abs(values.mean() - scores[0].chance) < 4 * values.std() / np.sqrt(len(values)) + 0.03 * span


@every
@pytest.mark.parametrize("height", [0.0, 7.0, -1.0])
def test_a_constant_map_scores_chance_and_is_degenerate(metric: Segmentation, height: float) -> None:
    score = metric(np.full((40, 40), height), block())
    assert score.degenerate
    assert score.value == score.chance
    assert METRICS[metric.__name__].low <= score.value <= METRICS[metric.__name__].high


@every
@pytest.mark.parametrize("scale", [1e-200, 0.5, 1e200])
def test_positive_scaling_and_shifts_change_nothing(metric: Segmentation, scale: float) -> None:
    heat = np.random.default_rng(5).integers(0, 64, (40, 40)).astype(float)
    expected = metric(heat, block()).value
    assert metric(heat * scale, block()).value == pytest.approx(expected, abs=1e-9)
    assert metric(heat + 32, block()).value == pytest.approx(expected, abs=1e-9)


@every
def test_bad_input_is_refused(metric: Segmentation) -> None:
    heat = np.ones((40, 40))
    heat[0, 0] = np.nan
    with pytest.raises(InvalidInput, match="1 of 1600"):
        metric(heat, block())
    with pytest.raises(InvalidInput, match="no pixel"):
        metric(np.eye(40), np.zeros((40, 40), dtype=bool))
    with pytest.raises((InvalidInput, TypeError)):  # TypeError where shapes are checked at run time
        metric(np.eye(41), block())


def test_contrast_needs_an_outside() -> None:
    with pytest.raises(InvalidInput, match="no outside"):
        mean_score_contrast(np.eye(3), np.ones((3, 3), dtype=bool))


@every
def test_inputs_stay_unchanged(metric: Segmentation) -> None:
    heat, mask = np.random.default_rng(0).random((40, 40)), block()
    heat.flags.writeable = mask.flags.writeable = False
    metric(heat, mask)


def test_a_data_set_is_a_ratio_of_sums() -> None:
    intersections, unions = np.array([[1.0, 6.0], [3.0, 2.0]]), np.array([[4.0, 8.0], [4.0, 8.0]])
    assert dataset_iou(intersections, unions) == (4 / 8 + 8 / 16) / 2
    assert dataset_iou(intersections[:, 0], unions[:, 0]) == 4 / 8
    per_image = np.mean(intersections / unions)
    assert dataset_iou(intersections[:1], unions[:1]) == per_image - np.mean((intersections / unions)[1] - per_image)


@pytest.mark.parametrize(
    ("intersections", "unions"),
    [([2.0], [1.0]), ([0.0], [0.0]), ([np.nan], [1.0]), ([1.0], [1.0, 1.0])],
    ids=["larger", "empty", "nan", "shapes"],
)
def test_counts_that_are_none_are_refused(intersections: list[float], unions: list[float]) -> None:
    with pytest.raises((InvalidInput, TypeError)):
        dataset_iou(np.array(intersections), np.array(unions))


def test_flags_of_images_give_the_ratio_of_the_data_set() -> None:
    rng = np.random.default_rng(8)
    maps = rng.normal(size=(5, 40, 40))
    flags = [iou_mean(heat, block()).flags for heat in maps]
    ratio = dataset_iou(np.array([f["intersection"] for f in flags]), np.array([f["union"] for f in flags]))
    above = maps > maps.mean(axis=(1, 2), keepdims=True)
    assert ratio == (above & block()).sum() / (above | block()).sum()


@pytest.mark.parametrize(("grid", "size"), [((7, 7), (224, 224)), ((3, 5), (48, 35)), ((1, 4), (6, 6)), ((14, 14), (100, 64))])
def test_upsampling_agrees_with_torch(grid: tuple[int, int], size: tuple[int, int]) -> None:
    torch = pytest.importorskip("torch", reason="torch's interpolation is what this agrees with")
    heat = np.random.default_rng(2).standard_normal(grid)
    theirs = torch.nn.functional.interpolate(torch.tensor(heat)[None, None], size=size, mode="bilinear", align_corners=False)
    assert upsample(heat, size) == pytest.approx(theirs[0, 0].numpy(), abs=1e-12)


def test_upsampling_to_the_same_size_changes_nothing() -> None:
    assert np.array_equal(upsample(HEAT, HEAT.shape), HEAT)
