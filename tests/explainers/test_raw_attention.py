import pytest
import torch

from benchmark.encoders import Site
from benchmark.errors import InvalidInput, UnsupportedEncoder
from benchmark.explainers.raw_attention import RawAttention
from benchmark.explaining import explain
from tests.small_encoders import FAMILIES, huggingface_clip_encoder, picture, siglip_encoder


@pytest.mark.parametrize(("heads", "recorded_as"), [("one", "onehead"), ("model", "multihead")])
def test_the_image_map_equals_the_authors(recorded, heads, recorded_as):
    recorded.agrees(f"self_attention_image_{recorded_as}", recorded.explain("raw_attention", heads=heads).image)


@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_the_pooled_rows_of_traced_attention(family):
    encoder = FAMILIES[family]()
    pair = encoder.pair(picture(), "a red star")
    image = Site("image", "pool" if encoder.image.pooling == "attention" else 2, "attention")
    text = Site("text", 2, "attention")
    with torch.no_grad(), encoder.trace(image, text) as captured:
        encoder.embed_images(pair.pixel_values)
        encoder.embed_texts(pair.input_ids)
    read = int(encoder.read_positions(pair.input_ids)[0])
    explanation = explain(encoder, pair, "raw_attention")
    row = captured[image][0].mean(dim=0)[0, encoder.image.prefix :]
    assert explanation.image.ravel() == pytest.approx(row.numpy(), rel=1e-5)
    row = captured[text][0].mean(dim=0)[read, list(pair.token_positions)]
    assert explanation.text == pytest.approx(row.numpy(), rel=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("heads", ["one", "model"])
def test_attention_is_not_renormalised_after_special_tokens_are_dropped(family, heads):
    encoder = FAMILIES[family]()
    explanation = explain(encoder, encoder.pair(picture(), "a red star"), "raw_attention", heads=heads)
    total = explanation.image.sum()
    assert total == pytest.approx(1, abs=1e-5) if encoder.image.prefix == 0 else total < 1
    assert explanation.text.sum() < 1


@torch.no_grad()
def test_a_batch_of_images_equals_its_images_one_by_one(two_pairs):
    encoder = siglip_encoder()
    first, second, pixels, *_ = two_pairs(encoder)
    rows = RawAttention()._row(encoder.image, encoder.image_state(pixels))
    for row, pair in zip(rows, (first, second), strict=True):
        assert row.numpy() == pytest.approx(explain(encoder, pair, "raw_attention").image.ravel(), abs=1e-6)


def test_attention_pooling_is_said_to_be_read():
    assert RawAttention().adapted(siglip_encoder()) == "reads the attention pool"
    assert RawAttention().adapted(huggingface_clip_encoder()) is None


def test_mean_pooling_is_refused_in_one_sentence(mean_pooled):
    encoder, pair = mean_pooled
    with pytest.raises(UnsupportedEncoder, match=r"^raw attention follows the query .* pools by the mean$"):
        explain(encoder, pair, "raw_attention")


def test_impossible_heads_are_refused():
    with pytest.raises(InvalidInput, match="heads is 'one' or 'model'; got 'two'"):
        RawAttention(heads="two")
