import pytest
import torch
from torch.nn import functional as F

from benchmark.errors import InvalidInput, UnsupportedEncoder
from benchmark.explainers.grad_cam import GradCam
from benchmark.explaining import explain
from tests.small_encoders import FAMILIES, huggingface_clip_encoder, picture, siglip_encoder


@pytest.mark.parametrize(("heads", "recorded_as"), [("one", "onehead"), ("model", "multihead")])
def test_the_map_equals_the_authors(recorded, heads, recorded_as):
    explanation = recorded.explain("grad_cam", features="input", heads=heads)
    recorded.agrees(f"grad_cam_image_{recorded_as}", explanation.image)


def library_map(encoder, pair, module, *, drop):
    """Grad-CAM on a module's output, by a hook on the library's own forward pass."""
    kept = {}

    def keep(_module, _inputs, output):
        kept["features"] = output[0] if isinstance(output, tuple) else output

    handle = module.register_forward_hook(keep)
    try:
        embedding = encoder.library_image_embeddings(pair.pixel_values)
        cosine = F.cosine_similarity(embedding, encoder.embed_texts(pair.input_ids).detach()).sum()
        (gradient,) = torch.autograd.grad(cosine, [kept["features"]])
    finally:
        handle.remove()
    features = kept["features"].detach()
    weight = gradient[:, drop:].mean(dim=1)
    return (features[0, encoder.image.prefix :] @ weight[0]).relu().view(4, 4).numpy()


def test_features_of_the_norm_are_those_of_cam_libraries():
    encoder = huggingface_clip_encoder()
    pair = encoder.pair(picture(), "a red star")
    norm = encoder.model.vision_model.encoder.layers[-1].layer_norm1
    expected = library_map(encoder, pair, norm, drop=1)
    assert expected.max() > 0
    assert explain(encoder, pair, "grad_cam", features="norm").image == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_with_attention_pooling_the_output_has_a_gradient_at_every_patch():
    encoder = siglip_encoder()
    pair = encoder.pair(picture(), "a red star")
    expected = library_map(encoder, pair, encoder.model.vision_model.encoder.layers[-1], drop=0)
    assert expected.max() > 0
    assert explain(encoder, pair, "grad_cam", features="output").image == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_the_output_is_refused_where_a_class_token_is_pooled():
    encoder = huggingface_clip_encoder()
    with pytest.raises(
        UnsupportedEncoder, match=r"^Grad-CAM on the last block's output is zero: only its class token is pooled"
    ):
        explain(encoder, encoder.pair(picture(), "a red star"), "grad_cam", features="output")


@pytest.mark.parametrize("features", ["input", "norm"])
@pytest.mark.parametrize("family", FAMILIES)
def test_the_models_heads_explain_the_encoders_similarity(family, features):
    encoder = FAMILIES[family]()
    pair = encoder.pair(picture(), "star")
    explanation = explain(encoder, pair, "grad_cam", features=features)
    assert (explanation.image >= 0).all()
    assert explanation.similarity == pytest.approx(encoder.similarity(pair), abs=1e-5)


def test_one_head_reports_the_similarity_of_the_altered_pass():
    encoder = huggingface_clip_encoder()
    pair = encoder.pair(picture(), "a red star")
    assert explain(encoder, pair, "grad_cam", heads="one").similarity != pytest.approx(encoder.similarity(pair), abs=1e-4)


def test_mean_pooling_is_served(mean_pooled):
    encoder, pair = mean_pooled
    for features in ("input", "norm", "output"):
        assert explain(encoder, pair, "grad_cam", features=features).image.shape == encoder.patch_grid


@pytest.mark.parametrize(("wrong", "named"), [({"features": "keys"}, "features"), ({"heads": "two"}, "heads")])
def test_impossible_parameters_are_refused(wrong, named):
    with pytest.raises(InvalidInput, match=named):
        GradCam(**wrong)
