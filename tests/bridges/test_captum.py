"""Captum through the bridge agrees with this suite's own methods where they are defined alike."""

import pickle
import random
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from benchmark.bridges import CaptumExplainer, captum_image, from_captum
from benchmark.encoders.coarse import CoarseEncoder
from benchmark.errors import InvalidExplanation, InvalidInput
from benchmark.explainers.base import EXPLAINERS
from benchmark.explaining import explain
from benchmark.runner.catalogue import label
from tests.small_encoders import FAMILIES, huggingface_clip_encoder, picture

attr = pytest.importorskip("captum.attr", reason="Captum is not installed")
TEXT = "a red star"


@pytest.fixture(params=FAMILIES)
def encoder(request):
    return FAMILIES[request.param]()


@pytest.fixture
def clip():
    return huggingface_clip_encoder()


def run(explainer, encoder, seed=0):
    explanation = explainer.explain(encoder, pair := encoder.pair(picture(), TEXT), np.random.default_rng(seed))
    explanation.check(encoder.patch_grid, pair.n_tokens)
    return explanation


def test_integrated_gradients_are_ours_on_both_sides(encoder):
    theirs = run(from_captum(attr.IntegratedGradients, n_steps=60, method="riemann_middle", internal_batch_size=50), encoder)
    ours = explain(encoder, encoder.pair(picture(), TEXT), "integrated_gradients", steps=60)
    np.testing.assert_allclose(theirs.image, ours.image, atol=1e-5 * np.abs(ours.image).max() + 1e-6)
    np.testing.assert_allclose(theirs.text, ours.text, atol=1e-5 * np.abs(ours.text).max() + 1e-6)
    assert theirs.similarity == pytest.approx(ours.similarity, abs=1e-6)


@pytest.mark.parametrize("attribution", ["Occlusion", "FeatureAblation"])
def test_occlusion_of_one_patch_is_ours(encoder, attribution):
    theirs = run(from_captum(attribution, text=False), encoder)
    ours = explain(encoder, encoder.pair(picture(), TEXT), "occlusion")
    np.testing.assert_allclose(theirs.image, ours.image, atol=2e-6)
    assert theirs.text is None


def test_ablating_a_token_is_replacing_its_embedding(clip):
    found = run(from_captum(attr.FeatureAblation), clip)
    game = explain(clip, clip.pair(picture(), TEXT), "occlusion", text_removal="replace_token")
    np.testing.assert_allclose(found.text, game.text, atol=2e-6)
    np.testing.assert_allclose(run(from_captum(attr.Occlusion), clip).text, found.text, atol=1e-6)


def test_exact_shapley_values_of_blocks_are_ours(clip):
    coarse = CoarseEncoder(clip, (2, 2))
    pair = coarse.pair(picture(), TEXT)
    theirs = run(from_captum(attr.ShapleyValues, text=False), coarse)
    with torch.no_grad():
        empty = float(coarse.embed_images(torch.zeros_like(pair.pixel_values))[0] @ coarse.embed_texts(pair.input_ids)[0])
    assert theirs.image.sum() == pytest.approx(coarse.similarity(pair) - empty, abs=1e-5)
    sampled = run(from_captum(attr.ShapleyValueSampling, text=False, n_samples=400), coarse)
    np.testing.assert_allclose(sampled.image, theirs.image, atol=0.15 * np.abs(theirs.image).max())
    kernel = run(from_captum(attr.KernelShap, text=False, n_samples=400), coarse)
    np.testing.assert_allclose(kernel.image, theirs.image, atol=0.15 * np.abs(theirs.image).max())


@pytest.mark.parametrize("attribution", ["Saliency", "InputXGradient", "GradientShap", "KernelShap", "Lime"])
def test_every_kind_of_attribution_runs_and_repeats_itself(clip, attribution):
    explainer = from_captum(attribution)
    first, again = run(explainer, clip), run(explainer, clip)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.text, again.text)
    other = run(explainer, clip, seed=1)
    assert explainer.deterministic == np.array_equal(first.image, other.image)
    assert (first.image < 0).any()  # signed, though Captum's Saliency takes absolute values by default
    assert np.ptp(first.image) > 0


