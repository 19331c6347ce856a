"""Other operators, nested subsets and other coalitions, on a small random encoder."""

import numpy as np
import pytest

from benchmark.data.base import Sample
from benchmark.explanations import Explanation, Players
from benchmark.metrics.perturbation import curve_area
from benchmark.tasks import TASKS
from benchmark.tasks.base import Evaluation
from benchmark.tasks.faithfulness import InteractionFaithfulness, Perturbation, ShapleyFaithfulness
from tests.small_encoders import huggingface_clip_encoder, picture

OPERATORS = ("mask_pixels", "blur", "black", "impute", "drop_tokens")


@pytest.fixture
def evaluation():
    sample = Sample(id="one", image=picture(), text="a red star", cluster="one", phrases=())
    return Evaluation(huggingface_clip_encoder(), sample)


def pairwise_surrogate(n, seed=0):
    rng = np.random.default_rng(seed)
    pairs = np.triu(rng.standard_normal((n, n)), 1)
    return Explanation.from_players(Players(rng.standard_normal(n), pairs + pairs.T), (4, 4))


@pytest.mark.parametrize("removal", OPERATORS)
def test_under_every_operator_a_uniform_map_has_an_area_of_exactly_zero(removal, evaluation):
    protocol = Perturbation(variants=("image",), removal=removal)
    scores = protocol.score(Explanation(image=np.full((4, 4), 0.3)), evaluation)
    assert scores["area_image"].value == 0
    assert all(score.degenerate for score in scores.values())
    assert scores["insertion_image"].value == protocol.chance(evaluation)["insertion_image"]


@pytest.mark.parametrize("removal", OPERATORS)
def test_under_every_operator_random_maps_have_no_area_in_expectation(removal, evaluation):
    protocol, rng = Perturbation(variants=("image",), removal=removal), np.random.default_rng(1)
    maps = [rng.standard_normal((4, 4)) for _ in range(40)]
    areas = [protocol.score(Explanation(image=heat), evaluation)["area_image"].value for heat in maps]
    assert abs(np.mean(areas)) < 4 * np.std(areas) / np.sqrt(len(areas))
    opposite = protocol.score(Explanation(image=-maps[0]), evaluation)["area_image"].value
    assert opposite == pytest.approx(-areas[0], abs=1e-6)


def test_operators_have_curves_and_chance_values_of_their_own(evaluation):
    heat = np.random.default_rng(2).standard_normal((4, 4))
    protocols = [Perturbation(variants=("image",), removal=removal) for removal in OPERATORS]
    found = [protocol.score(Explanation(image=heat), evaluation)["insertion_image"] for protocol in protocols]
    assert len({round(score.value, 6) for score in found}) == len(OPERATORS)
    assert len({round(score.chance, 6) for score in found}) == len(OPERATORS)


def test_nested_and_free_subsets_are_found_by_the_surrogates_pairs(evaluation):
    explanation = pairwise_surrogate(evaluation.game().n_players)
    protocol = Perturbation(variants=("joint", "joint_greedy", "joint_nested"))
    scores = protocol.score(explanation, evaluation)
    assert set(scores) == set(protocol.metrics)
    areas = {variant: scores[f"area_{variant}"].value for variant in protocol.variants}
    assert len(set(areas.values())) == 3
    assert scores["insertion_joint_nested"].chance == scores["insertion_joint"].chance


def test_without_pairs_a_nested_chain_is_the_joint_ranking(evaluation):
    players = Players(np.random.default_rng(3).standard_normal(evaluation.game().n_players))
    protocol = Perturbation(variants=("joint", "joint_nested"))
    scores = protocol.score(Explanation.from_players(players, (4, 4)), evaluation)
    for name in ("insertion", "deletion", "area"):
        assert scores[f"{name}_joint_nested"].value == pytest.approx(scores[f"{name}_joint"].value)


