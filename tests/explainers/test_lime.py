import numpy as np
import pytest

from benchmark.errors import InvalidInput
from benchmark.explainers.exact import Exact
from benchmark.explainers.lime import Lime, ridge
from benchmark.explaining import explain
from tests.planted_games import NetworkGame, additive_game, pair_game
from tests.small_encoders import huggingface_clip_encoder, picture


def lime(game, seed=0, **parameters):
    return Lime(**parameters).explain_game(game, np.random.default_rng(seed))


def test_ridge_equals_scikit_learns():
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is the independent definition")
    rng = np.random.default_rng(0)
    kept, values, weights = rng.random((80, 12)) < 0.5, rng.normal(size=80), rng.random(80)
    model = linear_model.Ridge(alpha=1.0, fit_intercept=True).fit(kept, values, sample_weight=weights)
    slopes, intercept = ridge(kept, values, weights, alpha=1.0)
    assert slopes == pytest.approx(model.coef_, abs=1e-10)
    assert intercept == pytest.approx(model.intercept_, abs=1e-10)


def test_the_kernel_is_the_released_one():
    sizes = np.array([0, 5, 14, 20])
    distance = 1 - np.sqrt(sizes / 20)
    assert Lime().weights(sizes, 20) == pytest.approx(np.sqrt(np.exp(-(distance**2) / 0.25**2)))
    spread = np.random.default_rng(0).binomial(57, 0.5, 2000)
    low, high = np.quantile(Lime().weights(spread, 57), [0.025, 0.975])
    assert 0.27 < low < 0.31  # methods.md 18: nearly constant for some 60 players
    assert 0.69 < high < 0.75


@pytest.mark.parametrize(("n_samples", "shrunk"), [(1000, 0.007), (5000, 0.002)])
def test_an_additive_game_comes_back_shrunk_by_the_ridge(n_samples, shrunk):
    game = additive_game(grid=(7, 7), n_tokens=8)
    players = lime(game, n_samples=n_samples).players
    share = players.main @ game.main / (game.main @ game.main)
    assert 1 - share == pytest.approx(shrunk, rel=0.5)  # methods.md 23, item 13; the draw decides the rest


def test_a_pair_game_is_shared_by_its_two_players():
    game = pair_game()
    main = lime(game, n_samples=4000, alpha=1e-6).players.main
    both = [1, game.n_patches + 2]
    assert main[both[0]] == pytest.approx(main[both[1]], rel=0.1)
    assert np.abs(np.delete(main, both)).max() < 0.05 * main[both].max()


def test_a_wide_kernel_without_ridge_approaches_banzhaf_values():
    game = NetworkGame()
    expected = Exact(index="BV").explain_game(game, np.random.default_rng(0)).players.main
    few, many = (
        np.mean(
            [
                np.mean((lime(game, seed, n_samples=n, kernel_width=1e3, alpha=1e-9).players.main - expected) ** 2)
                for seed in range(4)
            ]
        )
        for n in (100, 6400)
    )
    assert many < few / 16


def test_the_first_row_keeps_everything():
    encoder = huggingface_clip_encoder()
    pair = encoder.pair(picture(), "a red star")
    explanation = explain(encoder, pair, "lime", n_samples=50)
    assert explanation.index == "LIME"
    assert explanation.similarity == pytest.approx(encoder.similarity(pair), abs=1e-5)
    assert explanation.players.main.shape == (19,)


@pytest.mark.parametrize("wrong", [{"n_samples": 1}, {"kernel_width": 0.0}, {"alpha": 0.0}])
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        Lime(**wrong)
