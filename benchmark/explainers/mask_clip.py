"""MaskCLIP: every patch's value, sent through the rest of the last block alone, compared with the text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from benchmark.encoders.tower import State, Tower
from benchmark.explainers.passes import Batch, PassExplainer
from benchmark.explainers.reading import patches, unreadable
from benchmark.explanations import Explanation

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder


@dataclass(frozen=True, kw_only=True)
class MaskClip(PassExplainer, name="mask_clip", version=1):
    """Cosine of each patch's dense embedding with the text, signed. The last block attends from every patch to itself alone.

    ``key_weight`` multiplies by the cosine of the patch's and the class token's out-projected keys, as the baseline of the
    Grad-ECLIP code does. With attention pooling, the dense embedding is the pool's output had it read that patch alone.
    """

    yields = ("image",)
    needs = ("values of the last block",)
    paper = "Zhou et al., Extract Free Dense Labels from CLIP, ECCV 2022, arXiv 2112.01071"
    bibtex = """@inproceedings{zhou2022maskclip,
  title={Extract Free Dense Labels from {CLIP}},
  author={Zhou, Chong and Loy, Chen Change and Dai, Bo},
  booktitle={European Conference on Computer Vision},
  year={2022}
}"""
    published: ClassVar[Mapping[str, str]] = {
        "key_weight": "False, as in the paper; True is the baseline of the Grad-ECLIP code, not part of MaskCLIP",
    }
    differs = "the paper's key smoothing and prompt denoising serve segmentation and are left out"

    key_weight: bool = False

    def unsupported(self, encoder: "DualEncoder") -> str | None:
        if reason := unreadable(encoder, "MaskCLIP", "image"):
            return reason
        if self.key_weight and encoder.image.pooling != "class_token":
            return "MaskCLIP's key_weight compares keys with the class token's; this tower has none"
        return None

    def adapted(self, encoder: "DualEncoder") -> str | None:
        return "each patch is sent through the attention pool alone" if encoder.image.pooling == "attention" else None

    @torch.no_grad()
    def explain_batch(self, encoder: "DualEncoder", batch: Batch) -> list[Explanation]:
        text = encoder.embed_texts(batch.input_ids)
        tokens, weight = self._dense(encoder.image, encoder.image_state(batch.pixel_values))
        rows = weight * torch.einsum("bpd,bd->bp", F.normalize(tokens, dim=-1), text)
        return [Explanation(image=maps) for maps in patches(encoder, rows)]

    def _dense(self, tower: Tower, state: State) -> tuple[Float[Tensor, "pair position dim"], Float[Tensor, "pair position"]]:
        """Return dense embeddings of all positions, and the weight of each."""
        if tower.pooling == "attention":
            end = tower.run(state)
            return tower.tokens(end), torch.ones(end.hidden.shape[:2], device=end.hidden.device)
        before = tower.run(state, stop=tower.depth - 1)
        block, step = tower.blocks[-1], tower.step(before, tower.depth - 1)
        dense = tower.tokens(before.at(block.join(step.input, block.out(step.value))))
        if not self.key_weight:
            return dense, torch.ones(dense.shape[:2], device=dense.device)
        keys = block.out(step.key)
        return dense, F.cosine_similarity(keys, keys[:, :1], dim=-1)
