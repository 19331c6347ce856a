"""The baselines that stand on every board: what a method should beat, and what none can."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Float

from benchmark.errors import InvalidInput
from benchmark.explainers.base import Explainer, TruthReader
from benchmark.explanations import Explanation

if TYPE_CHECKING:
    from benchmark.data.base import Sample
    from benchmark.encoders.base import DualEncoder, Pair

LUMINANCE = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue (ITU-R BT.601)."""


class RandomScores(Explainer, name="random", version=1):
    """Standard normal scores: the floor that every method should clear. Image, text and cross scores are independent."""

    yields = ("image", "text", "cross")
    deterministic = False
    baseline = True
    replicates = 5  # seeds for each seed asked for; a table shows their mean

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        grid = encoder.patch_grid
        return Explanation(
            image=rng.standard_normal(grid),
            text=rng.standard_normal(pair.n_tokens),
            cross=rng.standard_normal((*grid, pair.n_tokens)),
        )


class Uniform(Explainer, name="uniform", version=1):
    """The same score everywhere: what a metric gives to ties."""

    yields = ("image", "text", "cross")
    baseline = True

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        del rng
        grid = encoder.patch_grid
        return Explanation(image=np.ones(grid), text=np.ones(pair.n_tokens), cross=np.ones((*grid, pair.n_tokens)))


@dataclass(frozen=True, kw_only=True)
class Centre(Explainer, name="centre", version=1):
    """A Gaussian around the middle of the grid, every token alike: how far photographers' habits alone go.

    ``sigma`` is the standard deviation as a share of the grid's height and width.
    """

    yields = ("image", "text", "cross")
    published: ClassVar[Mapping[str, str]] = {"sigma": "our choice; no reference"}
    baseline = True

    sigma: float = 0.25

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise InvalidInput(f"centre: sigma is a positive share of the grid; got {self.sigma}")

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        del rng
        rows, columns = (self._bell(length) for length in encoder.patch_grid)
        image = rows[:, None] * columns
        text = np.ones(pair.n_tokens)
        return Explanation(image=image, text=text, cross=image[:, :, None] * text)

    def _bell(self, length: int) -> Float[np.ndarray, " position"]:
        offset = np.arange(length) - (length - 1) / 2
        return np.exp(-0.5 * (offset / (self.sigma * length)) ** 2)


class Edge(Explainer, name="edge", version=1):
    """Mean gradient magnitude of each patch's luminance: an edge detector reads neither the model nor the text.

    Luminance is taken of the normalised pixels. The text gets no scores.
    """

    yields = ("image",)
    paper = "Adebayo et al. 2018, Sanity Checks for Saliency Maps, arXiv 1810.03292"
    bibtex = """@inproceedings{adebayo2018sanity,
  title={Sanity Checks for Saliency Maps},
  author={Adebayo, Julius and Gilmer, Justin and Muelly, Michael and Goodfellow, Ian and Hardt, Moritz and Kim, Been},
  booktitle={Advances in Neural Information Processing Systems},
  year={2018}
}"""
    differs = "the paper's edge detector gives one value per pixel; here its mean over each patch"
    baseline = True

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        del rng
        pixels = pair.pixel_values[0].detach().cpu().double().numpy()
        vertical, horizontal = np.gradient(np.tensordot(LUMINANCE, pixels, axes=1))
        return Explanation(image=patch_means(np.hypot(vertical, horizontal), encoder.patch_grid))


class Oracle(TruthReader, name="oracle", version=1):
    """The truth itself: each patch's coverage by the regions that the text's phrases speak of.

    The image map is the mean coverage over all phrases; a phrase's tokens carry its own coverage in the cross map (the
    larger one where phrases share a token); tokens that belong to any phrase score 1, the others 0.
    """

    yields = ("image", "text", "cross")
    needs = ("phrases with regions",)
    baseline = True

    def explain_sample(self, encoder: "DualEncoder", pair: "Pair", sample: "Sample") -> Explanation:
        if not sample.phrases:
            raise InvalidInput(f"oracle reads the regions of phrases; sample {sample.id!r} has none")
        coverages = [pair.coverage(phrase.region) for phrase in sample.phrases]
        text, cross = np.zeros(pair.n_tokens), np.zeros((*encoder.patch_grid, pair.n_tokens))
        for phrase, coverage in zip(sample.phrases, coverages, strict=True):
            for token in pair.tokens_of(phrase.span):
                text[token] = 1.0
                cross[:, :, token] = np.maximum(cross[:, :, token], coverage)
        return Explanation(image=np.mean(coverages, axis=0), text=text, cross=cross)


def patch_means(pixels: Float[np.ndarray, "height width"], grid: tuple[int, int]) -> Float[np.ndarray, "row column"]:
    """Average a pixel map over each patch; pixels left over at the far edges, which no patch holds, are left out."""
    rows, columns = grid
    height, width = pixels.shape[0] // rows, pixels.shape[1] // columns
    return pixels[: rows * height, : columns * width].reshape(rows, height, columns, width).mean(axis=(1, 3))
