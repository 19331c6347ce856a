"""Copies of an encoder whose weights are drawn anew from the top down: what remains of an explanation then is no reading of it.

Every weight of a part is drawn from a normal distribution of the old weights' mean and spread. What stays is shared with the
original, and a weight is drawn once for all copies, so that all of them together hold the model's memory once more.
"""

import copy
import re
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakKeyDictionary

import torch
from torch import nn

from benchmark.encoders import wrap_encoder
from benchmark.errors import UnsupportedEncoder
from benchmark.types import Side

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder

Part = Literal["image", "text", "both"]
Depth = Literal["projection", "last", "half", "all"]
"""``projection`` alone; what follows the blocks and the ``last`` one; and the upper ``half`` of them; or ``all`` weights."""

_BLOCK = re.compile(r"(?:^|\.)(?:layers?|resblocks|blocks)\.(\d+)\.")
_BELOW = re.compile(r"embed|conv1|ln_pre|pre_layr|norm_pre|cls_|class_|reg_token")
_PROJECTION = re.compile(r"projection|(?:^|\.)proj(?:\.|$)|head")
_SIDES: dict[Part, tuple[Side, ...]] = {"image": ("image",), "text": ("text",), "both": ("image", "text")}


@dataclass
class _Kept:
    """What has been made of one encoder in this process."""

    weights: dict[str, nn.Parameter] = field(default_factory=dict[str, nn.Parameter])
    encoders: dict[tuple[Part, Depth], "DualEncoder"] = field(default_factory=dict[tuple[Part, Depth], "DualEncoder"])


_KEPT: "WeakKeyDictionary[DualEncoder, _Kept]" = WeakKeyDictionary()


def randomised(encoder: "DualEncoder", part: Part, depth: Depth) -> "DualEncoder":
    """Return a copy of ``encoder`` without what it had learned in one tower or both; made once per process.

    The original stays as it is. The copy's revision names the change. An encoder that is no Hugging Face or open_clip
    model, or whose blocks cannot be told by name, raises ``UnsupportedEncoder``.
    """
    kept = _KEPT.setdefault(encoder, _Kept())
    if (part, depth) not in kept.encoders:
        kept.encoders[part, depth] = _make(encoder, part, depth, kept.weights)
    return kept.encoders[part, depth]


def _make(encoder: "DualEncoder", part: Part, depth: Depth, drawn: dict[str, nn.Parameter]) -> "DualEncoder":
    model: Any = getattr(encoder, "model", None)
    if not isinstance(model, nn.Module):
        raise UnsupportedEncoder(f"{encoder.name} is no Hugging Face or open_clip model; its weights cannot be drawn anew")
    parameters = dict(model.named_parameters())
    chosen = [name for side in _SIDES[part] for name in _names(encoder, side, depth, list(parameters))]
    if not chosen:
        raise UnsupportedEncoder(f"{encoder.name} has no weights to draw anew in its {part} towers' {depth}")
    for name in chosen:
        if name not in drawn:
            drawn[name] = _draw(name, parameters[name])
    memo = {id(parameter): drawn[name] if name in chosen else parameter for name, parameter in parameters.items()}
    changed = wrap_encoder(
        copy.deepcopy(model, memo),
        getattr(encoder, "processor", None),
        getattr(encoder, "tokenizer", None),
        name=encoder.name,
        revision=f"{encoder.revision or ''}+{part}:{depth}",
    )
    changed.batch_size, changed.precision = encoder.batch_size, encoder.precision
    return changed


def _names(encoder: "DualEncoder", side: Side, depth: Depth, names: list[str]) -> list[str]:
    """Return the parameters of one tower from the top down to ``depth``."""
    own = [name for name in names if _side(name) == side]
    layer = {name: int(found[1]) for name in own if (found := _BLOCK.search(name))}
    n_blocks = (encoder.image if side == "image" else encoder.text).depth
    if set(layer.values()) != set(range(n_blocks)):
        raise UnsupportedEncoder(f"the weights of {encoder.name} do not name the blocks of its {side} tower")
    if depth == "all":
        return own
    top = [name for name in own if name not in layer and not _BELOW.search(name)]
    if depth == "projection":
        return [name for name in top if _PROJECTION.search(name)]
    first = n_blocks - 1 if depth == "last" else n_blocks // 2
    return top + [name for name in own if layer.get(name, -1) >= first]


def _side(name: str) -> Side | None:
    """Return the tower of a parameter by its name in either library; the similarity's scale and bias belong to none."""
    if name.startswith("logit_"):
        return None
    return "image" if name.startswith(("vision", "visual")) else "text"


def _draw(name: str, parameter: nn.Parameter) -> nn.Parameter:
    """Draw a parameter anew, the same on every device and in every process."""
    generator = torch.Generator().manual_seed(int.from_bytes(sha256(name.encode()).digest()[:7], "big"))
    old = parameter.detach().float().cpu()
    new = old.mean() + old.std(correction=0) * torch.randn(old.shape, generator=generator)
    return nn.Parameter(new.to(parameter), requires_grad=parameter.requires_grad)
