"""Twelve silhouettes as tables of signed distance, so that drawing any of them is one look-up per pixel."""

from functools import cache

import numpy as np
from jaxtyping import Float

SHAPES = (
    "circle", "square", "triangle", "star", "cross", "heart", "moon", "ring", "arrow", "diamond", "bolt", "hourglass",
)  # fmt: skip
REACH = 1.25  # half the side of a table, in radii
CELLS = 256  # cells along a side


def _turn(points: int, start: float = 0.0) -> Float[np.ndarray, " points"]:
    return np.linspace(0, 2 * np.pi, points, endpoint=False) + start


def _outline(shape: str) -> Float[np.ndarray, "corner 2"]:
    """The corners of a silhouette inside the unit circle, y pointing down."""
    if shape == "circle":
        angle = _turn(64)
        return 0.92 * np.stack([np.cos(angle), np.sin(angle)], 1)
    if shape == "triangle":
        return np.array([[0, -0.95], [0.95, 0.75], [-0.95, 0.75]])
    if shape == "star":
        angle = _turn(10, -np.pi / 2)
        radius = np.where(np.arange(10) % 2 == 0, 1.05, 0.44)
        return radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], 1)
    if shape == "heart":
        angle = _turn(72)
        x = 16 * np.sin(angle) ** 3
        y = 13 * np.cos(angle) - 5 * np.cos(2 * angle) - 2 * np.cos(3 * angle) - np.cos(4 * angle)
        return np.stack([x, -y - 2.5], 1) / 16
    if shape == "moon":
        outer = np.linspace(np.radians(55), np.radians(305), 48)
        inner = np.linspace(np.radians(292), np.radians(68), 40)
        crescent = [np.stack([np.cos(outer), np.sin(outer)], 1)]
        crescent.append(np.stack([0.34 + 0.80 * np.cos(inner), 0.86 * np.sin(inner)], 1))
        return np.concatenate(crescent) + np.array([0.12, 0.0])
    corners: dict[str, list[list[float]]] = {
        "square": [[-0.78, -0.78], [0.78, -0.78], [0.78, 0.78], [-0.78, 0.78]],
        "cross": [[-0.28, -0.95], [0.28, -0.95], [0.28, -0.28], [0.95, -0.28], [0.95, 0.28], [0.28, 0.28],
                  [0.28, 0.95], [-0.28, 0.95], [-0.28, 0.28], [-0.95, 0.28], [-0.95, -0.28], [-0.28, -0.28]],
        "arrow": [[-1.0, -0.26], [0.08, -0.26], [0.08, -0.80], [1.0, 0.0], [0.08, 0.80], [0.08, 0.26], [-1.0, 0.26]],
        "diamond": [[0, -1.05], [0.68, 0], [0, 1.05], [-0.68, 0]],
        "bolt": [[0.30, -1.05], [-0.62, 0.14], [-0.06, 0.14], [-0.30, 1.05], [0.62, -0.22], [0.06, -0.22]],
        "hourglass": [[-0.80, -0.92], [0.80, -0.92], [0.16, 0.0], [0.80, 0.92], [-0.80, 0.92], [-0.16, 0.0]],
    }  # fmt: skip
    return np.array(corners[shape])


def _polygon_distance(points: np.ndarray, corners: Float[np.ndarray, "corner 2"]) -> np.ndarray:
    """Signed distance of points to a polygon, negative inside."""
    nearest = np.full(len(points), np.inf)
    inside = np.zeros(len(points), dtype=bool)
    for (ax, ay), (bx, by) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        x, y = points[:, 0] - ax, points[:, 1] - ay
        along = np.clip((x * (bx - ax) + y * (by - ay)) / ((bx - ax) ** 2 + (by - ay) ** 2), 0, 1)
        nearest = np.minimum(nearest, np.hypot(x - along * (bx - ax), y - along * (by - ay)))
        crosses = (ay > points[:, 1]) != (by > points[:, 1])
        if ay != by:
            inside ^= crosses & (points[:, 0] < ax + (bx - ax) * (points[:, 1] - ay) / (by - ay))
    return np.where(inside, -nearest, nearest)


@cache
def distance_tables() -> Float[np.ndarray, "shape row column"]:
    """Signed distance to each silhouette in radii, sampled on a square of side ``2 * REACH`` radii."""
    axis = (np.arange(CELLS) + 0.5) / CELLS * 2 * REACH - REACH
    points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    tables = [
        np.abs(np.hypot(*points.T) - 0.72) - 0.23 if shape == "ring" else _polygon_distance(points, _outline(shape))
        for shape in SHAPES
    ]
    return np.stack(tables).reshape(len(SHAPES), CELLS, CELLS).astype(np.float32)
