import pytest
import torch
from torch.nn import functional as F

from benchmark.errors import UnsupportedEncoder
from benchmark.explainers.mask_clip import MaskClip
from benchmark.explaining import explain
from tests.small_encoders import huggingface_clip_encoder, picture, siglip_encoder


@pytest.mark.parametrize("recorded_as", ["onehead", "multihead"])  # the same map: neither keys nor values know of heads
def test_the_map_with_key_weights_equals_the_authors(recorded, recorded_as):
    recorded.agrees(f"mask_clip_image_{recorded_as}", recorded.explain("mask_clip", key_weight=True).image)


@torch.no_grad()
def test_the_map_is_the_value_path_through_the_librarys_own_modules():
    encoder = huggingface_clip_encoder()
    pair = encoder.pair(picture(), "a red star")
    vision = encoder.model.vision_model
    hidden = vision(pair.pixel_values, output_hidden_states=True).hidden_states[-2]
    block = vision.encoder.layers[-1]
    hidden = hidden + block.self_attn.out_proj(block.self_attn.v_proj(block.layer_norm1(hidden)))
    hidden = hidden + block.mlp(block.layer_norm2(hidden))
    dense = F.normalize(encoder.model.visual_projection(vision.post_layernorm(hidden)), dim=-1)
    expected = (dense[0, 1:] @ encoder.embed_texts(pair.input_ids)[0]).view(4, 4)
    explanation = explain(encoder, pair, "mask_clip")
    assert explanation.image == pytest.approx(expected.numpy(), abs=1e-5)
    assert explanation.text is None


@torch.no_grad()
def test_with_attention_pooling_each_patch_is_pooled_alone():
    encoder = siglip_encoder()
    pair = encoder.pair(picture(), "a red star")
    tokens = encoder.model.vision_model(pair.pixel_values).last_hidden_state
    alone = torch.cat([encoder.model.vision_model.head(tokens[:, i : i + 1]) for i in range(16)])
    expected = (F.normalize(alone, dim=-1) @ encoder.embed_texts(pair.input_ids)[0]).view(4, 4)
    assert explain(encoder, pair, "mask_clip").image == pytest.approx(expected.numpy(), abs=1e-5)
    assert MaskClip().adapted(encoder) == "each patch is sent through the attention pool alone"
    assert MaskClip().adapted(huggingface_clip_encoder()) is None


@torch.no_grad()
def test_a_batch_of_images_equals_its_images_one_by_one(two_pairs):
    encoder = huggingface_clip_encoder()
    first, second, pixels, _, texts = two_pairs(encoder)
    tokens, _ = MaskClip()._dense(encoder.image, encoder.image_state(pixels))
    rows = torch.einsum("bpd,bd->bp", F.normalize(tokens, dim=-1), texts)[:, 1:]
    for row, pair in zip(rows, (first, second), strict=True):
        assert row.numpy() == pytest.approx(explain(encoder, pair, "mask_clip").image.ravel(), abs=1e-5)


def test_mean_pooling_is_served_as_its_tokens_are_in_the_shared_space(mean_pooled):
    encoder, pair = mean_pooled
    explanation = explain(encoder, pair, "mask_clip")
    assert explanation.image.shape == encoder.patch_grid
    assert abs(explanation.image).max() <= 1 + 1e-6


def test_key_weights_are_refused_without_a_class_token():
    encoder = siglip_encoder()
    with pytest.raises(UnsupportedEncoder, match="key_weight compares keys with the class token's; this tower has none"):
        explain(encoder, encoder.pair(picture(), "a red star"), "mask_clip", key_weight=True)
