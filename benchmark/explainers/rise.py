"""RISE: random soft masks, weighted by the similarity that the masked image keeps."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from benchmark.errors import InvalidInput
from benchmark.explainers.base import Explainer
from benchmark.explainers.controls import patch_means
from benchmark.explanations import Explanation
from benchmark.games.similarity import SimilarityGame

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair

BATCH = 50
"""Masked images encoded at once, as in Grad-ECLIP's copy of RISE; the scores do not depend on it."""


@dataclass(frozen=True, kw_only=True)
class Rise(Explainer, name="rise", version=1):
    """Saliency as the mean of ``cosine * mask`` over random masks, divided by the share ``p`` that a mask shows.

    Masks are grids of ``cells`` x ``cells`` coin tosses, drawn larger than the image, interpolated to pixels and shifted
    at random. As published the sum is not centred: a cosine of small spread then mostly weights the chance coverage of
    the masks. ``center=True`` takes the covariance of cosine and mask instead, divided by ``p (1 - p)``.

    ``text=True`` adds the same estimator over tokens, with half as many masks, each token kept with probability ``p``.
    Image and text are two scales.
    """

    yields = ("image", "text")
    deterministic = False
    paper = "Petsiuk et al. 2018, RISE: Randomized Input Sampling for Explanation of Black-box Models, arXiv 1806.07421"
    bibtex = """@inproceedings{petsiuk2018rise,
  title={RISE: Randomized Input Sampling for Explanation of Black-box Models},
  author={Petsiuk, Vitali and Das, Abir and Saenko, Kate},
  booktitle={British Machine Vision Conference},
  year={2018}
}"""
    published: ClassVar[Mapping[str, str]] = {
        "n_masks": "2000 in Grad-ECLIP's comparison; 4000 to 8000 in the paper, 8000 in gScoreCAM",
        "cells": "8 in Grad-ECLIP's comparison",
        "p": "0.5 in Grad-ECLIP's comparison; 0.1 in gScoreCAM",
        "center": "not centred, as published; True is an extension",
        "text": "extension; the paper has no text",
    }
    differs = (
        "per pixel in the paper, here the mean over each patch; the released code draws masks from an unseeded global "
        "generator, here they are fixed by the seed"
    )

    n_masks: int = 2000
    cells: int = 8
    p: float = 0.5
    center: bool = False
    text: bool = True

    def __post_init__(self) -> None:
        if self.n_masks < 2 or self.cells < 1 or not 0 < self.p < 1:
            raise InvalidInput(
                "rise needs n_masks of at least 2, cells of at least 1 and p strictly between 0 and 1; "
                f"got n_masks={self.n_masks}, cells={self.cells}, p={self.p}"
            )

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        image = self._image(encoder, pair, rng)
        return Explanation(image=image, text=self._text(encoder, pair, rng) if self.text else None)

    @torch.no_grad()
    def _image(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Float[np.ndarray, "row column"]:
        height, width = pair.pixel_values.shape[-2:]
        text = encoder.embed_texts(pair.input_ids)[0].double()
        weighted = torch.zeros(height, width, dtype=torch.float64, device=encoder.device)
        shown, total = torch.zeros_like(weighted), 0.0
        for masks in self._masks((height, width), rng, encoder.device):
            scores = encoder.embed_images(pair.pixel_values * masks[:, None].to(pair.pixel_values.dtype)).double() @ text
            weighted += torch.einsum("m,mhw->hw", scores, masks.double())
            shown += masks.double().sum(dim=0)
            total += float(scores.sum())
        if self.center:
            weighted = (weighted - total / self.n_masks * shown) / (1 - self.p)
        return patch_means((weighted / (self.n_masks * self.p)).cpu().numpy(), encoder.patch_grid)

    def _masks(
        self, size: tuple[int, int], rng: np.random.Generator, device: torch.device
    ) -> Iterator[Float[Tensor, "mask height width"]]:
        """Yield all masks in batches; only the coin tosses are held at once."""
        tosses = torch.from_numpy(rng.random((self.n_masks, self.cells, self.cells)) < self.p).float().to(device)
        steps = [-(-length // self.cells) for length in size]
        starts = [torch.from_numpy(rng.integers(0, step, self.n_masks)).to(device) for step in steps]
        blends = [torch.from_numpy(upsampling(self.cells, step)).float().to(device) for step in steps]
        for first in range(0, self.n_masks, BATCH):
            batch = slice(first, first + BATCH)
            rows, columns = (
                blend[_windows(start[batch], length)] for blend, start, length in zip(blends, starts, size, strict=True)
            )
            yield rows @ tosses[batch] @ columns.transpose(1, 2)

    def _text(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Float[np.ndarray, " token"]:
        game = SimilarityGame(encoder, pair, text_removal="attention_mask" if encoder.has_tower("text") else "replace_token")
        kept: Bool[np.ndarray, "mask token"] = rng.random((max(self.n_masks // 2, 2), game.n_tokens)) < self.p
        scores = game.cross_values(np.ones((1, game.n_patches), dtype=bool), kept)[0]
        if self.center:
            scores = (scores - scores.mean()) / (1 - self.p)
        return scores @ kept / (len(kept) * self.p)


def upsampling(cells: int, step: int) -> Float[np.ndarray, "pixel cell"]:
    """Return the linear interpolation of ``cells`` values to ``(cells + 1) * step`` pixels, mirrored at the outer centres."""
    length = (cells + 1) * step
    centre = (np.arange(length) + 0.5) * cells / length - 0.5
    last = cells - 1
    centre = last - np.abs(last - np.abs(centre))  # reflect at both ends; half a cell beyond is the furthest
    below = np.clip(np.floor(centre), 0, max(last - 1, 0)).astype(int)
    blend = np.zeros((length, cells))
    pixel = np.arange(length)
    share = np.clip(centre - below, 0.0, 1.0)
    np.add.at(blend, (pixel, below), 1 - share)
    np.add.at(blend, (pixel, np.minimum(below + 1, last)), share)
    return blend


def _windows(starts: Int[Tensor, " mask"], length: int) -> Int[Tensor, "mask pixel"]:
    return starts[:, None] + torch.arange(length, device=starts.device)
