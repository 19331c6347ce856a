"""LeGrad: the positive gradient of each layer's attention, for what that layer would say of the text."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from benchmark.encoders.tower import State, Tower
from benchmark.errors import InvalidInput
from benchmark.explainers.passes import Batch, PassExplainer
from benchmark.explainers.reading import POOLED_BY, cosine, leaf, patches, unreadable
from benchmark.explanations import Explanation

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder

COMMON_PROMPT = "a photo of a"
COMMON_THRESHOLD = 0.8


@dataclass(frozen=True, kw_only=True)
class LeGrad(PassExplainer, name="legrad", version=1):
    """Sum over the last ``layers`` blocks of the positive attention gradient, mean over heads and queries; non-negative.

    A block speaks through the mean of its output tokens (``pool="mean"``), or through the pooled token (``"pooled"``).
    With attention pooling every block's output goes through the pool, whose attention is differentiated; ``final_norm``
    applies the tower's norm first, as the encoder does and the released code forgets. ``correction`` then sets patches to
    zero where the map of "a photo of a" exceeds 0.8 of its range, as released for such towers.
    """

    yields = ("image",)
    needs = ("gradients", "attention weights", "a class token or an attention pool")
    paper = "Bousselham et al., LeGrad: An Explainability Method for Vision Transformers, ICCV 2025, arXiv 2404.03214"
    bibtex = """@inproceedings{bousselham2025legrad,
  title={{LeGrad}: An Explainability Method for Vision Transformers via Feature Formation Sensitivity},
  author={Bousselham, Walid and Boggust, Angie and Chaybouti, Sofian and Strobelt, Hendrik and Kuehne, Hilde},
  booktitle={International Conference on Computer Vision},
  year={2025}
}"""
    published: ClassVar[Mapping[str, str]] = {
        "layers": "2 in the released code; the paper aggregates over all layers",
        "pool": "mean over all tokens in the released code",
        "final_norm": "False in the released SigLIP branch",
        "correction": "True in the released SigLIP branch; class-token towers have none",
    }
    differs = "upsampling and min-max scaling are left to metrics and figures; the final norm comes before attention pooling"

    layers: int = 2
    pool: Literal["mean", "pooled"] = "mean"
    final_norm: bool = True
    correction: bool = True

    def __post_init__(self) -> None:
        if self.layers < 1:
            raise InvalidInput(f"legrad: layers is at least 1; got {self.layers}")
        if self.pool not in ("mean", "pooled"):
            raise InvalidInput(f"legrad: pool is 'mean' or 'pooled'; got {self.pool!r}")

    def unsupported(self, encoder: "DualEncoder") -> str | None:
        if reason := unreadable(encoder, "LeGrad", "image"):
            return reason
        if encoder.image.pooling not in ("class_token", "attention"):
            return f"LeGrad reads a class token or an attention pool; this tower pools by {POOLED_BY[encoder.image.pooling]}"
        return None

    def explain_batch(self, encoder: "DualEncoder", batch: Batch) -> list[Explanation]:
        tower = encoder.image
        with torch.no_grad():
            text = encoder.embed_texts(batch.input_ids)
            first = max(tower.depth - self.layers, 0)
            inputs = [tower.run(encoder.image_state(batch.pixel_values), stop=first)]
            for layer in range(first, tower.depth - 1):
                inputs.append(tower.run(inputs[-1], layer, layer + 1))
        rows = self._sum(tower, inputs, first, text)
        if tower.pooling == "attention" and self.correction:
            with torch.no_grad():
                ids = torch.tensor([encoder.tokenize(COMMON_PROMPT).ids], device=encoder.device)
                common = encoder.embed_texts(ids).expand(len(batch.pairs), -1)
            rows = torch.where(_min_max(self._sum(tower, inputs, first, common)) > COMMON_THRESHOLD, 0.0, rows)
        return [Explanation(image=maps) for maps in patches(encoder, rows)]

    def _sum(
        self, tower: Tower, inputs: list[State], first: int, text: Float[Tensor, "pair dim"]
    ) -> Float[Tensor, "pair position"]:
        return torch.stack([self._layer(tower, state, first + i, text) for i, state in enumerate(inputs)]).sum(dim=0)

    def _layer(self, tower: Tower, state: State, layer: int, text: Float[Tensor, "pair dim"]) -> Float[Tensor, "pair position"]:
        with torch.enable_grad():
            if tower.pooling == "attention":
                with torch.no_grad():
                    output = tower.run(state, layer, layer + 1)
                reader = tower if self.final_norm else replace(tower, norm=torch.nn.Identity())
                step = reader.pool_step(leaf(output))
                embedding = tower.project(step.output[:, 0])
            else:
                step = tower.step(leaf(state), layer)
                pooled = step.output.mean(dim=1) if self.pool == "mean" else step.output[:, 0]
                embedding = tower.project(tower.norm(pooled))
            (gradient,) = torch.autograd.grad(cosine(embedding, text).sum(), [step.attention])
        return gradient.relu().mean(dim=(1, 2))


def _min_max(rows: Float[Tensor, "pair position"]) -> Float[Tensor, "pair position"]:
    low, high = rows.amin(dim=1, keepdim=True), rows.amax(dim=1, keepdim=True)
    return torch.where(high > low, (rows - low) / (high - low).clamp_min(torch.finfo(rows.dtype).tiny), 0.0)
