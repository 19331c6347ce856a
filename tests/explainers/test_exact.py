from math import factorial

import numpy as np
import pytest

from benchmark.errors import InvalidInput, UnsupportedEncoder
from benchmark.explainers.exact import Exact, coalitions
from benchmark.explaining import explain
from tests.planted_games import NetworkGame, additive_game, pair_game
from tests.small_encoders import huggingface_clip_encoder, picture

INDICES = ("SV", "BV", "FSII", "FBII")


def exact(game, **parameters):
    return Exact(**parameters).explain_game(game, np.random.default_rng(0))


@pytest.mark.parametrize("index", INDICES)
def test_an_additive_game_gives_back_its_weights(index):
    game = additive_game()
    players = exact(game, index=index).players
    assert players.main == pytest.approx(game.main, abs=1e-12)
    assert players.empty == pytest.approx(game.empty, abs=1e-12)
    if players.pairs is not None:
        assert np.abs(players.pairs).max() < 1e-12


@pytest.mark.parametrize(("index", "half"), [("SV", 0.45), ("BV", 0.45), ("FSII", 0.0), ("FBII", 0.0)])
def test_a_pair_game_is_shared_in_halves_or_is_one_interaction(index, half):
    game = pair_game()
    explanation = exact(game, index=index)
    expected = np.zeros(game.n_players)
    expected[[1, game.n_patches + 2]] = half
    assert explanation.players.main == pytest.approx(expected, abs=1e-12)
    if half == 0.0:
        cross = np.zeros((2, 3, 4))
        cross[0, 1, 2] = 0.9
        assert explanation.cross == pytest.approx(cross, abs=1e-12)
        assert explanation.image[0, 1] == pytest.approx(0.45, abs=1e-12)


def test_shapley_values_are_the_mean_over_all_orders():
    from itertools import permutations

    game = NetworkGame(grid=(1, 3), n_tokens=2)
    expected = np.zeros(5)
    for order in permutations(range(5)):
        kept = np.zeros((6, 5), dtype=bool)
        for step, player in enumerate(order):
            kept[step + 1 :, player] = True
        expected[list(order)] += np.diff(game.values(kept)) / factorial(5)
    assert exact(game, index="SV").players.main == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("p", [0.3, 0.5, 0.7])
@pytest.mark.parametrize("index", ["BV", "FBII"])
def test_banzhaf_is_the_weighted_least_squares_fit_to_all_coalitions(index, p):
    game = NetworkGame(grid=(2, 2), n_tokens=3)
    players = exact(game, index=index, p=p).players
    rows = coalitions(7).astype(float)
    columns = [np.ones((len(rows), 1)), rows]
    first, second = np.triu_indices(7, 1)
    if index == "FBII":
        columns.append(rows[:, first] * rows[:, second])
    root = np.sqrt(np.prod(np.where(rows > 0, p, 1 - p), axis=1))[:, None]
    solution = np.linalg.lstsq(np.hstack(columns) * root, game.values(rows.astype(bool)) * root[:, 0], rcond=None)[0]
    assert players.empty == pytest.approx(solution[0], abs=1e-9)
    assert players.main == pytest.approx(solution[1:8], abs=1e-9)
    if index == "FBII":
        assert players.pairs[first, second] == pytest.approx(solution[8:], abs=1e-9)


@pytest.mark.parametrize("index", INDICES)
def test_values_equal_those_of_shapiqs_exact_computer(index):
    from shapiq import ExactComputer

    game = NetworkGame(grid=(2, 2), n_tokens=3)
    computer = ExactComputer(n_players=7, game=lambda kept: game.values(np.atleast_2d(kept)))
    theirs = computer(index, order=2 if index in ("FSII", "FBII") else 1).dict_values
    players = exact(game, index=index).players
    assert players.main == pytest.approx([theirs[(i,)] for i in range(7)], abs=1e-7)
    if players.pairs is not None:
        first, second = np.triu_indices(7, 1)
        expected = [theirs[int(i), int(j)] for i, j in zip(first, second, strict=True)]
        assert players.pairs[first, second] == pytest.approx(expected, abs=1e-7)


def test_shapley_values_add_up_to_the_full_coalition():
    game = NetworkGame()
    for index in ("SV", "FSII"):
        explanation = exact(game, index=index)
        everything = np.ones((1, game.n_players), dtype=bool)
        assert explanation.predict(everything)[0] == pytest.approx(explanation.similarity, abs=1e-9)
        assert explanation.similarity == pytest.approx(game.values(everything)[0], abs=1e-12)


def test_fourteen_players_are_explained_and_fifteen_refused():
    assert exact(NetworkGame(grid=(2, 4), n_tokens=6), index="SV").players.main.shape == (14,)
    with pytest.raises(InvalidInput, match="at most 14 players; this pair has 8 patches and 7 tokens"):
        exact(NetworkGame(grid=(2, 4), n_tokens=7))


def test_an_encoder_with_too_many_patches_is_refused():
    encoder = huggingface_clip_encoder()
    with pytest.raises(UnsupportedEncoder, match="this encoder has 16 patches"):
        explain(encoder, encoder.pair(picture(), "a red star"), "exact")


@pytest.mark.parametrize(
    ("wrong", "named"), [({"index": "SII"}, "SII"), ({"p": 1.0}, "strictly"), ({"index": "SV", "p": 0.3}, "leave it out")]
)
def test_impossible_parameters_are_refused(wrong, named):
    with pytest.raises(InvalidInput, match=named):
        Exact(**wrong)
