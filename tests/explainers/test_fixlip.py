"""FIxLIP recovers what games are made of, and what the published code returned."""

import tracemalloc
import warnings
from itertools import product

import numpy as np
import pytest

from benchmark.errors import InvalidInput
from benchmark.explainers.fixlip import Fixlip, fit
from benchmark.games.sampling import sample_coalitions
from tests.golden_models import golden_inputs, huggingface_clip, open_clip_clip
from tests.planted_games import BilinearGame, NetworkGame


def everything(n):
    return np.array(list(product([False, True], repeat=n)))


def exact(game, p, order):
    """The p-biased coefficients of methods.md 4.1, by summing discrete derivatives over all coalitions."""
    n = game.n_patches + game.n_tokens
    rows = everything(n)
    values = game.values(rows)
    share = np.prod(np.where(rows, p, 1 - p), axis=1)
    sign = np.where(rows, 1 / p, -1 / (1 - p))  # E[v * sign_i] = E[D_i v]
    mean = share @ values
    first = sign.T @ (share * values)
    if order == 1:
        return mean - p * first.sum(), first, None
    pairs = sign.T @ (sign * (share * values)[:, None])
    np.fill_diagonal(pairs, 0)
    return mean - p * first.sum() + p**2 * pairs.sum() / 2, first - p * pairs.sum(axis=1), pairs


def assert_surrogate(explanation, expected, tolerance=1e-10):
    empty, main, pairs = expected
    assert explanation.players.empty == pytest.approx(empty, abs=tolerance)
    np.testing.assert_allclose(explanation.players.main, main, rtol=0, atol=tolerance)
    if pairs is None:
        assert explanation.players.pairs is None
    else:
        np.testing.assert_allclose(explanation.players.pairs, pairs, rtol=0, atol=tolerance)


def rng(seed=0):
    return np.random.default_rng(seed)


# -- exactness ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("estimator", ["cross", "joint"])
@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("p", [0.15, 0.3, 0.5, 0.7])
def test_enumerated_games_give_the_exact_coefficients(p, order, estimator):
    game = NetworkGame()
    explanation = Fixlip(p=p, order=order, estimator=estimator).explain_game(game, rng())
    assert_surrogate(explanation, exact(game, p, order))
    assert explanation.similarity == pytest.approx(game.values(np.ones((1, 10), dtype=bool))[0])


@pytest.mark.parametrize("p", [0.3, 0.5, 0.7])
def test_first_order_from_pairs_is_the_direct_first_order_fit_when_enumerated(p):
    game = NetworkGame(seed=1)
    pairs = Fixlip(p=p).explain_game(game, rng())
    direct = Fixlip(p=p, order=1).explain_game(game, rng())
    np.testing.assert_allclose(pairs.image, direct.image, atol=1e-10)
    np.testing.assert_allclose(pairs.text, direct.text, atol=1e-10)


