import numpy as np
import pytest

from benchmark.errors import InvalidInput
from benchmark.metrics.grid_pointing import grid_cells, grid_localisation, mass_ratio_correct, sign_ratio_correct

GRIDS = [(7, 7), (8, 8), (14, 14), (16, 16)]
ALL = np.arange(4)
METRICS = [mass_ratio_correct, sign_ratio_correct, grid_localisation]


def repeated(heat: np.ndarray, k: int) -> np.ndarray:
    return np.stack([heat] * k)


@pytest.mark.parametrize(("grid", "patches"), [((7, 7), 9), ((8, 8), 16), ((14, 14), 49), ((16, 16), 64), ((2, 4), 2)])
def test_cells_are_equal_and_apart(grid: tuple[int, int], patches: int) -> None:
    cells = grid_cells(grid)
    assert cells.sum(axis=(1, 2)).tolist() == [patches] * 4
    assert cells.sum(axis=0).max() == 1


def test_cells_of_an_odd_grid_are_its_corners_in_reading_order() -> None:
    cells = grid_cells((7, 7))
    assert [np.argwhere(cell)[0].tolist() for cell in cells] == [[0, 0], [0, 4], [4, 0], [4, 4]]
    assert not cells[:, 3].any()
    assert not cells[:, :, 3].any()


def test_cells_of_larger_mosaics() -> None:
    assert grid_cells((7, 7), 3).sum(axis=(1, 2)).tolist() == [4] * 9
    with pytest.raises(InvalidInput, match="no 3 x 3 cells"):
        grid_cells((2, 9), 3)


def test_the_mass_ratio_by_hand() -> None:
    maps = np.array([[[4.0, 1.0], [-2.0, 0.0]], [[-1.0, -3.0], [2.0, 1.0]]])
    # Label 0 in cell 0: right 4 + 2, wrong 1. Label 1 in cell 1: right 1, wrong 3 + 2 + 1.
    score = mass_ratio_correct(maps, np.array([0, 1]), grid_cells((2, 2)))
    assert score.value == pytest.approx(7 / 14)
    assert score.chance == 0.5
    assert score.flags["neg_fraction"] == pytest.approx(6 / 14)
    assert score.flags["balance"] == pytest.approx((8 + 3 * 6) / (4 * 14))
    assert score.flags["cap"] == 1.0


def test_the_sign_ratio_by_hand_counts_zeros_as_wrong() -> None:
    maps = np.array([[[4.0, 1.0], [-2.0, 0.0]], [[-1.0, -3.0], [2.0, 1.0]]])
    assert sign_ratio_correct(maps, np.array([0, 1]), grid_cells((2, 2))).value == (2 + 1) / 8


def test_grid_localisation_by_hand() -> None:
    maps = np.array([[[3.0, 1.0], [-2.0, 0.0]], [[-1.0, -3.0], [2.0, 1.0]]])
    assert grid_localisation(maps, np.array([0, 1]), grid_cells((2, 2))).value == (3 / 4 + 0) / 2


