import numpy as np
import pytest

from benchmark.errors import InvalidInput
from benchmark.metrics.prompts import point_prompts, prompt_scores

RNG = np.random.default_rng


def corner(grid: tuple[int, int] = (7, 7)) -> np.ndarray:
    region = np.zeros(grid)
    region[:3, :3] = 1.0
    return region


def peaks() -> np.ndarray:
    """Peaks of 10 at (1, 1), 9 at (1, 3), 8.5 at (5, 5), 5 at (5, 1); lowest at (0, 6)."""
    heat = np.arange(49.0).reshape(7, 7) / 100
    for place, score in {(1, 1): 10.0, (1, 3): 9.0, (5, 5): 8.5, (5, 1): 5.0, (0, 6): -0.1}.items():
        heat[place] = score
    return heat


def test_points_are_peaks_from_the_top_and_the_lowest_patches() -> None:
    points = point_prompts(peaks(), RNG(0))
    assert points.positive.tolist() == [[1, 1], [1, 3], [5, 5]]  # 5 does not reach .8 of the range
    assert points.negative.tolist() == [[0, 6], [0, 0], [0, 1]]


def test_points_keep_their_distance_their_number_and_their_threshold() -> None:
    assert point_prompts(peaks(), RNG(0), min_distance=3.0).positive.tolist() == [[1, 1], [5, 5]]
    assert point_prompts(peaks(), RNG(0), n_points=1).positive.tolist() == [[1, 1]]
    assert point_prompts(peaks(), RNG(0), threshold=0.4).positive.tolist() == [[1, 1], [1, 3], [5, 5], [5, 1]]
    assert len(point_prompts(peaks(), RNG(0), n_points=1).negative) == 1


def test_a_shoulder_is_no_peak() -> None:
    heat = np.zeros((5, 5))
    heat[2] = [0, 9.0, 10.0, 9.5, 0]
    assert point_prompts(heat, RNG(0), min_distance=0.0).positive.tolist() == [[2, 2]]


def test_scores_by_hand() -> None:
    region = corner()
    region[1, 3] = 0.5
    scores = prompt_scores(peaks(), region)
    assert scores["prompt_positive"].value == pytest.approx((1 + 0.5 + 0) / 3)
    assert scores["prompt_negative"].value == pytest.approx((1 + 0 + 0) / 3)
    assert scores["prompt_accuracy"].value == pytest.approx((1.5 + 1) / 6)
    assert scores["prompt_positive"].chance == pytest.approx(9.5 / 49)
    assert scores["prompt_negative"].chance == pytest.approx(39.5 / 49)
    assert scores["prompt_accuracy"].chance == 0.5
    assert scores["prompt_accuracy"].flags["points"] == 3


def test_the_oracle_is_at_the_optimum_and_its_opposite_at_zero() -> None:
    assert [score.value for score in prompt_scores(corner(), corner()).values()] == [1, 1, 1]
    few_outside = 1 - corner()
    assert [score.value for score in prompt_scores(1 - few_outside, few_outside, n_points=4).values()] == [0, 0, 0]


def test_ties_fall_at_random_not_at_the_top_left() -> None:
    """All patches but one share the lowest score: the negative point may be any of them."""
    heat = np.zeros((7, 7))
    heat[6, 6] = 1.0
    region = np.zeros((7, 7))
    region[:, :4] = 1.0
    value = prompt_scores(heat, region)["prompt_negative"].value
    assert 0.1 < value < 0.8  # 20 of 48 lie outside; 0 or 1 if ties went by position
    assert prompt_scores(heat, region)["prompt_negative"].value == value


@pytest.mark.parametrize("signed", [True, False])
def test_random_maps_are_at_chance(signed: bool) -> None:
    rng, region = RNG(1), corner()
    region[3, :3] = 0.4
    draw = rng.standard_normal if signed else rng.random
    found = [prompt_scores(draw((7, 7)), region, n_points=1) for _ in range(3000)]
    for name in ("prompt_positive", "prompt_negative", "prompt_accuracy"):
        values = np.array([scores[name].value for scores in found])
        assert abs(values.mean() - found[0][name].chance) < 4 * values.std() / np.sqrt(len(values))


def test_further_peaks_of_random_maps_are_near_chance() -> None:
    """A patch at the border has fewer neighbours to beat, which moves the share of points inside by a few per cent."""
    rng = RNG(2)
    values = [prompt_scores(rng.standard_normal((14, 14)), corner((14, 14)))["prompt_positive"] for _ in range(2000)]
    assert np.mean([score.value for score in values]) == pytest.approx(values[0].chance, abs=0.02)


@pytest.mark.parametrize("height", [0.0, 4.0, -1.0])
def test_a_constant_map_scores_chance_and_is_degenerate(height: float) -> None:
    for score in prompt_scores(np.full((7, 7), height), corner()).values():
        assert score.degenerate
        assert score.value == score.chance


@pytest.mark.parametrize("scale", [1e-300, 2.0, 1e300])
def test_positive_scaling_and_shifts_change_nothing(scale: float) -> None:
    heat, region = np.arange(49.0).reshape(7, 7)[::-1] % 17, corner()
    expected = [score.value for score in prompt_scores(heat, region).values()]
    assert [score.value for score in prompt_scores(heat * scale, region).values()] == expected
    assert [score.value for score in prompt_scores(heat + 8, region).values()] == expected


def test_bad_input_is_refused() -> None:
    with pytest.raises(InvalidInput, match="region"):
        prompt_scores(peaks(), np.zeros((7, 7)))
    with pytest.raises(InvalidInput, match="1 of 49"):
        prompt_scores(np.where(peaks() == 10, np.nan, 0.0), corner())
    with pytest.raises(InvalidInput, match="threshold"):
        point_prompts(peaks(), RNG(0), threshold=1.5)
    with pytest.raises(InvalidInput, match="n_points"):
        point_prompts(peaks(), RNG(0), n_points=0)


def test_inputs_stay_unchanged() -> None:
    heat, region = peaks(), corner()
    heat.flags.writeable = region.flags.writeable = False
    prompt_scores(heat, region)