@pytest.mark.parametrize("order", [1, 2])
def test_shapley_equals_the_exact_faithful_shapley_of_shapiq(order):
    from shapiq import ExactComputer

    game = NetworkGame(grid=(2, 2), n_tokens=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = ExactComputer(n_players=7, game=game.values)("FSII", order=order)
    explanation = Fixlip(index="shapley", estimator="joint", order=order).explain_game(game, rng())
    main, pairs = explanation.players.main, explanation.players.pairs
    for i in range(7):
        assert main[i] == pytest.approx(known[(i,)], abs=1e-7)  # shapiq weighs the ends by 1e7 or so, not infinitely
        for j in range(i + 1, 7 if order == 2 else 0):
            assert pairs[i, j] == pytest.approx(known[(i, j)], abs=1e-7)
    assert explanation.index == "FSII"
    ends = np.array([[False] * 7, [True] * 7])
    np.testing.assert_allclose(explanation.predict(ends), game.values(ends), atol=1e-12)


@pytest.mark.parametrize(
    "parameters",
    [
        {"p": 0.3},
        {"p": 0.5, "image_budget": 300},
        {"p": 0.7, "pairs": "cross"},
        {"estimator": "joint", "budget": 300},
        {"estimator": "joint", "index": "shapley", "budget": 300},
    ],
)
def test_a_bilinear_game_gives_back_its_patch_token_matrix(parameters):
    game = BilinearGame(grid=(3, 3))
    explanation = Fixlip(**parameters).explain_game(game, rng())
    np.testing.assert_allclose(explanation.cross.reshape(9, 4), game.matrix, atol=1e-9)
    pairs = np.zeros((13, 13))
    pairs[:9, 9:] = game.matrix
    assert_surrogate(explanation, (game.empty, game.main, pairs + pairs.T), 1e-9)


def test_a_bilinear_game_on_a_large_grid_gives_back_its_matrix():
    game = BilinearGame(grid=(14, 14), n_tokens=16)
    explanation = Fixlip().explain_game(game, rng())
    np.testing.assert_allclose(explanation.cross.reshape(196, 16), game.matrix, atol=1e-9)
    assert not explanation.notes["image_pairs"]
    assert explanation.notes["text_pairs"]


def test_an_additive_game_has_no_interactions():
    game = BilinearGame(grid=(3, 4), n_tokens=5)
    game.matrix[:] = 0
    for parameters in ({"p": 0.3}, {"order": 1}, {"index": "shapley", "estimator": "joint", "budget": 600}):
        explanation = Fixlip(**parameters).explain_game(game, rng())
        expected = (game.empty, game.main, None if parameters.get("order") == 1 else np.zeros((17, 17)))
        assert_surrogate(explanation, expected, 1e-9)
        np.testing.assert_allclose(explanation.image.ravel(), game.main[:12], atol=1e-9)


def test_the_strongest_players_keep_their_pairs():
    game = BilinearGame(grid=(4, 5), n_tokens=6)
    game.main *= 0.01
    game.main[[3, 11]], game.matrix[:] = 5.0, 0
    game.matrix[3, 2], game.matrix[11, 5] = 2.0, -3.0
    for estimator in ("cross", "joint"):
        explanation = Fixlip(pairs="clique", clique=8, estimator=estimator).explain_game(game, rng())
        cross = explanation.cross.reshape(20, 6)
        assert cross[3, 2] == pytest.approx(2, abs=1e-9)
        assert cross[11, 5] == pytest.approx(-3, abs=1e-9)
        assert (explanation.players.pairs != 0).any(axis=1).sum() <= 8


def test_a_clique_of_all_players_is_the_fit_of_all_pairs():
    game = NetworkGame(grid=(3, 3), n_tokens=4)
    budgets = {"image_budget": 300, "text_budget": 16}
    clique = Fixlip(pairs="clique", clique=60, **budgets).explain_game(game, rng())
    full = Fixlip(pairs="all", **budgets).explain_game(game, rng())
    assert_surrogate(clique, (full.players.empty, full.players.main, full.players.pairs), 1e-8)


@pytest.mark.parametrize("parameters", [{}, {"p": 0.3}, {"estimator": "joint"}, {"estimator": "joint", "index": "shapley"}])
def test_the_error_falls_as_the_budget_grows(parameters):
    game = NetworkGame(grid=(3, 3), n_tokens=4, bend=0.5)
    n_all = {"cross": [60, 200, 512], "joint": [150, 1000, 8192]}[parameters.get("estimator", "cross")]
    key = "image_budget" if "estimator" not in parameters else "budget"
    truth = Fixlip(**parameters, **{key: n_all[-1]}).explain_game(game, rng()).players.pairs
    errors = []
    for budget in n_all:
        found = [Fixlip(**parameters, **{key: budget}).explain_game(game, rng(seed)).players.pairs for seed in range(5)]
        errors.append(np.mean([np.abs(pairs - truth).mean() for pairs in found]))
    assert errors[0] > 1.5 * errors[1]
    assert errors[2] < 1e-10


def test_corrected_weights_come_closer_to_the_exact_index_than_released_ones():
    errors = {True: [], False: []}
    for seed in range(12):
        game = NetworkGame(grid=(2, 4), n_tokens=3, seed=seed, bend=2.0)
        truth = exact(game, 0.3, 2)[2]
        for legacy in errors:
            explainer = Fixlip(p=0.3, image_budget=128, legacy_weights=legacy)
            errors[legacy].append(np.square(explainer.explain_game(game, rng(seed)).players.pairs - truth).mean())
    assert np.mean(errors[False]) < np.mean(errors[True])


# -- the published results ---------------------------------------------------------------------------------------------


def released_design(recorded, p):
    packed = recorded[f"fixlip_p{p}_image_coalitions"]
    images = np.unpackbits(packed, axis=1)[:, :36].astype(bool)
    weights = (recorded[f"fixlip_p{p}_{side}_weights"] for side in ("image", "text"))
    return images, recorded[f"fixlip_p{p}_text_coalitions"], *weights


def assert_recorded(recorded, p, empty, main, pairs):
    for name, ours in (
        ("empty", np.asarray(empty)),
        ("main", main),
        ("pairs", np.triu(pairs)),
        ("first_order", main + p * pairs.sum(axis=1)),
    ):
        theirs = recorded[f"fixlip_p{p}_{name}"]
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * np.abs(theirs).max() + 1e-6, err_msg=name)


