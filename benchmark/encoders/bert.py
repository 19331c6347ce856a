"""A Hugging Face BERT inside open_clip (BiomedCLIP's text tower), described as a tower."""

from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from open_clip.hf_model import ClsLastHiddenStatePooler, ClsPooler, HFTextEncoder
from torch import Tensor, nn
from transformers import BertModel

from benchmark.encoders.open_clip import OpenClipEncoder
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


class OpenClipBertEncoder(OpenClipEncoder):
    """An open_clip model whose text tower is a BERT (BiomedCLIP): class token first, separator last, padding masked."""

    family = "open_clip-bert"

    def _text_tower(self) -> Tower:
        return text_tower(self.text_model)

    @property
    def context_length(self) -> int:
        """The tokenizer's length (256 for BiomedCLIP), which may be shorter than what BERT has positions for."""
        return int(getattr(self.tokenizer, "context_length", None) or self.text_model.context_length)

    def text_tokens(self, input_ids: Tensor) -> Float[Tensor, "text position dim"]:
        return self.text_model.transformer.embeddings.word_embeddings(input_ids)

    def attended(self, input_ids: Tensor) -> Bool[Tensor, "text position"]:
        return input_ids != self.text_model.config.pad_token_id

    def read_positions(self, input_ids: Tensor) -> Int[Tensor, " text"]:
        return torch.zeros(len(input_ids), dtype=torch.long, device=input_ids.device)

    def content_positions(self, input_ids: Tensor) -> tuple[int, ...]:
        return tuple(range(1, int(self.attended(input_ids[None]).sum()) - 1))

    def library_text_embeddings(self, input_ids: Tensor) -> Float[Tensor, "text dim"]:
        return self.model.encode_text(input_ids)

    def probe_ids(self) -> Int[Tensor, "1 position"]:
        config = self.text_model.config
        ids = torch.full((1, min(self.context_length, 32)), config.pad_token_id)
        ids[0, :6] = torch.arange(6) + config.vocab_size // 2
        return ids
