"""Captum's attributions of the cosine, over pixels pooled to patches and over token embeddings."""

import copy
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from benchmark.bridges.base import Pool, kind_of, made, name_of, patch_of_pixel, pixels_of, pooled, seeded
from benchmark.errors import InvalidInput
from benchmark.explainers.base import Explainer, Yields
from benchmark.explainers.integrated_gradients import TextBaseline, text_line
from benchmark.explanations import Explanation

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair

type Forward = Callable[[Tensor], Tensor]

STOCHASTIC = ("GradientShap", "KernelShap", "Lime", "LimeBase", "NoiseTunnel", "ShapleyValueSampling")
REFUSED = {
    **dict.fromkeys(
        ("DeepLift", "DeepLiftShap", "LRP", "GuidedBackprop", "Deconvolution", "GuidedGradCam"),
        "it changes the backward pass of a model's own modules; here it gets a function",
    ),
    "FeaturePermutation": "it swaps features between the images of a batch; a pair has one image",
}
OF_THE_IMAGE = ("baselines", "feature_mask", "sliding_window_shapes", "strides")


@dataclass(frozen=True, kw_only=True)
class CaptumExplainer(Explainer):
    """A Captum attribution of the cosine; fields that a subclass adds go to its ``attribute`` by name.

    ``attribution`` is a class of ``captum.attr`` or its name, or a function that makes an attribution of a forward function.
    The image's baseline is the normalised zero, its features are patches, its sliding window is one patch. With ``text`` the
    token embeddings are attributed too, the image being fixed: content tokens start from ``text_baseline`` as those of
    ``integrated_gradients`` do, and one token is a feature. Where a feature's pixels all carry its score, scores are averaged
    over a patch, else summed, unless ``pool`` says so. The scores only rank.
    """

    yields: ClassVar[tuple[Yields, ...]] = ("image", "text")
    needs = ("Captum",)
    paper = "Kokhlikyan et al. 2020, Captum: A unified and generic model interpretability library for PyTorch, arXiv 2009.07896"
    bibtex = """@article{kokhlikyan2020captum,
  title={Captum: A unified and generic model interpretability library for {PyTorch}},
  author={Kokhlikyan, Narine and Miglani, Vivek and Martin, Miguel and Wang, Edward and Alsallakh, Bilal and others},
  journal={arXiv preprint arXiv:2009.07896},
  year={2020}
}"""
    published: ClassVar[Mapping[str, str]] = {"attribute": "Captum's defaults, but signed gradients and patches for features"}
    attribution: ClassVar[Any] = None

    text: bool = True
    text_baseline: TextBaseline = "neutral"
    pool: Literal["auto", "sum", "mean"] = "auto"

    def unsupported(self, encoder: "DualEncoder") -> str | None:
        if self.text and not encoder.has_tower("text"):
            return (
                f"the text tower of {encoder.name} does not take token embeddings; {self.name}[text=False] explains the image"
            )
        return None

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        with torch.no_grad():
            image, text = encoder.embed_images(pair.pixel_values)[0], encoder.embed_texts(pair.input_ids)[0]
        with seeded(rng, encoder.device), torch.enable_grad():
            patches = self._patches(encoder, pair, lambda pixels: encoder.embed_images(pixels) @ text)
            tokens = self._tokens(encoder, pair, image) if self.text else None
        return Explanation(image=patches.reshape(encoder.patch_grid), text=tokens, similarity=float(image @ text))

    def _patches(self, encoder: "DualEncoder", pair: "Pair", forward: Forward) -> np.ndarray:
        inputs = pair.pixel_values.detach().clone()
        pixels = pixels_of(encoder, (inputs.shape[2], inputs.shape[3]))
        window = tuple(int(axis.max()) + 1 for axis in np.nonzero(pixels == 0))  # of the first patch, at the top left
        fitting: dict[str, Any] = {
            "baselines": torch.zeros_like(inputs),
            "feature_mask": torch.from_numpy(pixels).to(encoder.device)[None, None],
            "sliding_window_shapes": (inputs.shape[1], *window),
            "strides": (inputs.shape[1], *window),
        }
        scores, pool = self._attribute(forward, inputs, fitting | self._options)
        return pooled(scores, pixels, encoder.n_patches, pool)

    def _tokens(self, encoder: "DualEncoder", pair: "Pair", image: Tensor) -> np.ndarray:
        line, content = text_line(encoder, pair, self.text_baseline), list(pair.token_positions)
        inputs = line.end.detach().clone()
        features = torch.full((1, inputs.shape[1], 1), len(content), device=encoder.device)
        features[0, content, 0] = torch.arange(len(content), device=encoder.device)
        fitting: dict[str, Any] = {
            "baselines": line.baseline,
            "feature_mask": features,
            "sliding_window_shapes": (1, inputs.shape[2]),
            "strides": (1, inputs.shape[2]),
        }
        options = {name: value for name, value in self._options.items() if name not in OF_THE_IMAGE}
        scores, pool = self._attribute(lambda batch: line.embed(batch) @ image, inputs, fitting | options)
        rows = scores[0, content].detach().double().cpu().numpy()
        return rows.sum(axis=1) if pool == "sum" else rows.mean(axis=1)

    def _attribute(self, forward: Forward, inputs: Tensor, arguments: dict[str, Any]) -> tuple[Tensor, Pool]:
        """Return the scores in the shape of the inputs, and how they are to be pooled."""
        attribution = attribution_of(type(self).attribution, forward)
        known = _parameters(attribution)
        by_feature = bool(known & {"feature_mask", "sliding_window_shapes"})
        usual: dict[str, Any] = {"perturbations_per_eval": 16, "abs": False}
        given = {name: value for name, value in (usual | arguments).items() if name in known or name in self._options}
        try:
            scores = attribution.attribute(inputs.requires_grad_(not by_feature), **given)
        except TypeError as error:
            raise InvalidInput(
                f"{self.name}: {type(attribution).__name__} of Captum did not take these options: {error}"
            ) from error
        scores = scores[0] if isinstance(scores, tuple) else scores  # with a convergence delta
        pool: Pool = ("mean" if by_feature else "sum") if self.pool == "auto" else self.pool
        return scores, pool

    @property
    def _options(self) -> dict[str, Any]:
        own = CaptumExplainer.__dataclass_fields__
        return {name: value for name, value in self.parameters.items() if name not in own}


