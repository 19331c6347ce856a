"""M2IB agrees with the recorded mean over noise seeds."""

import numpy as np
import pytest
import torch

from benchmark.encoders import wrap_encoder
from benchmark.encoders.tower import Site
from benchmark.errors import InvalidInput, UnsupportedEncoder
from benchmark.explainers.m2ib import M2ib
from tests.golden_models import golden_inputs, huggingface_clip, open_clip_clip

RECORDED = M2ib(image_layer=5, text_layer=6)


@pytest.fixture(scope="module", params=[huggingface_clip, open_clip_clip])
def encoder(request):
    return wrap_encoder(request.param(1))


@pytest.fixture(scope="module")
def pair(encoder):
    return encoder.pair_from_tensors(*golden_inputs(1))


def means(encoder, pair, n_seeds):
    with torch.no_grad():
        targets = {"text": encoder.embed_images(pair.pixel_values)[0], "image": encoder.embed_texts(pair.input_ids)[0]}
    rng = np.random.default_rng(7)
    return {
        side: np.mean([RECORDED.information(encoder, pair, side, target, rng)[0] for _ in range(n_seeds)], axis=0)
        for side, target in targets.items()
    }


def compare(golden, encoder, pair, n_seeds):
    recorded = golden("m2ib_seed1")
    for side, found in means(encoder, pair, n_seeds).items():
        wanted, spread = recorded[f"m2ib_{side}_mean"], recorded[f"m2ib_{side}_std"]
        error = spread * np.sqrt(1 / 64 + 1 / n_seeds)  # of the difference of two independent means
        assert np.abs((found - wanted) / error).max() < 5
        yield np.corrcoef(found, wanted)[0, 1]


def test_the_mean_of_8_seeds_is_close_to_the_recorded_mean(golden, encoder, pair):
    assert min(compare(golden, encoder, pair, 8)) >= 0.995


@pytest.mark.slow
def test_the_mean_of_64_seeds_is_the_recorded_mean(golden, encoder, pair):
    assert min(compare(golden, encoder, pair, 64)) >= 0.999


def test_scores_are_nats_of_patches_and_content_tokens_and_follow_the_seed(encoder, pair):
    first, again, other = (RECORDED.explain(encoder, pair, np.random.default_rng(seed)) for seed in (0, 0, 1))
    first.check(encoder.patch_grid, pair.n_tokens)
    assert first.to_bytes() == again.to_bytes()
    assert (first.image != other.image).all()
    assert (first.image > 0).all()
    assert (first.text > 0).all()
    assert first.similarity == pytest.approx(encoder.similarity(pair), abs=1e-6)


@pytest.mark.parametrize(("parameters", "layers"), [({}, (6, 7)), ({"image_layer": 2, "text_layer": 0}, (2, 0))])
def test_the_block_three_quarters_of_the_way_is_gated(encoder, parameters, layers):
    explainer = M2ib(**parameters)
    assert (explainer.layer(encoder.image), explainer.layer(encoder.text)) == layers


def test_the_first_forward_is_the_information_of_an_open_gate(encoder, pair):
    with encoder.trace(Site("image", 5, "output")) as captured, torch.no_grad():
        target = encoder.embed_images(pair.pixel_values)[0]
    found, _ = M2ib(image_layer=5, steps=1).information(encoder, pair, "image", target, np.random.default_rng(0))
    gate = 1 / (1 + np.exp(-5.0))
    hidden = captured[Site("image", 5, "output")][0].double().numpy()
    wanted = 0.5 * ((gate * hidden) ** 2 + (1 - gate) ** 2 - 1 - 2 * np.log(1 - gate)).sum(axis=1)
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_many_steps_stay_finite(encoder, pair):
    explanation = M2ib(image_layer=5, text_layer=6, steps=60, beta=0.0, copies=2).explain(
        encoder, pair, np.random.default_rng(0)
    )
    assert np.isfinite(explanation.image).all()


def test_the_feature_prior_is_another_map(encoder, pair):
    scaled = M2ib(image_layer=5, text_layer=6, prior="feature").explain(encoder, pair, np.random.default_rng(0))
    assert not np.allclose(scaled.image, RECORDED.explain(encoder, pair, np.random.default_rng(0)).image, rtol=0.1)


def test_padding_is_neither_gated_nor_seen(encoder, pair):
    cut = encoder.pair_from_tensors(pair.pixel_values, pair.input_ids[:, :12])
    whole, shorter = (RECORDED.explain(encoder, one, np.random.default_rng(0)).text for one in (pair, cut))
    np.testing.assert_allclose(whole, shorter, rtol=1e-5)


def test_padding_that_is_attended_to_keeps_its_own_state():
    from transformers import SiglipConfig, SiglipModel

    torch.manual_seed(0)
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2}
    text = {"vocab_size": 30, "max_position_embeddings": 10, "pad_token_id": 1, "projection_size": 32}
    vision = {"image_size": 32, "patch_size": 8}
    siglip = wrap_encoder(SiglipModel(SiglipConfig(text_config=tower | text, vision_config=tower | vision)).eval())
    pair = siglip.pair_from_tensors(torch.randn(1, 3, 32, 32), torch.tensor([[7, 8, 9, 1, 1, 1, 1, 1, 1, 1]]))
    with torch.no_grad():
        target = siglip.embed_images(pair.pixel_values)[0]
    found, _ = M2ib().information(siglip, pair, "text", target, np.random.default_rng(0))
    assert (found[:3] > 0).all()
    assert not found[3:].any()
    M2ib().explain(siglip, pair, np.random.default_rng(0)).check((4, 4), 3)


def test_blocks_behind_which_nothing_is_mixed_are_refused(encoder, pair):
    assert M2ib().unsupported(encoder) is None
    assert M2ib(image_layer=8).unsupported(encoder) == "M2IB was asked to gate image block 8; this tower has blocks 0 to 7"
    with pytest.raises(UnsupportedEncoder, match="the last: only one token is read"):
        M2ib(text_layer=8).explain(encoder, pair, np.random.default_rng(0))


@pytest.mark.parametrize("parameters", [{"steps": 0}, {"copies": 0}, {"beta": -1.0}, {"learning_rate": 0.0}, {"prior": "none"}])
def test_impossible_parameters_are_refused(parameters):
    with pytest.raises(InvalidInput):
        M2ib.configure(parameters)
