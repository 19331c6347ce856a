"""Small encoders with random weights, unlike the embedded one in grid, context, pooling or kind of tower."""

from collections.abc import Callable, Mapping
from importlib.resources import files
from typing import Any

import torch
from torch import nn

from benchmark.encoders import DualEncoder, wrap_encoder
from benchmark.encoders.coarse import CoarseEncoder

PATCH, WIDTH, CONTEXT = 8, 32, 24


def clip() -> DualEncoder:
    """CLIP with a class token, 4 x 4 patches and a shorter context than the embedded encoder."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    vision, text = _towers(4)
    model = random_model(lambda: CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16)))
    size = {"height": 4 * PATCH, "width": 4 * PATCH}
    return wrap_encoder(model, CLIPImageProcessor(size=size, crop_size=size), _tokenizer(), name="small CLIP")


def siglip() -> DualEncoder:
    """SigLIP with an attention pool instead of a class token, 5 x 5 patches, texts read at their last position."""
    from transformers import SiglipConfig, SiglipImageProcessor, SiglipModel

    vision, text = _towers(5)
    model = random_model(lambda: SiglipModel(SiglipConfig(text_config=text | {"projection_size": WIDTH}, vision_config=vision)))
    size = {"height": 5 * PATCH, "width": 5 * PATCH}
    return wrap_encoder(model, SiglipImageProcessor(size=size), _tokenizer(), name="small SigLIP")


def closed() -> DualEncoder:
    """An encoder that shows no image tower and has fewer rows than columns: all that it gives are similarities."""
    return CoarseEncoder(clip(), (2, 3))


SMALL: Mapping[str, Callable[[], DualEncoder]] = {
    "CLIP with 4 x 4 patches": clip,
    "SigLIP with 5 x 5 patches": siglip,
    "a closed tower with 2 x 3 patches": closed,
}
"""What a submission meets beside the embedded encoder: it serves each, or refuses it in one sentence."""


def _towers(side: int) -> tuple[dict[str, Any], dict[str, Any]]:
    tower = {"hidden_size": WIDTH, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 3}
    tokenizer = _tokenizer()
    ids = {
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    text = tower | ids | {"vocab_size": len(tokenizer), "max_position_embeddings": CONTEXT}
    return tower | {"image_size": side * PATCH, "patch_size": PATCH}, text


def _tokenizer() -> Any:
    """Return the embedded encoder's tokenizer, for shorter texts."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(files("benchmark") / "embedded"), model_max_length=CONTEXT)


def random_model[M: nn.Module](build: Callable[[], M]) -> M:
    """Build a model whose matrices are large enough for inputs to matter; the global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(7)
        model = build().eval()
        for parameter in model.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=0.2)
    return model
