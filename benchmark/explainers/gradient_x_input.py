"""Gradient x input: the first-order effect of scaling every pixel and every token embedding."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch

from benchmark.explainers.base import Explainer
from benchmark.explainers.integrated_gradients import image_line, integrate, patch_sums, text_line, token_sums
from benchmark.explanations import Explanation

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair


@dataclass(frozen=True, kw_only=True)
class GradientXInput(Explainer, name="gradient_x_input", version=1):
    """The cosine's gradient times the input, summed over a patch's pixels and over a token's embedding before positions.

    Pixels are those after normalisation, so a patch of the normalised zero scores zero. The derivative goes through the
    normalisation of the embeddings. Signed; the two sides are in the cosine's unit to first order, but they do not add up.
    """

    yields = ("image", "text")
    needs = ("gradients", "a text tower that takes token embeddings")
    paper = (
        "Shrikumar et al. 2016, Not Just a Black Box: Learning Important Features Through Propagating Activation Differences, "
        "arXiv 1605.01713"
    )
    bibtex = """@article{shrikumar2016blackbox,
  title={Not Just a Black Box: Learning Important Features Through Propagating Activation Differences},
  author={Shrikumar, Avanti and Greenside, Peyton and Shcherbina, Anna and Kundaje, Anshul},
  journal={arXiv preprint arXiv:1605.01713},
  year={2016}
}"""
    published: ClassVar[Mapping[str, str]] = {"target": "the class score in the paper; the cosine of the two embeddings here"}
    differs = "the paper has no text; token embeddings are the text's input here"

    def unsupported(self, encoder: "DualEncoder") -> str | None:
        if not encoder.has_tower("text"):
            return f"gradient x input reads token embeddings; the text tower of {encoder.name} does not take them"
        return None

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        del rng
        image, text = image_line(encoder, pair), text_line(encoder, pair, "zeros")
        at_the_input = torch.ones(1, device=encoder.device)
        with torch.no_grad():
            v, t = image.embed(image.end)[0], text.embed(text.end)[0]
        (pixels,), (embeddings,) = integrate((image,), t, at_the_input), integrate((text,), v, at_the_input)
        return Explanation(
            image=patch_sums(pixels, encoder.patch_grid),
            text=token_sums(embeddings, pair),
            similarity=float(v.double() @ t.double()),
        )
