"""How a player is taken away. Removal happens in token space, so that pixels are painted once, not once per coalition.

A patch embedding is a convolution of that patch alone: a patch taken from another image is that image's token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional as F

from benchmark.encoders.coarse import CoarseEncoder
from benchmark.encoders.tower import State, Tower
from benchmark.errors import UnsupportedEncoder
from benchmark.games import fills
from benchmark.types import Registry

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair

Embed = Callable[[Bool[Tensor, "coalition player"]], Tensor]
"""Maps coalitions of one side's players, on the host or the device, to unit embeddings on the device.

What is asked of coalitions themselves is asked on the host: to ask the device would be to wait for all that it is doing.
"""
Paint = Callable[[Bool[Tensor, "coalition player"]], Tensor]
"""Maps coalitions to what removed patches show, pixels or tokens: one row for each of them, or one for all."""

Operator = Callable[["DualEncoder", "Pair"], Embed]

IMAGE_REMOVALS: Registry[Operator] = Registry("removal operator")
TEXT_REMOVALS: Registry[Operator] = Registry("text removal operator")


@dataclass(frozen=True, slots=True)
class Masked:
    """An ``Embed`` that is one pass through a tower, so that several games may share it (``games.together``).

    ``states`` are the tower's first hidden states, one row for each coalition.
    """

    tower: Tower
    states: Callable[[Bool[Tensor, "coalition player"]], State]

    def __call__(self, coalitions: Bool[Tensor, "coalition player"]) -> Tensor:
        return unit(self.tower.encode(self.states(coalitions)))


def mask_pixels(encoder: "DualEncoder", pair: "Pair") -> Embed:
    """Set a patch's pixels to the normalised zero, the mean colour (FIxLIP's operator); its token stays.

    A masked patch becomes the embedding of a zero image: the bias of the patch embedding, if it has one.
    """
    return _repaint(encoder, pair, torch.zeros_like(pair.pixel_values))


def blur(encoder: "DualEncoder", pair: "Pair") -> Embed:
    """Show a removed patch of the blurred image (RISE's insertion; ``fills.blurred``)."""
    return _repaint(encoder, pair, fills.blurred(pair.pixel_values))


def black(encoder: "DualEncoder", pair: "Pair") -> Embed:
    """Set a patch's pixels to black; needs the encoder's image processor."""
    return _repaint(encoder, pair, fills.black(encoder, pair))


def impute(encoder: "DualEncoder", pair: "Pair") -> Embed:
    """Let the kept patches continue into the removed ones, plus a little noise (ROAD's idea; ``fills.imputed``)."""

    def paint(coalitions: Bool[Tensor, "coalition player"]) -> Tensor:
        return fills.imputed(pair.pixel_values, coalitions.view(-1, *encoder.patch_grid))

    if not encoder.has_tower("image"):
        return _repaint_pixels(encoder, pair, paint)
    shown = encoder.image_tokens(pair.pixel_values)
    return _mix(encoder, shown, lambda coalitions: encoder.image_tokens(paint(coalitions)))


def _repaint(encoder: "DualEncoder", pair: "Pair", painted: Tensor) -> Embed:
    """Show a removed patch of one painted image, the same whatever is kept."""
    if not encoder.has_tower("image"):
        return _repaint_pixels(encoder, pair, lambda _: painted)
    shown, hidden = encoder.image_tokens(pair.pixel_values), encoder.image_tokens(painted)
    return _mix(encoder, shown, lambda _: hidden)


def _mix(encoder: "DualEncoder", shown: Tensor, hidden: Paint) -> Embed:
    """Take the tokens of kept patches from one image and the others from another."""
    tower = encoder.image

    def states(coalitions: Bool[Tensor, "coalition player"]) -> State:
        kept = coalitions.to(encoder.device, non_blocking=True)
        return State(hidden=tower.embed(torch.where(kept[:, :, None], shown, hidden(kept)), None))

    return Masked(tower, states)


def unit(embeddings: Tensor) -> Tensor:
    """Normalise in float32 whatever precision the passes had, so that lengths are 1 to seven digits."""
    return F.normalize(embeddings.float(), dim=-1)


def _repaint_pixels(encoder: "DualEncoder", pair: "Pair", painted: Paint) -> Embed:
    """Repaint the pixels of removed patches, for towers that no transformer loop describes."""

    def embed(coalitions: Bool[Tensor, "coalition player"]) -> Tensor:
        rows, columns = encoder.patch_grid
        height, width = pair.pixel_values.shape[-2] // rows, pair.pixel_values.shape[-1] // columns
        mask = torch.ones(len(coalitions), 1, *pair.pixel_values.shape[-2:], dtype=torch.bool, device=encoder.device)
        kept = coalitions.to(encoder.device, non_blocking=True)
        grid = kept.view(-1, 1, rows, columns).repeat_interleave(height, 2).repeat_interleave(width, 3)
        mask[:, :, : rows * height, : columns * width] = grid  # pixels left over belong to no patch
        return encoder.embed_images(torch.where(mask, pair.pixel_values, painted(kept)))

    return embed


def drop_tokens(encoder: "DualEncoder", pair: "Pair") -> Embed:
    """Leave a patch's token out of the sequence; the others keep their positions.

    Coalitions of one size run together and need no mask. Attention pooling over no patch at all pools zeros.
    """
    shown = encoder.image_tokens(pair.pixel_values)
    tower = encoder.image

    def embed(coalitions: Bool[Tensor, "coalition player"]) -> Tensor:
        here = coalitions.cpu()
        sizes = here.sum(dim=1)
        embeddings: Tensor | None = None
        for size in torch.unique(sizes).tolist():
            rows = (sizes == size).nonzero()[:, 0]
            kept = here[rows].nonzero()[:, 1].view(len(rows), size).to(encoder.device)
            part = unit(tower.encode(State(hidden=tower.embed(shown[0][kept], kept))))
            if embeddings is None:
                embeddings = part.new_empty(len(coalitions), part.shape[1])
            embeddings[rows.to(encoder.device)] = part
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

    def states(coalitions: Bool[Tensor, "coalition player"]) -> State:
        keep = torch.ones(len(coalitions), ids.shape[1], dtype=torch.bool, device=encoder.device)
        keep[:, positions] = coalitions.to(encoder.device, non_blocking=True)
        if full.keep is not None:
            keep &= full.keep
        hidden = full.hidden.expand(len(coalitions), -1, -1)
        read = full.read.expand(len(coalitions)) if full.read is not None else None
        return State(hidden=hidden, keep=keep, read=read)

    return Masked(tower, states)


def replace_token(encoder: "DualEncoder", pair: "Pair") -> Embed:
    """Write the vocabulary's mask word over a removed token."""
    neutral = encoder.mask_token_id
    if neutral is None:
        raise UnsupportedEncoder(f"the vocabulary of {encoder.name} has no mask word to replace tokens by; use attention_mask")
    positions = torch.tensor(pair.token_positions, device=encoder.device)

    def embed(coalitions: Bool[Tensor, "coalition player"]) -> Tensor:
        ids = pair.input_ids.repeat(len(coalitions), 1)
        ids[:, positions] = torch.where(coalitions.to(encoder.device, non_blocking=True), ids[:, positions], neutral)
        return encoder.embed_texts(ids)

    return embed


def _by_blocks(operator: Operator) -> Operator:
    """Let an operator take away whole blocks of patches where the encoder is a coarse one."""

    def prepared(encoder: "DualEncoder", pair: "Pair") -> Embed:
        if not isinstance(encoder, CoarseEncoder):
            return operator(encoder, pair)
        embed = _by_blocks(operator)(encoder.fine, pair)
        block_of_patch = torch.from_numpy(encoder.block_of_patch)
        return lambda coalitions: embed(coalitions[:, block_of_patch.to(coalitions.device)])

    return prepared


IMAGE_REMOVALS.add("mask_pixels", _by_blocks(mask_pixels))
IMAGE_REMOVALS.add("drop_tokens", _by_blocks(drop_tokens))
IMAGE_REMOVALS.add("blur", _by_blocks(blur))
IMAGE_REMOVALS.add("black", _by_blocks(black))
IMAGE_REMOVALS.add("impute", _by_blocks(impute))
TEXT_REMOVALS.add("attention_mask", attention_mask)
TEXT_REMOVALS.add("replace_token", replace_token)
