"""Segmentation tasks: the map of a phrase, interpolated to pixels and cut at a threshold, against the object's outline."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage

from benchmark.data.base import Phrase, Region
from benchmark.encoders.geometry import Geometry
from benchmark.explanations import Explanation
from benchmark.metrics import localisation
from benchmark.metrics.base import Score
from benchmark.metrics.segmentation import SEGMENTATION, two_channel_ap, two_channel_ap_by_chance, upsample
from benchmark.tasks.base import Evaluation, Task
from benchmark.tasks.phrase_scores import NO_MAP, PhraseScores


@dataclass(frozen=True, kw_only=True)
class Segmentation(PhraseScores):
    """Segmentation scores on the pixels of the frame; rank accuracy and the pointing game with tolerance on its patches.

    Maps are interpolated bilinearly from patches to pixels, regions read at pixel centres; pixels of the frame that no patch
    covers are left out. ``radius`` is the tolerance of ``pointing_disc`` in original pixels.
    """

    radius: float = 15.0

    @property
    def metrics(self) -> tuple[str, ...]:
        return (*SEGMENTATION, "rank_accuracy", "pointing_disc")

    def score_phrase(
        self, explanation: Explanation, evaluation: Evaluation, phrase: Phrase, coverage: Float[np.ndarray, "row column"]
    ) -> dict[str, Score | str]:
        heat, geometry = self.heat(explanation, evaluation, phrase), evaluation.pair.geometry
        if heat is None or geometry is None:
            return dict.fromkeys(self.metrics, NO_MAP if heat is None else "the original image of this pair is not known")
        mask = frame_mask(geometry, phrase.region)
        pixels = upsample(heat, mask.shape)
        scores: dict[str, Score | str] = {name: metric(pixels, mask) for name, metric in SEGMENTATION.items()}
        key = ("two_channel_ap", mask.tobytes())
        if key not in evaluation.shared:
            grid = (heat.shape[0], heat.shape[1])
            evaluation.shared[key] = two_channel_ap_by_chance(mask, grid)
        scores["two_channel_ap"] = two_channel_ap(pixels, mask, chance=evaluation.shared[key])
        scores["rank_accuracy"] = localisation.rank_accuracy(heat, coverage)
        distance = distances_from(mask, geometry)
        scores["pointing_disc"] = localisation.pointing_disc(heat, distance, radius=self.radius)
        return scores


def distances_from(mask: Bool[np.ndarray, "height width"], geometry: Geometry) -> Float[np.ndarray, "row column"]:
    """Return how far each patch's central pixel is from a mask of the frame, 0 inside it, in pixels of the original."""
    pixel = (1 / geometry.scale[1], 1 / geometry.scale[0])
    distance = np.asarray(ndimage.distance_transform_edt(~mask, sampling=pixel))
    centre = geometry.patch_size // 2
    return distance[centre :: geometry.patch_size, centre :: geometry.patch_size]


def frame_mask(geometry: Geometry, region: Region) -> Bool[np.ndarray, "height width"]:
    """Return which pixels of the frame's patches have their centre in the region; padding has none."""
    x, y = (
        (np.arange(n * geometry.patch_size) + 0.5 - offset) / scale
        for n, offset, scale in zip(geometry.grid[::-1], geometry.offset, geometry.scale, strict=True)
    )
    if region.mask is None:
        inside = np.zeros((len(y), len(x)), dtype=bool)
        for x0, y0, x1, y1 in region.boxes:
            inside |= ((y >= y0) & (y < y1))[:, None] & ((x >= x0) & (x < x1))
        return inside
    height, width = region.mask.shape
    rows, columns = np.floor(y).astype(int), np.floor(x).astype(int)
    inside = region.mask[np.ix_(rows.clip(0, height - 1), columns.clip(0, width - 1))]
    return inside & ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))


TASKS = tuple(
    Task(
        id=f"{data}-segmentation",
        version=1,
        data=data,
        view="phrases",
        protocol=Segmentation(),
        summary="The image map against the object's outline on pixels, by threshold and without; the text is one phrase.",
    )
    for data in ("scenes", "phantoms", "coco", "imagenet_segmentation")
)
