import numpy as np
import pytest
import torch

from benchmark.encoders import wrap_encoder
from benchmark.errors import InvalidInput, UnsupportedEncoder
from benchmark.explainers.grad_eclip import GradEclip
from benchmark.explaining import explain
from tests.golden_models import golden_inputs, huggingface_clip, open_clip_clip
from tests.small_encoders import huggingface_clip_encoder, picture, siglip_encoder

HEADS = {"one": "onehead", "model": "multihead"}


@pytest.fixture(scope="module", params=[1, 2])
def seed(request):
    return request.param


@pytest.fixture(scope="module", params=[huggingface_clip, open_clip_clip])
def golden_encoder(request, seed):
    return wrap_encoder(request.param(seed))


@pytest.fixture
def golden_pair(golden_encoder, seed):
    return golden_encoder.pair_from_tensors(*golden_inputs(seed))


def assert_recorded(ours: np.ndarray, recorded: np.ndarray) -> None:
    assert ours.shape == recorded.shape
    np.testing.assert_allclose(ours, recorded, rtol=0, atol=1e-4 * np.abs(recorded).max() + 1e-6)


@pytest.mark.parametrize("key_similarity", [True, False])
@pytest.mark.parametrize("heads", HEADS)
def test_image_map_equals_the_authors(golden_encoder, golden_pair, golden, seed, heads, key_similarity):
    explanation = explain(golden_encoder, golden_pair, "grad_eclip", heads=heads, key_similarity=key_similarity)
    key = f"grad_eclip_image_{'' if key_similarity else 'nosim_'}{HEADS[heads]}"
    assert_recorded(explanation.image, golden(f"clip_small_seed{seed}")[key])


@pytest.mark.parametrize("blocks", [8, 1])
@pytest.mark.parametrize("heads", HEADS)
def test_text_scores_equal_the_authors(golden_encoder, golden_pair, golden, seed, heads, blocks):
    explanation = explain(golden_encoder, golden_pair, "grad_eclip", heads=heads, text_blocks=blocks)
    assert_recorded(explanation.text, golden(f"clip_small_seed{seed}")[f"grad_eclip_text_{HEADS[heads]}_last{blocks}"])


def test_only_the_models_own_heads_explain_the_encoders_similarity():
    encoder = huggingface_clip_encoder()
    pair = encoder.pair(picture(), "a red star")
    own, one = (explain(encoder, pair, "grad_eclip", heads=heads) for heads in ("model", "one"))
    assert own.similarity == pytest.approx(encoder.similarity(pair), abs=1e-5)
    assert own.notes["text_similarity"] == pytest.approx(encoder.similarity(pair), abs=1e-5)
    assert one.similarity != pytest.approx(encoder.similarity(pair), abs=1e-3)


def test_a_batch_of_pairs_equals_its_pairs_one_by_one():
    encoder, explainer = huggingface_clip_encoder(), GradEclip()
    pairs = [encoder.pair(picture(seed), text) for seed, text in enumerate(["a red star", "the blue circle on the left"])]
    pixels, ids = torch.cat([pair.pixel_values for pair in pairs]), torch.cat([pair.input_ids for pair in pairs])
    with torch.no_grad():
        images, texts = encoder.embed_images(pixels), encoder.embed_texts(ids)
    maps, tokens = explainer.image_maps(encoder, pixels, texts)[0], explainer.text_scores(encoder, ids, images)[0]
    for i, pair in enumerate(pairs):
        alone = explain(encoder, pair, "grad_eclip")
        assert maps[i].numpy() == pytest.approx(alone.image, abs=1e-5)
        assert tokens[i, list(pair.token_positions)].numpy() == pytest.approx(alone.text, abs=1e-5)


def test_scores_are_the_same_with_frozen_weights():
    encoder = huggingface_clip_encoder()
    pair = encoder.pair(picture(), "a red star")
    before = explain(encoder, pair, "grad_eclip").to_bytes()
    parameters = list(encoder.model.parameters())
    try:
        for parameter in parameters:
            parameter.requires_grad_(False)
        assert explain(encoder, pair, "grad_eclip").to_bytes() == before
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)


def test_attention_pooling_is_refused_in_one_sentence():
    encoder = siglip_encoder()
    with pytest.raises(UnsupportedEncoder, match=r"^Grad-ECLIP reads a class token; this tower pools by attention$"):
        explain(encoder, encoder.pair(picture(), "a red star"), "grad_eclip")


def test_map_variant_follows_its_formula():
    encoder = siglip_encoder()
    pair = encoder.pair(picture(), "a red star")
    explanation = explain(encoder, pair, "grad_eclip", variant="map", heads="model")
    head = encoder.model.vision_model.head
    with torch.no_grad():
        tokens = encoder.model.vision_model.post_layernorm(encoder.image.run(encoder.image_state(pair.pixel_values)).hidden)
        weight, bias = head.attention.in_proj_weight.chunk(3), head.attention.in_proj_bias.chunk(3)
        query, key, value = (
            torch.nn.functional.linear(x, w, b) for x, w, b in zip((head.probe, tokens, tokens), weight, bias, strict=True)
        )
        out, text = head.attention.out_proj, encoder.embed_texts(pair.input_ids)
        split = [x.view(1, -1, 2, 16).transpose(1, 2) for x in (query, key, value)]
        mixed = ((split[0] @ split[1].mT / 4).softmax(-1) @ split[2]).transpose(1, 2).flatten(2)[0, 0]
    mixed.requires_grad_()
    attended = out(mixed)
    cosine = torch.nn.functional.cosine_similarity(attended + head.mlp(head.layernorm(attended)), text[0], dim=0)
    (gradient,) = torch.autograd.grad(cosine, [mixed])
    with torch.no_grad():
        match = torch.nn.functional.cosine_similarity(out(query), out(key), dim=-1)[0]
        gate = (match - match.min()) / (match.max() - match.min())
        expected = (gate * (value[0] @ gradient)).relu().view(4, 4)
    assert explanation.image == pytest.approx(expected.numpy(), abs=1e-4 * float(expected.max()))
    assert explanation.similarity == pytest.approx(encoder.similarity(pair), abs=1e-5)


def test_map_variant_is_refused_where_a_class_token_is_read():
    encoder = huggingface_clip_encoder()
    with pytest.raises(UnsupportedEncoder, match="this tower pools by its class token"):
        explain(encoder, encoder.pair(picture(), "a red star"), "grad_eclip", variant="map", heads="model")


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"heads": "two"}, "heads"),
        ({"variant": "mean"}, "variant"),
        ({"text_blocks": 0}, "text_blocks"),
        ({"variant": "map"}, "heads='model'"),
    ],
)
def test_impossible_parameters_are_refused(wrong, named):
    with pytest.raises(InvalidInput, match=named):
        GradEclip(**wrong)
