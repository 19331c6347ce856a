import pytest
import torch
from torch.nn import functional as F

from benchmark.errors import InvalidInput, UnsupportedEncoder
from benchmark.explainers.clip_surgery import ClipSurgery, difference_to_empty, feature_surgery, imagenet_templates
from benchmark.explainers.passes import Batch
from benchmark.explaining import explain
from tests.small_encoders import huggingface_clip_encoder, open_clip_encoder, picture, siglip_encoder


@torch.no_grad()
def test_tokens_equal_the_authors(recorded):
    tokens, _ = ClipSurgery().surgery_tokens(recorded.encoder, recorded.pair.pixel_values)
    recorded.agrees("clip_surgery_tokens", tokens[0])


@pytest.mark.parametrize(("norm", "suffix"), [("token", ""), ("channel", "_channelnorm")])
@torch.no_grad()
def test_feature_surgery_over_four_texts_equals_the_authors(recorded, norm, suffix):
    tokens, pooled = ClipSurgery().surgery_tokens(recorded.encoder, recorded.pair.pixel_values)
    texts = recorded.encoder.embed_texts(torch.from_numpy(recorded.outputs["clip_surgery_texts"]).long())
    recorded.agrees(f"clip_surgery_similarity_4texts{suffix}", feature_surgery(tokens, pooled, texts, norm)[0])


@torch.no_grad()
def test_one_text_less_the_empty_one_equals_the_authors(recorded):
    explainer = ClipSurgery(norm="token")
    tokens, _ = explainer.surgery_tokens(recorded.encoder, recorded.pair.pixel_values)
    text = recorded.encoder.embed_texts(recorded.pair.input_ids)
    empty = explainer._empty_embeddings(recorded.encoder, Batch.stack([recorded.pair]))
    key = "clip_surgery_similarity_1text_minus_empty"
    recorded.agrees(key, difference_to_empty(tokens, text, empty, "token")[0][:, None])
    image = recorded.explain("clip_surgery", norm="token").image
    assert image.ravel() == pytest.approx(recorded.outputs[key][1:, 0], abs=1e-4 * float(abs(recorded.outputs[key]).max()))


@pytest.mark.parametrize("make", [huggingface_clip_encoder, open_clip_encoder])
@pytest.mark.parametrize("blocks", [0, 1, 6])
@torch.no_grad()
def test_the_first_token_is_the_models_own_embedding(make, blocks):
    encoder = make()
    pair = encoder.pair(picture(), "a red star")
    tokens, pooled = ClipSurgery(blocks=blocks).surgery_tokens(encoder, pair.pixel_values)
    own = encoder.library_image_embeddings(pair.pixel_values)
    assert tokens[0, 0].numpy() == pytest.approx(own[0].numpy(), abs=1e-4)
    assert pooled.numpy() == pytest.approx(own.numpy(), abs=1e-4)


@torch.no_grad()
def test_without_altered_blocks_all_tokens_are_the_plain_ones():
    encoder = huggingface_clip_encoder()
    pair = encoder.pair(picture(), "a red star")
    tokens, _ = ClipSurgery(blocks=0).surgery_tokens(encoder, pair.pixel_values)
    vision = encoder.model.vision_model
    plain = encoder.model.visual_projection(vision.post_layernorm(vision(pair.pixel_values).last_hidden_state))
    assert tokens.numpy() == pytest.approx(plain.numpy(), abs=1e-4)


def test_what_all_texts_share_is_removed():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(1, 5, 8, generator=generator)
    texts = F.normalize(torch.randn(3, 8, generator=generator), dim=-1)
    similarity = feature_surgery(tokens, tokens[:, 0], texts, "channel")
    assert similarity.sum(dim=2).numpy() == pytest.approx(torch.zeros(1, 5).numpy(), abs=1e-5)
    alike = texts[:1].expand(3, -1)
    assert feature_surgery(tokens, tokens[:, 0], alike, "channel").abs().max() < 1e-6


def test_feature_surgery_needs_a_second_text():
    with pytest.raises(InvalidInput, match="needs at least two texts; with one, nothing is left"):
        feature_surgery(torch.randn(1, 3, 4), torch.randn(1, 4), torch.randn(1, 4), "channel")


def test_other_texts_change_the_map():
    encoder = huggingface_clip_encoder()
    pair = encoder.pair(picture(), "a red star")
    alone, among = (
        explain(encoder, pair, "clip_surgery"),
        explain(encoder, pair, "clip_surgery", texts=("a blue circle", "left")),
    )
    assert among.image.shape == (4, 4)
    assert (among.image != alone.image).all()


@torch.no_grad()
def test_the_empty_text_is_the_pairs_without_its_words():
    for encoder in (huggingface_clip_encoder(), open_clip_encoder(), siglip_encoder()):
        pair = encoder.pair(picture(), "a red star")
        empty = torch.tensor([encoder.tokenize("").ids])
        ours = ClipSurgery()._empty_embeddings(encoder, Batch.stack([pair]))
        assert ours.numpy() == pytest.approx(encoder.embed_texts(empty).numpy(), abs=1e-5), encoder.name
        full = encoder.pair(picture(), " ".join(["red"] * (12 if encoder.family == "siglip" else 10)), truncate=True)
        again = ClipSurgery()._empty_embeddings(encoder, Batch.stack([full]))
        assert again.numpy() == pytest.approx(ours.numpy(), abs=1e-5), encoder.name


def test_there_are_85_prompts():
    prompts = imagenet_templates()
    assert len(set(prompts)) == 85
    assert all("{}" in prompt for prompt in prompts)
    assert "there is the {} in the scene." in prompts


@torch.no_grad()
def test_a_batch_of_images_equals_its_images_one_by_one(two_pairs):
    encoder = huggingface_clip_encoder()
    first, second, pixels, *_ = two_pairs(encoder)
    tokens, _ = ClipSurgery().surgery_tokens(encoder, pixels)
    for i, pair in enumerate((first, second)):
        assert tokens[i].numpy() == pytest.approx(
            ClipSurgery().surgery_tokens(encoder, pair.pixel_values)[0][0].numpy(), abs=1e-5
        )


def test_attention_pooling_is_refused_unless_the_extension_is_named():
    encoder = siglip_encoder()
    pair = encoder.pair(picture(), "a red star")
    with pytest.raises(UnsupportedEncoder, match=r"^CLIP Surgery reads a class token; this tower pools by attention$"):
        explain(encoder, pair, "clip_surgery")
    for texts in ((), ("a blue circle",)):
        assert explain(encoder, pair, "clip_surgery", variant="map", texts=texts).image.shape == (4, 4)
    clip = huggingface_clip_encoder()
    with pytest.raises(UnsupportedEncoder, match="this tower pools by its class token"):
        explain(clip, clip.pair(picture(), "a red star"), "clip_surgery", variant="map")


@pytest.mark.parametrize("wrong", [{"norm": "none"}, {"templates": "all"}, {"variant": "mean"}, {"blocks": -1}])
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        ClipSurgery(**wrong)
