from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import average_precision_score

from benchmark.errors import InvalidInput
from benchmark.metrics.base import Score
from benchmark.metrics.localisation import (
    average_precision,
    average_precision_by_chance,
    pga_argmax,
    pga_majority,
    pointing_disc,
    pointing_energy,
    pointing_hit,
    rank_accuracy,
)

Localisation = Callable[[np.ndarray, np.ndarray], Score]
LOCALISATION = [pointing_hit, pointing_energy, average_precision]
VARIANTS = [rank_accuracy, pga_argmax, pga_majority]
SOFT = np.array([[0.25, 1.0, 0.5], [0.0, 0.75, 0.0]])
HEAT = np.array([[3.0, 5.0, -2.0], [1.0, 5.0, 0.0]])


def whole_patches(n: int, m: int) -> np.ndarray:
    return np.repeat([1.0, 0.0], [m, n - m])


def on_pixels(patches: np.ndarray, side: int = 4) -> np.ndarray:
    return patches.repeat(side, axis=0).repeat(side, axis=1)


def mask_with_coverage(coverage: np.ndarray, side: int = 4) -> np.ndarray:
    """A pixel mask of which each patch holds the given share."""
    mask = np.zeros((coverage.shape[0] * side, coverage.shape[1] * side))
    for row, column in np.ndindex(*coverage.shape):
        patch = np.zeros(side * side)
        patch[: round(coverage[row, column] * side * side)] = 1
        mask[row * side : (row + 1) * side, column * side : (column + 1) * side] = patch.reshape(side, side)
    return mask


def test_equal_maxima_share_the_hit() -> None:
    score = pointing_hit(HEAT, SOFT)
    assert score.value == (1.0 + 0.75) / 2
    assert score.chance == pytest.approx(2.5 / 6)
    assert score.flags["tied_maxima"] == 2
    assert score.flags["neg_fraction"] == 2 / 16
    assert score.flags["tie_fraction"] == pytest.approx(2 / 6)


def test_energy_is_the_positive_mass_inside() -> None:
    score = pointing_energy(HEAT, SOFT)
    value, area = (0.75 + 5 + 3.75) / 14, 2.5 / 6
    assert score.value == pytest.approx(value)
    assert score.flags["lift"] == pytest.approx(value / area)
    assert score.flags["centred"] == pytest.approx((value - area) / (1 - area))


def test_average_precision_sums_over_tied_groups() -> None:
    heat, region = np.array([3.0, 3.0, 2.0, 1.0]), np.array([1.0, 0.0, 1.0, 0.0])
    assert average_precision(heat, region).value == pytest.approx(0.5 * 1 / 2 + 0.5 * 2 / 3)


@pytest.mark.parametrize("metric", LOCALISATION)
def test_the_patch_grid_scores_like_the_nearest_upsampled_map(metric: Localisation) -> None:
    assert metric(HEAT, SOFT).value == pytest.approx(metric(on_pixels(HEAT), mask_with_coverage(SOFT)).value, abs=1e-12)


@pytest.mark.parametrize("metric", LOCALISATION)
def test_the_oracle_is_at_the_optimum(metric: Localisation) -> None:
    region = whole_patches(49, 7).reshape(7, 7)
    assert metric(region, region).value == pytest.approx(1)


@pytest.mark.parametrize("metric", LOCALISATION)
def test_the_opposite_of_the_oracle_is_below_chance(metric: Localisation) -> None:
    region = whole_patches(49, 7).reshape(7, 7)
    score = metric(1 - region, region)
    assert score.chance is not None
    assert score.value < score.chance


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("metric", LOCALISATION)
def test_random_maps_are_at_chance(metric: Localisation, signed: bool) -> None:
    rng = np.random.default_rng(5)
    region = np.zeros((7, 7))
    region[1:3, 2:5], region[3, 2:5] = 1.0, 0.4
    draw = rng.standard_normal if signed else rng.random
    scores = [metric(draw((7, 7)), region) for _ in range(2000)]
    values = np.array([score.value for score in scores])
    assert abs(values.mean() - scores[0].chance) < 4 * values.std() / np.sqrt(len(values))


