import pytest
import torch

from benchmark.encoders import Site
from benchmark.errors import InvalidInput, UnsupportedEncoder
from benchmark.explainers.reading import patches
from benchmark.explainers.rollout import Rollout
from benchmark.explaining import explain
from tests.small_encoders import FAMILIES, huggingface_clip_encoder, picture, siglip_encoder


def test_the_image_map_equals_the_authors(recorded):
    recorded.agrees("rollout_image", recorded.explain("rollout").image)


@pytest.mark.parametrize("start_layer", [0, -1])
@pytest.mark.parametrize("family", FAMILIES)
@torch.no_grad()
def test_rows_over_all_positions_sum_to_one(family, start_layer):
    encoder = FAMILIES[family]()
    pair = encoder.pair(picture(), "a red star")
    explainer = Rollout(start_layer=start_layer)
    image = explainer._rolled(encoder.image, encoder.image_state(pair.pixel_values))
    text = explainer._rolled(encoder.text, encoder.text_state(encoder.trim(pair.input_ids)))
    for rows in (image, text):
        assert rows.sum(dim=1).tolist() == pytest.approx([1.0], abs=1e-5)
        assert (rows >= 0).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_the_map_is_the_product_of_traced_attentions(family):
    encoder = FAMILIES[family]()
    pair = encoder.pair(picture(), "a red star")
    sites = [Site("image", layer, "attention") for layer in (0, 1, 2)]
    pool = Site("image", "pool", "attention")
    pooled = encoder.image.pooling == "attention"
    with torch.no_grad(), encoder.trace(*sites, *([pool] if pooled else [])) as captured:
        encoder.embed_images(pair.pixel_values)
    rolled = torch.eye(16 + encoder.image.prefix)
    for site in sites:
        rolled = (captured[site][0].mean(dim=0) + torch.eye(len(rolled))) / 2 @ rolled
    row = captured[pool][0].mean(dim=0)[0] @ rolled if pooled else rolled[0]
    expected = row[encoder.image.prefix :].numpy()
    assert explain(encoder, pair, "rollout").image.ravel() == pytest.approx(expected, rel=1e-4)


def test_the_image_map_is_blind_to_the_text_and_the_reverse():
    encoder = huggingface_clip_encoder()
    one, other = (explain(encoder, encoder.pair(picture(), text), "rollout") for text in ("a red star", "the blue circle"))
    assert (one.image == other.image).all()
    changed = explain(encoder, encoder.pair(picture(1), "a red star"), "rollout")
    assert (changed.text == one.text).all()
    assert (changed.image != one.image).any()


@torch.no_grad()
def test_a_batch_of_images_equals_its_images_one_by_one(two_pairs):
    encoder = huggingface_clip_encoder()
    first, second, pixels, *_ = two_pairs(encoder)
    maps = patches(encoder, Rollout()._rolled(encoder.image, encoder.image_state(pixels)))
    for image, pair in zip(maps, (first, second), strict=True):
        assert image == pytest.approx(explain(encoder, pair, "rollout").image, abs=1e-6)


def test_attention_pooling_says_what_stands_in_for_the_class_token():
    assert Rollout().adapted(siglip_encoder()) == "the attention pool's mean attention stands for the class token's row"
    assert Rollout().adapted(huggingface_clip_encoder()) is None


def test_mean_pooling_is_refused_in_one_sentence(mean_pooled):
    encoder, pair = mean_pooled
    with pytest.raises(UnsupportedEncoder, match=r"^rollout follows the query .* pools by the mean$"):
        explain(encoder, pair, "rollout")


def test_a_block_that_is_not_there_is_refused():
    encoder = huggingface_clip_encoder()
    with pytest.raises(InvalidInput, match="start_layer 3 is no block of a tower of 3"):
        explain(encoder, encoder.pair(picture(), "a red star"), "rollout", start_layer=3)
