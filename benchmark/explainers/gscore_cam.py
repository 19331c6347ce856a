"""gScoreCAM: the channels with the largest gradients, each tried as a mask and weighted by the score it keeps."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from benchmark.errors import InvalidInput
from benchmark.explainers.base import Explainer
from benchmark.explainers.reading import cosine, leaf, patches, unreadable
from benchmark.explanations import Explanation

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair

BATCH = 64
"""Masked images encoded at once; the scores do not depend on it."""


@dataclass(frozen=True, kw_only=True)
class GScoreCam(Explainer, name="gscore_cam", version=1):
    """``ReLU(sum_k w_k A_k)`` over channels of the last block's patches, non-negative.

    ``w`` is the softmax over channels of the logit that the image keeps when it is multiplied by the channel. Only the
    ``channels`` with the largest gradient are tried, the others enter the softmax with a score of 0; with ``channels=None``
    all are (ScoreCAM). The gradient is the class token's, since patches have none when it is pooled.
    """

    yields = ("image",)
    needs = ("gradients",)
    paper = "Chen et al., gScoreCAM: What Objects Is CLIP Looking At?, ACCV 2022"
    bibtex = """@inproceedings{chen2022gscorecam,
  title={{gScoreCAM}: What Objects Is {CLIP} Looking At?},
  author={Chen, Peijie and Li, Qi and Biaz, Saad and Bui, Trung and Nguyen, Anh},
  booktitle={Asian Conference on Computer Vision},
  year={2022}
}"""
    published: ClassVar[Mapping[str, str]] = {"channels": "300; None is ScoreCAM"}
    differs = (
        "written for a ResNet layer; on a ViT the released code reads the last block, as here, with a softmax over all channels"
    )

    channels: int | None = 300

    def __post_init__(self) -> None:
        if self.channels is not None and self.channels < 1:
            raise InvalidInput(f"gscore_cam: channels is at least 1, or None for all; got {self.channels}")

    def unsupported(self, encoder: "DualEncoder") -> str | None:
        return unreadable(encoder, "gScoreCAM", "image")

    def adapted(self, encoder: "DualEncoder") -> str | None:
        if encoder.image.pooling != "class_token":
            return "channels are chosen by the mean gradient of the patches, since there is no class token"
        return None

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        del rng
        tower = encoder.image
        with torch.no_grad():
            text = encoder.embed_texts(pair.input_ids)
            end = tower.run(encoder.image_state(pair.pixel_values))
        with torch.enable_grad():
            state = leaf(end)
            similarity = cosine(tower.finish(state), text)
            (gradient,) = torch.autograd.grad(similarity.sum(), [state.hidden])
        importance = gradient[0, 0] if tower.pooling == "class_token" else gradient[0, tower.prefix :].mean(dim=0)
        chosen = importance.topk(min(self.channels or len(importance), len(importance))).indices
        maps = end.hidden[0, tower.prefix :].T
        logits = torch.zeros_like(importance)
        logits[chosen] = self._scores(encoder, pair, maps[chosen], text)
        rows = torch.zeros(1, end.hidden.shape[1], device=encoder.device)
        rows[0, tower.prefix :] = (logits.softmax(dim=0) @ maps).relu()
        return Explanation(image=patches(encoder, rows)[0], similarity=float(similarity.detach()[0]))

    @torch.no_grad()
    def _scores(
        self, encoder: "DualEncoder", pair: "Pair", maps: Float[Tensor, "channel patch"], text: Float[Tensor, "1 dim"]
    ) -> Float[Tensor, " channel"]:
        """Return the logit of the image multiplied by each channel, upsampled and scaled to 0 to 1."""
        scores: list[Tensor] = []
        for part in maps.split(BATCH):
            masks = F.interpolate(
                part.view(-1, 1, *encoder.patch_grid), size=pair.pixel_values.shape[-2:], mode="bilinear", align_corners=True
            )
            low, high = masks.amin(dim=(2, 3), keepdim=True), masks.amax(dim=(2, 3), keepdim=True)
            images = encoder.embed_images(pair.pixel_values * ((masks - low) / (high - low + 1e-6)))
            scores.append(encoder.logit_scale * (images @ text[0]) + encoder.logit_bias)
        return torch.cat(scores)
