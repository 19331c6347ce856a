"""Transformer-MM-Explainability (GAME): attention times its positive gradient, propagated from block to block."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from benchmark.encoders.tower import State, Tower
from benchmark.errors import InvalidInput
from benchmark.explainers.passes import Batch, PassExplainer
from benchmark.explainers.reading import cosine, leaf, patches, pooled_by_mean, pooled_row, steps_from, unreadable
from benchmark.explanations import Explanation

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder


@dataclass(frozen=True, kw_only=True)
class TransformerMm(PassExplainer, name="transformer_mm", version=1):
    """Non-negative maps of both sides, on two unrelated scales; the target is the logit.

    ``R <- R + mean_heads(ReLU(dA * A)) R`` from block ``start_layer`` upward, ``R = I`` before; negative numbers count from
    the end. The image map is the class token's row of ``R``, the text scores the row of the token that is read. Where
    patches are pooled by attention, the pool's own positive gradient-weighted attention mixes the rows.
    """

    yields = ("image", "text")
    needs = ("gradients", "attention weights", "a pooled token or an attention pool")
    paper = "Chefer et al., Generic Attention-model Explainability for Bi-Modal Transformers, ICCV 2021, arXiv 2103.15679"
    bibtex = """@inproceedings{chefer2021generic,
  title={Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder Transformers},
  author={Chefer, Hila and Gur, Shir and Wolf, Lior},
  booktitle={International Conference on Computer Vision},
  year={2021}
}"""
    published: ClassVar[Mapping[str, str]] = {
        "start_layer": "-1 in the official CLIP notebook; the paper's rule runs over all blocks, start_layer=0",
    }
    differs = (
        "the notebook starts at the last block, the paper at the first; over several blocks the map depends on the scale of "
        "the target, which is the logit as in the notebook; the notebook divides text scores by their sum, here they stay raw"
    )

    start_layer: int = -1

    def unsupported(self, encoder: "DualEncoder") -> str | None:
        return unreadable(encoder, "GAME", "image", "text") or pooled_by_mean(encoder, "GAME", "image", "text")

    def adapted(self, encoder: "DualEncoder") -> str | None:
        if encoder.image.pooling == "attention":
            return "the attention pool's gradient-weighted attention stands for the class token's row"
        return None

    def explain_batch(self, encoder: "DualEncoder", batch: Batch) -> list[Explanation]:
        ids = encoder.trim(batch.input_ids)
        with torch.no_grad():
            image, text = encoder.embed_images(batch.pixel_values), encoder.embed_texts(ids)
            image_state, text_state = encoder.image_state(batch.pixel_values), encoder.text_state(ids)
        image_rows, similarity = self._relevance(encoder.image, image_state, text, encoder.logit_scale)
        text_rows, _ = self._relevance(encoder.text, text_state, image, encoder.logit_scale)
        found = zip(patches(encoder, image_rows), batch.content(text_rows), similarity.tolist(), strict=True)
        return [Explanation(image=maps, text=tokens, similarity=own) for maps, tokens, own in found]

    def _relevance(
        self, tower: Tower, state: State, other: Float[Tensor, "pair dim"], scale: float
    ) -> tuple[Float[Tensor, "pair position"], Float[Tensor, " pair"]]:
        """Return the pooled row of ``R`` and the cosine of this pass."""
        first = self.start_layer + tower.depth if self.start_layer < 0 else self.start_layer
        if not 0 <= first < tower.depth:
            raise InvalidInput(f"transformer_mm: start_layer {self.start_layer} is no block of a tower of {tower.depth}")
        with torch.no_grad():
            before = tower.run(state, stop=first)
        with torch.enable_grad():
            steps, end = steps_from(tower, leaf(before), first)
            pool = tower.pool_step(end) if tower.pooling == "attention" else None
            embedding = tower.project(pool.output[:, 0]) if pool is not None else tower.finish(end)
            similarity = cosine(embedding, other)
            attentions = [step.attention for step in steps] + ([pool.attention] if pool is not None else [])
            gradients = torch.autograd.grad(scale * similarity.sum(), attentions)
        weighted = [
            (gradient * attention).relu().mean(dim=1) for gradient, attention in zip(gradients, attentions, strict=True)
        ]
        mixing = weighted.pop()[:, 0] if pool is not None else None
        length = before.hidden.shape[1]
        relevance = torch.eye(length, device=before.hidden.device, dtype=before.hidden.dtype).expand(len(before.hidden), -1, -1)
        for one in weighted:
            relevance = relevance + one @ relevance
        return pooled_row(tower, end, mixing, relevance).detach(), similarity.detach()
