import warnings
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from benchmark.errors import InvalidInput
from benchmark.explanations import Players
from benchmark.metrics.interaction import calibrated, explained_variance, interaction_faithfulness

NAMES = ("spearman", "pearson", "kendall", "r2", "r2_calibrated")


def faithfulness(predicted: np.ndarray, values: np.ndarray) -> dict[str, float]:
    scores = interaction_faithfulness(predicted, values)
    return {name.removeprefix("faithfulness_"): score.value for name, score in scores.items()}


def kendall_by_pairs(x: np.ndarray, y: np.ndarray) -> float:
    """Tau-b written out: signs over all pairs, ties out of each side's own count."""
    i, j = np.triu_indices(len(x), 1)
    a, b = np.sign(x[i] - x[j]), np.sign(y[i] - y[j])
    return float((a * b).sum() / np.sqrt((a != 0).sum() * (b != 0).sum()))


def test_every_value_by_hand() -> None:
    predicted, values = np.array([1.0, 2.0, 3.0, 5.0]), np.array([2.0, 1.0, 3.0, 4.0])
    found = faithfulness(predicted, values)
    assert found["spearman"] == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert found["kendall"] == pytest.approx((5 - 1) / 6)
    assert found["pearson"] == pytest.approx(5.5 / np.sqrt(8.75 * 5))
    assert found["r2"] == pytest.approx(1 - 3 / 5)
    # Even rows (1, 2), (3, 3): slope 1/2. Odd rows (2, 1), (5, 4): slope 1.
    assert found["r2_calibrated"] == pytest.approx(1 - ((0 - 2) ** 2 + (2.5 - 1) ** 2 + (2 - 3) ** 2 + (4 - 4) ** 2) / 5)


def test_kendall_is_tau_b_on_ranks() -> None:
    rng = np.random.default_rng(3)
    values = rng.standard_normal(50)
    predicted = (values + rng.standard_normal(50)).round()
    assert faithfulness(predicted, values)["kendall"] == pytest.approx(kendall_by_pairs(predicted, values), abs=1e-12)


def test_a_perfect_additive_game_is_explained_in_full() -> None:
    rng = np.random.default_rng(0)
    players = Players(rng.standard_normal(12), empty=0.3)
    values = players.predict(rng.random((200, 12)) < 0.5)
    assert faithfulness(values, values) == pytest.approx(dict.fromkeys(NAMES, 1.0))


def test_a_perfect_pairwise_game_needs_its_pairs() -> None:
    rng = np.random.default_rng(1)
    pairs = np.triu(rng.standard_normal((12, 12)), 1)
    players = Players(rng.standard_normal(12), pairs + pairs.T)
    coalitions = rng.random((400, 12)) < 0.5
    values = players.predict(coalitions)
    first = Players(players.first_order())
    assert faithfulness(players.predict(coalitions), values)["r2"] == pytest.approx(1)
    assert faithfulness(first.predict(coalitions), values)["r2_calibrated"] < 0.95


@pytest.mark.parametrize("name", ["spearman", "pearson", "kendall", "r2_calibrated"])
def test_random_signed_explanations_are_at_chance(name: str) -> None:
    rng = np.random.default_rng(2)
    coalitions = rng.random((200, 20)) < 0.5
    values = Players(rng.standard_normal(20)).predict(coalitions)
    found = np.array([faithfulness(coalitions @ rng.standard_normal(20), values)[name] for _ in range(300)])
    if name == "r2_calibrated":  # half of the random explanations have a rising fit, of R2 about 1 / 20
        assert -0.03 < found.mean() < 1 / 20
    else:
        assert abs(found.mean()) < 4 * found.std() / np.sqrt(len(found))