@pytest.fixture(scope="module", params=["huggingface", "open_clip"])
def encoder_and_pair(request, shared):
    import benchmark as xb

    del shared
    build = huggingface_clip if request.param == "huggingface" else open_clip_clip
    encoder = xb.wrap_encoder(build(1), name=f"golden-{request.param}")
    return encoder, encoder.pair_from_tensors(*golden_inputs(1))


@pytest.fixture(scope="module")
def golden_game(encoder_and_pair):
    """One game for all tests below, so that its cache encodes each recorded coalition once."""
    import benchmark as xb

    return xb.SimilarityGame(*encoder_and_pair)


LOGITS = float(np.exp(3))  # the golden model's scale
RECORDED_P = [0.5, pytest.param(0.3, marks=pytest.mark.slow), pytest.param(0.7, marks=pytest.mark.slow)]


class SeedZero:
    """Stands in for a generator where the released code seeds both samplers with 0."""

    def integers(self, low, high, size=None):
        return 0 if size is None else np.zeros(size, dtype=int)


@pytest.mark.parametrize("p", RECORDED_P)
def test_fit_gives_the_recorded_surrogate_from_either_librarys_model(golden, golden_game, p):
    recorded = golden("clip_small_seed1")
    images, texts, image_weights, text_weights = released_design(recorded, p)
    empty_value = golden_game.values(np.zeros((1, 43), dtype=bool))
    values = LOGITS * (golden_game.cross_values(images, texts) - empty_value)
    empty, main, pairs = fit(images, texts, values, image_weights, text_weights, pairs="all")
    assert_recorded(recorded, p, empty, main, pairs)
    assert (pairs == pairs.T).all()
    assert not pairs.diagonal().any()


@pytest.mark.parametrize("p", RECORDED_P)
def test_the_explainer_with_released_settings_gives_the_recorded_surrogate(golden, golden_game, p):
    recorded = golden("clip_small_seed1")
    explainer = Fixlip(p=p, image_budget=2048, text_budget=64, legacy_weights=True, pairs="all")
    explanation = explainer.explain_game(golden_game, SeedZero())
    players = explanation.players
    empty = LOGITS * players.empty - recorded["value_empty_full"][0]
    assert_recorded(recorded, p, empty, LOGITS * players.main, LOGITS * players.pairs)
    assert explanation.similarity == pytest.approx(float(recorded["cosine"]), abs=1e-5)
    np.testing.assert_allclose(LOGITS * explanation.image.ravel(), recorded[f"fixlip_p{p}_first_order"][:36], atol=1e-3)

    held_out = recorded[f"fixlip_p{p}_faithfulness_coalitions"]
    truth = golden_game.values(held_out)
    error = np.square(explanation.predict(held_out) - truth).mean()
    assert 1 - error / truth.var() == pytest.approx(float(recorded[f"fixlip_p{p}_faithfulness"][0]), abs=1e-4)


def test_an_encoder_and_a_pair_are_explained_in_their_own_layout(encoder_and_pair):
    encoder, pair = encoder_and_pair
    explanation = Fixlip(image_budget=64, text_budget=16).explain(encoder, pair, rng())
    explanation.check((6, 6), 7)
    assert explanation.cross.shape == (6, 6, 7)
    assert explanation.similarity == pytest.approx(encoder.similarity(pair), abs=1e-5)


# -- bounds, refusals --------------------------------------------------------------------------------------------------


def test_a_large_cross_modal_fit_stays_under_a_gigabyte():
    images, texts = sample_coalitions(196, 8192, seed=0), sample_coalitions(16, 64, seed=1)
    values = rng().normal(size=(8192, 64))
    tracemalloc.start()
    _, main, pairs = fit(images.kept, texts.kept, values, images.weights, texts.weights)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert main.shape == (212,)
    assert pairs[:196, 196:].all()
    assert peak < 200e6


def test_fit_refuses_what_the_coalitions_do_not_identify():
    images, texts = sample_coalitions(30, 100, seed=0), sample_coalitions(4, 16, seed=0)
    values = rng().normal(size=(100, 16))
    arguments = (images.kept, texts.kept, values, images.weights, texts.weights)
    with pytest.raises(InvalidInput, match="100 image coalitions do not identify the pairs of 30 image players"):
        fit(*arguments, pairs="all")
    _, _, pairs = fit(*arguments)
    np.testing.assert_array_equal(pairs[:30, :30], 0)
    np.testing.assert_allclose(pairs[:30, 30:], fit(*arguments, pairs="cross")[2][:30, 30:], rtol=0, atol=1e-12)
    assert fit(*arguments, order=1)[2] is None


