import numpy as np
import pytest

from benchmark.errors import InvalidInput
from benchmark.metrics import METRICS, policy

CONSTANT = [np.zeros(4), np.full(4, 3.0), np.full((2, 2), -0.1), np.array([5.0]), np.array([0.3, 0.1 + 0.2])]


@pytest.mark.parametrize("scores", CONSTANT, ids=str)
def test_scores_that_rank_nothing_are_constant(scores: np.ndarray) -> None:
    assert policy.is_constant(scores)


@pytest.mark.parametrize("scores", [np.array([0.0, 1e-30]), np.array([1.0, 1.0 + 1e-9]), np.array([-1.0, 1.0])], ids=str)
def test_a_small_difference_is_not_constant(scores: np.ndarray) -> None:
    assert not policy.is_constant(scores)


def test_tie_fraction_counts_players_equal_to_another() -> None:
    assert policy.tie_fraction(np.array([[1.0, 2.0], [1.0, 3.0]])) == 0.5
    assert policy.tie_fraction(np.array([1.0])) == 0
    assert policy.tie_fraction(np.array([0.0, -0.0, 1.0])) == pytest.approx(2 / 3)


def test_negative_fraction_is_a_share_of_the_absolute_mass() -> None:
    assert policy.negative_fraction(np.array([1.0, -3.0])) == 0.75
    assert policy.negative_fraction(np.zeros(3)) == 0


@pytest.mark.parametrize("bad", [np.array([1.0, np.nan]), np.array([np.inf]), np.array([])], ids=["nan", "infinite", "empty"])
def test_numbers_that_cannot_be_scored_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match="scores must"):
        policy.require_finite("scores", bad)


def test_every_metric_says_what_it_is() -> None:
    views = ("image", "text", "joint", "joint_greedy")
    expected = {"pointing_hit", "pointing_energy", "average_precision"}
    expected |= {f"{kind}_{view}" for kind in ("insertion", "deletion", "area") for view in views}
    expected |= {f"faithfulness_{kind}" for kind in ("spearman", "pearson", "kendall", "r2", "r2_calibrated")}
    assert expected <= set(METRICS)
    for name in expected:
        metric = METRICS[name]
        assert metric.low < metric.high
        assert metric.better == ("lower" if name.startswith("deletion") else "higher")
        assert metric.unit
        assert metric.summary.endswith(".")
        assert metric.source
        assert metric.chance
        assert metric.known_failures
