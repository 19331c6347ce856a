"""open_clip's native towers described as towers; those of timm and BERT inside it have their own files."""

from collections.abc import Callable
from typing import Any

import open_clip
import torch
from jaxtyping import Bool, Float, Int
from open_clip.transform import ResizeKeepRatio
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from PIL import Image
from torch import Tensor, nn
from torchvision import transforms

from benchmark.encoders import timm
from benchmark.encoders.base import DualEncoder, Tokens
from benchmark.encoders.geometry import Geometry
from benchmark.encoders.huggingface import attention_slices, plain
from benchmark.encoders.tower import Block, Pooling, Tower
from benchmark.errors import InvalidInput, UnsupportedEncoder


def _block(layer: nn.Module) -> Block:
    if type(layer) is not ResidualAttentionBlock:
        raise UnsupportedEncoder(f"open_clip's {type(layer).__name__} is not described here; only ResidualAttentionBlock is")
    query, key, value = attention_slices(layer.attn)

    def join(hidden: Tensor, attended: Tensor) -> Tensor:
        hidden = hidden + layer.ls_1(attended)
        return hidden + layer.ls_2(layer.mlp(layer.ln_2(hidden)))

    return Block(
        heads=layer.attn.num_heads, before=layer.ln_1, query=query, key=key, value=value, out=layer.attn.out_proj, join=join
    )


def _projection(projection: Any) -> Callable[[Tensor], Tensor]:
    if projection is None:
        return nn.Identity()
    if isinstance(projection, nn.Module):
        return projection
    return lambda pooled: pooled @ projection


def _sides(visual: Any) -> tuple[int, int]:
    """Return the height and width of an open_clip image tower's input."""
    size = visual.image_size
    return (int(size[0]), int(size[1])) if isinstance(size, tuple | list) else (int(size), int(size))


def image_tower(visual: VisionTransformer) -> Tower:
    """Describe a native vision transformer; attentional poolers (CoCa) and patch dropout in training are refused."""
    if visual.attn_pool is not None:
        raise UnsupportedEncoder("open_clip's attentional pooler (CoCa) is not described here; known: 'tok' and 'avg' pooling")
    poolings: dict[str, Pooling] = {"tok": "class_token", "avg": "mean"}
    if visual.pool_type not in poolings:
        known = ", ".join(poolings)
        raise UnsupportedEncoder(f"open_clip's image pooling {visual.pool_type!r} is not described here; known: {known}")
    patch: Any = visual.patch_size
    if patch[0] != patch[1]:
        raise UnsupportedEncoder(f"patches must be square; this open_clip tower has {patch[0]} x {patch[1]} pixels")

    def embed(tokens: Tensor, kept: Tensor | None) -> Tensor:
        positions = visual.positional_embedding.to(tokens.dtype)
        first = (visual.class_embedding.to(tokens.dtype) + positions[0]).expand(len(tokens), 1, -1)
        patches = positions[1:] if kept is None else positions[1:][kept]
        return visual.ln_pre(torch.cat([first, tokens + patches], dim=1))

    return Tower(
        side="image",
        blocks=tuple(_block(layer) for layer in visual.transformer.resblocks),
        embed=embed,
        norm=visual.ln_post,
        project=_projection(visual.proj),
        pooling=poolings[visual.pool_type],
        prefix=1,
        norm_after_pool=bool(visual.final_ln_after_pool),
    )