def test_within_image_pairs_are_fitted_on_a_7_by_7_grid_by_default():
    explanation = Fixlip().explain_game(NetworkGame(grid=(7, 7), n_tokens=8), rng())
    assert explanation.notes["image_pairs"]
    assert explanation.notes["text_pairs"]
    assert explanation.notes["image_coalitions"] == 2048


def test_one_token_is_enough_and_none_is_refused():
    explanation = Fixlip().explain_game(NetworkGame(n_tokens=1), rng())
    assert explanation.text.shape == (1,)
    assert explanation.cross.shape == (2, 3, 1)
    game = NetworkGame()
    game.n_tokens = 0
    with pytest.raises(InvalidInput, match="no content tokens"):
        Fixlip().explain_game(game, rng())


@pytest.mark.parametrize("n_tokens", [9, 20, 62, 75])
def test_long_captions_are_identified_by_default(n_tokens):
    for p in (0.3, 0.7):
        explanation = Fixlip(p=p).explain_game(BilinearGame(grid=(3, 3), n_tokens=n_tokens), rng())
        explanation.check((3, 3), n_tokens)


def test_the_same_seed_gives_the_same_explanation():
    game = NetworkGame(grid=(4, 4), n_tokens=8)
    for parameters in ({"image_budget": 200}, {"estimator": "joint", "budget": 500}):
        first, again, other = (Fixlip(**parameters).explain_game(game, rng(seed)) for seed in (3, 3, 4))
        assert first.to_bytes() == again.to_bytes()
        assert (first.image != other.image).any()


@pytest.mark.parametrize("parameters", [{}, {"order": 1}, {"estimator": "joint"}, {"budget": 2**15}, {"pairs": "cross"}])
def test_forwards_are_estimated_from_above(parameters):
    explainer = Fixlip(**parameters)
    explanation = explainer.explain_game(NetworkGame(grid=(6, 6), n_tokens=7), rng())
    notes = explanation.notes
    used = notes.get("image_coalitions", 0) + notes.get("text_coalitions", 0) or 2 * notes["coalitions"]
    assert explainer.estimate_forwards(36, 7) <= used + 2
    assert explainer.estimate_forwards(36, 7) >= min(used, 2048)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"p": 0.0}, "strictly between 0 and 1, not 0.0"),
        ({"p": 1.2}, "strictly between 0 and 1, not 1.2"),
        ({"index": "shapley"}, "set estimator='joint'"),
        ({"index": "shapley", "estimator": "joint", "p": 0.3}, "p belongs to the Banzhaf index"),
        ({"index": "owen"}, "fixlip has no index 'owen'. Known: banzhaf, shapley"),
        ({"order": 3}, "fixlip has no order 3. Known: 1, 2"),
        ({"budget": 4096, "text_budget": 16}, "not both"),
        ({"estimator": "joint", "image_budget": 16}, "not both"),
        ({"estimator": "joint", "image_seed": 1}, "image_seed is for product designs"),
        ({"image_budget": 1}, "at least 2"),
        ({"colour": 1}, "fixlip has no parameter 'colour'"),
    ],
)
def test_impossible_parameters_are_refused_when_configured(parameters, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        Fixlip.configure(parameters)


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"image_budget": 16}, "16 image coalitions are too few for 16 image players; give at least 17"),
        ({"text_budget": 8}, "8 text coalitions are too few for 8 text players; give at least 9"),
        ({"image_budget": 100, "pairs": "all"}, "100 image coalitions do not identify the pairs"),
        ({"estimator": "joint", "budget": 20}, "20 joint coalitions are too few for 24 players"),
        ({"estimator": "joint", "budget": 120}, "120 coalitions do not identify 153 coefficients"),
    ],
)
def test_budgets_too_small_for_the_players_are_refused(parameters, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        Fixlip(**parameters).explain_game(NetworkGame(grid=(4, 4), n_tokens=8), rng())


def test_the_explainer_is_registered_with_its_published_settings():
    from benchmark.explainers.base import EXPLAINERS

    assert EXPLAINERS["fixlip"] is Fixlip
    assert Fixlip.published["p"] == "0.3, 0.5, 0.7"
    assert Fixlip().parameters["removal"] == "mask_pixels"
