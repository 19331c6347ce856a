"""Attention rollout: attention of all blocks multiplied up, half of each block being its residual."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from benchmark.encoders.tower import State, Tower
from benchmark.errors import InvalidInput
from benchmark.explainers.passes import Batch, PassExplainer
from benchmark.explainers.reading import patches, pooled_by_mean, pooled_row, steps_from, unreadable
from benchmark.explanations import Explanation

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder


@dataclass(frozen=True, kw_only=True)
class Rollout(PassExplainer, name="rollout", version=1):
    """``R = A'_L ... A'_1`` with ``A' = (mean_heads(A) + I) / 2``; the image map does not depend on the text, nor the reverse.

    The image map is the class token's row (with attention pooling, the pool's mean attention mixes the rows), the text
    scores the row of the token that is read. Neither is renormalised after special tokens are dropped.
    """

    yields = ("image", "text")
    needs = ("attention weights", "a pooled token or an attention pool")
    paper = "Abnar and Zuidema, Quantifying Attention Flow in Transformers, ACL 2020, arXiv 2005.00928"
    bibtex = """@inproceedings{abnar2020quantifying,
  title={Quantifying Attention Flow in Transformers},
  author={Abnar, Samira and Zuidema, Willem},
  booktitle={Annual Meeting of the Association for Computational Linguistics},
  year={2020}
}"""
    published: ClassVar[Mapping[str, str]] = {
        "start_layer": "0, all blocks; the Grad-ECLIP benchmark keeps the last block only (-1)"
    }
    differs = "text rollout is not in the paper's image setting; early tokens of a causal tower collect most of it"

    start_layer: int = 0

    def unsupported(self, encoder: "DualEncoder") -> str | None:
        return unreadable(encoder, "rollout", "image", "text") or pooled_by_mean(encoder, "rollout", "image", "text")

    def adapted(self, encoder: "DualEncoder") -> str | None:
        if encoder.image.pooling == "attention":
            return "the attention pool's mean attention stands for the class token's row"
        return None

    @torch.no_grad()
    def explain_batch(self, encoder: "DualEncoder", batch: Batch) -> list[Explanation]:
        image = self._rolled(encoder.image, encoder.image_state(batch.pixel_values))
        text = self._rolled(encoder.text, encoder.text_state(encoder.trim(batch.input_ids)))
        found = zip(patches(encoder, image), batch.content(text), strict=True)
        return [Explanation(image=maps, text=tokens) for maps, tokens in found]

    def _rolled(self, tower: Tower, state: State) -> Float[Tensor, "pair position"]:
        first = self.start_layer + tower.depth if self.start_layer < 0 else self.start_layer
        if not 0 <= first < tower.depth:
            raise InvalidInput(f"rollout: start_layer {self.start_layer} is no block of a tower of {tower.depth}")
        steps, end = steps_from(tower, tower.run(state, stop=first), first)
        identity = torch.eye(end.hidden.shape[1], device=end.hidden.device, dtype=end.hidden.dtype)
        rolled = identity.expand(len(end.hidden), -1, -1)
        for step in steps:
            mixed = step.attention.mean(dim=1) + identity
            rolled = (mixed / mixed.sum(dim=-1, keepdim=True)) @ rolled
        pool = tower.pool_step(end).attention.mean(dim=1)[:, 0] if tower.pooling == "attention" else None
        return pooled_row(tower, end, pool, rolled)