def test_the_chain_of_an_explanation_with_pairs_is_a_removal_order(evaluation):
    explanation = pairwise_surrogate(evaluation.game().n_players, seed=4)
    sets, _ = Perturbation()._sets("joint_nested", explanation, np.random.default_rng(0))
    assert (sets.lif[0, 1:] <= sets.lif[0, :-1]).all()
    free, _ = Perturbation()._sets("joint_greedy", explanation, np.random.default_rng(0))
    surrogate = explanation.predict
    assert curve_area(surrogate(free.lif[0])) >= curve_area(surrogate(sets.lif[0])) - 1e-9


def test_shapley_coalitions_hold_both_ends_and_favour_extreme_sizes(evaluation):
    coalitions, values = ShapleyFaithfulness(n_coalitions=200)._held_out(evaluation)
    n = coalitions.shape[1]
    sizes = coalitions.sum(axis=1)
    assert len(np.unique(coalitions, axis=0)) == len(coalitions) == 200
    assert {0, n} <= set(sizes.tolist())
    assert np.isfinite(values).all()
    middle, _ = InteractionFaithfulness(n_coalitions=200)._held_out(evaluation)
    assert np.std(sizes) > 1.5 * np.std(middle.sum(axis=1))


def test_shapley_coalitions_come_in_random_order(evaluation):
    coalitions, _ = ShapleyFaithfulness(n_coalitions=200)._held_out(evaluation)
    sizes = coalitions.sum(axis=1)
    ends = np.flatnonzero((sizes == 0) | (sizes == coalitions.shape[1]))
    assert ends.tolist() != [0, 1]
    assert abs(np.corrcoef(np.arange(len(sizes)), np.abs(sizes - sizes.mean()))[0, 1]) < 0.3


def test_shapley_coalitions_differ_from_sample_to_sample_and_not_between_methods(evaluation):
    protocol = ShapleyFaithfulness(n_coalitions=64)
    other = Sample(id="two", image=picture(), text="a red star", cluster="two", phrases=())
    first, again, second = (
        protocol._draw(19, Evaluation(evaluation.encoder, sample)) for sample in (evaluation.sample, evaluation.sample, other)
    )
    assert (first == again).all()
    assert (first != second).any()


@pytest.mark.parametrize("p", [0.3, 0.7])
def test_players_are_kept_with_probability_p(p, evaluation):
    coalitions, _ = InteractionFaithfulness(n_coalitions=256, p=p)._held_out(evaluation)
    assert coalitions.mean() == pytest.approx(p, abs=0.04)


@pytest.mark.parametrize("protocol", [ShapleyFaithfulness(n_coalitions=64), InteractionFaithfulness(n_coalitions=64, p=0.7)])
def test_the_game_itself_is_explained_in_full(protocol, evaluation, monkeypatch):
    n = evaluation.game().n_players
    players = Players(np.random.default_rng(6).standard_normal(n), empty=0.2)
    game = evaluation.game()
    monkeypatch.setattr(game, "values", lambda kept: players.predict(kept))
    scores = protocol.score(Explanation.from_players(players, (4, 4)), evaluation)
    assert {name: score.value for name, score in scores.items()} == pytest.approx(dict.fromkeys(protocol.metrics, 1.0))


def test_stored_scores_of_the_first_tasks_stay_valid():
    """Their definitions are part of the key of every stored score: a field more would throw all of them away."""
    settings = {"task", "version", "data", "view", "protocol"}
    insertion, interactions = TASKS["scenes-insertion"].definition, TASKS["scenes-interactions"].definition
    assert set(insertion) - settings == {"variants", "removal", "text_removal", "permutations"}
    assert insertion["variants"] == ("image", "text", "joint", "joint_greedy")
    assert set(interactions) - settings == {"n_coalitions", "p", "removal", "text_removal"}
    assert (insertion["protocol"], interactions["protocol"]) == ("Perturbation", "InteractionFaithfulness")


@pytest.mark.parametrize("data", ["scenes", "phantoms", "coco"])
def test_every_data_set_with_captions_has_the_ablations(data):
    names = ("insertion-blur", "insertion-impute", "insertion-drop", "insertion-greedy", "confidence")
    names += ("interactions-p3", "interactions-p7", "interactions-shapley")
    assert all(TASKS[f"{data}-{name}"].view == "captions" for name in names)
