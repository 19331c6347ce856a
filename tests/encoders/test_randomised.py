"""Copies of an encoder with weights drawn anew: only the part that was named, and never the original."""

import pytest
import torch

from benchmark.encoders import randomised as module
from benchmark.encoders.randomised import randomised
from benchmark.errors import UnsupportedEncoder
from tests.small_encoders import FAMILIES, huggingface_clip_encoder, picture

TEXT = "a red star"


@pytest.fixture(params=FAMILIES, ids=list(FAMILIES))
def encoder(request):
    return FAMILIES[request.param]()


@torch.no_grad()
def embeddings(encoder):
    pair = encoder.pair(picture(), TEXT)
    return encoder.embed_images(pair.pixel_values)[0], encoder.embed_texts(pair.input_ids)[0]


def test_only_the_tower_that_was_named_changes_and_never_the_original(encoder):
    before = embeddings(encoder)
    for part, changed in (("image", (True, False)), ("text", (False, True)), ("both", (True, True))):
        after = embeddings(randomised(encoder, part, "all"))
        assert tuple(not torch.allclose(a, b, atol=1e-4) for a, b in zip(after, before, strict=True)) == changed
    assert all(torch.equal(a, b) for a, b in zip(embeddings(encoder), before, strict=True))


def test_the_cascade_goes_down_from_the_top(encoder):
    last, half, everything = (_drawn(encoder, depth) for depth in ("last", "half", "all"))
    assert last < half < everything
    bottom = {name for name in everything - half if ".0." in name or ".1." in name or "embed" in name}
    assert bottom
    assert not any("embed" in name or "conv1" in name for name in half)


def test_the_projection_alone_leaves_every_block_alone(encoder):
    drawn = _drawn(encoder, "projection")
    assert drawn
    assert all("proj" in name or "head" in name for name in drawn)
    assert not any(name.split(".")[-2].isdigit() for name in drawn if ".layers." in name)


def _drawn(encoder, depth):
    """Return the parameters of both towers that are not the original's."""
    copy = randomised(encoder, "both", depth)
    own = dict(encoder.model.named_parameters())
    return {name for name, parameter in copy.model.named_parameters() if parameter is not own[name]}


def test_a_copy_is_made_once_and_drawn_the_same_again():
    encoder = huggingface_clip_encoder()
    first = randomised(encoder, "image", "half")
    assert randomised(encoder, "image", "half") is first
    assert first.revision == f"{encoder.revision or ''}+image:half"
    before = embeddings(first)
    module._KEPT.pop(encoder)
    again = embeddings(randomised(encoder, "image", "half"))
    assert all(torch.equal(a, b) for a, b in zip(again, before, strict=True))


def test_copies_share_what_they_have_in_common():
    encoder = huggingface_clip_encoder()
    half, whole = (dict(randomised(encoder, "image", depth).model.named_parameters()) for depth in ("half", "all"))
    top = "vision_model.encoder.layers.2.mlp.fc1.weight"
    assert half[top].data_ptr() == whole[top].data_ptr()
    assert half["text_projection.weight"] is dict(encoder.model.named_parameters())["text_projection.weight"]


def test_passes_of_a_copy_are_its_own():
    encoder = huggingface_clip_encoder()
    before = encoder.costs.copy()
    copy = randomised(encoder, "both", "all")
    counted = copy.costs.image_forwards
    embeddings(copy)
    assert copy.costs.image_forwards == counted + 1
    assert encoder.costs == before


def test_an_encoder_without_a_known_model_says_so():
    class Bare:
        name, revision = "bare", None

    with pytest.raises(UnsupportedEncoder, match="bare is no Hugging Face or open_clip model"):
        randomised(Bare(), "image", "all")
