"""Confidence drop and increase, on every data set with captions."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch.nn import functional as F

from benchmark.explanations import Explanation
from benchmark.metrics import confidence, policy
from benchmark.metrics.base import Score
from benchmark.metrics.confidence import KINDS, SHARES, Kind
from benchmark.metrics.perturbation import removal_orders
from benchmark.tasks.base import Evaluation, Protocol, Task


@dataclass(frozen=True, kw_only=True)
class Confidence(Protocol):
    """What is left of the similarity when one input is reduced to what the explanation calls important.

    The image map runs from 0 to 1, is interpolated to pixels (bilinear, corners not aligned) and multiplies the normalised
    image: what it calls unimportant fades to the mean colour. Tokens above the median of the text map are kept, the others
    removed by ``text_removal``. The fixed-mass versions keep the top patches whole and remove the others by ``removal``; ties
    fall as in ``perturbation.removal_orders``. Chance is the mean over ``controls`` random maps of the sample.
    """

    controls: int = 16
    removal: str = "mask_pixels"
    text_removal: str = "attention_mask"
    permutations: int = 3

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(f"{name}_{kind}" for kind in KINDS for name in ("drop", "increase"))

    def score(self, explanation: Explanation, evaluation: Evaluation) -> dict[str, Score | str]:
        chance, scores = self.chance(evaluation), dict[str, Score | str]()
        for kind in KINDS:
            side = "text" if kind == "text" else "image"
            found = explanation.text if side == "text" else explanation.image
            names = [name for name in self.metrics if name in (f"drop_{kind}", f"increase_{kind}")]
            if found is None:
                scores |= dict.fromkeys(names, f"this explanation has no scores for {side}")
                continue
            flags = {"tie_fraction": policy.tie_fraction(found)}
            if policy.is_constant(found):
                scores |= {name: policy.at_chance(chance[name], **flags) for name in names}
            else:
                masked = self._explained(kind, found, evaluation)
                scores |= confidence.confidence_scores(self._whole(kind, evaluation), masked, kind, chance, flags)
        return scores

    def chance(self, evaluation: Evaluation) -> dict[str, float]:
        key = (type(self).__name__, self.controls, self.removal, self.text_removal)
        if key not in evaluation.shared:
            evaluation.shared[key] = {}
            for kind in KINDS:
                masked = self._random(kind, evaluation)
                evaluation.shared[key] |= confidence.confidence(self._whole(kind, evaluation), masked, kind)
        return evaluation.shared[key]

    def _whole(self, kind: Kind, evaluation: Evaluation) -> float:
        """Return the cosine of the whole pair, by the same arithmetic as that of the reduced one."""
        if kind == "image":
            return float(multiplied(evaluation, np.ones((1, *evaluation.encoder.patch_grid)), self._text(evaluation))[0])
        if kind == "text":
            return float(self._kept_tokens(np.ones((1, evaluation.pair.n_tokens), dtype=bool), evaluation)[0])
        return float(self._kept_patches(np.ones((1, evaluation.encoder.n_patches), dtype=bool), evaluation)[0])

    def _explained(self, kind: Kind, scores: Float[np.ndarray, "..."], evaluation: Evaluation) -> Float[np.ndarray, " mask"]:
        if kind == "image":
            return multiplied(evaluation, confidence.soft_map(scores)[None], self._text(evaluation))
        if kind == "text":
            return self._kept_tokens(confidence.above_median(scores)[None], evaluation)
        orders = removal_orders(scores.ravel(), evaluation.rng("ties-confidence"), self.permutations)
        return self._kept_patches(confidence.top_players(orders, SHARES[kind]), evaluation)

    def _random(self, kind: Kind, evaluation: Evaluation) -> Float[np.ndarray, " mask"]:
        rng = evaluation.rng(f"random-confidence-{kind}")
        if kind == "image":
            maps = rng.random((self.controls, *evaluation.encoder.patch_grid))
            scaled = np.stack([confidence.soft_map(one) if one.size > 1 else one for one in maps])
            return multiplied(evaluation, scaled, self._text(evaluation))
        if kind == "text":
            return self._kept_tokens(confidence.above_median(rng.random((self.controls, evaluation.pair.n_tokens))), evaluation)
        orders = np.stack([rng.permutation(evaluation.encoder.n_patches) for _ in range(self.controls)])
        return self._kept_patches(confidence.top_players(orders, SHARES[kind]), evaluation)

    def _text(self, evaluation: Evaluation) -> Float[np.ndarray, " dim"]:
        game = evaluation.game(self.removal, self.text_removal)
        return game.embed_texts(np.ones((1, game.n_tokens), dtype=bool))[0]

    def _kept_tokens(self, kept: Bool[np.ndarray, "mask token"], evaluation: Evaluation) -> Float[np.ndarray, " mask"]:
        game = evaluation.game(self.removal, self.text_removal)
        return game.cross_values(np.ones((1, game.n_patches), dtype=bool), kept)[0]

    def _kept_patches(self, kept: Bool[np.ndarray, "mask patch"], evaluation: Evaluation) -> Float[np.ndarray, " mask"]:
        game = evaluation.game(self.removal, self.text_removal)
        return game.cross_values(kept, np.ones((1, game.n_tokens), dtype=bool))[:, 0]


@torch.no_grad()
def multiplied(
    evaluation: Evaluation, maps: Float[np.ndarray, "mask row column"], text: Float[np.ndarray, " dim"]
) -> Float[np.ndarray, " mask"]:
    """Return the cosine of a text embedding with the image multiplied by each map; 0 is the mean colour, 1 the image."""
    encoder, pixels = evaluation.encoder, evaluation.pair.pixel_values
    rows, columns = maps.shape[1:]
    area = (pixels.shape[-2] // rows * rows, pixels.shape[-1] // columns * columns)
    weights = torch.ones(len(maps), 1, *pixels.shape[-2:], dtype=pixels.dtype, device=pixels.device)
    small = torch.from_numpy(maps)[:, None].to(pixels)
    weights[..., : area[0], : area[1]] = F.interpolate(small, size=area, mode="bilinear", align_corners=False)
    images = encoder.embed_images(pixels * weights).double().cpu().numpy()
    return images @ text.astype(np.float64)


TASKS = tuple(
    Task(
        id=f"{data}-confidence",
        version=1,
        data=data,
        view="captions",
        protocol=Confidence(),
        summary="Drop and increase of the similarity under the explanation as a soft map, and with its top patches alone.",
    )
    for data in ("scenes", "phantoms", "coco", "conceptual_captions")
)