def from_captum(attribution: Any, *, name: str | None = None, **options: Any) -> CaptumExplainer:
    """Return an explainer of a Captum attribution: a class, its name, an instance, or a function of a forward function.

    An instance is copied and its forward function replaced, so it may have been made with any. ``options`` are ``text``,
    ``text_baseline``, ``pool``, and whatever its ``attribute`` takes. To run it by name, derive from ``CaptumExplainer``.
    """
    probe = attribution_of(attribution, lambda inputs: inputs)
    parts = [probe, getattr(probe, "attribution_method", None)]
    attributes = {
        "attribution": staticmethod(attribution) if inspect.isfunction(attribution) else attribution,
        "deterministic": not any(type(part).__name__ in STOCHASTIC for part in parts),
        "yields": ("image", "text") if options.get("text", True) else ("image",),
    }
    return made(CaptumExplainer, name or name_of(attribution, "captum"), from_captum, attribution, options, **attributes)


def captum_image(attributions: Any, grid: tuple[int, int], pool: Pool = "sum") -> Explanation:
    """Return attributions of one image's pixels, Captum's or anybody's, as an explanation of the patches of a grid.

    ``attributions`` is a tensor or array of shape (1, channels, height, width), (channels, height, width) or (height, width).
    ``"sum"`` fits gradients, which add up over pixels, ``"mean"`` scores that every pixel of a feature repeats.
    """
    size = np.shape(attributions)[-2:]
    if len(size) != 2:
        raise InvalidInput(f"attributions of an image have a height and a width; got shape {np.shape(attributions)}")
    scores = pooled(attributions, patch_of_pixel(grid, (int(size[0]), int(size[1]))), grid[0] * grid[1], pool)
    return Explanation(image=scores.reshape(grid))


def attribution_of(attribution: Any, forward: Forward) -> Any:
    """Return Captum's object for a forward function; what cannot explain a plain function raises ``InvalidInput``."""
    try:
        library = import_module("captum.attr")
    except ImportError as error:
        raise InvalidInput(f"Captum is not installed ({error}); `pip install captum` installs it") from error
    if isinstance(attribution, str):
        if attribution not in library.__all__:
            raise InvalidInput(f"captum.attr has no {attribution!r}; name a class such as IntegratedGradients or Occlusion")
        attribution = getattr(library, attribution)
    _refuse(kind_of(attribution), library)
    if isinstance(attribution, library.Attribution):
        made_of = _rebound(attribution, forward)
    elif callable(attribution):
        made_of = attribution(forward)
    else:
        raise InvalidInput(f"{attribution!r} is no attribution of Captum, nor a function that makes one of a forward function")
    if not isinstance(made_of, library.Attribution):
        raise InvalidInput(f"{attribution!r} made a {type(made_of).__name__}, which is no attribution of Captum")
    _refuse(type(made_of), library)
    return made_of


def _refuse(kind: type, library: Any) -> None:
    reason = REFUSED.get(kind.__name__)
    if issubclass(kind, library.LayerAttribution | library.NeuronAttribution):
        reason = "it reads a layer of a model; here it gets a function"
    if reason:
        raise InvalidInput(f"Captum's {kind.__name__} cannot explain a pair: {reason}")


def _rebound(attribution: Any, forward: Forward) -> Any:
    """Return a copy that explains another forward function; one around another attribution gets a copy of that, too."""
    copied = copy.copy(attribution)
    copied.forward_func = forward
    if hasattr(copied, "attribution_method"):
        copied.attribution_method = _rebound(copied.attribution_method, forward)
        _refuse(type(copied.attribution_method), import_module("captum.attr"))
    return copied


def _parameters(attribution: Any) -> set[str]:
    """Return what ``attribute`` takes by name; one around another attribution passes the rest on."""
    known = set(inspect.signature(attribution.attribute).parameters)
    inner = getattr(attribution, "attribution_method", None)
    return known if inner is None else known | _parameters(inner)