class OpenClipEncoder(DualEncoder):
    """An open_clip model with its native text tower; ``CLIP`` keeps it flat, ``CustomTextCLIP`` under ``text``."""

    family = "open_clip"

    def __init__(self, model: Any, processor: Any, tokenizer: Any, *, name: str, revision: str | None) -> None:
        self.model, self.processor, self.tokenizer = model.eval(), processor, tokenizer
        self.text_model: Any = getattr(model, "text", model)
        super().__init__(
            name,
            image=self._image_tower(),
            text=self._text_tower(),
            patch_grid=self._grid(),
            logit_scale=float(model.logit_scale.detach().exp()),
            logit_bias=float(model.logit_bias.detach()) if getattr(model, "logit_bias", None) is not None else 0.0,
            revision=revision,
            device=model.logit_scale.device,
        )

    def _image_tower(self) -> Tower | None:
        visual = self.model.visual
        if isinstance(visual, VisionTransformer):
            return image_tower(visual)
        return timm.image_tower(visual) if timm.is_vision_transformer(visual) else None

    def _grid(self) -> tuple[int, int]:
        """Return the grid of patches, or one of 32-pixel cells, the stride of a ResNet."""
        visual = self.model.visual
        patches: Any = (
            visual if isinstance(visual, VisionTransformer) else getattr(getattr(visual, "trunk", None), "patch_embed", None)
        )
        if hasattr(patches, "grid_size"):
            return int(patches.grid_size[0]), int(patches.grid_size[1])
        height, width = _sides(visual)
        return max(height // 32, 1), max(width // 32, 1)

    @property
    def pooling(self) -> str:
        return getattr(self.model, "text_pool_type", None) or self.text_model.pool_type

    def _text_tower(self) -> Tower:
        text = self.text_model
        if not isinstance(self.model, open_clip.CLIP | open_clip.CustomTextCLIP):
            raise UnsupportedEncoder(
                f"open_clip's {type(self.model).__name__} is not described here; known: CLIP, CustomTextCLIP"
            )
        if not hasattr(text, "token_embedding") or getattr(text, "cls_emb", None) is not None:
            raise UnsupportedEncoder(f"open_clip's text tower {type(text).__name__} is not described here")
        if self.pooling not in ("argmax", "eos", "last", "first"):
            raise UnsupportedEncoder(f"open_clip text pooling {self.pooling!r} is not described here")

        def embed(tokens: Tensor, kept: Tensor | None) -> Tensor:
            del kept
            return tokens + text.positional_embedding[: tokens.shape[1]].to(tokens.dtype)

        return Tower(
            side="text",
            blocks=tuple(_block(layer) for layer in text.transformer.resblocks),
            embed=embed,
            norm=text.ln_final,
            project=_projection(text.text_projection),
            pooling="text_token",
            causal=text.attn_mask is not None,
        )

    @property
    def frame_size(self) -> tuple[int, int]:
        return _sides(self.model.visual)

    def probe_ids(self) -> Int[Tensor, "1 position"]:
        vocabulary = self.text_model.token_embedding.num_embeddings
        ids = torch.zeros(1, self.context_length, dtype=torch.long)
        ids[0, :6] = torch.tensor([vocabulary - 2, 3, 4, 5, 6, vocabulary - 1])
        return ids

    @property
    def dtype(self) -> torch.dtype:
        """The type of the image tower's weights, in which it takes pixels."""
        return next(self.model.visual.parameters()).dtype

    @property
    def context_length(self) -> int:
        return int(self.text_model.context_length)

    def library_image_embeddings(self, pixel_values: Tensor) -> Float[Tensor, "image dim"]:
        return self.model.encode_image(pixel_values.to(self.dtype))

    def library_text_embeddings(self, input_ids: Tensor) -> Float[Tensor, "text dim"]:
        missing = self.context_length - input_ids.shape[1]
        if missing > 0 and self.text.causal:  # open_clip's causal mask has one size; what follows the reading position is idle
            input_ids = nn.functional.pad(input_ids, (0, missing))
        return self.model.encode_text(input_ids)

    def image_tokens(self, pixel_values: Tensor) -> Float[Tensor, "image patch dim"]:
        visual, expected = self.model.visual, self.frame_size
        if tuple(pixel_values.shape[-2:]) != expected:
            raise InvalidInput(f"{self.name} takes {expected[0]} x {expected[1]} images; got {tuple(pixel_values.shape[-2:])}")
        pixel_values = pixel_values.to(self.dtype)
        if timm.is_vision_transformer(visual):
            return visual.trunk.patch_embed(pixel_values)
        return visual.conv1(pixel_values).flatten(2).transpose(1, 2)

    def text_tokens(self, input_ids: Tensor) -> Float[Tensor, "text position dim"]:
        if input_ids.shape[1] > self.context_length:
            raise InvalidInput(f"{self.name} reads at most {self.context_length} tokens; got {input_ids.shape[1]}")
        return self.text_model.token_embedding(input_ids)

    def read_positions(self, input_ids: Tensor) -> Int[Tensor, " text"]:
        length = input_ids.shape[1]
        if self.pooling == "argmax":
            return input_ids.argmax(dim=-1)
        if self.pooling == "eos":
            end = getattr(self.model, "text_eos_id", None) or self.text_model.eos_id
            return (input_ids == end).int().argmax(dim=-1)
        return torch.full((len(input_ids),), length - 1 if self.pooling == "last" else 0, device=input_ids.device)

    def content_positions(self, input_ids: Tensor) -> tuple[int, ...]:
        if self.pooling in ("argmax", "eos"):
            return tuple(range(1, int(self.read_positions(input_ids[None])[0])))
        special = self._special_ids()
        return tuple(i for i, token in enumerate(input_ids.tolist()) if token not in special)

    def _special_ids(self) -> set[int]:
        inner = getattr(self.tokenizer, "tokenizer", self.tokenizer)
        if inner is None:
            return {0, 1}  # SigLIP vocabularies keep padding and end of text here
        return set(inner.all_special_ids) - {getattr(inner, "unk_token_id", None)}

    def tokenize(self, text: str) -> Tokens:
        if self.tokenizer is None:
            raise InvalidInput(f"{self.name} was wrapped without a tokenizer; give wrap_encoder one, or use pair_from_tensors")
        ids = [int(i) for i in self.tokenizer([text], context_length=self.context_length)[0]]
        positions = self.content_positions(torch.tensor(ids))
        bytes_and_specials = len(text.encode()) + 8  # no tokenizer makes more tokens than bytes
        longer = self.tokenizer([text], context_length=max(2 * bytes_and_specials, self.context_length))[0]
        overflow = len(self.content_positions(longer)) - len(positions)
        pieces = tuple(self.special_token_string(ids[i]) for i in positions)
        return Tokens(ids=ids, positions=positions, pieces=pieces, overflow=max(overflow, 0))

    @property
    def mask_token_id(self) -> int | None:
        return getattr(getattr(self.tokenizer, "tokenizer", None), "mask_token_id", None)

    def attended(self, input_ids: Tensor) -> Bool[Tensor, "text position"] | None:
        if getattr(self.text_model, "use_pad_mask", False):
            return input_ids != self.text_model.pad_id
        return None

    def special_token_string(self, token_id: int) -> str:
        inner = getattr(self.tokenizer, "tokenizer", self.tokenizer)
        if isinstance(inner, open_clip.SimpleTokenizer):
            return inner.decode([token_id]).strip()
        if inner is None:
            return str(token_id)
        return plain(str(inner.convert_ids_to_tokens(token_id)))

    def preprocess(self, image: Image.Image) -> tuple[Float[Tensor, "1 3 height width"], Geometry]:
        if self.processor is None:
            raise InvalidInput(f"{self.name} was wrapped without a preprocessing transform; pass one, or use pair_from_tensors")
        pixel_values = self.processor(image)[None]
        return pixel_values, self._geometry(image.size, (pixel_values.shape[-1], pixel_values.shape[-2]))

    def _geometry(self, size: tuple[int, int], frame: tuple[int, int]) -> Geometry:
        """Read the preprocessing that open_clip's ``image_transform`` builds: shortest, longest or squash."""
        patch = self._patch_size(frame)
        for step in getattr(self.processor, "transforms", ()):
            if isinstance(step, ResizeKeepRatio):
                return (Geometry.pad if step.longest >= 1 else Geometry.fit)(size, frame, patch)
            if isinstance(step, transforms.Resize):
                if isinstance(step.size, int):
                    return Geometry.fit(size, frame, patch, short_side=float(step.size))
                if len(step.size) == 1:
                    return Geometry.fit(size, frame, patch, short_side=float(step.size[0]))
                return Geometry.resized(size, frame, patch, (float(step.size[1]), float(step.size[0])))
        raise InvalidInput(f"the preprocessing of {self.name} has no Resize step, so regions cannot be placed on its frame")

    def _patch_size(self, frame: tuple[int, int]) -> int:
        """Return the side of a patch; leftover pixels of the frame belong to none."""
        if not self.has_tower("image"):
            return frame[1] // self.patch_grid[0]
        visual: Any = self.model.visual
        patches: Any = visual.trunk.patch_embed if timm.is_vision_transformer(visual) else visual
        return int(patches.patch_size[0])


def wrap(model: Any, processor: Any = None, tokenizer: Any = None, *, name: str, revision: str | None = None) -> DualEncoder:
    """Describe an open_clip dual encoder that is already in memory."""
    from benchmark.encoders import bert

    if bert.is_bert(getattr(model, "text", None)):
        return bert.OpenClipBertEncoder(model, processor, tokenizer, name=name, revision=revision)
    return OpenClipEncoder(model, processor, tokenizer, name=name, revision=revision)
