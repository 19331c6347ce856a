"""Agreement of two maps: by hand, at chance for noise, and at the bottom for whatever never changes."""

import math

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from benchmark.errors import InvalidInput
from benchmark.metrics.agreement import (
    absolute_spearman,
    agreement,
    contrast,
    max_sensitivity,
    relative_change,
    spearman,
    ssim,
    top_overlap,
    unrelated_absolute_spearman,
    unrelated_change,
)

SIGMAS = 4


def noise(n: int, seed: int = 0, shape: tuple[int, ...] = (7, 7)) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, *shape))


def test_rank_correlation_by_hand_with_a_tie() -> None:
    assert spearman(np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.0, 3.0, 2.0, 4.0])) == pytest.approx(1 - 6 * 2 / (4 * 15))
    # Ranks 1, 2.5, 2.5 against 1, 2, 3: covariance 1.5, variances 1.5 and 2.
    assert spearman(np.array([0.0, 5.0, 5.0]), np.array([1.0, 2.0, 3.0])) == pytest.approx(1.5 / math.sqrt(1.5 * 2))


def test_rank_correlation_keeps_its_sign_and_the_absolute_one_does_not() -> None:
    heat = noise(1)[0]
    assert spearman(heat, -heat) == pytest.approx(-1)
    assert absolute_spearman(heat, -heat) == pytest.approx(1)
    assert spearman(heat, np.exp(3 * heat)) == pytest.approx(1)


def test_ssim_by_hand_in_one_window() -> None:
    heat = np.linspace(0, 1, 9).reshape(3, 3)
    variance = np.linspace(0, 1, 9).var(ddof=1)
    assert ssim(heat, heat) == pytest.approx(1)
    assert ssim(heat, 5 - 2 * heat) == pytest.approx((0.03**2 - 2 * variance) / (0.03**2 + 2 * variance))


def test_ssim_is_that_of_another_library() -> None:
    skimage = pytest.importorskip("skimage.metrics", reason="scikit-image is not installed")
    first, second = noise(2, seed=5, shape=(14, 14))
    stretched = [(heat - heat.min()) / np.ptp(heat) for heat in (first, second)]
    assert ssim(first, second) == pytest.approx(skimage.structural_similarity(*stretched, data_range=1.0), abs=1e-9)


def test_ssim_averages_every_window() -> None:
    first, second = noise(2, seed=6, shape=(5, 3))
    whole = [(heat - heat.min()) / np.ptp(heat) for heat in (first, second)]
    found = []
    for row in range(3):
        x, y = (heat[row : row + 3].ravel() for heat in whole)
        (var_x, cov), (_, var_y) = np.cov(x, y)
        luminance = (2 * x.mean() * y.mean() + 1e-4) / (x.mean() ** 2 + y.mean() ** 2 + 1e-4)
        found.append(luminance * (2 * cov + 9e-4) / (var_x + var_y + 9e-4))
    assert ssim(first, second) == pytest.approx(np.mean(found))


def test_overlap_of_the_top_by_hand_with_ties() -> None:
    first = np.arange(20.0)
    second = first.copy()
    second[[19, 0]] = second[[0, 19]]
    assert top_overlap(first, first) == 1
    assert top_overlap(first, second) == 0.5
    assert top_overlap(first, np.ones(20)) == pytest.approx(0.1)
    tied = np.array([3.0, 2.0, 2.0] + 17 * [0.0])  # the first, and one of two
    assert top_overlap(tied, tied) == pytest.approx((1 + 2 * 0.25) / 2)


def test_relative_change_by_hand_and_in_any_unit() -> None:
    first, second = np.array([[3.0, 4.0]]), np.array([[3.0, 1.0]])
    assert relative_change(first, second) == pytest.approx(3 / 5)
    assert relative_change(7 * first, 7 * second) == pytest.approx(3 / 5)
    with pytest.raises(InvalidInput, match="zero everywhere"):
        relative_change(np.zeros(3), np.ones(3))


@pytest.mark.parametrize(
    ("measure", "chance"),
    [
        (spearman, 0.0),
        (absolute_spearman, unrelated_absolute_spearman(49)),
        (top_overlap, 5 / 49),
        (relative_change, unrelated_change(49, 1)),
    ],
)
def test_unrelated_maps_are_at_chance(measure, chance: float) -> None:
    found = [measure(*pair) for pair in zip(noise(1500, seed=1), noise(1500, seed=2), strict=True)]
    assert abs(np.mean(found) - chance) < SIGMAS * np.std(found) / math.sqrt(1500)