@pytest.mark.parametrize("heat", [np.zeros((2, 3)), np.full((2, 3), 7.0), np.full((2, 3), -1.0)], ids=["zero", "high", "low"])
@pytest.mark.parametrize("metric", LOCALISATION)
def test_a_constant_map_scores_chance_and_is_degenerate(metric: Localisation, heat: np.ndarray) -> None:
    score = metric(heat, SOFT)
    assert score.degenerate
    assert score.value == score.chance


def test_the_energy_of_a_uniform_map_is_the_area() -> None:
    assert pointing_energy(np.full((2, 3), 0.2), SOFT).value == SOFT.mean()


def test_a_map_without_positive_mass_has_no_energy_but_still_ranks() -> None:
    heat = -1 - np.arange(6.0).reshape(2, 3)
    energy = pointing_energy(heat, SOFT)
    assert energy.degenerate
    assert energy.value == SOFT.mean()
    assert energy.flags["neg_fraction"] == 1
    assert not pointing_hit(heat, SOFT).degenerate
    assert pointing_hit(heat, SOFT).value == 0.25
    assert average_precision(heat, SOFT).value == average_precision(heat + 100, SOFT).value


def test_negative_scores_do_not_count_as_energy() -> None:
    assert pointing_energy(np.minimum(HEAT, 4), SOFT).value == pointing_energy(np.minimum(HEAT, 4).clip(0), SOFT).value


@pytest.mark.parametrize("metric", LOCALISATION)
def test_a_single_patch_scores_chance(metric: Localisation) -> None:
    score = metric(np.array([[2.0]]), np.array([[0.3]]))
    assert score.degenerate
    assert score.value == pytest.approx(0.3)


def test_a_region_that_is_the_whole_image_is_always_found() -> None:
    region = np.ones((2, 3))
    assert [metric(HEAT, region).value for metric in LOCALISATION] == [1, 1, 1]
    assert pointing_energy(HEAT, region).flags["centred"] == 0


@pytest.mark.parametrize("scale", [1e-300, 0.25, 1e300])
@pytest.mark.parametrize("metric", LOCALISATION)
def test_positive_scaling_changes_nothing(metric: Localisation, scale: float) -> None:
    assert metric(HEAT * scale, SOFT).value == pytest.approx(metric(HEAT, SOFT).value, abs=1e-12)


@pytest.mark.parametrize("metric", [pointing_hit, average_precision])
def test_ranking_metrics_ignore_increasing_transforms(metric: Localisation) -> None:
    assert metric(np.exp(HEAT) - 50, SOFT).value == metric(HEAT, SOFT).value


def test_a_min_max_shift_costs_energy() -> None:
    assert pointing_energy(HEAT - HEAT.min(), SOFT).value < pointing_energy(HEAT, SOFT).value


@given(
    heat=arrays(np.float64, 20, elements=st.integers(-3, 3).map(float)),
    region=arrays(np.bool_, 20).filter(lambda region: region.any()),
)
def test_average_precision_agrees_with_scikit_learn_with_ties(heat: np.ndarray, region: np.ndarray) -> None:
    score = average_precision(heat, region.astype(float))
    if not score.degenerate:
        assert score.value == pytest.approx(average_precision_score(region, heat), abs=1e-12)


def test_average_precision_agrees_with_scikit_learn_without_ties_and_with_soft_regions() -> None:
    rng = np.random.default_rng(0)
    heat, region = rng.standard_normal(49), rng.random(49).round(1)
    whole = (region > 0.7).astype(float)
    assert average_precision(heat, whole).value == pytest.approx(average_precision_score(whole, heat), abs=1e-12)
    soft = average_precision_score(np.repeat([1, 0], 49), np.tile(heat, 2), sample_weight=np.concatenate([region, 1 - region]))
    assert average_precision(heat, region).value == pytest.approx(soft, abs=1e-12)


def test_the_ceiling_of_average_precision_is_reached_by_the_region_itself() -> None:
    score = average_precision(SOFT, SOFT)
    assert score.value == score.flags["ceiling"] < 1


