"""How a player is taken away. Removal happens in token space, so pixels are never copied."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional as F

from benchmark.encoders.tower import State
from benchmark.errors import UnsupportedEncoder
from benchmark.types import Registry

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair

Embed = Callable[[Bool[Tensor, "coalition player"]], Tensor]
"""Maps coalitions of one side's players, already on the device, to unit embeddings."""

IMAGE_REMOVALS: Registry[Callable[["DualEncoder", "Pair"], Embed]] = Registry("removal operator")
TEXT_REMOVALS: Registry[Callable[["DualEncoder", "Pair"], Embed]] = Registry("text removal operator")


def mask_pixels(encoder: "DualEncoder", pair: "Pair") -> Embed:
    """Set a patch's pixels to the normalised zero, the mean colour (FIxLIP's operator); its token stays.

    A patch embedding is a convolution of that patch alone, so a masked patch becomes the embedding of a zero image
    (its bias, if it has one).
    """
    if not encoder.has_tower("image"):
        return _mask_real_pixels(encoder, pair)
    shown = encoder.image_tokens(pair.pixel_values)
    hidden = encoder.image_tokens(torch.zeros_like(pair.pixel_values))
    tower = encoder.image

    def embed(coalitions: Bool[Tensor, "coalition player"]) -> Tensor:
        tokens = torch.where(coalitions[:, :, None], shown, hidden)
        return F.normalize(tower.encode(State(hidden=tower.embed(tokens, None))), dim=-1)

    return embed


def _mask_real_pixels(encoder: "DualEncoder", pair: "Pair") -> Embed:
    """Multiply pixels by the upsampled mask, for towers that no transformer loop describes."""

    def embed(coalitions: Bool[Tensor, "coalition player"]) -> Tensor:
        rows, columns = encoder.patch_grid
        height, width = pair.pixel_values.shape[-2] // rows, pair.pixel_values.shape[-1] // columns
        mask = torch.ones(len(coalitions), 1, *pair.pixel_values.shape[-2:], dtype=torch.bool, device=encoder.device)
        grid = coalitions.view(-1, 1, rows, columns).repeat_interleave(height, 2).repeat_interleave(width, 3)
        mask[:, :, : rows * height, : columns * width] = grid  # pixels left over belong to no patch
        return encoder.embed_images(pair.pixel_values * mask)

    return embed


def drop_tokens(encoder: "DualEncoder", pair: "Pair") -> Embed:
    """Leave a patch's token out of the sequence; the others keep their positions.

    Coalitions of one size run together and need no mask. Attention pooling over no patch at all pools zeros.
    """
    shown = encoder.image_tokens(pair.pixel_values)
    tower = encoder.image

    def embed(coalitions: Bool[Tensor, "coalition player"]) -> Tensor:
        sizes = coalitions.sum(dim=1)
        embeddings: Tensor | None = None
        for size in torch.unique(sizes).tolist():
            rows = (sizes == size).nonzero()[:, 0]
            kept = coalitions[rows].nonzero()[:, 1].view(len(rows), size)
            part = F.normalize(tower.encode(State(hidden=tower.embed(shown[0][kept], kept))), dim=-1)
            if embeddings is None:
                embeddings = part.new_empty(len(coalitions), part.shape[1])
            embeddings[rows] = part
        return shown.new_empty(0, 0) if embeddings is None else embeddings

    return embed


def attention_mask(encoder: "DualEncoder", pair: "Pair") -> Embed:
    """Let no position attend to a removed token; positions of the others are unchanged (FIxLIP's operator)."""
    ids = encoder.trim(pair.input_ids)
    if not encoder.has_tower("text"):
        raise UnsupportedEncoder(f"the text tower of {encoder.name} takes no attention mask; use text_removal='replace_token'")
    full = encoder.text_state(ids)
    tower = encoder.text
    positions = torch.tensor(pair.token_positions, device=encoder.device)

    def embed(coalitions: Bool[Tensor, "coalition player"]) -> Tensor:
        keep = torch.ones(len(coalitions), ids.shape[1], dtype=torch.bool, device=encoder.device)
        keep[:, positions] = coalitions
        if full.keep is not None:
            keep &= full.keep
        hidden = full.hidden.expand(len(coalitions), -1, -1)
        read = full.read.expand(len(coalitions)) if full.read is not None else None
        return F.normalize(tower.encode(State(hidden=hidden, keep=keep, read=read)), dim=-1)

    return embed


def replace_token(encoder: "DualEncoder", pair: "Pair") -> Embed:
    """Write the vocabulary's mask word over a removed token."""
    neutral = encoder.mask_token_id
    if neutral is None:
        raise UnsupportedEncoder(f"the vocabulary of {encoder.name} has no mask word to replace tokens by; use attention_mask")
    positions = torch.tensor(pair.token_positions, device=encoder.device)

    def embed(coalitions: Bool[Tensor, "coalition player"]) -> Tensor:
        ids = pair.input_ids.repeat(len(coalitions), 1)
        ids[:, positions] = torch.where(coalitions, ids[:, positions], neutral)
        return encoder.embed_texts(ids)

    return embed


IMAGE_REMOVALS.add("mask_pixels", mask_pixels)
IMAGE_REMOVALS.add("drop_tokens", drop_tokens)
TEXT_REMOVALS.add("attention_mask", attention_mask)
TEXT_REMOVALS.add("replace_token", replace_token)
