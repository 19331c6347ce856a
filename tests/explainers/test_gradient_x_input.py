"""Gradient x input is the slope of the cosine as the input is scaled."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from benchmark.encoders import wrap_encoder
from benchmark.explainers.gradient_x_input import GradientXInput
from tests.golden_models import golden_inputs, huggingface_clip, open_clip_clip

STEP = 1e-2  # a central difference in single precision: rounding and curvature both stay near 1e-5


@pytest.fixture(scope="module", params=[huggingface_clip, open_clip_clip])
def encoder(request):
    return wrap_encoder(request.param(1))


@pytest.fixture(scope="module")
def pair(encoder):
    return encoder.pair_from_tensors(*golden_inputs(1))


@pytest.fixture(scope="module")
def explanation(encoder, pair):
    found = GradientXInput().explain(encoder, pair, np.random.default_rng(0))
    found.check(encoder.patch_grid, pair.n_tokens)
    return found


@torch.no_grad()
def test_a_patch_scores_the_slope_of_the_cosine_as_its_pixels_are_scaled(encoder, pair, explanation):
    text = encoder.embed_texts(pair.input_ids)[0]
    scaled = pair.pixel_values.repeat(2, 1, 1, 1)
    scaled[0, :, 16:32, 32:48] *= 1 + STEP
    scaled[1, :, 16:32, 32:48] *= 1 - STEP
    above, below = (encoder.embed_images(scaled) @ text).tolist()
    assert explanation.image[1, 2] == pytest.approx((above - below) / (2 * STEP), abs=1e-4)


@torch.no_grad()
def test_a_token_scores_the_slope_of_the_cosine_as_its_embedding_is_scaled(encoder, pair, explanation):
    image = encoder.embed_images(pair.pixel_values)[0]
    tokens = encoder.text_tokens(pair.input_ids).repeat(2, 1, 1)
    tokens[0, 4] *= 1 + STEP
    tokens[1, 4] *= 1 - STEP
    state = encoder.text_state(pair.input_ids.repeat(2, 1)).at(encoder.text.embed(tokens, None))
    above, below = (F.normalize(encoder.text.encode(state), dim=-1) @ image).tolist()
    assert explanation.text[3] == pytest.approx((above - below) / (2 * STEP), abs=1e-4)


def test_a_patch_of_zeros_scores_zero(encoder, pair, explanation):
    pixels = pair.pixel_values.clone()
    pixels[:, :, :16, :16] = 0
    image = GradientXInput().explain(encoder, encoder.pair_from_tensors(pixels, pair.input_ids), np.random.default_rng(0)).image
    assert image[0, 0] == 0
    assert (explanation.image != 0).all()
    assert explanation.similarity == pytest.approx(encoder.similarity(pair), abs=1e-6)