@pytest.mark.parametrize("constant", [0.0, -4.2])
def test_a_constant_prediction_scores_zero_and_is_degenerate(constant: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores = interaction_faithfulness(np.full(9, constant), np.arange(9.0))
    assert all(score.degenerate and score.value == score.chance == 0 for score in scores.values())
    assert len(scores) == 5


def test_a_constant_game_scores_zero_and_is_degenerate() -> None:
    scores = interaction_faithfulness(np.arange(9.0), np.ones(9))
    assert all(score.degenerate and score.value == 0 for score in scores.values())


def test_a_single_coalition_is_degenerate() -> None:
    assert all(score.degenerate for score in interaction_faithfulness(np.ones(1), np.ones(1)).values())


@pytest.mark.parametrize("n", [2, 3, 4])
def test_a_few_coalitions_still_have_finite_scores(n: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = faithfulness(np.arange(n) ** 2.0, np.arange(n) + 0.0)
    assert np.isfinite(list(found.values())).all()


def test_scale_and_shift_matter_to_the_plain_r2_only() -> None:
    rng = np.random.default_rng(4)
    values = rng.standard_normal(60)
    predicted = values + rng.standard_normal(60)
    plain, scaled = faithfulness(predicted, values), faithfulness(3 * predicted + 7, values)
    assert scaled.pop("r2") < plain.pop("r2")
    assert scaled == pytest.approx(plain)


def test_the_calibration_does_not_turn_an_opposite_prediction_round() -> None:
    values = np.random.default_rng(5).standard_normal(100)
    found = faithfulness(-values, values)
    assert found["pearson"] == pytest.approx(-1)
    assert -0.1 < found["r2_calibrated"] <= 0


def test_the_calibration_of_a_row_never_sees_that_row() -> None:
    rng = np.random.default_rng(6)
    predicted, values = rng.standard_normal(10), rng.standard_normal(10)
    changed = values.copy()
    changed[4] += 100
    assert (calibrated(predicted, values)[::2] == calibrated(predicted, changed)[::2]).all()
    assert (calibrated(predicted, values)[1::2] != calibrated(predicted, changed)[1::2]).all()


def test_an_explanation_on_its_own_scale_gets_no_plain_r2() -> None:
    scores = interaction_faithfulness(np.arange(5.0), np.arange(5.0), on_scale=False)
    assert "faithfulness_r2" not in scores
    assert len(scores) == 4


def test_a_very_bad_r2_counts_as_minus_one_and_says_so() -> None:
    score = interaction_faithfulness(np.array([0.0, 100.0, 0.0]), np.array([0.0, 1.0, 2.0]))["faithfulness_r2"]
    assert score.value == -1
    assert score.flags["unclipped"] == pytest.approx(1 - (99**2 + 4) / 2)


def test_predictions_and_values_must_pair() -> None:
    with pytest.raises((InvalidInput, TypeError)):  # TypeError where shapes are checked at run time
        interaction_faithfulness(np.zeros(3), np.zeros(4))
    with pytest.raises(InvalidInput, match="values must be finite"):
        interaction_faithfulness(np.arange(3.0), np.array([0.0, np.nan, 1.0]))


@pytest.mark.parametrize("p", ["0.3", "0.5", "0.7"])
def test_the_recorded_faithfulness_is_reproduced(golden: Callable[[str], Mapping[str, np.ndarray]], p: str) -> None:
    from tests.metrics.golden_game import golden_logits

    recorded = golden("clip_small_seed1")
    pairs = recorded[f"fixlip_p{p}_pairs"]
    players = Players(recorded[f"fixlip_p{p}_main"], pairs + pairs.T, float(recorded[f"fixlip_p{p}_empty"]))
    coalitions = recorded[f"fixlip_p{p}_faithfulness_coalitions"]
    found = faithfulness(players.predict(coalitions), golden_logits(coalitions) - recorded["value_empty_full"][0])
    expected = dict(zip(["r2", "pearson", "spearman", "kendall"], recorded[f"fixlip_p{p}_faithfulness"], strict=True))
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-4)


def test_explained_variance_of_the_mean_is_zero() -> None:
    values = np.array([1.0, 2.0, 6.0])
    assert explained_variance(np.full(3, 3.0), values) == 0
