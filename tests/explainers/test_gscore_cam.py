import pytest
import torch
from torch.nn import functional as F

from benchmark.errors import InvalidInput
from benchmark.explainers import gscore_cam
from benchmark.explainers.gscore_cam import GScoreCam
from benchmark.explaining import explain
from tests.small_encoders import FAMILIES, huggingface_clip_encoder, picture, siglip_encoder


def written_out(encoder, pair, n_channels):
    """One channel after the other, on the library's own forward pass."""
    hidden = encoder.model.vision_model(pair.pixel_values).last_hidden_state.detach().requires_grad_()
    text = encoder.embed_texts(pair.input_ids).detach()
    pooled = encoder.model.visual_projection(encoder.model.vision_model.post_layernorm(hidden[:, 0]))
    (gradient,) = torch.autograd.grad(F.cosine_similarity(pooled, text).sum(), [hidden])
    maps = hidden.detach()[0, 1:].T.view(-1, 1, 1, 4, 4)
    scores = torch.zeros(len(maps))
    for channel in sorted(range(len(maps)), key=lambda i: -float(gradient[0, 0, i]))[:n_channels]:
        mask = F.interpolate(maps[channel], size=(32, 32), mode="bilinear", align_corners=True)
        mask = (mask - mask.min()) / (mask.max() - mask.min() + 1e-6)
        with torch.no_grad():
            masked = encoder.library_image_embeddings(pair.pixel_values * mask)
        scores[channel] = encoder.logit_scale * F.cosine_similarity(masked, text)[0] + encoder.logit_bias
    return (scores.softmax(dim=0)[:, None, None] * maps[:, 0, 0]).sum(dim=0).relu().numpy()


@pytest.mark.parametrize("channels", [5, None])
def test_the_map_is_the_formula_written_out(channels):
    encoder = huggingface_clip_encoder()
    highest = []
    for seed in range(4):
        pair = encoder.pair(picture(seed), "a red star")
        expected = written_out(encoder, pair, channels)
        highest.append(expected.max())
        assert explain(encoder, pair, "gscore_cam", channels=channels).image == pytest.approx(expected, rel=1e-3, abs=1e-5)
    assert max(highest) > 0  # single maps may be zero everywhere


def test_more_channels_than_there_are_means_all():
    encoder = huggingface_clip_encoder()
    pair = encoder.pair(picture(), "a red star")
    assert explain(encoder, pair, "gscore_cam").to_bytes() == explain(encoder, pair, "gscore_cam", channels=None).to_bytes()


def test_scores_do_not_depend_on_the_batch(monkeypatch):
    encoder = huggingface_clip_encoder()
    pair = encoder.pair(picture(), "a red star")
    whole = explain(encoder, pair, "gscore_cam")
    monkeypatch.setattr(gscore_cam, "BATCH", 5)
    assert explain(encoder, pair, "gscore_cam").image == pytest.approx(whole.image, abs=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_maps_are_not_negative_and_the_similarity_is_the_encoders(family):
    encoder = FAMILIES[family]()
    pair = encoder.pair(picture(), "star")
    explanation = explain(encoder, pair, "gscore_cam", channels=8)
    assert (explanation.image >= 0).all()
    assert explanation.similarity == pytest.approx(encoder.similarity(pair), abs=1e-5)


def test_without_a_class_token_the_patches_gradients_choose():
    assert "mean gradient of the patches" in GScoreCam().adapted(siglip_encoder())
    assert GScoreCam().adapted(huggingface_clip_encoder()) is None


def test_no_channel_at_all_is_refused():
    with pytest.raises(InvalidInput, match="channels is at least 1"):
        GScoreCam(channels=0)
