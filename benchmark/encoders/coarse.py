"""An encoder seen through a few blocks of patches, for games small enough to have exact values."""

import numpy as np
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor

from benchmark.encoders.base import DualEncoder, Tokens
from benchmark.encoders.geometry import Geometry
from benchmark.errors import UnsupportedEncoder


class CoarseEncoder(DualEncoder):
    """Another encoder whose patches are blocks of the original's: 3 x 3 of them, say, instead of 14 x 14.

    Blocks are as even as they can be, the first ones larger; a removed block loses all of its patches, by any of the removal
    operators. Texts, embeddings and costs are those of ``fine``. There is no image tower to look into: methods that read
    attention or gradients of patches do not apply, those that only ask for similarities do.
    """

    def __init__(self, fine: DualEncoder, grid: tuple[int, int]) -> None:
        self.fine = fine
        rows, columns = (min(wanted, there) for wanted, there in zip(grid, fine.patch_grid, strict=True))
        text, costs = fine.text if fine.has_tower("text") else None, fine.costs
        super().__init__(
            fine.name,
            image=None,
            text=text,
            patch_grid=(rows, columns),
            logit_scale=fine.logit_scale,
            logit_bias=fine.logit_bias,
            revision=f"{fine.revision or ''}+{rows}x{columns}",
            device=fine.device,
        )
        self.batch_size, self.precision, self.costs = fine.batch_size, fine.precision, costs
        if text is not None:
            text.costs = costs
        row, column = (_parts(n, parts) for n, parts in zip(fine.patch_grid, self.patch_grid, strict=True))
        self.block_of_patch: Int[np.ndarray, " patch"] = (row[:, None] * columns + column).ravel()

    def embed_images(self, pixel_values: Float[Tensor, "image 3 height width"]) -> Float[Tensor, "image dim"]:
        return self.fine.embed_images(pixel_values)

    def embed_texts(
        self, input_ids: Int[Tensor, "text position"], keep: Bool[Tensor, "text position"] | None = None
    ) -> Float[Tensor, "text dim"]:
        return self.fine.embed_texts(input_ids, keep)

    def library_image_embeddings(self, pixel_values: Tensor) -> Float[Tensor, "image dim"]:
        return self.fine.library_image_embeddings(pixel_values)

    def library_text_embeddings(self, input_ids: Tensor) -> Float[Tensor, "text dim"]:
        return self.fine.library_text_embeddings(input_ids)

    def image_tokens(self, pixel_values: Tensor) -> Float[Tensor, "image patch dim"]:
        del pixel_values
        raise UnsupportedEncoder(f"blocks of patches of {self.name} have no tokens of their own")

    def text_tokens(self, input_ids: Tensor) -> Float[Tensor, "text position dim"]:
        return self.fine.text_tokens(input_ids)

    def tokenize(self, text: str) -> Tokens:
        return self.fine.tokenize(text)

    def preprocess(self, image: Image.Image) -> tuple[Float[Tensor, "1 3 height width"], Geometry]:
        return self.fine.preprocess(image)

    def content_positions(self, input_ids: Tensor) -> tuple[int, ...]:
        return self.fine.content_positions(input_ids)

    def read_positions(self, input_ids: Tensor) -> Int[Tensor, " text"] | None:
        return self.fine.read_positions(input_ids)

    def attended(self, input_ids: Tensor) -> Bool[Tensor, "text position"] | None:
        return self.fine.attended(input_ids)

    @property
    def mask_token_id(self) -> int | None:
        return self.fine.mask_token_id

    def special_token_string(self, token_id: int) -> str:
        return self.fine.special_token_string(token_id)

    @property
    def frame_size(self) -> tuple[int, int]:
        return self.fine.frame_size

    def probe_ids(self) -> Int[Tensor, "1 position"]:
        return self.fine.probe_ids()


def _parts(n: int, n_parts: int) -> Int[np.ndarray, " item"]:
    """Return which of ``n_parts`` even runs each of ``n`` items belongs to."""
    return np.repeat(np.arange(n_parts), [len(part) for part in np.array_split(np.arange(n), n_parts)])
