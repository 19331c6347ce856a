import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from benchmark.errors import InvalidInput
from benchmark.metrics.recognition import class_mean_ap, recognition_ap

TRUTH = np.array([True, False, True, False, False, False])


def test_labels_by_hand() -> None:
    assert recognition_ap(np.array([3.0, 5.0, 1.0, -1.0, -2.0, -3.0]), TRUTH).value == pytest.approx((1 / 2 + 2 / 3) / 2)


def test_the_truth_is_the_optimum() -> None:
    assert recognition_ap(TRUTH.astype(float), TRUTH).value == 1


def test_random_scores_are_at_chance() -> None:
    rng = np.random.default_rng(0)
    scores = [recognition_ap(rng.standard_normal(6), TRUTH) for _ in range(2000)]
    values = np.array([score.value for score in scores])
    assert abs(values.mean() - scores[0].chance) < 4 * values.std() / np.sqrt(len(values))


def test_it_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    scores, truth = rng.integers(0, 5, (30, 6)).astype(float), rng.random((30, 6)) < 0.3
    for row in np.flatnonzero(truth.any(axis=1) & (np.ptp(scores, axis=1) > 0)):
        assert recognition_ap(scores[row], truth[row]).value == pytest.approx(average_precision_score(truth[row], scores[row]))
    assert class_mean_ap(scores, truth) == pytest.approx(average_precision_score(truth, scores, average="macro"))


def test_constant_scores_give_chance() -> None:
    score = recognition_ap(np.full(6, 0.2), TRUTH)
    assert score.degenerate
    assert score.value == score.chance
    assert class_mean_ap(np.full((4, 1), 0.2), np.array([[True], [False], [False], [False]])) == 0.25


def test_labels_that_are_never_true_are_left_out() -> None:
    scores, truth = np.array([[2.0, 1.0], [1.0, 3.0]]), np.array([[True, False], [False, False]])
    assert class_mean_ap(scores, truth) == 1


@pytest.mark.parametrize("truth", [np.zeros(6, dtype=bool), np.ones(6, dtype=bool)])
def test_all_or_none_says_nothing(truth: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match="all labels"):
        recognition_ap(np.arange(6.0), truth)


def test_bad_input_is_refused() -> None:
    with pytest.raises(InvalidInput, match="1 of 6"):
        recognition_ap(np.array([np.nan, 1, 2, 3, 4, 5]), TRUTH)
    with pytest.raises((InvalidInput, TypeError)):  # TypeError where shapes are checked at run time
        class_mean_ap(np.ones((2, 3)), np.ones((3, 2), dtype=bool))
    with pytest.raises(InvalidInput, match="no label"):
        class_mean_ap(np.ones((2, 3)), np.zeros((2, 3), dtype=bool))
