"""Protocols on a planted encoder whose similarity is a known sum, and on explanations made by hand."""

import numpy as np
import pytest

from benchmark.data.base import DATASETS, Phrase, Region, Sample
from benchmark.errors import UnknownName
from benchmark.explanations import Explanation, Players
from benchmark.metrics.base import METRICS
from benchmark.tasks import TASKS
from benchmark.tasks.base import Evaluation
from benchmark.tasks.protocols import InteractionFaithfulness, Localisation, Perturbation, protocols_for
from tests.small_encoders import huggingface_clip_encoder, picture

TEXT = "a red star"


def sample(*phrases):
    return Sample(id="one", image=picture(), text=TEXT, cluster="one", phrases=phrases)


def phrase(box, span=(2, 10)):
    return Phrase(span=span, region=Region(boxes=np.array([box], dtype=float)))


@pytest.fixture(scope="module")
def encoder():
    return huggingface_clip_encoder()


@pytest.fixture
def corner(encoder):
    """A sample whose phrase is about the patch at the top left, as the encoder sees it."""
    geometry = encoder.pair(picture(), TEXT).geometry
    size = geometry.patch_size
    x0, y0 = (-geometry.offset[0] / geometry.scale[0], -geometry.offset[1] / geometry.scale[1])
    return Evaluation(encoder, sample(phrase((x0, y0, x0 + size / geometry.scale[0], y0 + size / geometry.scale[1]))))


def one_hot(grid, row=0, column=0):
    heat = np.zeros(grid)
    heat[row, column] = 1.0
    return heat


def test_a_map_on_the_object_hits_and_one_beside_it_does_not(encoder, corner):
    protocol = Localisation()
    right = protocol.score(Explanation(image=one_hot(encoder.patch_grid)), corner)
    wrong = protocol.score(Explanation(image=one_hot(encoder.patch_grid, -1, -1)), corner)
    assert right["pointing_hit"].value == pytest.approx(1.0)
    assert right["pointing_energy"].value == pytest.approx(1.0)
    assert wrong["pointing_hit"].value == pytest.approx(0.0)


def test_a_constant_map_scores_what_a_failure_does(encoder, corner):
    protocol = Localisation()
    scores = protocol.score(Explanation(image=np.ones(encoder.patch_grid)), corner)
    for name, chance in protocol.chance(corner).items():
        assert scores[name].degenerate
        assert scores[name].value == pytest.approx(chance)


def test_a_span_reads_its_own_tokens(encoder, corner):
    n_tokens = corner.pair.n_tokens
    cross = np.zeros((*encoder.patch_grid, n_tokens))
    cross[0, 0, corner.pair.tokens_of((2, 10))[0]] = 1.0  # on the object, for a word of the phrase
    cross[-1, -1, corner.pair.tokens_of((0, 1))[0]] = 5.0  # elsewhere, for another word
    scores = Localisation(read="span").score(Explanation(cross=cross), corner)
    assert scores["pointing_hit"].value == pytest.approx(1.0)
    assert scores["pointing_hit"].flags["token_blind"] == 0.0


def test_a_map_without_tokens_is_scored_for_every_phrase_and_said_to_be_blind(encoder, corner):
    scores = Localisation(read="span").score(Explanation(image=one_hot(encoder.patch_grid)), corner)
    assert scores["pointing_hit"].flags["token_blind"] == 1.0


def test_a_text_explanation_has_nothing_to_localise(corner):
    scores = Localisation().score(Explanation(text=np.ones(corner.pair.n_tokens)), corner)
    assert all(isinstance(score, str) for score in scores.values())


@pytest.mark.parametrize("phrases", [(), (phrase((-90.0, -90.0, -80.0, -80.0)),), (phrase((0.0, 0.0, 500.0, 500.0)),)])
def test_samples_without_a_usable_region_are_excluded(encoder, phrases):
    assert Localisation().excluded(Evaluation(encoder, sample(*phrases)))


def test_the_game_itself_has_the_best_image_area_of_some_random_orders(encoder):
    evaluation = Evaluation(encoder, sample())
    game = evaluation.game()
    drops = game.values(np.ones((1, game.n_players), dtype=bool))[0] - game.values(~np.eye(game.n_players, dtype=bool))
    rng = np.random.default_rng(0)
    protocol = Perturbation(variants=("image",))

    def area(heat):
        return protocol.score(Explanation(image=heat.reshape(encoder.patch_grid)), evaluation)["area_image"].value

    informed = area(drops[: game.n_patches])
    assert informed > np.mean([area(rng.standard_normal(game.n_patches)) for _ in range(20)])
    assert area(np.ones(game.n_patches)) == 0.0


def test_greedy_without_pairs_is_the_joint_ranking(encoder):
    evaluation = Evaluation(encoder, sample())
    n = evaluation.game().n_players
    players = Players(np.random.default_rng(1).standard_normal(n))
    scores = Perturbation().score(Explanation.from_players(players, encoder.patch_grid), evaluation)
    for name in ("insertion", "deletion", "area"):
        assert scores[f"{name}_joint_greedy"].value == pytest.approx(scores[f"{name}_joint"].value)


def test_the_exact_surrogate_of_the_held_out_game_is_faithful(encoder):
    protocol, evaluation = InteractionFaithfulness(n_coalitions=64), Evaluation(encoder, sample())
    coalitions, values = protocol._held_out(evaluation)
    assert len(np.unique(coalitions, axis=0)) == 64
    kept = np.column_stack([np.ones(64), coalitions])
    weights = np.linalg.lstsq(kept, values, rcond=None)[0]
    fitted = Players(weights[1:], empty=float(weights[0]))
    scores = protocol.score(Explanation.from_players(fitted, encoder.patch_grid), evaluation)
    shifted = Explanation(
        image=weights[1:10].reshape(encoder.patch_grid) if encoder.n_patches == 9 else np.eye(*encoder.patch_grid)
    )
    assert scores["faithfulness_r2"].value == pytest.approx(np.corrcoef(kept @ weights, values)[0, 1] ** 2, abs=1e-6)
    assert isinstance(protocol.score(shifted, evaluation)["faithfulness_r2"], str)


def test_constant_maps_predict_nothing(encoder):
    evaluation = Evaluation(encoder, sample())
    constant = Explanation(image=np.ones(encoder.patch_grid), text=np.ones(evaluation.pair.n_tokens))
    for score in InteractionFaithfulness(n_coalitions=16).score(constant, evaluation).values():
        assert score.degenerate
        assert score.value == 0.0


def test_all_methods_meet_the_same_coalitions_and_orders(encoder):
    protocol = InteractionFaithfulness(n_coalitions=16)
    first, second = (protocol._held_out(Evaluation(encoder, sample())) for _ in range(2))
    assert np.array_equal(first[0], second[0])
    assert np.allclose(first[1], second[1])


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_a_task_names_known_data_and_metrics(task):
    assert task.data in DATASETS
    assert task.id.startswith(f"{task.data}-")
    assert {metric.name for metric in task.metrics} <= set(METRICS)
    assert task.definition["version"] == task.version


def test_metrics_lead_to_their_protocols():
    assert [type(protocol) for protocol in protocols_for(["area_image"])] == [Perturbation]
    with pytest.raises(UnknownName, match="pointing_hit"):
        protocols_for(["pointing_hits"])
