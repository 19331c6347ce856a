"""An encoder outside every library, brought as two towers and a handful of functions."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor

from benchmark.encoders.base import DualEncoder, Tokens
from benchmark.encoders.geometry import Geometry
from benchmark.errors import InvalidInput

if TYPE_CHECKING:
    from benchmark.encoders.tower import Tower

Embed = Callable[[Tensor], Tensor]


class CustomEncoder(DualEncoder):
    """A dual encoder made of its parts; each function is what the method of that name in ``DualEncoder`` asks for.

    ``check`` optionally gives the model's own image and text embeddings, not normalised, for ``verify``: without it the
    towers are taken at their word.
    """

    def __init__(
        self,
        name: str,
        *,
        image: "Tower",
        text: "Tower",
        patch_grid: tuple[int, int],
        image_tokens: Embed,
        text_tokens: Embed,
        tokenize: Callable[[str], Tokens],
        preprocess: Callable[[Image.Image], tuple[Tensor, Geometry]],
        read_positions: Callable[[Tensor], Tensor],
        check: tuple[Embed, Embed] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(name, image=image, text=text, patch_grid=patch_grid, **settings)
        self._parts = image_tokens, text_tokens, read_positions
        self._tokenize, self._preprocess, self._check = tokenize, preprocess, check
        if check is not None:
            self.verify(torch.randn(1, 3, *self.frame_size, generator=torch.Generator().manual_seed(0)), self.probe_ids())

    def image_tokens(self, pixel_values: Tensor) -> Float[Tensor, "image patch dim"]:
        return self._parts[0](pixel_values)

    def text_tokens(self, input_ids: Tensor) -> Float[Tensor, "text position dim"]:
        return self._parts[1](input_ids)

    def read_positions(self, input_ids: Tensor) -> Int[Tensor, " text"]:
        return self._parts[2](input_ids)

    def tokenize(self, text: str) -> Tokens:
        return self._tokenize(text)

    def preprocess(self, image: Image.Image) -> tuple[Float[Tensor, "1 3 height width"], Geometry]:
        return self._preprocess(image)

    def content_positions(self, input_ids: Tensor) -> tuple[int, ...]:
        """Take everything between the first position and the one that is read."""
        return tuple(range(1, int(self.read_positions(input_ids[None])[0])))

    @property
    def frame_size(self) -> tuple[int, int]:
        pixel_values, _ = self._preprocess(Image.new("RGB", (64, 64)))
        return int(pixel_values.shape[2]), int(pixel_values.shape[3])

    def probe_ids(self) -> Int[Tensor, "1 position"]:
        return torch.tensor([self._tokenize("a probe").ids])

    def library_image_embeddings(self, pixel_values: Tensor) -> Float[Tensor, "image dim"]:
        return self._own(0)(pixel_values)

    def library_text_embeddings(self, input_ids: Tensor) -> Float[Tensor, "text dim"]:
        return self._own(1)(input_ids)

    def _own(self, side: int) -> Embed:
        if self._check is None:
            raise InvalidInput(
                f"{self.name} was made without its own forward passes; pass check=(image, text) to compare with them"
            )
        return self._check[side]
