"""The golden model built in each library is the recorded one."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.golden_models import golden_inputs, huggingface_clip, open_clip_clip


def embeddings_huggingface(seed):
    pixels, ids = golden_inputs(seed)
    outputs = huggingface_clip(seed)(pixel_values=pixels, input_ids=ids)
    return outputs.image_embeds[0], outputs.text_embeds[0]


def embeddings_open_clip(seed):
    pixels, ids = golden_inputs(seed)
    model = open_clip_clip(seed)
    return F.normalize(model.encode_image(pixels)[0], dim=-1), F.normalize(model.encode_text(ids)[0], dim=-1)


@pytest.mark.parametrize("library", [embeddings_huggingface, embeddings_open_clip])
@pytest.mark.parametrize("seed", [1, 2])
@torch.no_grad()
def test_the_golden_model_reproduces_the_recorded_embeddings(golden, library, seed):
    recorded = golden(f"clip_small_seed{seed}")
    image, text = (embedding.numpy() for embedding in library(seed))
    np.testing.assert_allclose(image, recorded["image_embedding"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(text, recorded["text_embedding"], rtol=0, atol=1e-5)
    assert float(image @ text) == pytest.approx(float(recorded["cosine"]), abs=1e-5)


@pytest.mark.parametrize("build", [huggingface_clip, open_clip_clip])
def test_the_golden_model_is_in_eval_mode_and_single_precision(build):
    model = build(1)
    assert not model.training
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
