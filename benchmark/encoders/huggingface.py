"""Hugging Face CLIP, SigLIP and SigLIP 2 (fixed resolution), described as towers."""

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor, nn
from transformers import CLIPModel, PreTrainedModel, SiglipModel

from benchmark.encoders.base import DualEncoder, Tokens
from benchmark.encoders.geometry import Geometry
from benchmark.encoders.tower import AttentionPool, Block, Tower
from benchmark.errors import InvalidInput, UnsupportedEncoder

CLIP_END = 49407
"""CLIP's end of text, which SiglipTextConfig names by default although SigLIP vocabularies keep 0 and 1 for specials."""


def pre_norm_join(norm: nn.Module, mlp: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the residuals and MLP of a pre-norm block without layer scale."""

    def join(hidden: Tensor, attended: Tensor) -> Tensor:
        hidden = hidden + attended
        return hidden + mlp(norm(hidden))

    return join


def _block(layer: Any) -> Block:
    attention = layer.self_attn
    return Block(
        heads=attention.num_heads,
        before=layer.layer_norm1,
        query=attention.q_proj,
        key=attention.k_proj,
        value=attention.v_proj,
        out=attention.out_proj,
        join=pre_norm_join(layer.layer_norm2, layer.mlp),
    )


def attention_slices(attention: nn.MultiheadAttention) -> tuple[Callable[[Tensor], Tensor], ...]:
    """Return the query, key and value maps of a fused ``nn.MultiheadAttention``."""

    def part(index: int) -> Callable[[Tensor], Tensor]:
        width = attention.embed_dim
        rows = slice(index * width, (index + 1) * width)

        def project(x: Tensor) -> Tensor:
            bias: Any = attention.in_proj_bias  # typed as always there, but it may not be
            return nn.functional.linear(x, attention.in_proj_weight[rows], bias[rows] if bias is not None else None)

        return project

    return part(0), part(1), part(2)


def _attention_pool(head: Any) -> AttentionPool:
    query, key, value = attention_slices(head.attention)

    def after(attended: Tensor) -> Tensor:
        return attended + head.mlp(head.layernorm(attended))

    return AttentionPool(
        heads=head.attention.num_heads,
        query=lambda: query(head.probe[0, 0]),
        key=key,
        value=value,
        out=head.attention.out_proj,
        after=after,
    )


class HuggingFaceEncoder(DualEncoder):
    """What CLIP and SigLIP share: module names, tokenizer and image processor."""

    def __init__(self, model: Any, processor: Any, tokenizer: Any, *, name: str, revision: str | None) -> None:
        self.model, self.processor, self.tokenizer = model.eval(), processor, tokenizer
        vision = model.config.vision_config
        side = vision.image_size // vision.patch_size
        super().__init__(
            name,
            image=self._image_tower(),
            text=self._text_tower(),
            patch_grid=(side, side),
            logit_scale=float(model.logit_scale.detach().exp()),
            logit_bias=float(model.logit_bias.detach()) if hasattr(model, "logit_bias") else 0.0,
            revision=revision or getattr(model.config, "_commit_hash", None),
            device=model.logit_scale.device,
        )

    def _image_tower(self) -> Tower:
        raise NotImplementedError

    def _text_tower(self) -> Tower:
        raise NotImplementedError

    def _image_positions(self, tokens: Tensor, kept: Tensor | None) -> Tensor:
        positions = self.model.vision_model.embeddings.position_embedding.weight
        offset = len(positions) - self.n_patches
        patches = positions[offset:]
        return tokens + (patches if kept is None else patches[kept])

    def _embed_text(self, tokens: Tensor, kept: Tensor | None) -> Tensor:
        del kept
        return tokens + self.model.text_model.embeddings.position_embedding.weight[: tokens.shape[1]]

    def library_image_embeddings(self, pixel_values: Tensor) -> Float[Tensor, "image dim"]:
        return self.model.get_image_features(pixel_values=pixel_values).pooler_output

    def library_text_embeddings(self, input_ids: Tensor) -> Float[Tensor, "text dim"]:
        return self.model.get_text_features(input_ids=input_ids, attention_mask=self.attended(input_ids)).pooler_output

    def image_tokens(self, pixel_values: Tensor) -> Float[Tensor, "image patch dim"]:
        convolution = self.model.vision_model.embeddings.patch_embedding
        size = self.model.config.vision_config.image_size
        if pixel_values.shape[-2:] != (size, size):
            raise InvalidInput(f"{self.name} takes {size} x {size} images; got {tuple(pixel_values.shape[-2:])}")
        return convolution(pixel_values.to(convolution.weight.dtype)).flatten(2).transpose(1, 2)

    def text_tokens(self, input_ids: Tensor) -> Float[Tensor, "text position dim"]:
        if input_ids.shape[1] > self.context_length:
            raise InvalidInput(f"{self.name} reads at most {self.context_length} tokens; got {input_ids.shape[1]}")
        return self.model.text_model.embeddings.token_embedding(input_ids)

    @property
    def frame_size(self) -> tuple[int, int]:
        size = self.model.config.vision_config.image_size
        return size, size

    def probe_ids(self) -> Int[Tensor, "1 position"]:
        text = self.model.config.text_config
        end = text.eos_token_id
        if not isinstance(end, int) or not 0 <= end < text.vocab_size or end == 2:
            end = text.vocab_size - 1
        words = [i for i in range(text.vocab_size) if i not in (end, text.pad_token_id)]
        ids = torch.tensor(words[-min(5, max(self.context_length - 2, 1)) :])
        padding = torch.full((self.context_length - len(ids) - 1,), text.pad_token_id or 0)
        return torch.cat([ids, torch.tensor([end]), padding])[None]

    @property
    def context_length(self) -> int:
        return self.model.config.text_config.max_position_embeddings

    @property
    def mask_token_id(self) -> int | None:
        return getattr(self.tokenizer, "mask_token_id", None)

    def special_token_string(self, token_id: int) -> str:
        if self.tokenizer is None:
            return str(token_id)
        readable = self.tokenizer.decode([token_id], skip_special_tokens=False, clean_up_tokenization_spaces=False)
        return str(readable).strip() or plain(str(self.tokenizer.convert_ids_to_tokens(token_id)))

    def tokenize(self, text: str) -> Tokens:
        if self.tokenizer is None:
            raise InvalidInput(f"{self.name} was wrapped without a tokenizer; give wrap_encoder one, or use pair_from_tensors")
        text = self.normalise(text)
        whole = self.tokenizer(text, truncation=False, verbose=False)["input_ids"]
        fast = bool(getattr(self.tokenizer, "is_fast", False))
        encoded = self.tokenizer(
            text,
            padding="max_length",
            padding_side="right",  # the class default of Siglip2Tokenizer is the left, which no checkpoint was trained with
            truncation=True,
            max_length=self.context_length,
            return_offsets_mapping=fast,
        )
        ids = [int(i) for i in encoded["input_ids"]]
        positions = self.content_positions(torch.tensor(ids))
        offsets = None
        if fast:
            found = [tuple(encoded["offset_mapping"][i]) for i in positions]
            offsets = tuple((int(start), int(end)) if end > start else None for start, end in found)
            offsets = tuple(_stripped(text, span) for span in offsets)
        return Tokens(
            ids=ids,
            positions=positions,
            pieces=tuple(self.special_token_string(ids[i]) for i in positions),
            offsets=offsets,
            overflow=max(len(whole) - self.context_length, 0),
        )

    def normalise(self, text: str) -> str:
        """Return the text as the tokenizer should see it; the length never changes, so offsets stay right."""
        return text

    def preprocess(self, image: Image.Image) -> tuple[Float[Tensor, "1 3 height width"], Geometry]:
        if self.processor is None:
            raise InvalidInput(f"{self.name} was wrapped without an image processor; pass one, or use pair_from_tensors")
        pixel_values = self.processor(images=image, return_tensors="pt")["pixel_values"]
        return pixel_values, self._geometry(image.size)

    def _geometry(self, size: tuple[int, int]) -> Geometry:
        wanted, vision = dict(self.processor.size), self.model.config.vision_config
        frame = (vision.image_size, vision.image_size)
        short_side = wanted.get("shortest_edge")
        if short_side is None:
            return Geometry.resized(size, frame, vision.patch_size, (float(wanted["width"]), float(wanted["height"])))
        return Geometry.fit(size, frame, vision.patch_size, short_side=float(short_side))


def plain(piece: str) -> str:
    """Return a token without its word-boundary marker (BPE, SentencePiece, WordPiece)."""
    return piece.removesuffix("</w>").lstrip("▁").removeprefix("##")


def _stripped(text: str, span: tuple[int, int] | None) -> tuple[int, int] | None:
    """Return a token's characters without the white space that some tokenizers count in."""
    if span is None:
        return None
    start, end = span
    while start < end and text[start].isspace():
        start += 1
    return (start, end) if end > start else None


class HuggingFaceClip(HuggingFaceEncoder):
    """CLIP: class token, causal text read at the end-of-text token."""

    family = "huggingface-clip"

    def _image_tower(self) -> Tower:
        vision = self.model.vision_model

        def embed(tokens: Tensor, kept: Tensor | None) -> Tensor:
            positions = vision.embeddings.position_embedding.weight
            first = (vision.embeddings.class_embedding + positions[0]).expand(len(tokens), 1, -1)
            return vision.pre_layrnorm(torch.cat([first, self._image_positions(tokens, kept)], dim=1))

        return Tower(
            side="image",
            blocks=tuple(_block(layer) for layer in vision.encoder.layers),
            embed=embed,
            norm=vision.post_layernorm,
            project=self.model.visual_projection,
            pooling="class_token",
            prefix=1,
        )

    def _text_tower(self) -> Tower:
        text = self.model.text_model
        return Tower(
            side="text",
            blocks=tuple(_block(layer) for layer in text.encoder.layers),
            embed=self._embed_text,
            norm=text.final_layer_norm,
            project=self.model.text_projection,
            pooling="text_token",
            causal=True,
        )

    def attended(self, input_ids: Tensor) -> Bool[Tensor, "text position"] | None:
        return None

    def read_positions(self, input_ids: Tensor) -> Int[Tensor, " text"]:
        end = self.model.config.text_config.eos_token_id
        if end == 2:  # transformers reads the largest id of checkpoints whose config predates the right end-of-text id
            return input_ids.to(torch.int).argmax(dim=-1)
        return (input_ids == end).int().argmax(dim=-1)

    def content_positions(self, input_ids: Tensor) -> tuple[int, ...]:
        begin = getattr(self.tokenizer, "bos_token_id", None)
        return tuple(i for i in range(1, int(self.read_positions(input_ids[None])[0])) if int(input_ids[i]) != begin)


class HuggingFaceSiglip(HuggingFaceEncoder):
    """SigLIP and fixed-resolution SigLIP 2: attention pooling, text read at the last position, padding attended to."""

    family = "huggingface-siglip"

    def _image_tower(self) -> Tower:
        vision = self.model.vision_model
        if not getattr(vision, "use_head", True):
            raise UnsupportedEncoder(f"{type(self.model).__name__} without its attention pooling head has no image embedding")
        return Tower(
            side="image",
            blocks=tuple(_block(layer) for layer in vision.encoder.layers),
            embed=self._image_positions,
            norm=vision.post_layernorm,
            project=nn.Identity(),
            pooling="attention",
            attention_pool=_attention_pool(vision.head),
        )

    def _text_tower(self) -> Tower:
        text = self.model.text_model
        return Tower(
            side="text",
            blocks=tuple(_block(layer) for layer in text.encoder.layers),
            embed=self._embed_text,
            norm=text.final_layer_norm,
            project=text.head,
            pooling="text_token",
        )

    def normalise(self, text: str) -> str:
        return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)

    def read_positions(self, input_ids: Tensor) -> Int[Tensor, " text"]:
        return torch.full((len(input_ids),), input_ids.shape[1] - 1, device=input_ids.device)

    def content_positions(self, input_ids: Tensor) -> tuple[int, ...]:
        special = self._special_ids()
        return tuple(i for i, token in enumerate(input_ids.tolist()) if token not in special)

    def _special_ids(self) -> set[int]:
        """Return padding, begin and end of text; checkpoints that inherit CLIP's ids from the defaults declare none."""
        if self.tokenizer is not None:
            return set(self.tokenizer.all_special_ids) - {getattr(self.tokenizer, "unk_token_id", None)}
        text = self.model.config.text_config
        if text.eos_token_id == CLIP_END:
            return {0, 1}
        return {text.pad_token_id, text.eos_token_id, text.bos_token_id} - {None}


def wrap(
    model: PreTrainedModel, processor: Any = None, tokenizer: Any = None, *, name: str, revision: str | None = None
) -> DualEncoder:
    """Describe a Hugging Face dual encoder that is already in memory; a processor may bring its own tokenizer."""
    tokenizer = tokenizer or getattr(processor, "tokenizer", None)
    processor = getattr(processor, "image_processor", processor)
    if isinstance(model, CLIPModel):
        return HuggingFaceClip(model, processor, tokenizer, name=name, revision=revision)
    if isinstance(model, SiglipModel):
        return HuggingFaceSiglip(model, processor, tokenizer, name=name, revision=revision)
    hint = " (naflex checkpoints have no fixed patch grid)" if type(model).__name__ == "Siglip2Model" else ""
    raise UnsupportedEncoder(f"{type(model).__name__} is not described here{hint}; known: CLIPModel, SiglipModel")
