"""shapiq plays the game, and its values keep their meaning on the way in and out."""

import pickle

import numpy as np
import pytest
from shapiq import KernelSHAP, KernelSHAPIQ
from shapiq.game_theory.exact import ExactComputer

from benchmark.bridges import from_interaction_values, load_interaction_values, shapiq_explainer
from benchmark.encoders.coarse import CoarseEncoder
from benchmark.errors import InvalidExplanation, InvalidInput
from benchmark.explainers.exact import coalitions
from benchmark.explaining import explain
from benchmark.games.similarity import SimilarityGame
from tests.small_encoders import huggingface_clip_encoder, picture

TEXT = "a red star"


@pytest.fixture
def encoder():
    return CoarseEncoder(huggingface_clip_encoder(), (2, 2))


@pytest.fixture
def pair(encoder):
    return encoder.pair(picture(), TEXT)


def exact_values(game, budget, rng, *, index, order):
    return ExactComputer(game)(index=index, order=order)


def run(explainer, encoder, pair, seed=0):
    explanation = explainer.explain(encoder, pair, np.random.default_rng(seed))
    explanation.check(encoder.patch_grid, pair.n_tokens)
    return explanation


@pytest.mark.parametrize(("index", "order"), [("SV", 1), ("FSII", 2), ("FBII", 2)])
def test_shapiqs_exact_values_are_ours(encoder, pair, index, order):
    theirs = run(shapiq_explainer(exact_values, index=index, order=order), encoder, pair)
    ours = explain(encoder, pair, "exact", index=index)
    np.testing.assert_allclose(theirs.players.main, ours.players.main, atol=1e-6)
    if order == 2:
        np.testing.assert_allclose(theirs.players.pairs, ours.players.pairs, atol=1e-6)
        np.testing.assert_allclose(theirs.cross, ours.cross, atol=1e-6)
    np.testing.assert_allclose(theirs.image, ours.image, atol=1e-6)
    kept = coalitions(len(ours.players.main))
    np.testing.assert_allclose(theirs.predict(kept), ours.predict(kept), atol=2e-6)
    assert theirs.similarity == pytest.approx(ours.similarity, abs=1e-7)


@pytest.mark.parametrize(("index", "order"), [("SV", 1), ("k-SII", 2), ("STII", 2), ("FSII", 2)])
def test_efficiency_survives(encoder, pair, index, order):
    found = run(shapiq_explainer(exact_values, index=index, order=order), encoder, pair)
    game = SimilarityGame(encoder, pair)
    ends = np.array([np.zeros(game.n_players), np.ones(game.n_players)], dtype=bool)
    np.testing.assert_allclose(found.predict(ends), game.values(ends), atol=1e-6)


def test_indices_that_stand_for_no_value_only_rank(encoder, pair):
    found = run(shapiq_explainer(exact_values, index="SII", order=2), encoder, pair)
    assert found.players is None
    assert found.cross is not None


def test_a_file_keeps_every_value(encoder, pair, tmp_path):
    values = exact_values(SimilarityGame(encoder, pair), 0, None, index="FSII", order=2)
    values.save(tmp_path / "values.json")
    found = load_interaction_values(tmp_path / "values.json", encoder.patch_grid)
    direct = from_interaction_values(values, encoder.patch_grid)
    assert found.arrays().keys() == direct.arrays().keys()
    for name, array in direct.arrays().items():
        np.testing.assert_allclose(found.arrays()[name], array, atol=1e-12)
    assert found.to_shapiq().dict_values == pytest.approx(
        {key: value for key, value in values.dict_values.items() if len(key) < 2 or value != 0}, abs=1e-12
    )


@pytest.mark.parametrize("content", ["", "{}", '{"metadata": 3, "data": []}', "\x80\x04pickle"])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "values.json").write_text(content)
    with pytest.raises(InvalidInput, match="no interaction values"):
        load_interaction_values(tmp_path / "values.json", (2, 2))
    with pytest.raises(InvalidInput, match="there is no file"):
        load_interaction_values(tmp_path / "nothing.json", (2, 2))
    with pytest.raises(InvalidInput, match="no interaction values"):
        load_interaction_values(tmp_path / "values.npz", (2, 2))


def test_an_approximators_class_is_made_for_each_pair_and_seeded(encoder, pair):
    explainer = shapiq_explainer(KernelSHAPIQ, index="k-SII", max_order=2, budget=100)
    assert explainer.name == "shapiq_kernel_shapiq"
    one, same, other = (run(explainer, encoder, pair, seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.image, same.image)
    assert (one.image != other.image).any()
    np.testing.assert_array_equal(run(pickle.loads(pickle.dumps(explainer)), encoder, pair).image, one.image)
    ours = explain(encoder, pair, "exact", index="SV")
    everything = run(shapiq_explainer(KernelSHAP, budget=2**7), encoder, pair)
    np.testing.assert_allclose(everything.image, ours.image, atol=1e-5)


def test_an_instance_for_another_number_of_players_is_refused(encoder, pair):
    game = SimilarityGame(encoder, pair)
    fitting = shapiq_explainer(KernelSHAP(n=game.n_players, random_state=3), name="fitting", budget=90)
    np.testing.assert_array_equal(run(fitting, encoder, pair).image, run(fitting, encoder, pair).image)
    with pytest.raises(InvalidInput, match="for 9 players, the pair has 7"):
        run(shapiq_explainer(KernelSHAP(n=9), name="other"), encoder, pair)


def test_values_of_another_game_and_impossible_budgets_are_refused(encoder, pair):
    def smaller(game, budget, rng):
        return ExactComputer(lambda kept: kept.sum(axis=1).astype(float), n_players=5)(index="SV", order=1)

    with pytest.raises(InvalidExplanation, match="these values have 5 players; the pair has 7"):
        run(shapiq_explainer(smaller), encoder, pair)
    with pytest.raises(InvalidInput, match="at least one coalition"):
        shapiq_explainer(smaller, budget=0)
