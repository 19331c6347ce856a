"""Encoders with random weights, in the sizes that people use: speed does not depend on what was learned."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from benchmark.encoders import DualEncoder


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """An image tower's shape; the text tower has the same width, ``text_depth`` blocks and ``context`` positions."""

    image: int
    patch: int
    width: int
    depth: int
    heads: int
    text_depth: int = 1
    context: int = 16


SIZES = {
    "embedded": Shape(image=112, patch=16, width=192, depth=5, heads=6),
    "vit-b-32": Shape(image=224, patch=32, width=768, depth=12, heads=12, text_depth=12),
    "vit-b-16": Shape(image=224, patch=16, width=768, depth=12, heads=12),
    "vit-l-14": Shape(image=224, patch=14, width=1024, depth=24, heads=16),
}


def random_encoder(shape: Shape, device: torch.device | str = "cpu", name: str = "random") -> "DualEncoder":
    """Return a Hugging Face CLIP of that shape with random weights, always the same ones."""
    from transformers import CLIPConfig, CLIPModel

    from benchmark.encoders import wrap_encoder

    width = {"hidden_size": shape.width, "intermediate_size": 4 * shape.width, "num_attention_heads": shape.heads}
    vision = width | {"num_hidden_layers": shape.depth, "image_size": shape.image, "patch_size": shape.patch}
    text = width | {
        "num_hidden_layers": shape.text_depth,
        "vocab_size": 128,
        "bos_token_id": 126,
        "max_position_embeddings": shape.context,
        "eos_token_id": 127,
        "pad_token_id": 0,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=512))
    return wrap_encoder(model.requires_grad_(False).to(device), name=name)
