"""Raw attention: what the pooled token attends to in the last block. A baseline that every board needs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from benchmark.encoders.tower import State, Tower
from benchmark.errors import InvalidInput
from benchmark.explainers.passes import Batch, PassExplainer
from benchmark.explainers.reading import patches, pooled_by_mean, pooled_row, unreadable
from benchmark.explanations import Explanation

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder


@dataclass(frozen=True, kw_only=True)
class RawAttention(PassExplainer, name="raw_attention", version=1):
    """The pooled token's row of the last block's attention, mean over heads, not renormalised; blind to the other side.

    ``heads="one"`` recomputes the block's attention with a single head, as the baseline of the Grad-ECLIP code does. With
    attention pooling it is the pool's own attention.
    """

    yields = ("image", "text")
    needs = ("attention weights", "a pooled token or an attention pool")
    paper = "the common baseline; single-head form from the code of Zhao et al., arXiv 2502.18816"
    published: ClassVar[Mapping[str, str]] = {"heads": "model; one is the selfattn baseline of the Grad-ECLIP code"}
    baseline = True

    heads: Literal["one", "model"] = "model"

    def __post_init__(self) -> None:
        if self.heads not in ("one", "model"):
            raise InvalidInput(f"raw_attention: heads is 'one' or 'model'; got {self.heads!r}")

    def unsupported(self, encoder: "DualEncoder") -> str | None:
        return unreadable(encoder, "raw attention", "image", "text") or pooled_by_mean(
            encoder, "raw attention", "image", "text"
        )

    def adapted(self, encoder: "DualEncoder") -> str | None:
        return "reads the attention pool" if encoder.image.pooling == "attention" else None

    @torch.no_grad()
    def explain_batch(self, encoder: "DualEncoder", batch: Batch) -> list[Explanation]:
        image = self._row(encoder.image, encoder.image_state(batch.pixel_values))
        text = self._row(encoder.text, encoder.text_state(encoder.trim(batch.input_ids)))
        found = zip(patches(encoder, image), batch.content(text), strict=True)
        return [Explanation(image=maps, text=tokens) for maps, tokens in found]

    def _row(self, tower: Tower, state: State) -> Float[Tensor, "pair position"]:
        if tower.pooling == "attention":
            return tower.pool_step(tower.run(state)).attention.mean(dim=1)[:, 0]
        before = tower.run(state, stop=tower.depth - 1)
        step = tower.step(before, tower.depth - 1, 1 if self.heads == "one" else None)
        return pooled_row(tower, before, None, step.attention.mean(dim=1))
