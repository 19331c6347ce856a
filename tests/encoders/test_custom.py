"""An encoder from outside every library, in one function: ``mira_clip`` (see the README of its folder)."""

import json
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

import benchmark as xb
from benchmark.encoders import Block, CustomEncoder, Geometry, Tokens, Tower


def mira_clip(folder):
    """Two towers of one-residual blocks, byte tokens, a padded 80 x 80 image: everything the suite needs to know."""
    weights = {name: torch.from_numpy(array).float() for name, array in np.load(folder / "weights.npz").items()}

    def linear(x, name):
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def block(name, heads):
        def projected(part, x):
            return torch.cat([linear(x, f"{name}.mha.multi_head.{head}.{part}") for head in range(heads)], dim=-1)

        def norm(number, x):
            return F.layer_norm(x, x.shape[-1:], weights[f"{name}.ln{number}.weight"], weights[f"{name}.ln{number}.bias"])

        def join(x, attended):
            return x + linear(F.gelu(linear(norm(2, attended), f"{name}.mlp.0")), f"{name}.mlp.2")

        query, key, value = (partial(projected, part) for part in ("query", "key", "value"))
        out = partial(linear, name=f"{name}.mha.W_o")
        return Block(heads=heads, before=partial(norm, 1), query=query, key=key, value=value, out=out, join=join)

    def tower(side, name, heads, embed, **pooling):
        blocks = tuple(block(f"{name}.transformer_encoder.{i}", heads) for i in range(8))
        project = lambda pooled: pooled @ weights[f"{name}.projection"]  # noqa: E731
        return Tower(side=side, blocks=blocks, embed=embed, norm=torch.nn.Identity(), project=project, **pooling)

    def embed_image(patches, kept):
        table = weights["vision_encoder.positional_embeddings.pe"][0]
        positions = table[1:] if kept is None else table[1:][kept]
        first = (weights["vision_encoder.cls_token"][0] + table[0]).expand(len(patches), 1, -1)
        return torch.cat([first, patches + positions], dim=1)

    def patches(pixels):
        projection = weights["vision_encoder.linear_proj.weight"], weights["vision_encoder.linear_proj.bias"]
        return F.conv2d(pixels, *projection, stride=5).flatten(2).mT

    def tokenize(text):
        ids = [2, *text.encode()[:30], 3]
        overflow = max(len(text.encode()) - 30, 0)
        return Tokens(
            ids=ids + [0] * (32 - len(ids)), positions=tuple(range(1, len(ids) - 1)), pieces=tuple(text[:30]), overflow=overflow
        )

    def preprocess(image):
        longest = max(image.size)
        inner = image.resize((80 * image.width // longest, 80 * image.height // longest))
        square = Image.new("RGB", (80, 80))
        square.paste(inner, ((80 - inner.width) // 2, (80 - inner.height) // 2))
        return torch.from_numpy(np.array(square)).permute(2, 0, 1)[None] / 255, Geometry.pad(image.size, (80, 80), 5)

    positions = weights["text_encoder.positional_embeddings.pe"][0]
    return CustomEncoder(
        "mira_clip",
        image=tower("image", "vision_encoder", 4, embed_image, pooling="class_token", prefix=1),
        text=tower("text", "text_encoder", 8, lambda tokens, _: tokens + positions[: tokens.shape[1]], pooling="text_token"),
        patch_grid=(16, 16),
        image_tokens=patches,
        text_tokens=lambda ids: weights["text_encoder.embed.weight"][ids],
        tokenize=tokenize,
        preprocess=preprocess,
        read_positions=lambda ids: (ids != 0).sum(dim=1) - 1,
        logit_scale=float(weights["temperature"].exp()),
    )


@pytest.fixture
def mira(shared):
    return mira_clip(shared / "data" / "mira_clip")


def test_a_custom_encoder_gives_its_authors_embeddings(mira, shared):
    recorded = json.loads((shared / "data" / "mira_clip" / "reference_outputs.json").read_text())
    ids = torch.tensor(recorded["token_ids"])
    assert np.allclose(mira.embed_texts(ids).numpy(), recorded["text_embeddings"], atol=1e-5)
    assert [mira.tokenize(text).ids for text in recorded["texts"]] == recorded["token_ids"]


def test_a_custom_encoder_sees_what_its_authors_saw(mira, shared):
    recorded = json.loads((shared / "data" / "mira_clip" / "reference_outputs.json").read_text())
    for case in recorded["images"][:4]:
        photo = Image.open(shared / "data" / "coco_cc" / "images" / case["file_name"]).convert("RGB").crop(case["crop_xyxy"])
        assert np.allclose(mira.embed_images(mira.preprocess(photo)[0])[0].numpy(), case["embedding"], atol=2e-5)


@pytest.mark.parametrize("method", ["fixlip", "grad_eclip", "exclip", "rise", "transformer_mm", "clip_surgery"])
def test_explainers_serve_a_custom_encoder(mira, shared, method):
    photo = sorted((shared / "data" / "coco_cc" / "images").glob("*.jpg"))[0]
    pair = mira.pair(photo, "bags")
    small = {"fixlip": {"image_budget": 400, "text_budget": 16}, "rise": {"n_masks": 50}}
    explanation = xb.explain(mira, pair, method=method, **small.get(method, {}))
    explanation.check(mira.patch_grid, pair.n_tokens)
    assert np.ptp(explanation.image if explanation.image is not None else explanation.cross) > 0
