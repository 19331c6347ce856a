"""Explanation functions in the style of Quantus, ``function(model, inputs, targets, **kwargs)``, in both directions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from benchmark.bridges.base import Pool, made, name_of, pixels_of, pooled, seeded
from benchmark.errors import InvalidInput
from benchmark.explainers.base import Explainer, Yields
from benchmark.explaining import explain
from benchmark.explanations import Explanation

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair

type ExplainFunction = Callable[..., Any]
"""``function(model, inputs, targets, **kwargs)`` returns scores (image, 1 or channels, height, width)."""


class SimilarityModel(nn.Module):
    """An image classifier as other libraries know it: pixels to the cosine with each of ``texts``, the classes."""

    def __init__(self, encoder: "DualEncoder", texts: Sequence[str | Tensor]) -> None:
        """Take texts, or token ids of one text each."""
        super().__init__()
        if not texts:
            raise InvalidInput("a model of similarities needs at least one text")
        self.encoder = encoder
        self.input_ids = tuple(
            torch.tensor([encoder.tokenize(text).ids], device=encoder.device) if isinstance(text, str) else text
            for text in texts
        )
        with torch.no_grad():
            self.texts = torch.cat([encoder.embed_texts(ids) for ids in self.input_ids])

    def forward(self, pixel_values: Float[Tensor, "image 3 height width"]) -> Float[Tensor, "image text"]:
        return self.encoder.embed_images(pixel_values.to(self.texts)) @ self.texts.T


@dataclass(frozen=True, kw_only=True)
class QuantusExplainer(Explainer):
    """An explanation function of an image classifier; fields that a subclass adds go to it by name.

    Its model is a ``SimilarityModel`` of the pair's text (target 0) and of ``others``, for functions that contrast classes.
    Inputs and targets are arrays, as Quantus hands them over. Scores of pixels are pooled over the pixels and channels of a
    patch; they only rank.
    """

    yields: ClassVar[tuple[Yields, ...]] = ("image",)
    deterministic = False
    paper = "Hedstrom et al. 2023, Quantus: An Explainable AI Toolkit, JMLR 24, arXiv 2202.06861"
    bibtex = """@article{hedstrom2023quantus,
  title={Quantus: An Explainable {AI} Toolkit for Responsible Evaluation of Neural Network Explanations and Beyond},
  author={Hedstr{\\"o}m, Anna and Weber, Leander and Krakowczyk, Daniel and Bareeva, Dilyara and Motzkus, Franz and others},
  journal={Journal of Machine Learning Research},
  year={2023}
}"""
    published: ClassVar[Mapping[str, str]] = {"function": "whatever it was written for; the signature alone is Quantus'"}
    function: ClassVar[Any] = None

    others: tuple[str, ...] = ()
    pool: Pool = "sum"

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        own = QuantusExplainer.__dataclass_fields__
        options = {name: value for name, value in self.parameters.items() if name not in own}
        model = SimilarityModel(encoder, [pair.input_ids, *self.others])
        inputs = pair.pixel_values.detach().float().cpu().numpy()
        with torch.no_grad():
            similarity = float(model(pair.pixel_values)[0, 0])
        with seeded(rng, encoder.device), torch.enable_grad():
            scores = type(self).function(model, inputs.copy(), np.zeros(1, dtype=np.int64), **options)
        pixels = pixels_of(encoder, (inputs.shape[2], inputs.shape[3]))
        patches = pooled(scores, pixels, encoder.n_patches, self.pool)
        return Explanation(image=patches.reshape(encoder.patch_grid), similarity=similarity)


def from_quantus(function: ExplainFunction, *, name: str | None = None, **options: Any) -> QuantusExplainer:
    """Return an explainer of an explanation function; ``options`` are ``others``, ``pool``, and what the function takes.

    To run it by name, derive from ``QuantusExplainer``.
    """
    if not callable(function):
        raise InvalidInput(f"{function!r} is no function of (model, inputs, targets)")
    attributes = {"function": staticmethod(function)}
    return made(QuantusExplainer, name or name_of(function, "quantus"), from_quantus, function, options, **attributes)


def as_quantus(method: str, *, seed: int = 0, **parameters: Any) -> ExplainFunction:
    """Return a registered method as the explanation function that Quantus' metrics call, on a ``SimilarityModel``.

    ``targets`` index its texts. Every pixel of a patch gets the patch's score, those beyond the last whole patch get zero.
    What else Quantus passes by keyword is not read.
    """

    def function(model: nn.Module, inputs: Any, targets: Any, **kwargs: Any) -> Float[np.ndarray, "image 1 height width"]:
        del kwargs
        if not isinstance(model, SimilarityModel):
            raise InvalidInput(f"{method} explains pairs; the model has to be a SimilarityModel, not a {type(model).__name__}")
        encoder = model.encoder
        images = torch.as_tensor(inputs, dtype=model.texts.dtype, device=encoder.device)
        pixels, maps = pixels_of(encoder, (images.shape[2], images.shape[3])), np.zeros((len(images), 1, *images.shape[2:]))
        for place, target in enumerate(np.broadcast_to(np.asarray(targets), len(images)).tolist()):
            pair = encoder.pair_from_tensors(images[place : place + 1], model.input_ids[int(target)])
            explanation = explain(encoder, pair, method, seed, **parameters)
            if explanation.image is None:
                raise InvalidInput(f"{method} gives no scores of patches; Quantus asks for a map of the image")
            maps[place, 0] = np.append(explanation.image.ravel(), 0.0)[pixels]
        return maps

    return function