@pytest.mark.parametrize("grid", GRIDS)
def test_one_non_negative_map_for_all_four_labels_scores_exactly_a_quarter(grid: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for heat in (rng.random(grid), rng.random(grid) ** 8, np.eye(*grid)):
        score = mass_ratio_correct(repeated(heat, 4), ALL, grid_cells(grid))
        assert score.value == pytest.approx(0.25, abs=1e-12)
        assert score.flags["cap"] == score.chance == 0.25
        assert score.flags["token_blind"] == 1.0


@pytest.mark.parametrize("k", [1, 2, 3, 4])
def test_one_non_negative_map_never_passes_its_cap(k: int) -> None:
    rng = np.random.default_rng(k)
    cells, best = grid_cells((8, 8)), 0.0
    for _ in range(50):
        heat = rng.random((8, 8))
        score = mass_ratio_correct(repeated(heat, k), np.arange(k), cells)
        masses = (heat * cells).sum(axis=(1, 2))
        assert score.value == pytest.approx(masses[:k].sum() / (k * masses.sum()))
        assert score.value <= score.flags["cap"] + 1e-12
        assert score.flags["cap"] == 1 / k
        best = max(best, mass_ratio_correct(repeated(heat * cells[0], k), np.arange(k), cells).value)
    assert best == pytest.approx(1 / k)


@pytest.mark.parametrize("grid", GRIDS)
def test_one_signed_map_for_all_four_labels_depends_on_its_sign_balance_alone(grid: tuple[int, int]) -> None:
    rng, cells = np.random.default_rng(1), grid_cells(grid)
    for shift in (-1.0, 0.0, 0.7):
        heat = rng.standard_normal(grid) + shift
        score = mass_ratio_correct(repeated(heat, 4), ALL, cells)
        seen = heat[cells.any(axis=0)]
        p, q = seen.clip(0).sum(), -seen.clip(None, 0).sum()
        assert score.value == pytest.approx((p + 3 * q) / (4 * (p + q)), abs=1e-12)
        assert score.flags["balance"] == pytest.approx(score.value)
        assert score.value <= score.flags["cap"] + 1e-12
        assert score.flags["cap"] == 0.75
    assert mass_ratio_correct(repeated(-np.eye(*grid), 4), ALL, cells).value == pytest.approx(0.75)


def test_fewer_labels_leave_a_signed_map_uncapped() -> None:
    cells = grid_cells((8, 8))
    against_the_fourth = -1.0 * cells[3]
    score = mass_ratio_correct(repeated(against_the_fourth, 3), np.arange(3), cells)
    assert score.value == score.flags["cap"] == 1.0


@pytest.mark.parametrize("k", [1, 2, 4])
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("signed", [True, False])
def test_random_maps_are_at_chance(metric, grid: tuple[int, int], k: int, signed: bool) -> None:
    rng, cells = np.random.default_rng(2), grid_cells(grid)
    draw = rng.standard_normal if signed else rng.random
    scores = [metric(draw((k, *grid)), np.arange(k), cells) for _ in range(300)]
    values = np.array([score.value for score in scores])
    assert scores[0].chance == (0.5 if signed and metric is not grid_localisation else 0.25)
    # A share of mass is a ratio: with few patches its mean strays from the ratio of means, by under .01 here.
    assert abs(values.mean() - scores[0].chance) < 4 * values.std() / np.sqrt(len(values)) + 1e-9


@pytest.mark.parametrize(("grid", "expected"), [((7, 7), 0.34), ((8, 8), 0.31), ((14, 14), 0.27), ((16, 16), 0.27)])
def test_the_tokens_own_scores_lift_a_blind_map(grid: tuple[int, int], expected: float) -> None:
    maps = np.random.default_rng(3).random((4, *grid))
    score = mass_ratio_correct(maps, ALL, grid_cells(grid), token_scores=np.full(4, 5.0))
    assert score.value == pytest.approx(expected, abs=0.012)
    with_none = mass_ratio_correct(maps, ALL, grid_cells(grid), token_scores=np.zeros(4))
    assert with_none.value == mass_ratio_correct(maps, ALL, grid_cells(grid)).value


@pytest.mark.parametrize("metric", METRICS)
def test_the_oracle_is_at_the_optimum(metric) -> None:
    cells = grid_cells((7, 7))
    assert metric(np.where(cells, 1.0, -1.0), ALL, cells).value == 1
    assert metric(np.where(cells, -1.0, 1.0), ALL, cells).value == 0


@pytest.mark.parametrize("metric", [mass_ratio_correct, grid_localisation])
def test_coverage_alone_is_enough_for_mass(metric) -> None:
    cells = grid_cells((14, 14))
    assert metric(cells.astype(float), ALL, cells).value == 1


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(("height", "chance"), [(0.0, 0.25), (3.0, 0.25), (-1.0, 0.5)])
def test_constant_maps_score_chance_and_are_degenerate(metric, height: float, chance: float) -> None:
    score = metric(np.full((2, 7, 7), height), np.array([0, 3]), grid_cells((7, 7)))
    assert score.degenerate
    assert score.value == score.chance == (0.25 if metric is grid_localisation else chance)


@pytest.mark.parametrize("metric", METRICS)
def test_what_lies_between_the_cells_does_not_count(metric) -> None:
    rng, cells = np.random.default_rng(4), grid_cells((7, 7))
    maps = rng.standard_normal((4, 7, 7))
    changed = maps.copy()
    changed[:, 3] = changed[:, :, 3] = 99.0
    assert metric(changed, ALL, cells) == metric(maps, ALL, cells)


def test_a_label_without_positive_mass_is_localised_by_chance() -> None:
    cells = grid_cells((2, 2))
    maps = np.stack([1.0 * cells[0], -1.0 * cells[1]])
    assert grid_localisation(maps, np.array([0, 1]), cells).value == (1 + 0.25) / 2
    assert grid_localisation(maps[1:], np.array([1]), cells).degenerate


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-300, 3.0, 1e300])
def test_positive_scaling_changes_nothing(metric, scale: float) -> None:
    maps, cells = np.random.default_rng(5).uniform(-1, 1, (4, 8, 8)), grid_cells((8, 8))
    assert metric(maps * scale, ALL, cells).value == pytest.approx(metric(maps, ALL, cells).value, abs=1e-12)


@pytest.mark.parametrize("metric", METRICS)
def test_bad_input_is_refused(metric) -> None:
    cells = grid_cells((8, 8))
    maps = np.ones((2, 8, 8))
    with pytest.raises(InvalidInput, match="different cells"):
        metric(maps, np.array([1, 1]), cells)
    with pytest.raises(InvalidInput, match="different cells"):
        metric(maps, np.array([1, 4]), cells)
    with pytest.raises((InvalidInput, TypeError)):
        metric(maps, np.array([1]), cells)
    with pytest.raises((InvalidInput, TypeError)):
        metric(np.ones((2, 7, 7)), np.array([0, 1]), cells)
    maps[0, 0, 0] = np.inf
    with pytest.raises(InvalidInput, match="1 of 128"):
        metric(maps, np.array([0, 1]), cells)
