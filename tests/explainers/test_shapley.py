import warnings

import numpy as np
import pytest

from benchmark.errors import InvalidInput, UnknownName
from benchmark.explainers.exact import Exact
from benchmark.explainers.shapley import ESTIMATORS, Shapley
from benchmark.explaining import explain
from benchmark.games.similarity import SimilarityGame
from tests.planted_games import NetworkGame, additive_game, pair_game
from tests.small_encoders import huggingface_clip_encoder, picture

SOLVED = ("kernelshap", "leverageshap", "kadd")
"""Least squares: exact on an additive game as soon as the players can be told apart, and on any game fully enumerated."""
ENUMERATING = (*SOLVED, "unbiased_kernelshap", "svarm")


def estimate(game, estimator, budget, seed=0):
    return Shapley(estimator=estimator, budget=budget).explain_game(game, np.random.default_rng(seed)).players


def error(game, estimator, budget):
    """Mean squared error of eight runs."""
    expected = Exact(index="SV").explain_game(game, np.random.default_rng(0)).players.main
    return np.mean([np.mean((estimate(game, estimator, budget, seed).main - expected) ** 2) for seed in range(8)])


@pytest.mark.parametrize("estimator", [*SOLVED, "permutation", "stratified"])
def test_an_additive_game_gives_back_its_weights(estimator):
    game = additive_game()
    players = estimate(game, estimator, budget=400)
    assert players.main == pytest.approx(game.main, abs=1e-5)  # shapiq meets efficiency by a weight of 1e8, not exactly
    assert players.empty == pytest.approx(game.empty, abs=1e-12)


@pytest.mark.parametrize("estimator", ENUMERATING)
@pytest.mark.parametrize("make", [NetworkGame, pair_game])
def test_a_budget_of_all_coalitions_gives_the_exact_values(make, estimator):
    game = make()
    expected = Exact(index="SV").explain_game(game, np.random.default_rng(0)).players
    players = estimate(game, estimator, budget=2**10)
    assert players.main == pytest.approx(expected.main, abs=1e-5)
    assert players.empty == pytest.approx(expected.empty, abs=1e-9)


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_error_falls_as_the_budget_grows(estimator):
    game = NetworkGame()
    few, many = (error(game, estimator, budget) for budget in (60, 960))
    assert many < few / 3  # sixteen times the coalitions: a sixteenth of a sampling error, less what systematic part stays


def test_estimates_add_up_to_the_full_coalition():
    game = NetworkGame()
    explanation = Shapley(budget=100).explain_game(game, np.random.default_rng(0))
    everything = np.ones((1, game.n_players), dtype=bool)
    assert explanation.predict(everything)[0] == pytest.approx(explanation.similarity, abs=1e-5)


def test_an_encoder_is_explained_without_warnings():
    encoder = huggingface_clip_encoder()
    pair = encoder.pair(picture(), "a red star")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        explanation = explain(encoder, pair, "shapley", budget=2**8)
        estimate(NetworkGame(grid=(1, 2), n_tokens=1), "kernelshap", budget=64)
    game = SimilarityGame(encoder, pair)
    assert explanation.index == "SV"
    assert explanation.similarity == pytest.approx(encoder.similarity(pair), abs=1e-5)
    assert explanation.players.empty == pytest.approx(game.values(np.zeros((1, 19), dtype=bool))[0], abs=1e-6)


def test_a_larger_budget_brings_the_estimate_of_an_encoder_closer_to_its_limit():
    encoder = huggingface_clip_encoder()
    pair = encoder.pair(picture(), "a red star")
    limit = explain(encoder, pair, "shapley", budget=2**14).players.main
    few, many = (
        np.abs(explain(encoder, pair, "shapley", budget=budget).players.main - limit).max() for budget in (2**6, 2**11)
    )
    assert many < few / 2


def test_budgets_and_names_that_cannot_be_are_refused():
    with pytest.raises(UnknownName, match="Did you mean 'kernelshap'"):
        Shapley(estimator="kernelshop")
    with pytest.raises(InvalidInput, match="11 coalitions is too small for 10 players; give at least 12"):
        estimate(additive_game(), "permutation", budget=11)


def test_an_estimator_that_shapiq_lacks_names_the_way_out(monkeypatch):
    from shapiq import approximator

    monkeypatch.delattr(approximator, "LeverageSHAP")
    with pytest.raises(InvalidInput, match="pip install -U shapiq"):
        estimate(additive_game(), "leverageshap", budget=100)
