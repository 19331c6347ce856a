"""Estimators against the exact values of a small game, on an encoder with random weights."""

import numpy as np
import pytest

from benchmark.data.base import Sample
from benchmark.explainers.banzhaf import Banzhaf
from benchmark.explainers.exact import Exact
from benchmark.explainers.fixlip import Fixlip
from benchmark.explainers.occlusion import Occlusion
from benchmark.explainers.shapley import Shapley
from benchmark.explanations import Explanation, Players
from benchmark.tasks.base import Evaluation, Explained
from benchmark.tasks.small_games import Blocks, SmallExact
from tests.small_encoders import huggingface_clip_encoder, picture

PROTOCOL = SmallExact()


def evaluation_of(text):
    return Evaluation(huggingface_clip_encoder(), Sample(id="one", image=picture(), text=text, cluster="one", phrases=()))


@pytest.fixture(scope="module")
def evaluation():
    return evaluation_of("a red star")


def compared(explanation, evaluation):
    """Score as a run does: the method has explained the small game beside the pair itself."""
    whole = Explained(explanation=Explanation(image=np.eye(4)))
    (probe,) = PROTOCOL.probes
    return PROTOCOL.compare(whole, {probe.name: Explained(explanation=explanation)}, evaluation)


def found(explainer, evaluation, seed=0):
    encoder = Blocks((3, 3)).encoder(evaluation.encoder)
    explanation = explainer.explain(encoder, encoder.pair(picture(), evaluation.sample.text), np.random.default_rng(seed))
    return {name: score.value for name, score in compared(explanation, evaluation).items()}


@pytest.mark.parametrize(
    "explainer",
    [
        *(Exact(index=index) for index in ("SV", "BV", "FSII", "FBII")),
        Shapley(budget=2**12),
        Banzhaf(estimator="regression", budget=2**12),
        Fixlip(),
        Fixlip(p=0.3),
    ],
    ids=lambda explainer: f"{explainer.name} {getattr(explainer, 'index', '')}",
)
def test_all_coalitions_leave_no_error(explainer, evaluation):
    perfect = {"exact_mse": 0.0, "exact_kendall": 1.0, "exact_precision5": 1.0}
    assert found(explainer, evaluation) == pytest.approx(perfect, abs=1e-3)


@pytest.mark.parametrize("estimator", ["kernelshap", "permutation", "svarm"])
def test_shapley_estimates_converge_with_their_budget(estimator, evaluation):
    few, many = (
        {name: np.mean([run[name] for run in runs]) for name in PROTOCOL.metrics}
        for runs in ([found(Shapley(estimator=estimator, budget=b), evaluation, s) for s in range(5)] for b in (64, 2048))
    )
    assert many["exact_mse"] < 0.5 * few["exact_mse"]
    assert many["exact_kendall"] > max(0.7, few["exact_kendall"])
    assert many["exact_precision5"] > 0.75  # 5 of 12 by chance


def test_another_index_is_compared_with_its_own_values(evaluation):
    encoder = Blocks((3, 3)).encoder(evaluation.encoder)
    exact = Exact(index="SV").explain(encoder, encoder.pair(picture(), "a red star"), np.random.default_rng(0))
    assert exact.players is not None
    mislabelled = Explanation.from_players(exact.players, (3, 3), index="BV")
    assert compared(mislabelled, evaluation)["exact_mse"].value > 1e-4


def test_random_players_are_at_chance(evaluation):
    rng, chance = np.random.default_rng(1), PROTOCOL.chance(evaluation)
    drawn = [
        compared(Explanation.from_players(Players(rng.standard_normal(12)), (3, 3), index="SV"), evaluation) for _ in range(200)
    ]
    for name in ("exact_kendall", "exact_precision5"):
        values = np.array([scores[name].value for scores in drawn])
        assert abs(values.mean() - chance[name]) < 4 * values.std() / np.sqrt(len(values))
        assert drawn[0][name].chance == chance[name]


def test_players_that_are_all_equal_are_degenerate(evaluation):
    scores = compared(Explanation.from_players(Players(np.full(12, 0.1)), (3, 3), index="SV"), evaluation)
    assert all(score.degenerate and score.value == score.chance for score in scores.values())


def test_what_is_no_such_index_says_so(evaluation):
    encoder = Blocks((3, 3)).encoder(evaluation.encoder)
    occlusion = Occlusion().explain(encoder, encoder.pair(picture(), "a red star"), np.random.default_rng(0))
    for explanation in (occlusion, Explanation(image=np.eye(3))):
        assert all("no index" in reason for reason in compared(explanation, evaluation).values())
    assert all("needs a run" in reason for reason in PROTOCOL.score(occlusion, evaluation).values())


def test_long_texts_are_left_out(evaluation):
    assert PROTOCOL.excluded(evaluation) is None
    assert PROTOCOL.excluded(evaluation_of("a red star on a")) is None
    assert "6 tokens" in PROTOCOL.excluded(evaluation_of("a red star on a circle"))
