from typing import get_args

import numpy as np
import pytest

from benchmark.errors import InvalidInput
from benchmark.explainers.banzhaf import Banzhaf, Estimator
from benchmark.explainers.exact import Exact
from benchmark.explainers.fixlip import Fixlip
from benchmark.explaining import explain
from tests.planted_games import NetworkGame, additive_game, pair_game
from tests.small_encoders import huggingface_clip_encoder, picture

ALL = get_args(Estimator.__value__)


def estimate(game, estimator, budget, p=0.5, seed=0):
    return Banzhaf(estimator=estimator, budget=budget, p=p).explain_game(game, np.random.default_rng(seed)).players


def exact(game, p=0.5):
    return Exact(index="BV", p=p).explain_game(game, np.random.default_rng(0)).players


@pytest.mark.parametrize("estimator", ["regression", "fbii"])
def test_an_additive_game_gives_back_its_weights(estimator):
    game = additive_game()
    players = estimate(game, estimator, budget=100)
    assert players.main == pytest.approx(game.main, abs=1e-6)
    assert players.empty == pytest.approx(game.empty, abs=1e-6)


@pytest.mark.parametrize(
    ("estimator", "p"), [*((estimator, 0.5) for estimator in ALL), *((own, p) for own in ALL[:2] for p in (0.3, 0.7))]
)
@pytest.mark.parametrize("make", [NetworkGame, pair_game])
def test_a_budget_of_all_coalitions_gives_the_exact_values(make, estimator, p):
    game = make()
    players, expected = estimate(game, estimator, 2**10, p), exact(game, p)
    assert players.main == pytest.approx(expected.main, abs=1e-6)
    empty = game.values(np.zeros((1, 10), dtype=bool))[0] if estimator == "svarm" else expected.empty
    assert players.empty == pytest.approx(empty, abs=1e-6)


@pytest.mark.parametrize(
    ("estimator", "p"), [*((estimator, 0.5) for estimator in ALL), *((own, p) for own in ALL[:2] for p in (0.3, 0.7))]
)
def test_the_error_falls_as_the_budget_grows(estimator, p):
    game = NetworkGame()
    expected = exact(game, p).main
    few, many = (
        np.mean([np.mean((estimate(game, estimator, budget, p, seed).main - expected) ** 2) for seed in range(8)])
        for budget in (40, 640)
    )
    assert many < few / 3


@pytest.mark.parametrize("p", [0.3, 0.5])
def test_regression_is_the_joint_first_order_fixlip(p):
    game = NetworkGame()
    ours = Banzhaf(p=p, budget=200).explain_game(game, np.random.default_rng(5)).players
    theirs = Fixlip(p=p, budget=200, order=1, estimator="joint").explain_game(game, np.random.default_rng(5)).players
    assert ours.main == pytest.approx(theirs.main, abs=1e-12)
    assert ours.empty == pytest.approx(theirs.empty, abs=1e-12)


@pytest.mark.parametrize("estimator", ALL)
def test_an_encoder_is_explained_with_its_own_similarity(estimator):
    encoder = huggingface_clip_encoder()
    pair = encoder.pair(picture(), "a red star")
    explanation = explain(encoder, pair, "banzhaf", estimator=estimator, budget=2**8)
    assert explanation.index == "BV"
    assert explanation.similarity == pytest.approx(encoder.similarity(pair), abs=1e-5)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"estimator": "montecarlo"}, "Known: regression"),
        ({"p": 0.0}, "strictly"),
        ({"estimator": "svarm", "p": 0.3}, "p=0.5 only"),
    ],
)
def test_impossible_parameters_are_refused(wrong, named):
    with pytest.raises(InvalidInput, match=named):
        Banzhaf(**wrong)


@pytest.mark.parametrize("estimator", ALL)
def test_too_small_a_budget_is_refused(estimator):
    with pytest.raises(InvalidInput, match="give at least 12"):
        estimate(additive_game(), estimator, budget=11)
