"""Functions of (model, inputs, targets) run as explainers, and explainers as such functions. Quantus is not needed."""

import numpy as np
import pytest
import torch

from benchmark.bridges import SimilarityModel, as_quantus, captum_image, from_quantus
from benchmark.errors import InvalidExplanation, InvalidInput
from benchmark.explaining import explain
from tests.small_encoders import huggingface_clip_encoder, picture

TEXT, OTHER = "a red star", "the blue circle on the left"


def gradient(model, inputs, targets, *, power=1, **kwargs):
    """Return signed gradients the way functions for Quantus do: arrays in, arrays out."""
    images = torch.tensor(inputs, requires_grad=True)
    outputs = model(images)[torch.arange(len(images)), torch.as_tensor(targets)]
    (found,) = torch.autograd.grad(outputs.sum(), images)
    return (found**power).numpy()


@pytest.fixture
def encoder():
    return huggingface_clip_encoder()


@pytest.fixture
def pair(encoder):
    return encoder.pair(picture(), TEXT)


def test_a_function_is_run_on_the_similarity_with_the_pairs_text(encoder, pair):
    explainer = from_quantus(gradient)
    assert explainer.name == "quantus_gradient"
    found = explainer.explain(encoder, pair, np.random.default_rng(0))
    pixels = pair.pixel_values.clone().requires_grad_()
    (wanted,) = torch.autograd.grad((encoder.embed_images(pixels) @ encoder.embed_texts(pair.input_ids).T).sum(), pixels)
    np.testing.assert_allclose(found.image, captum_image(wanted, encoder.patch_grid).image, rtol=1e-5)
    assert found.similarity == pytest.approx(encoder.similarity(pair), abs=1e-6)


def test_options_reach_the_function_and_other_texts_the_model(encoder, pair):
    seen = {}

    def contrast(model, inputs, targets, **kwargs):
        seen.update(kwargs, inputs=type(inputs), targets=targets.tolist())
        with torch.no_grad():
            here, there = model(torch.tensor(inputs))[0].tolist()
        return np.full(inputs.shape[-2:], here - there)

    explainer = from_quantus(contrast, others=(OTHER,), pool="mean", sharpness=2)
    found = explainer.explain(encoder, pair, np.random.default_rng(0))
    assert seen == {"sharpness": 2, "inputs": np.ndarray, "targets": [0]}
    gap = encoder.similarity(pair) - encoder.similarity(encoder.pair(picture(), OTHER))
    np.testing.assert_allclose(found.image, gap, atol=1e-6)


def test_a_random_function_follows_the_seed(encoder, pair):
    explainer = from_quantus(lambda model, inputs, targets: np.random.rand(1, 1, 32, 32), name="noise")  # noqa: NPY002
    one, same, other = (explainer.explain(encoder, pair, np.random.default_rng(seed)).image for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()


def test_a_map_of_the_wrong_size_is_refused(encoder, pair):
    explainer = from_quantus(lambda model, inputs, targets: np.zeros((1, 1, 7, 7)), name="small")
    with pytest.raises(InvalidExplanation, match=r"32 x 32 pixels.*got \(1, 1, 7, 7\)"):
        explainer.explain(encoder, pair, np.random.default_rng(0))
    with pytest.raises(InvalidInput, match="pass name="):
        from_quantus(lambda model, inputs, targets: inputs)


def test_our_methods_are_functions_for_quantus(encoder, pair):
    model = SimilarityModel(encoder, [TEXT, OTHER])
    images = np.concatenate([pair.pixel_values.numpy()] * 2)
    maps = as_quantus("occlusion", window=2)(model, images, np.array([0, 1]), device="cpu")
    assert maps.shape == (2, 1, 32, 32)
    for text, found in zip((TEXT, OTHER), maps[:, 0], strict=True):
        wanted = explain(encoder, encoder.pair(picture(), text), "occlusion", window=2).image
        np.testing.assert_allclose(found, np.kron(wanted, np.ones((8, 8))), atol=1e-7)
    back = from_quantus(as_quantus("occlusion"), name="round_trip", pool="mean")
    np.testing.assert_allclose(
        back.explain(encoder, pair, np.random.default_rng(0)).image, explain(encoder, pair, "occlusion").image, atol=1e-6
    )
    with pytest.raises(InvalidInput, match="SimilarityModel"):
        as_quantus("occlusion")(torch.nn.Identity(), images, 0)


def test_the_model_is_a_classifier_of_texts(encoder, pair):
    model = SimilarityModel(encoder, [TEXT, OTHER])
    outputs = model(pair.pixel_values)
    assert outputs.shape == (1, 2)
    assert float(outputs[0, 0].detach()) == pytest.approx(encoder.similarity(pair), abs=1e-6)
    assert outputs.requires_grad
    with pytest.raises(InvalidInput, match="at least one text"):
        SimilarityModel(encoder, [])
