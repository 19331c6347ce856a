import numpy as np
import pytest

from benchmark.errors import InvalidInput
from benchmark.explainers.occlusion import Occlusion
from benchmark.explaining import explain
from benchmark.games.similarity import SimilarityGame
from tests.small_encoders import huggingface_clip_encoder, picture

TOLERANCE = 1e-6  # the game's values are float32 cosines


@pytest.fixture
def encoder():
    return huggingface_clip_encoder()


@pytest.fixture
def pair(encoder):
    return encoder.pair(picture(), "a red star")


@pytest.fixture
def game(encoder, pair):
    return SimilarityGame(encoder, pair)


def test_surrogate_is_exact_at_everything_and_with_any_one_player_missing(encoder, pair, game):
    n = game.n_players
    coalitions = np.vstack([np.ones((1, n), dtype=bool), ~np.eye(n, dtype=bool)])
    explanation = explain(encoder, pair, "occlusion")
    assert explanation.predict(coalitions) == pytest.approx(game.values(coalitions), abs=TOLERANCE)


def test_maps_are_the_main_effects(encoder, pair):
    explanation = explain(encoder, pair, "occlusion")
    assert explanation.image.ravel().tolist() == explanation.players.main[:16].tolist()
    assert explanation.text.tolist() == explanation.players.main[16:].tolist()
    assert explanation.similarity == pytest.approx(encoder.similarity(pair), abs=TOLERANCE)


def test_a_window_shares_the_drop_of_each_square_among_its_patches(encoder, pair, game):
    full = np.ones((1, game.n_players), dtype=bool)
    corner = full.copy()
    corner[:, [0, 1, 4, 5]] = False
    drop = game.values(full)[0] - game.values(corner)[0]
    explanation = explain(encoder, pair, "occlusion", window=2)
    assert explanation.image[0, 0] == pytest.approx(drop / 4, abs=TOLERANCE)  # only one square holds the corner patch


def test_a_window_as_large_as_the_grid_gives_every_patch_the_same_share(encoder, pair):
    assert np.ptp(explain(encoder, pair, "occlusion", window=4).image) == pytest.approx(0, abs=1e-12)


def test_a_window_larger_than_the_grid_is_refused(encoder, pair):
    with pytest.raises(InvalidInput, match="does not fit a grid of 4 x 4"):
        explain(encoder, pair, "occlusion", window=5)
    with pytest.raises(InvalidInput, match="at least 1"):
        Occlusion(window=0)
