"""Integrated gradients add up to differences of the cosine."""

import numpy as np
import pytest
import torch

from benchmark.encoders import wrap_encoder
from benchmark.errors import InvalidInput
from benchmark.explainers.integrated_gradients import IntegratedGradients, padding_id, patch_sums
from tests.golden_models import golden_inputs, huggingface_clip, open_clip_clip


@pytest.fixture(scope="module", params=[huggingface_clip, open_clip_clip])
def encoder(request):
    return wrap_encoder(request.param(1))


@pytest.fixture(scope="module")
def pair(encoder):
    return encoder.pair_from_tensors(*golden_inputs(1))


def explain(encoder, pair, **parameters):
    return IntegratedGradients(**parameters).explain(encoder, pair, np.random.default_rng(0))


def test_each_side_sums_to_its_own_difference_in_cosine(encoder, pair):
    explanation = explain(encoder, pair, steps=100)
    explanation.check(encoder.patch_grid, pair.n_tokens)
    with torch.no_grad():
        image, dark = encoder.embed_images(torch.cat([pair.pixel_values, torch.zeros_like(pair.pixel_values)]))
        text = encoder.embed_texts(pair.input_ids)[0]
    assert explanation.image.sum() == pytest.approx(float((image - dark) @ text), abs=2e-3)
    assert abs(explanation.notes["image_gap"]) < 2e-3
    assert abs(explanation.notes["text_gap"]) < 2e-3
    assert explanation.similarity == pytest.approx(encoder.similarity(pair), abs=1e-6)
    assert explanation.players is None


def test_gaps_shrink_with_the_number_of_steps(encoder, pair):
    few, many = explain(encoder, pair, steps=3).notes, explain(encoder, pair, steps=60).notes
    assert abs(many["image_gap"]) < abs(few["image_gap"])
    assert abs(many["text_gap"]) < abs(few["text_gap"])


def test_a_joint_line_puts_both_sides_on_one_scale(encoder, pair):
    explanation = explain(encoder, pair, steps=100, joint=True)
    everything = np.ones((1, len(explanation.players.main)), dtype=bool)
    assert explanation.predict(everything)[0] == pytest.approx(explanation.similarity, abs=3e-3)
    assert explanation.predict(everything)[0] - explanation.similarity == pytest.approx(explanation.notes["gap"], abs=1e-9)
    np.testing.assert_array_equal(np.concatenate([explanation.image.ravel(), explanation.text]), explanation.players.main)


def test_scores_are_the_published_sum_over_pixels(encoder, pair):
    steps = 4
    text = encoder.embed_texts(pair.input_ids)[0].detach()
    total = torch.zeros_like(pair.pixel_values)
    for k in range(steps):
        point = ((k + 0.5) / steps * pair.pixel_values).requires_grad_()
        (gradient,) = torch.autograd.grad(encoder.embed_images(point)[0] @ text, point)
        total += gradient / steps
    wanted = (total * pair.pixel_values)[0].sum(dim=0).reshape(6, 16, 6, 16).sum(dim=(1, 3))
    np.testing.assert_allclose(explain(encoder, pair, steps=steps).image, wanted.numpy(), rtol=0, atol=1e-6)


def test_a_token_that_equals_its_baseline_scores_zero(encoder, pair):
    ids = pair.input_ids.clone()
    ids[0, 3] = padding_id(encoder)
    text = explain(encoder, encoder.pair_from_tensors(pair.pixel_values, ids), steps=3, text_baseline="padding").text
    assert text[2] == 0
    assert (np.delete(text, 2) != 0).all()


def test_the_neutral_baseline_is_the_mask_word_or_zeros(encoder, pair, monkeypatch):
    zeros = explain(encoder, pair, steps=2, text_baseline="zeros").text
    np.testing.assert_array_equal(explain(encoder, pair, steps=2).text, zeros)  # this vocabulary has no mask word
    monkeypatch.setattr(type(encoder), "mask_token_id", int(pair.input_ids[0, 1]))
    masked = explain(encoder, pair, steps=2).text
    assert masked[0] == 0
    assert not np.allclose(masked, zeros)


def test_pixels_beyond_the_last_whole_patch_are_left_out():
    pixels = torch.ones(3, 7, 9)
    pixels[:, 6:] = pixels[:, :, 8:] = 100.0
    np.testing.assert_array_equal(patch_sums(pixels, (3, 4)), np.full((3, 4), 12.0))


def test_no_gradient_is_left_on_the_weights(encoder, pair):
    explain(encoder, pair, steps=1)
    assert all(parameter.grad is None for parameter in encoder.model.parameters())


@pytest.mark.parametrize("parameters", [{"steps": 0}, {"text_baseline": "mean"}])
def test_impossible_parameters_are_refused(parameters):
    with pytest.raises(InvalidInput):
        IntegratedGradients.configure(parameters)
