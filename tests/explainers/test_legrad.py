import pytest
import torch
from torch.nn import functional as F

from benchmark.encoders import Site
from benchmark.errors import InvalidInput, UnsupportedEncoder
from benchmark.explainers.legrad import LeGrad
from benchmark.explaining import explain
from tests.small_encoders import FAMILIES, huggingface_clip_encoder, open_clip_encoder, picture, siglip_encoder


def gradient_map(encoder, pair, layer, target=None):
    """Positive gradient of the cosine at an attention of the encoder's own pass, mean over heads and queries."""
    site, output = Site("image", layer, "attention"), Site("image", layer, "output")
    text = encoder.embed_texts(pair.input_ids).detach()
    with encoder.trace(site, output) as captured:
        embedding = encoder.embed_images(pair.pixel_values)
        if target is not None:
            embedding = target(captured[output])
        (gradient,) = torch.autograd.grad(F.cosine_similarity(embedding, text).sum(), [captured[site]])
    return gradient[0].relu().mean(dim=(0, 1))[encoder.image.prefix :].view(4, 4).numpy()


@pytest.mark.parametrize("make", [huggingface_clip_encoder, open_clip_encoder])
def test_the_map_is_the_sum_over_the_last_blocks_each_read_by_its_mean_token(make):
    encoder = make()
    pair = encoder.pair(picture(), "a red star")

    def mean_token(output):
        return encoder.image.project(encoder.image.norm(output.mean(dim=1)))

    layers = [gradient_map(encoder, pair, layer, mean_token) for layer in range(3)]
    for n in (1, 2, 3):
        expected = sum(layers[-n:])
        assert explain(encoder, pair, "legrad", layers=n).image == pytest.approx(expected, rel=1e-3, abs=1e-7)
    assert explain(encoder, pair, "legrad", layers=9).image == pytest.approx(sum(layers), rel=1e-3, abs=1e-7)


def test_the_pooled_token_of_the_last_block_speaks_for_the_encoder():
    encoder = huggingface_clip_encoder()
    pair = encoder.pair(picture(), "a red star")
    expected = gradient_map(encoder, pair, 2)
    assert expected.max() > 0
    assert explain(encoder, pair, "legrad", layers=1, pool="pooled").image == pytest.approx(expected, rel=1e-3, abs=1e-7)


def test_attention_pooling_reads_normed_tokens_as_the_encoder_does():
    encoder = siglip_encoder()
    pair = encoder.pair(picture(), "a red star")
    expected = gradient_map(encoder, pair, "pool")
    assert expected.max() > 0
    ours = explain(encoder, pair, "legrad", layers=1, correction=False).image
    assert ours == pytest.approx(expected, rel=1e-3, abs=1e-7)
    released = explain(encoder, pair, "legrad", layers=1, correction=False, final_norm=False).image
    assert released != pytest.approx(ours, rel=1e-2)


def test_the_correction_clears_what_a_common_prompt_lights_up():
    encoder = siglip_encoder()
    pair = encoder.pair(picture(), "a red star")
    plain, corrected = (explain(encoder, pair, "legrad", correction=correction).image for correction in (False, True))
    common = explain(encoder, encoder.pair(picture(), "a photo of a"), "legrad", correction=False).image
    lit = common > common.min() + 0.8 * (common.max() - common.min())
    assert lit.any()
    assert (corrected[lit] == 0).all()
    assert (corrected[~lit] == plain[~lit]).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_maps_are_not_negative_and_need_no_second_token(family):
    encoder = FAMILIES[family]()
    explanation = explain(encoder, encoder.pair(picture(), "star"), "legrad")
    assert (explanation.image >= 0).all()
    assert explanation.text is None


def test_a_batch_of_images_equals_its_images_one_by_one(two_pairs):
    encoder = huggingface_clip_encoder()
    first, second, pixels, _, texts = two_pairs(encoder)
    with torch.no_grad():
        before = encoder.image.run(encoder.image_state(pixels), stop=2)
    rows = LeGrad()._layer(encoder.image, before, 2, texts)
    for row, pair in zip(rows, (first, second), strict=True):
        assert row[1:].numpy() == pytest.approx(explain(encoder, pair, "legrad", layers=1).image.ravel(), abs=1e-6)


def test_mean_pooling_is_refused_in_one_sentence(mean_pooled):
    encoder, pair = mean_pooled
    with pytest.raises(UnsupportedEncoder, match=r"^LeGrad reads a class token .*; this tower pools by the mean$"):
        explain(encoder, pair, "legrad")


@pytest.mark.parametrize("wrong", [{"layers": 0}, {"pool": "max"}])
def test_impossible_parameters_are_refused(wrong):
    with pytest.raises(InvalidInput, match=next(iter(wrong))):
        LeGrad(**wrong)
