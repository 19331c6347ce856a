"""Gradient x input: the first-order effect of scaling every pixel and every token embedding."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch

from benchmark.explainers.integrated_gradients import patch_sums
from benchmark.explainers.passes import Batch, PassExplainer
from benchmark.explainers.reading import cosine
from benchmark.explanations import Explanation

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder


@dataclass(frozen=True, kw_only=True)
class GradientXInput(PassExplainer, name="gradient_x_input", version=1):
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

    def explain_batch(self, encoder: "DualEncoder", batch: Batch) -> list[Explanation]:
        ids = encoder.trim(batch.input_ids)
        pixels = batch.pixel_values.detach().clone().requires_grad_()
        with torch.no_grad():
            state, words = encoder.text_state(ids), encoder.text_tokens(ids)
        with torch.enable_grad():
            tokens = words.detach().requires_grad_()
            texts = encoder.text.encode(state.at(encoder.text.embed(tokens, None)))
            cosines = cosine(texts, encoder.embed_images(pixels))
            gradients = torch.autograd.grad(cosines.sum(), [pixels, tokens])
        of_pixels, of_tokens = gradients[0].double() * pixels.detach(), gradients[1].double() * words
        maps = [patch_sums(one, encoder.patch_grid) for one in of_pixels]
        found = zip(maps, batch.content(of_tokens.sum(dim=-1)), cosines.tolist(), strict=True)
        return [Explanation(image=image, text=text, similarity=own) for image, text, own in found]