def test_unrelated_maps_have_no_structure_in_common() -> None:
    found = [ssim(*pair) for pair in zip(noise(500, seed=3), noise(500, seed=4), strict=True)]
    bias = 0.03**2 / np.mean([2 * ((heat - heat.min()) / np.ptp(heat)).var() for heat in noise(500, seed=3)])
    assert abs(np.mean(found) - bias) < SIGMAS * np.std(found) / math.sqrt(500)


def test_the_contrast_tells_a_reader_of_the_weights_from_noise_and_from_a_fixed_map() -> None:
    heat, *others = noise(7)
    named = {str(i): other for i, other in enumerate(others)}
    reader = contrast(heat, heat, named)
    assert reader.value == pytest.approx(1 - np.mean([absolute_spearman(heat, other) for other in others]))
    assert contrast(heat, heat, dict.fromkeys("ab", heat)).value == pytest.approx(0)
    assert contrast(heat, heat, dict.fromkeys("ab", -heat)).value == pytest.approx(0)


def test_the_contrast_of_noise_is_at_chance() -> None:
    maps = noise(400 * 8, seed=8).reshape(400, 8, 7, 7)
    found = [contrast(own[0], own[1], {str(i): own[i] for i in range(2, 8)}).value for own in maps]
    spread = math.sqrt((1 + 1 / 6) * (1 - 2 / math.pi) / 48)
    assert abs(np.mean(found)) < SIGMAS * spread / math.sqrt(400)


def test_the_largest_of_several_changes_is_at_chance_for_noise() -> None:
    maps = noise(1500 * 3, seed=9).reshape(1500, 3, 7, 7)
    found = [max_sensitivity(own[0], list(own[1:])) for own in maps]
    values = [score.value for score in found]
    both = math.hypot(np.std(values) / math.sqrt(1500), np.std(values) / math.sqrt(400))  # and of the chance value itself
    assert abs(np.mean(values) - found[0].chance) < SIGMAS * both
    assert found[0].flags["draws"] == 2


def test_sensitivity_takes_the_worst_draw() -> None:
    heat = np.array([3.0, 4.0])
    assert max_sensitivity(heat, [heat, np.array([3.0, 5.0]), heat]).value == pytest.approx(1 / 5)


def test_an_average_keeps_its_parts() -> None:
    heat = np.arange(9.0).reshape(3, 3)
    score = agreement(heat, {"same": heat, "turned": -heat, "flat": np.ones((3, 3))}, spearman, chance=0.0)
    assert score.value == pytest.approx(0)
    assert score.flags == pytest.approx({"same": 1.0, "turned": -1.0, "flat": 0.0, "constant_others": 1 / 3})


def test_a_constant_map_scores_chance_and_is_marked() -> None:
    flat, other = np.full((4, 4), 0.3), noise(1, shape=(4, 4))[0]
    scores = [
        agreement(flat, {"a": flat}, spearman, chance=0.25),
        contrast(flat, flat, {"a": other}),
        max_sensitivity(flat, [flat]),
    ]
    assert all(score.degenerate for score in scores)
    assert [score.value for score in scores] == [0.25, 0.0, unrelated_change(16, 1)]


@pytest.mark.parametrize("measure", [spearman, ssim])
def test_a_map_that_became_constant_is_unrelated(measure) -> None:
    assert measure(noise(1)[0], np.ones((7, 7))) == 0


@pytest.mark.parametrize("measure", [spearman, absolute_spearman, ssim, top_overlap, relative_change])
def test_maps_that_cannot_be_compared_are_refused(measure) -> None:
    heat = noise(1)[0]
    with pytest.raises(InvalidInput, match="finite"):
        measure(heat, np.full((7, 7), np.nan))
    with pytest.raises((InvalidInput, TypeCheckError)):  # tests run with shapes checked
        measure(heat, heat[1:])
    with pytest.raises(InvalidInput, match="empty"):
        measure(heat[:0], heat[:0])


def test_without_another_map_there_is_nothing_to_compare() -> None:
    for compare in (lambda heat: contrast(heat, heat, {}), lambda heat: max_sensitivity(heat, [])):
        with pytest.raises(InvalidInput, match="no other explanation"):
            compare(noise(1)[0])
    with pytest.raises(InvalidInput, match="too small"):
        ssim(noise(1, shape=(2, 9))[0], noise(1, shape=(2, 9))[0] ** 2)