def test_an_instance_made_with_another_function_and_one_around_another_are_rebound(clip):
    inner = attr.Saliency(lambda inputs: inputs.sum(dim=(1, 2, 3)))
    plain = run(from_captum(inner), clip)
    np.testing.assert_array_equal(plain.image, run(from_captum(attr.Saliency), clip).image)
    tunnel = from_captum(attr.NoiseTunnel(inner), nt_samples=4, stdevs=1e-6)
    assert not tunnel.deterministic
    np.testing.assert_allclose(run(tunnel, clip).image, plain.image, atol=1e-3 * np.abs(plain.image).max())
    made = from_captum(lambda forward: attr.NoiseTunnel(attr.Saliency(forward)), name="smooth", nt_samples=4, stdevs=1e-6)
    np.testing.assert_array_equal(run(made, clip).image, run(tunnel, clip).image)


def test_nothing_is_left_changed(clip):
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    pair = clip.pair(picture(), TEXT)
    pixels = pair.pixel_values.clone()
    from_captum("GradientShap").explain(clip, pair, np.random.default_rng(0))
    assert torch.equal(before[0], torch.get_rng_state())
    np.testing.assert_array_equal(before[1], np.random.get_state()[1])  # noqa: NPY002
    assert before[2] == random.getstate()
    assert torch.equal(pixels, pair.pixel_values)
    assert not pair.pixel_values.requires_grad
    assert all(parameter.grad is None for parameter in clip.model.parameters())


def test_names_and_options_tell_two_of_them_apart_and_go_to_a_worker(clip):
    explainer = from_captum(attr.IntegratedGradients, n_steps=7, text=False)
    assert explainer.name == "captum_integrated_gradients"
    assert explainer.parameters == {"text": False, "text_baseline": "neutral", "pool": "auto", "n_steps": 7}
    assert label(explainer) == "captum_integrated_gradients[text=False,n_steps=7]"
    assert explainer.name not in EXPLAINERS
    again = pickle.loads(pickle.dumps(explainer))
    np.testing.assert_array_equal(run(again, clip).image, run(explainer, clip).image)


def test_a_class_statement_registers_a_method_with_its_fields(clip, monkeypatch):
    monkeypatch.setattr(EXPLAINERS, "_items", dict(EXPLAINERS))

    @dataclass(frozen=True, kw_only=True)
    class Mine(CaptumExplainer, name="captum_mine", version=1):
        attribution = "IntegratedGradients"
        n_steps: int = 5

    found = explain(clip, clip.pair(picture(), TEXT), "captum_mine", n_steps=3)
    np.testing.assert_array_equal(found.image, run(from_captum(attr.IntegratedGradients, n_steps=3), clip).image)


@pytest.mark.parametrize(
    ("attribution", "reason"),
    [
        ("DeepLift", "changes the backward pass"),
        ("LayerGradCam", "reads a layer"),
        ("FeaturePermutation", "one image"),
        ("IntegratedGradient", "captum.attr has no 'IntegratedGradient'"),
        (lambda forward: forward, "no attribution of Captum"),
        (3, "no attribution of Captum"),
    ],
)
def test_what_cannot_explain_a_pair_is_refused_at_once(attribution, reason):
    with pytest.raises(InvalidInput, match=reason):
        from_captum(attribution, name="refused")


def test_options_that_captum_does_not_take_are_refused(clip):
    with pytest.raises(InvalidInput, match="did not take these options"):
        run(from_captum(attr.Saliency, steps=3), clip)


def test_pixels_are_pooled_to_patches():
    pixels = np.arange(2 * 5 * 7, dtype=float).reshape(1, 2, 5, 7)
    wanted = pixels[0, :, :4, :6].sum(axis=0).reshape(2, 2, 3, 2).sum(axis=(1, 3))
    np.testing.assert_array_equal(captum_image(pixels, (2, 3)).image, wanted)
    np.testing.assert_allclose(captum_image(torch.tensor(pixels), (2, 3), pool="mean").image, wanted / 8)
    np.testing.assert_array_equal(captum_image(pixels[0].sum(axis=0), (2, 3)).image, wanted)
    for wrong in (np.zeros((2, 3, 4, 6)), np.zeros(4)):
        with pytest.raises((InvalidExplanation, InvalidInput), match=r"height"):
            captum_image(wrong, (2, 3))
    with pytest.raises(InvalidInput, match="too small"):
        captum_image(np.zeros((2, 2)), (2, 3))
