"""The golden CLIP of ``shared/golden/clip_small.py`` as a Hugging Face and as an open_clip model, with its own inputs."""

import importlib.util
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from open_clip.model import CLIP
    from transformers import CLIPModel

CLIP_SMALL = Path(__file__).resolve().parents[2] / "shared" / "golden" / "clip_small.py"
SEED_2 = {"image_size": 112}  # the shape of the second recorded model; the first has the default shape
N_TOKENS = {1: 7, 2: 5}  # content tokens of the recorded inputs, by seed


@cache
def clip_small() -> ModuleType:
    """Import ``clip_small.py`` from the shared folder; skip the test where there is none."""
    if not CLIP_SMALL.is_file():
        import pytest

        pytest.skip(f"{CLIP_SMALL} is not there; the golden model lives beside the checkout")
    spec = importlib.util.spec_from_file_location("clip_small", CLIP_SMALL)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["clip_small"] = module  # dataclasses look their module up while it is being executed
    spec.loader.exec_module(module)
    return module


def golden_shape(seed: int) -> Any:
    """Return the ``Shape`` recorded for a seed: 6 x 6 patches for 1, 7 x 7 for 2."""
    return clip_small().Shape(**(SEED_2 if seed == 2 else {}))


def golden_inputs(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the recorded ``pixel_values`` (1, 3, height, width) and ``input_ids`` (1, context) of a seed."""
    pixels, ids = clip_small().inputs(seed, N_TOKENS[seed], golden_shape(seed))
    return torch.from_numpy(pixels), torch.from_numpy(ids)


def golden_weights(seed: int, shape: Any = None) -> dict[str, torch.Tensor]:
    """Return the state dict in OpenAI naming, as tensors."""
    weights = clip_small().state_dict(seed, shape or golden_shape(seed))
    return {name: torch.from_numpy(np.array(array)) for name, array in weights.items()}


def open_clip_clip(seed: int, shape: Any = None) -> "CLIP":
    """Return ``open_clip``'s native CLIP with exactly the golden weights, in eval mode and float32."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    shape = shape or golden_shape(seed)
    vision = CLIPVisionCfg(
        layers=shape.image_layers, width=shape.width, head_width=64, patch_size=shape.patch_size, image_size=shape.image_size
    )
    text = CLIPTextCfg(
        context_length=shape.context,
        vocab_size=shape.vocab_size,
        width=shape.width,
        heads=shape.width // 64,
        layers=shape.text_layers,
    )
    model = CLIP(shape.embed_dim, vision, text, quick_gelu=True)
    model.load_state_dict(golden_weights(seed, shape))
    return model.eval()


def huggingface_clip(seed: int, shape: Any = None) -> "CLIPModel":
    """Return ``transformers.CLIPModel`` with exactly the golden weights, in eval mode and float32."""
    from transformers import CLIPConfig, CLIPModel

    shape = shape or golden_shape(seed)
    tower = {
        "hidden_size": shape.width,
        "intermediate_size": 4 * shape.width,
        "num_attention_heads": shape.width // 64,
        "hidden_act": "quick_gelu",
        "layer_norm_eps": 1e-5,
        "projection_dim": shape.embed_dim,
    }
    text = {
        "num_hidden_layers": shape.text_layers,
        "vocab_size": shape.vocab_size,
        "max_position_embeddings": shape.context,
        "bos_token_id": shape.vocab_size - 2,
        "eos_token_id": shape.vocab_size - 1,
        "pad_token_id": 0,
    }
    vision = {"num_hidden_layers": shape.image_layers, "image_size": shape.image_size, "patch_size": shape.patch_size}
    config = CLIPConfig(text_config=tower | text, vision_config=tower | vision, projection_dim=shape.embed_dim)
    model = CLIPModel(config)
    model.load_state_dict(_huggingface_names(golden_weights(seed, shape)))
    return model.eval()


def _huggingface_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename OpenAI weights; fused in-projections are cut in three, input-first projections transposed."""
    vision, text = "vision_model.", "text_model."
    named = {
        vision + "embeddings.class_embedding": weights["visual.class_embedding"],
        vision + "embeddings.patch_embedding.weight": weights["visual.conv1.weight"],
        vision + "embeddings.position_embedding.weight": weights["visual.positional_embedding"],
        "visual_projection.weight": weights["visual.proj"].T.contiguous(),
        text + "embeddings.token_embedding.weight": weights["token_embedding.weight"],
        text + "embeddings.position_embedding.weight": weights["positional_embedding"],
        "text_projection.weight": weights["text_projection"].T.contiguous(),
        "logit_scale": weights["logit_scale"],
    }
    norms = {
        "visual.ln_pre": vision + "pre_layrnorm",  # transformers' own spelling
        "visual.ln_post": vision + "post_layernorm",
        "ln_final": text + "final_layer_norm",
    }
    named |= {f"{new}.{kind}": weights[f"{old}.{kind}"] for old, new in norms.items() for kind in ("weight", "bias")}
    parts = {
        "ln_1": "layer_norm1",
        "ln_2": "layer_norm2",
        "attn.out_proj": "self_attn.out_proj",
        "mlp.c_fc": "mlp.fc1",
        "mlp.c_proj": "mlp.fc2",
    }
    for name, array in weights.items():
        tower, marker, rest = name.partition("transformer.resblocks.")
        if not marker:
            continue
        index, _, part = rest.partition(".")
        block = f"{vision if tower else text}encoder.layers.{index}."
        module, _, kind = part.rpartition(".")
        if module in parts:
            named[f"{block}{parts[module]}.{kind}"] = array
        else:  # attn.in_proj_weight, attn.in_proj_bias
            for letter, third in zip("qkv", array.chunk(3), strict=True):
                named[f"{block}self_attn.{letter}_proj.{part.rpartition('_')[2]}"] = third.contiguous()
    return named
