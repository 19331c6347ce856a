import numpy as np
import pytest
import torch

from benchmark.encoders import Site
from benchmark.errors import InvalidInput, UnsupportedEncoder
from benchmark.explainers.reading import patches
from benchmark.explainers.transformer_mm import TransformerMm
from benchmark.explaining import explain
from tests.small_encoders import huggingface_clip_encoder, open_clip_encoder, picture, siglip_encoder


@pytest.mark.parametrize(("start_layer", "kept"), [(-1, "last"), (0, "all")])
def test_both_sides_equal_the_authors(recorded, start_layer, kept):
    explanation = recorded.explain("transformer_mm", start_layer=start_layer)
    recorded.agrees(f"game_image_{kept}", explanation.image)
    recorded.agrees(f"game_text_{kept}", explanation.text)


def weighted_attention(encoder, pair, *layers):
    """Positive gradient-weighted attention of image blocks, heads averaged, through the encoder's own forward pass."""
    sites = [Site("image", layer, "attention") for layer in layers]
    text = encoder.embed_texts(pair.input_ids).detach()
    with encoder.trace(*sites) as captured:
        logit = encoder.logit_scale * (encoder.embed_images(pair.pixel_values) * text).sum()
        gradients = torch.autograd.grad(logit, [captured[site] for site in sites])
    return [(g * captured[site]).relu().mean(dim=1)[0].detach() for g, site in zip(gradients, sites, strict=True)]


@pytest.mark.parametrize("make", [huggingface_clip_encoder, open_clip_encoder])
def test_with_one_block_the_map_is_the_class_tokens_row_of_weighted_attention(make):
    encoder = make()
    pair = encoder.pair(picture(), "a red star")
    (last,) = weighted_attention(encoder, pair, 2)
    image = explain(encoder, pair, "transformer_mm").image
    assert image.ravel() == pytest.approx(last[0, 1:].numpy(), rel=1e-4, abs=1e-7)
    assert image.max() > 0


def test_an_attention_pool_mixes_the_rows_of_the_blocks():
    encoder = siglip_encoder()
    pair = encoder.pair(picture(), "a red star")
    pool, last = weighted_attention(encoder, pair, "pool", 2)
    expected = pool[0] @ (torch.eye(16) + last)
    explanation = explain(encoder, pair, "transformer_mm")
    assert explanation.image.ravel() == pytest.approx(expected.numpy(), rel=1e-4, abs=1e-7)
    assert "attention pool" in TransformerMm().adapted(encoder)
    assert TransformerMm().adapted(huggingface_clip_encoder()) is None


@pytest.mark.parametrize("make", [huggingface_clip_encoder, siglip_encoder])
def test_scores_are_finite_not_negative_and_explain_the_encoders_similarity(make):
    encoder = make()
    pair = encoder.pair(picture(), "star")  # one token
    for start_layer in (-1, 0):
        explanation = explain(encoder, pair, "transformer_mm", start_layer=start_layer)
        assert (explanation.image >= 0).all()
        assert (explanation.text >= 0).all()
        assert explanation.similarity == pytest.approx(encoder.similarity(pair), abs=1e-5)


def test_a_batch_of_images_equals_its_images_one_by_one(two_pairs):
    encoder, explainer = huggingface_clip_encoder(), TransformerMm(start_layer=0)
    first, second, pixels, _, texts = two_pairs(encoder)
    rows, _ = explainer._relevance(encoder.image, encoder.image_state(pixels), texts, encoder.logit_scale)
    for image, pair in zip(patches(encoder, rows), (first, second), strict=True):
        assert image == pytest.approx(explain(encoder, pair, "transformer_mm", start_layer=0).image, abs=1e-5)


def test_the_scale_of_the_target_changes_the_map_of_many_blocks_alone():
    encoder, explainers = huggingface_clip_encoder(), (TransformerMm(start_layer=-1), TransformerMm(start_layer=0))
    pair = encoder.pair(picture(), "a red star")
    text = encoder.embed_texts(pair.input_ids).detach()
    maps = [
        [
            explainer._relevance(encoder.image, encoder.image_state(pair.pixel_values), text, scale)[0][0, 1:]
            for scale in (1, 100)
        ]
        for explainer in explainers
    ]
    last, every = (float(np.corrcoef(low.numpy(), high.numpy())[0, 1]) for low, high in maps)
    assert last == pytest.approx(1, abs=1e-5)
    assert every < 0.999


def test_mean_pooling_is_refused_in_one_sentence(mean_pooled):
    encoder, pair = mean_pooled
    with pytest.raises(UnsupportedEncoder, match=r"^GAME follows the query .* pools by the mean$"):
        explain(encoder, pair, "transformer_mm")


def test_a_block_that_is_not_there_is_refused():
    encoder = huggingface_clip_encoder()
    with pytest.raises(InvalidInput, match="start_layer -4 is no block of a tower of 3"):
        explain(encoder, encoder.pair(picture(), "a red star"), "transformer_mm", start_layer=-4)
