"""A Hugging Face BERT inside open_clip (BiomedCLIP's text tower), described as a tower."""

from typing import Any

from open_clip.hf_model import ClsLastHiddenStatePooler, ClsPooler, HFTextEncoder
from torch import Tensor, nn
from transformers import BertModel

from benchmark.encoders.tower import Block, Tower
from benchmark.errors import UnsupportedEncoder


def is_bert(text: Any) -> bool:
    """Tell whether an open_clip text tower holds a Hugging Face BERT."""
    return isinstance(text, HFTextEncoder) and isinstance(text.transformer, BertModel)


def text_tower(text: Any) -> Tower:
    """Describe it: post-norm blocks, bidirectional, padding masked, read at the first token."""
    bert, pooler = text.transformer, text.pooler
    pooled_apart = isinstance(pooler, ClsPooler) and pooler.use_pooler_output and bert.pooler is not None
    if not isinstance(pooler, ClsPooler | ClsLastHiddenStatePooler) or pooled_apart:
        raise UnsupportedEncoder(
            f"BERT pooled by {type(pooler).__name__} is not described here; only its first token's last state is"
        )
    embeddings = bert.embeddings

    def embed(tokens: Tensor, kept: Tensor | None) -> Tensor:
        del kept
        fixed = embeddings.position_embeddings.weight[: tokens.shape[1]] + embeddings.token_type_embeddings.weight[0]
        return embeddings.LayerNorm(tokens + fixed)

    return Tower(
        side="text",
        blocks=tuple(_block(layer) for layer in bert.encoder.layer),
        embed=embed,
        norm=nn.Identity(),
        project=text.proj,
        pooling="text_token",
    )


def _block(layer: Any) -> Block:
    inner, after = layer.attention.self, layer.attention.output

    def join(hidden: Tensor, attended: Tensor) -> Tensor:
        hidden = after.LayerNorm(hidden + attended)
        return layer.output.LayerNorm(hidden + layer.output.dense(layer.intermediate(hidden)))

    return Block(
        heads=inner.num_attention_heads,
        before=nn.Identity(),
        query=inner.query,
        key=inner.key,
        value=inner.value,
        out=after.dense,
        join=join,
    )
