"""Grad-CAM on a vision transformer: features weighted by their mean gradient."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

import torch

from benchmark.errors import InvalidInput
from benchmark.explainers.passes import Batch, PassExplainer
from benchmark.explainers.reading import cosine, leaf, patches, unreadable
from benchmark.explanations import Explanation

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder


@dataclass(frozen=True, kw_only=True)
class GradCam(PassExplainer, name="grad_cam", version=1):
    """``ReLU(<w, h_i>)`` with ``w`` the gradient of the cosine, averaged over tokens; non-negative.

    ``features="input"`` reads the last block's input, the class token counted in the mean (the baseline of the Grad-ECLIP
    code, whose network runs that block with one head: ``heads="one"``). ``"norm"`` reads its first norm's output without
    the class token (the usual layer in CAM libraries). ``"output"`` reads the last block's output, whose patches have no
    gradient when a class token is pooled: refused there.
    """

    yields = ("image",)
    needs = ("gradients",)
    paper = "Selvaraju et al., Grad-CAM, ICCV 2017, arXiv 1610.02391; on ViT as in the code of arXiv 2502.18816"
    bibtex = """@inproceedings{selvaraju2017gradcam,
  title={{Grad-CAM}: Visual Explanations from Deep Networks via Gradient-based Localization},
  author={Selvaraju, Ramprasaath R. and Cogswell, Michael and Das, Abhishek and Vedantam, Ramakrishna and Parikh, Devi and
    Batra, Dhruv},
  booktitle={International Conference on Computer Vision},
  year={2017}
}"""
    published: ClassVar[Mapping[str, str]] = {
        "features": "input, in the Grad-ECLIP code; norm in pytorch-grad-cam's ViT recipe and M2IB's comparison",
        "heads": "one in the Grad-ECLIP code; model alters nothing",
    }
    differs = "the paper reads a convolution; which ViT layer stands for it differs from code to code"

    features: Literal["input", "norm", "output"] = "input"
    heads: Literal["one", "model"] = "model"

    def __post_init__(self) -> None:
        if self.features not in ("input", "norm", "output"):
            raise InvalidInput(f"grad_cam: features is 'input', 'norm' or 'output'; got {self.features!r}")
        if self.heads not in ("one", "model"):
            raise InvalidInput(f"grad_cam: heads is 'one' or 'model'; got {self.heads!r}")

    def unsupported(self, encoder: "DualEncoder") -> str | None:
        if reason := unreadable(encoder, "Grad-CAM", "image"):
            return reason
        if self.features == "output" and encoder.image.pooling == "class_token":
            return "Grad-CAM on the last block's output is zero: only its class token is pooled; use features='input' or 'norm'"
        return None

    def explain_batch(self, encoder: "DualEncoder", batch: Batch) -> list[Explanation]:
        tower = encoder.image
        with torch.no_grad():
            text = encoder.embed_texts(batch.input_ids)
            last = tower.depth - 1
            before = tower.run(encoder.image_state(batch.pixel_values), stop=tower.depth if self.features == "output" else last)
        with torch.enable_grad():
            state = leaf(before)
            features = state.hidden
            if self.features == "norm":
                features = tower.blocks[last].before(state.hidden)
                block = replace(tower.blocks[last], before=lambda _: features)
                tower = replace(tower, blocks=(*tower.blocks[:last], block))
            if self.features != "output":
                state = state.at(tower.step(state, last, 1 if self.heads == "one" else None).output)
            similarity = cosine(tower.finish(state), text)
            (gradient,) = torch.autograd.grad(similarity.sum(), [features])
        start = 0 if self.features == "input" else tower.prefix
        weight = gradient[:, start:].mean(dim=1)
        rows = torch.einsum("bd,bpd->bp", weight, features.detach()).relu()
        found = zip(patches(encoder, rows), similarity.tolist(), strict=True)
        return [Explanation(image=maps, similarity=own) for maps, own in found]
