"""Drop and increase on a small random encoder, whose similarity under a mask is known from its own pixels."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmark.data.base import Sample
from benchmark.explanations import Explanation
from benchmark.metrics import confidence
from benchmark.metrics.confidence import KINDS
from benchmark.tasks.base import Evaluation
from benchmark.tasks.confidence import Confidence, multiplied
from tests.small_encoders import FAMILIES, huggingface_clip_encoder, picture


@pytest.fixture
def evaluation():
    sample = Sample(id="one", image=picture(), text="a red star", cluster="one", phrases=())
    return Evaluation(huggingface_clip_encoder(), sample)


def text_embedding(evaluation):
    with torch.no_grad():
        return evaluation.encoder.embed_texts(evaluation.pair.input_ids)[0].numpy()


def test_every_kind_is_scored_and_matches_the_pixels(evaluation):
    encoder, pair = evaluation.encoder, evaluation.pair
    heat, words = np.random.default_rng(0).standard_normal(encoder.patch_grid), np.array([3.0, 1.0, 2.0])
    scores = Confidence().score(Explanation(image=heat, text=words), evaluation)
    assert set(scores) == set(Confidence().metrics)
    soft = torch.from_numpy((heat - heat.min()) / np.ptp(heat)).float()[None, None]
    pixels = pair.pixel_values * F.interpolate(soft, scale_factor=8, mode="bilinear", align_corners=False)
    with torch.no_grad():
        after = float((encoder.embed_images(pixels) @ encoder.embed_texts(pair.input_ids).T)[0, 0])
    assert scores["drop_image"].value == pytest.approx(100 * max(0.0, encoder.similarity(pair) - after), abs=1e-3)
    assert pair.token_positions == (1, 2, 3)
    keep = torch.ones(1, pair.input_ids.shape[1], dtype=torch.bool)
    keep[0, [2, 3]] = False
    with torch.no_grad():
        after = float((encoder.embed_images(pair.pixel_values) @ encoder.embed_texts(pair.input_ids, keep).T)[0, 0])
    assert scores["drop_text"].value == pytest.approx(100 * max(0.0, encoder.similarity(pair) - after), abs=1e-3)
    assert scores["increase_text"].value == 100 * (after - encoder.similarity(pair) > confidence.MARGIN)


def test_fixed_mass_keeps_the_top_patches(evaluation):
    heat = np.arange(16.0).reshape(4, 4)
    scores = Confidence().score(Explanation(image=heat), evaluation)
    kept = np.zeros((1, evaluation.game().n_players), dtype=bool)
    kept[:, 12:] = True  # 25 % of 16 patches, and the whole text
    fall = evaluation.encoder.similarity(evaluation.pair) - evaluation.game().values(kept)[0]
    assert scores["drop_image_top25"].value == pytest.approx(100 * max(0.0, fall), abs=1e-3)


def test_a_side_without_scores_says_so(evaluation):
    scores = Confidence().score(Explanation(text=np.array([1.0, 2.0, 3.0])), evaluation)
    assert {name for name, score in scores.items() if isinstance(score, str)} == {
        f"{name}_{kind}" for kind in KINDS if kind != "text" for name in ("drop", "increase")
    }


def test_a_constant_map_scores_what_a_failure_does(evaluation):
    protocol = Confidence()
    constant = Explanation(image=np.ones((4, 4)), text=np.full(3, 0.2))
    chance = protocol.chance(evaluation)
    assert set(chance) == set(protocol.metrics)
    for name, score in protocol.score(constant, evaluation).items():
        assert not isinstance(score, str)
        assert score.degenerate
        assert score.value == score.chance == chance[name]


def test_the_all_ones_control_changes_nothing_and_the_all_half_control_does(evaluation):
    text = text_embedding(evaluation)
    whole = evaluation.encoder.similarity(evaluation.pair)
    ones, half, none = multiplied(evaluation, np.stack([np.full((4, 4), x) for x in (1.0, 0.5, 0.0)]), text)
    assert confidence.drop(whole, np.array([ones])) == pytest.approx(0, abs=1e-3)
    assert confidence.increase(whole, np.array([ones])) == 0
    assert abs(half - whole) > 1e-4
    empty = np.zeros((1, evaluation.encoder.n_patches), dtype=bool)
    game = evaluation.game()
    assert none == pytest.approx(game.cross_values(empty, np.ones((1, game.n_tokens), dtype=bool))[0, 0], abs=1e-5)


def test_random_maps_score_the_random_control(evaluation):
    protocol = Confidence(controls=200)
    chance, rng = protocol.chance(evaluation), np.random.default_rng(5)
    found = [protocol.score(Explanation(image=rng.random((4, 4)), text=rng.random(3)), evaluation) for _ in range(200)]
    for name in ("drop_image", "drop_text", "drop_image_top25", "drop_image_top50"):
        values = np.array([scores[name].value for scores in found])
        assert abs(values.mean() - chance[name]) < 4 * values.std() * np.sqrt(2 / 200) + 1e-4


def test_an_informed_map_drops_less_than_its_opposite(evaluation):
    game = evaluation.game()
    drops = game.values(np.ones((1, game.n_players), dtype=bool))[0] - game.values(~np.eye(game.n_players, dtype=bool))
    heat = drops[: game.n_patches].reshape(4, 4)
    right, wrong = (Confidence().score(Explanation(image=sign * heat), evaluation) for sign in (1, -1))
    assert right["drop_image_top50"].value < wrong["drop_image_top50"].value


def test_every_method_meets_the_same_chance():
    encoder = huggingface_clip_encoder()
    sample = Sample(id="one", image=picture(), text="a red star", cluster="one", phrases=())
    first, second = (Confidence().chance(Evaluation(encoder, sample)) for _ in range(2))
    assert first == pytest.approx(second, abs=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_and_a_single_token_can_be_scored(family):
    evaluation = Evaluation(FAMILIES[family](), Sample(id="x", image=picture(), text="star", cluster="x", phrases=()))
    scores = Confidence().score(Explanation(image=np.eye(4), text=np.array([1.0])), evaluation)
    assert all(np.isfinite(score.value) for score in scores.values())
    assert scores["drop_text"].degenerate