@pytest.mark.parametrize(("m", "n", "expected"), [(4, 49, 0.148), (12, 49, 0.300), (16, 196, 0.105)])
def test_average_precision_by_chance_is_the_closed_form(m: int, n: int, expected: float) -> None:
    harmonic = sum(1 / i for i in range(1, n + 1)) / n
    chance = average_precision_by_chance(whole_patches(n, m))
    assert chance == pytest.approx(harmonic + (m - 1) / (n - 1) * (1 - harmonic), abs=1e-12)
    assert round(chance, 3) == expected


def test_average_precision_by_chance_of_a_soft_region_is_the_mean_over_all_orders() -> None:
    from itertools import permutations

    region = np.array([0.5, 1.0, 0.25, 0.0, 0.7])
    every = [average_precision(np.array(order, dtype=float), region).value for order in permutations(range(5))]
    assert average_precision_by_chance(region) == pytest.approx(np.mean(every), abs=1e-12)


@pytest.mark.parametrize("metric", LOCALISATION)
def test_a_token_vector_is_scored_on_a_span(metric: Localisation) -> None:
    assert metric(np.array([0.1, 0.9, 0.2]), np.array([0.0, 1.0, 0.0])).value > 0.7


@pytest.mark.parametrize("metric", LOCALISATION)
@pytest.mark.parametrize("region", [np.zeros((2, 3)), np.full((2, 3), 1.5), np.full((2, 3), -0.5)])
def test_a_region_that_is_none_is_refused(metric: Localisation, region: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match="region"):
        metric(HEAT, region)


@pytest.mark.parametrize("metric", LOCALISATION)
def test_a_map_that_is_not_finite_is_refused(metric: Localisation) -> None:
    with pytest.raises(InvalidInput, match="1 of 6"):
        metric(np.where(HEAT == 1, np.nan, HEAT), SOFT)


@pytest.mark.parametrize("metric", LOCALISATION)
def test_a_map_of_another_grid_is_refused(metric: Localisation) -> None:
    with pytest.raises((InvalidInput, TypeError)):  # TypeError where shapes are checked at run time
        metric(HEAT.T, SOFT)


@pytest.mark.parametrize("metric", LOCALISATION)
def test_inputs_stay_unchanged(metric: Localisation) -> None:
    heat, region = HEAT.copy(), SOFT.copy()
    heat.flags.writeable = region.flags.writeable = False
    metric(heat, region)


def test_rank_accuracy_takes_as_many_patches_as_the_region_fills() -> None:
    # The region fills 2.5 patches: half of each of the two fives would be too few, so both, and half of the three.
    score = rank_accuracy(HEAT, SOFT)
    assert score.value == pytest.approx((1.0 + 0.75 + 0.5 * 0.25) / 2.5)
    assert score.flags["ceiling"] == pytest.approx((1.0 + 0.75 + 0.5 * 0.5) / 2.5)
    assert rank_accuracy(SOFT, SOFT).value == score.flags["ceiling"]


def test_rank_accuracy_shares_tied_patches() -> None:
    heat, region = np.array([2.0, 1.0, 1.0, 1.0]), np.array([1.0, 1.0, 0.0, 0.0])
    assert rank_accuracy(heat, region).value == pytest.approx((1 + 1 / 3) / 2)


def test_rank_accuracy_of_whole_patches_is_the_overlap_of_the_top() -> None:
    rng = np.random.default_rng(3)
    heat, region = rng.standard_normal(49), whole_patches(49, 11)
    top = np.argsort(-heat)[:11]
    assert rank_accuracy(heat, region).value == pytest.approx(region[top].mean())


def test_the_majority_needs_more_than_half() -> None:
    region = np.array([1.0, 0.0, 0.0])
    assert pga_majority(np.array([2.0, 1.0, 1.0]), region).value == 0
    score = pga_majority(np.array([2.1, 1.0, 1.0]), region)
    assert score.value == 1
    assert score.flags["energy"] == pytest.approx(2.1 / 4.1)


