import math

import numpy as np
import pytest

from benchmark.errors import InvalidInput
from benchmark.metrics.base import METRICS
from benchmark.metrics.complexity import complexity, entropy, gini, random_complexity


def values(scores: np.ndarray) -> dict[str, float]:
    return {name.removeprefix("complexity_"): score.value for name, score in complexity(scores).items()}


def test_every_value_by_hand() -> None:
    found = values(np.array([[4.0, -2.0], [2.0, 0.1]]))
    shares = np.array([4, 2, 2, 0.1]) / 8.1
    assert found["entropy"] == pytest.approx(-(shares * np.log(shares)).sum())
    assert found["gini"] == pytest.approx((-3 * 0.1 - 1 * 2 + 1 * 2 + 3 * 4) / (4 * 8.1))
    assert found["effective"] == 0.75  # 0.1 is under a twentieth of 4
    assert found["n_eff"] == pytest.approx(math.exp(found["entropy"]) / 4)


def test_one_player_is_as_simple_as_it_gets() -> None:
    one = np.zeros(10)
    one[3] = -2.0
    assert values(one) == pytest.approx({"entropy": 0.0, "gini": 0.9, "effective": 0.1, "n_eff": 0.1})


def test_equal_magnitudes_are_as_spread_as_it_gets() -> None:
    signs = np.array([1.0, -1.0, 1.0, -1.0])
    assert values(signs) == pytest.approx({"entropy": math.log(4), "gini": 0.0, "effective": 1.0, "n_eff": 1.0})


def test_neither_scale_nor_sign_changes_anything() -> None:
    scores = np.random.default_rng(0).standard_normal(30)
    assert values(-7 * scores) == pytest.approx(values(scores))


def test_gini_is_the_mean_difference() -> None:
    scores = np.random.default_rng(1).random(25)
    differences = np.abs(scores[:, None] - scores).mean()
    assert gini(scores) == pytest.approx(differences / (2 * scores.mean()))


def test_noise_is_at_chance_and_near_its_limits() -> None:
    """Half-normal shares: Gini sqrt(2) - 1, entropy ln n less (ln 2 - gamma) / 2 - ln(sqrt(2 / pi))."""
    n, draws = 49, 800
    drawn = np.random.default_rng(3).standard_normal((draws, n))
    found = [values(scores) for scores in drawn]
    for name, chance in random_complexity(n).items():
        own = np.array([one[name.removeprefix("complexity_")] for one in found])
        assert abs(own.mean() - chance) < 4 * math.hypot(own.std() / math.sqrt(draws), own.std() / math.sqrt(400))
    limit = random_complexity(4000)
    assert limit["complexity_gini"] == pytest.approx(math.sqrt(2) - 1, abs=2e-3)
    lost = (math.log(2) - np.euler_gamma) / 2 - math.log(math.sqrt(2 / math.pi))
    assert limit["complexity_entropy"] == pytest.approx(math.log(4000) - lost, abs=5e-3)


@pytest.mark.parametrize("flat", [np.zeros(9), np.full((3, 3), -0.2)])
def test_a_constant_map_scores_chance_and_is_marked(flat: np.ndarray) -> None:
    for name, score in complexity(flat).items():
        assert score.degenerate
        assert score.value == random_complexity(9)[name]


def test_bad_numbers_are_refused() -> None:
    for bad in (np.array([1.0, np.nan]), np.array([])):
        with pytest.raises(InvalidInput):
            complexity(bad)


def test_nothing_is_better_than_anything() -> None:
    assert {METRICS[name].better for name in random_complexity(4)} == {"neither"}
    assert entropy(np.array([1.0])) == 0.0
