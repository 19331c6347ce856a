"""How an encoder's resize and crop move pixels, boxes and masks from the original image to its patch grid."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float

if TYPE_CHECKING:
    from benchmark.data.base import Region


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """An affine map ``frame = scale * original + offset`` per axis, into a frame of ``frame_size`` (width, height) pixels.

    Frame pixels left over when the patch does not divide the frame are never seen by the encoder.
    """

    original_size: tuple[int, int]
    frame_size: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[float, float]
    patch_size: int

    @classmethod
    def squash(cls, original_size: tuple[int, int], frame_size: tuple[int, int], patch_size: int) -> "Geometry":
        """Resize each axis on its own (SigLIP)."""
        scale = (frame_size[0] / original_size[0], frame_size[1] / original_size[1])
        return cls(original_size=original_size, frame_size=frame_size, scale=scale, offset=(0.0, 0.0), patch_size=patch_size)

    @classmethod
    def fit(
        cls, original_size: tuple[int, int], frame_size: tuple[int, int], patch_size: int, *, short_side: float | None = None
    ) -> "Geometry":
        """Scale so that the short side has ``short_side`` pixels (by default, so that the frame is filled), crop the centre."""
        width, height = original_size
        filling = max(frame_size[0] / width, frame_size[1] / height)
        factor = short_side / min(width, height) if short_side else filling
        return cls.resized(original_size, frame_size, patch_size, (factor * width, factor * height))

    @classmethod
    def pad(cls, original_size: tuple[int, int], frame_size: tuple[int, int], patch_size: int) -> "Geometry":
        """Scale so that the whole image fits, then pad around it."""
        factor = min(frame_size[0] / original_size[0], frame_size[1] / original_size[1])
        size = (factor * original_size[0], factor * original_size[1])
        return cls.resized(original_size, frame_size, patch_size, size)

    @classmethod
    def resized(
        cls, original_size: tuple[int, int], frame_size: tuple[int, int], patch_size: int, size: tuple[float, float]
    ) -> "Geometry":
        """Resize to ``size`` (width, height) and put the centre into the frame, cropping or padding each axis."""
        scale = (size[0] / original_size[0], size[1] / original_size[1])
        offset = ((frame_size[0] - size[0]) / 2, (frame_size[1] - size[1]) / 2)
        return cls(original_size=original_size, frame_size=frame_size, scale=scale, offset=offset, patch_size=patch_size)

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.frame_size[1] // self.patch_size, self.frame_size[0] // self.patch_size

    def boxes_to_frame(self, boxes: Float[np.ndarray, "box 4"]) -> Float[np.ndarray, "box 4"]:
        """Map ``[x0, y0, x1, y1)`` boxes to frame pixels, clipped to the frame."""
        scale, offset = np.array(self.scale * 2), np.array(self.offset * 2)
        limit = np.array(self.frame_size * 2, dtype=np.float64)
        return np.clip(np.asarray(boxes, dtype=np.float64) * scale + offset, 0.0, limit)

    def coverage(self, region: "Region") -> Float[np.ndarray, "row column"]:
        """Return the share of each patch that lies inside the region (its mask if it has one, else its boxes), 0 to 1."""
        cells, x_edges, y_edges = _cells(region)
        rows, columns = self.grid
        x = (np.arange(columns + 1) * self.patch_size - self.offset[0]) / self.scale[0]
        y = (np.arange(rows + 1) * self.patch_size - self.offset[1]) / self.scale[1]
        area = _cell_area(cells, x_edges, y_edges, x, y)
        patch = (self.patch_size / self.scale[0]) * (self.patch_size / self.scale[1])
        return np.clip(area / patch, 0.0, 1.0)

    def visible_fraction(self, region: "Region") -> float:
        """Return the share of the region's area that the encoder sees; 0 for an empty region."""
        cells, x_edges, y_edges = _cells(region)
        total = float(np.diff(y_edges) @ cells @ np.diff(x_edges))
        seen = float(self.coverage(region).sum()) * (self.patch_size / self.scale[0]) * (self.patch_size / self.scale[1])
        return seen / total if total > 0 else 0.0


def _cells(region: "Region") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the region as a 0/1 matrix on a rectangular grid with its column and row edges in original pixels."""
    if region.mask is not None:
        height, width = region.mask.shape
        return region.mask.astype(np.float64), np.arange(width + 1.0), np.arange(height + 1.0)
    boxes = np.asarray(region.boxes, dtype=np.float64).reshape(-1, 4)
    x_edges, y_edges = np.unique(boxes[:, [0, 2]]), np.unique(boxes[:, [1, 3]])
    cells = np.zeros((max(len(y_edges) - 1, 0), max(len(x_edges) - 1, 0)))
    for x0, y0, x1, y1 in boxes:
        rows = slice(*np.searchsorted(y_edges, [y0, y1]))
        cells[rows, slice(*np.searchsorted(x_edges, [x0, x1]))] = 1.0
    return cells, x_edges, y_edges


def _cell_area(
    cells: np.ndarray, x_edges: np.ndarray, y_edges: np.ndarray, x: np.ndarray, y: np.ndarray
) -> Float[np.ndarray, "row column"]:
    """Integrate a piecewise-constant matrix over every rectangle between consecutive ``y`` and ``x``, exactly."""
    if cells.size == 0:
        return np.zeros((len(y) - 1, len(x) - 1))
    return _overlaps(y, y_edges) @ cells @ _overlaps(x, x_edges).T


def _overlaps(outer: np.ndarray, inner: np.ndarray) -> Float[np.ndarray, "outer inner"]:
    """Return the length that each outer interval shares with each inner one."""
    low = np.maximum(outer[:-1, None], inner[None, :-1])
    high = np.minimum(outer[1:, None], inner[None, 1:])
    return np.clip(high - low, 0.0, None)