def test_the_argmax_counts_in_patches_that_are_half_covered() -> None:
    assert pga_argmax(HEAT, SOFT).value == 1  # both fives: all of one patch, three quarters of the other
    assert pga_argmax(np.array([9.0, 1.0]), np.array([0.4, 1.0])).value == 0
    assert pga_argmax(np.array([9.0, 1.0, 0.0]), np.array([0.4, 0.3, 0.4])).value == 1
    assert pga_argmax(np.array([9.0, 1.0, 0.0]), np.array([0.4, 0.3, 0.4])).chance == pytest.approx(2 / 3)


@pytest.mark.parametrize("metric", VARIANTS)
def test_the_oracle_is_at_the_optimum_of_the_variants(metric: Localisation) -> None:
    region = whole_patches(49, 7).reshape(7, 7)
    assert metric(region, region).value == 1
    assert metric(1 - region, region).value == 0


@pytest.mark.parametrize("metric", VARIANTS)
def test_random_maps_are_at_the_chance_of_the_variants(metric: Localisation) -> None:
    rng = np.random.default_rng(6)
    region = np.zeros((7, 7))
    region[1:5, 1:6], region[5, 2:5] = 1.0, 0.5
    scores = [metric(rng.standard_normal((7, 7)), region) for _ in range(3000)]
    values = np.array([score.value for score in scores])
    assert 0 < values.mean() < 1
    limit = 0.01 if metric is pga_majority else 0.0  # its chance holds to the accuracy of the central limit theorem
    assert abs(values.mean() - scores[0].chance) < 4 * values.std() / np.sqrt(len(values)) + limit


@pytest.mark.parametrize("metric", VARIANTS)
def test_a_constant_map_is_at_the_chance_of_the_variants(metric: Localisation) -> None:
    for height in (0.0, 7.0, -1.0):
        score = metric(np.full((2, 3), height), SOFT)
        assert score.degenerate
        assert score.value == score.chance


@pytest.mark.parametrize("metric", VARIANTS)
@pytest.mark.parametrize("scale", [1e-300, 0.25, 1e300])
def test_positive_scaling_changes_no_variant(metric: Localisation, scale: float) -> None:
    assert metric(HEAT * scale, SOFT).value == metric(HEAT, SOFT).value


@pytest.mark.parametrize("metric", VARIANTS)
def test_variants_refuse_bad_input(metric: Localisation) -> None:
    with pytest.raises(InvalidInput, match="1 of 6"):
        metric(np.where(HEAT == 1, np.nan, HEAT), SOFT)
    with pytest.raises(InvalidInput, match="region"):
        metric(HEAT, np.zeros((2, 3)))


def test_a_majority_of_half_covered_patches_is_impossible() -> None:
    score = pga_majority(np.array([3.0, 1.0]), np.array([0.5, 0.5]))
    assert score.value == score.chance == 0


def test_the_disc_forgives_a_miss_of_its_radius() -> None:
    distance = np.array([[0.0, 10.0, 15.0], [15.5, 30.0, 45.0]])
    assert pointing_disc(np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]), distance).value == 1
    assert pointing_disc(np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), distance).value == 0
    assert pointing_disc(np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]]), distance, radius=16.0).value == 1
    assert pointing_disc(np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]), distance).value == 0.5


def test_the_disc_at_chance() -> None:
    rng = np.random.default_rng(8)
    distance = np.abs(np.arange(49.0).reshape(7, 7) - 20) * 2
    scores = [pointing_disc(rng.standard_normal((7, 7)), distance) for _ in range(1000)]
    values = np.array([score.value for score in scores])
    assert scores[0].chance == 15 / 49
    assert abs(values.mean() - scores[0].chance) < 4 * values.std() / np.sqrt(len(values))
    constant = pointing_disc(np.ones((7, 7)), distance)
    assert constant.degenerate
    assert constant.value == scores[0].chance


def test_a_region_between_the_patches_centres_cannot_be_hit() -> None:
    score = pointing_disc(HEAT, np.full((2, 3), 4.0), radius=1.0)
    assert score.value == score.chance == 0
    assert not score.degenerate


@pytest.mark.parametrize("distance", [np.full((2, 3), np.inf), np.full((2, 3), -1.0)], ids=["empty", "negative"])
def test_the_disc_refuses_distances_that_are_none(distance: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match="distances"):
        pointing_disc(HEAT, distance)
