import numpy as np
import pytest

from benchmark.errors import InvalidInput
from benchmark.metrics.approximation import approximation_scores, index_values, precision


def values(estimated: np.ndarray, exact: np.ndarray) -> dict[str, float]:
    return {name.removeprefix("exact_"): score.value for name, score in approximation_scores(estimated, exact).items()}


def test_every_value_by_hand() -> None:
    exact, estimated = np.array([6.0, -5.0, 4.0, 3.0, 2.0, 1.0, 0.0]), np.array([6.0, -5.0, 0.0, 3.0, 2.0, 1.0, 4.0])
    found = values(estimated, exact)
    assert found["mse"] == pytest.approx(32 / 91)
    assert found["precision5"] == pytest.approx(4 / 5)  # the third largest is taken for zero, and zero for it
    signs = [np.sign((exact[i] - exact[j]) * (estimated[i] - estimated[j])) for i in range(7) for j in range(i)]
    assert found["kendall"] == pytest.approx(sum(signs) / 21)


def test_the_exact_values_are_the_optimum() -> None:
    exact = np.random.default_rng(0).standard_normal(14)
    assert values(exact, exact) == pytest.approx({"mse": 0.0, "kendall": 1.0, "precision5": 1.0})


def test_random_estimates_are_at_chance() -> None:
    rng = np.random.default_rng(1)
    exact = rng.standard_normal(14)
    found = np.array([[values(rng.standard_normal(14), exact)[name] for name in ("kendall", "precision5")] for _ in range(600)])
    error = 4 * found.std(axis=0) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - [0, 5 / 14]) < error).all()


def test_noise_only_makes_it_worse() -> None:
    rng = np.random.default_rng(2)
    exact, noise = rng.standard_normal(14), rng.standard_normal(14)
    errors = [values(exact + size * noise, exact)["mse"] for size in (0.0, 0.1, 0.3, 1.0)]
    assert errors == sorted(errors)
    assert errors[2] / errors[1] == pytest.approx(9)


def test_one_unit_for_both_leaves_every_score_alone() -> None:
    rng = np.random.default_rng(3)
    exact, estimated = rng.standard_normal((2, 10))
    assert values(100 * estimated, 100 * exact) == pytest.approx(values(estimated, exact))
    assert values(100 * estimated, exact)["kendall"] == pytest.approx(values(estimated, exact)["kendall"])


def test_a_wild_estimate_counts_as_ten_and_says_so() -> None:
    score = approximation_scores(np.array([100.0, 0.0]), np.array([1.0, 0.0]))["exact_mse"]
    assert score.value == 10
    assert score.flags["unclipped"] == pytest.approx(99**2)


@pytest.mark.parametrize("constant", [0.0, 3.0])
def test_what_orders_nothing_is_at_chance(constant: float) -> None:
    for estimated, exact in ((np.full(8, constant), np.arange(8.0)), (np.arange(8.0), np.full(8, constant))):
        scores = approximation_scores(estimated, exact)
        assert all(score.degenerate and score.value == score.chance for score in scores.values())
        assert values(estimated, exact) == {"mse": 1.0, "kendall": 0.0, "precision5": 5 / 8}


def test_ties_at_the_edge_are_averaged() -> None:
    assert precision(np.array([2.0, 1.0, 1.0, 0.0]), np.array([4.0, 3.0, 0.0, 1.0]), 2) == pytest.approx((1 + 0.5) / 2)


def test_precision_agrees_with_sets_where_nothing_is_tied() -> None:
    rng = np.random.default_rng(4)
    for _ in range(20):
        estimated, exact = rng.standard_normal((2, 12))
        tops = [set(np.argsort(-np.abs(scores))[:5]) for scores in (estimated, exact)]
        assert precision(estimated, exact, 5) == pytest.approx(len(tops[0] & tops[1]) / 5)


def test_an_index_with_pairs_is_main_effects_then_the_upper_triangle() -> None:
    pairs = np.array([[0.0, 1, 2], [1, 0, 3], [2, 3, 0]])
    assert index_values(np.array([7.0, 8.0, 9.0]), pairs).tolist() == [7, 8, 9, 1, 2, 3]
    assert index_values(np.array([7.0, 8.0])).tolist() == [7, 8]


def test_what_does_not_pair_or_is_not_finite_is_refused() -> None:
    with pytest.raises((InvalidInput, TypeError)):  # TypeError where shapes are checked at run time
        approximation_scores(np.zeros(3), np.zeros(4))
    with pytest.raises(InvalidInput, match="estimates must be finite"):
        approximation_scores(np.array([0.0, np.inf]), np.arange(2.0))
    with pytest.raises(InvalidInput, match="empty"):
        approximation_scores(np.array([]), np.array([]))
