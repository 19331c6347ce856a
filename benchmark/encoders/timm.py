"""timm's vision transformer inside open_clip (BiomedCLIP, SigLIP), described as a tower."""

from collections.abc import Callable
from typing import Any

import torch
from open_clip.timm_model import TimmModel
from timm.layers.attention import Attention
from timm.layers.attention_pool import AttentionPoolLatent
from timm.models.vision_transformer import Block as TimmBlock
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from benchmark.encoders.tower import AttentionPool, Block, Pooling, Tower
from benchmark.errors import UnsupportedEncoder

POOLINGS: dict[str, Pooling] = {"token": "class_token", "map": "attention", "avg": "mean"}


def is_vision_transformer(visual: Any) -> bool:
    """Tell whether an open_clip image tower holds a plain timm vision transformer."""
    return isinstance(visual, TimmModel) and type(visual.trunk) is VisionTransformer


def image_tower(visual: Any) -> Tower:
    """Describe it; registers between class token and patches, rotary positions and gated or normed attention are refused."""
    trunk = visual.trunk
    pooling = POOLINGS.get(trunk.global_pool)
    if pooling is None or trunk.pool_include_prefix or trunk.reg_token is not None:
        raise UnsupportedEncoder(f"timm pooling {trunk.global_pool!r} over prefix or register tokens is not described here")
    if pooling == "attention" and trunk.num_prefix_tokens:
        raise UnsupportedEncoder("timm attention pooling beside a class token is not described here")

    def embed(tokens: Tensor, kept: Tensor | None) -> Tensor:
        n_prefix = 0 if trunk.no_embed_class else trunk.num_prefix_tokens
        positions = trunk.pos_embed[0]
        patches = positions[n_prefix:]
        tokens = tokens + (patches if kept is None else patches[kept])
        if trunk.cls_token is not None:
            first = trunk.cls_token[0] + (positions[:1] if n_prefix else 0.0)
            tokens = torch.cat([first.expand(len(tokens), 1, -1), tokens], dim=1)
        return trunk.norm_pre(tokens)

    return Tower(
        side="image",
        blocks=tuple(_block(layer) for layer in trunk.blocks),
        embed=embed,
        norm=trunk.norm,
        project=nn.Sequential(trunk.fc_norm, trunk.head, visual.head),
        pooling=pooling,
        prefix=trunk.num_prefix_tokens,
        attention_pool=_attention_pool(trunk.attn_pool) if pooling == "attention" else None,
    )


def _block(layer: nn.Module) -> Block:
    if type(layer) is not TimmBlock:
        raise UnsupportedEncoder(f"timm's {type(layer).__name__} is not described here; only its plain Block is")
    part: Any = layer
    attention: Any = part.attn
    plain = (attention.q_norm, attention.k_norm, attention.norm)
    if type(attention) is not Attention or attention.gate is not None or not all(isinstance(n, nn.Identity) for n in plain):
        raise UnsupportedEncoder("timm attention with query-key norm, inner norm or a gate is not described here")
    query, key, value = _thirds(attention.qkv)

    def join(hidden: Tensor, attended: Tensor) -> Tensor:
        hidden = hidden + part.ls1(attended)
        return hidden + part.ls2(part.mlp(part.norm2(hidden)))

    return Block(heads=attention.num_heads, before=part.norm1, query=query, key=key, value=value, out=attention.proj, join=join)


def _attention_pool(head: Any) -> AttentionPool:
    mlp: Any = head.mlp
    plain = isinstance(head, AttentionPoolLatent) and head.latent_len == 1 and head.pos_embed is None and head.pool == "token"
    if not plain or mlp is None or not all(isinstance(norm, nn.Identity) for norm in (head.q_norm, head.k_norm)):
        raise UnsupportedEncoder(f"timm's {type(head).__name__} with these settings is not described here")
    key, value = _parts(head.kv, 2)

    def after(attended: Tensor) -> Tensor:
        return attended + mlp(head.norm(attended))

    return AttentionPool(
        heads=head.num_heads, query=lambda: head.q(head.latent[0, 0]), key=key, value=value, out=head.proj, after=after
    )


def _thirds(fused: Any) -> tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]:
    query, key, value = _parts(fused, 3)
    return query, key, value


def _parts(fused: Any, n: int) -> list[Callable[[Tensor], Tensor]]:
    """Return the maps that a fused linear layer holds one after another."""
    width = fused.out_features // n

    def part(index: int) -> Callable[[Tensor], Tensor]:
        rows = slice(index * width, (index + 1) * width)

        def project(x: Tensor) -> Tensor:
            return nn.functional.linear(x, fused.weight[rows], fused.bias[rows] if fused.bias is not None else None)

        return project

    return [part(index) for index in range(n)]
