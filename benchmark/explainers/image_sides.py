"""The image side of a product design, kept for the next caption of the image: it depends on no text."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float
from torch import Tensor

from benchmark.games.sampling import Coalitions

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder

MOST = 4
"""Image sides that are kept for each encoder."""

BYTES = 64_000_000
"""Bytes that they may take together; a larger one is not kept."""


@dataclass(frozen=True, slots=True)
class ImageSide:
    """Coalitions of an image's patches with their unit embeddings; ``ends`` are those of the whole image, then of none."""

    coalitions: Coalitions
    embeddings: Float[np.ndarray, "coalition dim"]
    ends: Float[np.ndarray, "end dim"]

    @property
    def n_bytes(self) -> int:
        return self.coalitions.kept.nbytes + self.coalitions.weights.nbytes + self.embeddings.nbytes


class ImageSides:
    """The last few image sides of each encoder; they go with it, or when it gets too many of them.

    Weights are taken to stay as they are; while anything is traced or changed inside the image tower, nothing is kept.
    """

    def __init__(self) -> None:
        self._kept: WeakKeyDictionary[DualEncoder, dict[Hashable, ImageSide]] = WeakKeyDictionary()

    def find(self, encoder: "DualEncoder", key: Hashable, make: Callable[[], ImageSide]) -> ImageSide:
        """Return the side under ``key``, made if it is not there; the key says all that it depends on but the encoder."""
        if encoder.has_tower("image") and encoder.image.traces:
            return make()
        kept = self._kept.setdefault(encoder, {})
        side = kept.pop(key, None) or make()
        kept[key] = side  # last in the order of use
        while len(kept) > MOST or sum(one.n_bytes for one in kept.values()) > BYTES:
            del kept[next(iter(kept))]
        return side


def image_digest(pixel_values: Float[Tensor, "1 3 height width"]) -> str:
    """Return a name of an image's content: equal for the same pixels on any device, in any floating-point type they fit."""
    pixels = np.ascontiguousarray(pixel_values.detach().float().cpu().numpy())
    return sha256(repr(pixels.shape).encode() + pixels.tobytes()).hexdigest()
