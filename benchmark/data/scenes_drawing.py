"""Drawing scenes: lit, textured silhouettes on softly cluttered ground, a batch at a time."""

from functools import cache

import numpy as np
from jaxtyping import Float, Int, UInt8

from benchmark.data.draws import choose, uniforms
from benchmark.data.grammar import SIZE
from benchmark.data.shapes import CELLS, REACH, distance_tables

SIDE = 112  # image side in pixels
RADII = np.array([15.0, 20.0, 26.0])  # small, medium, large: circumscribed radius in pixels
WINDOWS = (36, 46, 58)  # side of the square that is repainted for one object of each size
NOBODY = 255  # owner of a ground pixel

PAINT = np.array(
    [[214, 44, 46], [243, 138, 28], [248, 218, 60], [46, 158, 66], [84, 212, 222],
     [40, 82, 205], [128, 58, 178], [246, 130, 184], [122, 76, 42], [42, 42, 48]], dtype=np.float32
) / 255  # fmt: skip
_LUMINANCE = PAINT @ np.array([0.30, 0.59, 0.11], dtype=np.float32)
INK = np.where(_LUMINANCE[:, None] > 0.28, PAINT * 0.42, PAINT * 0.45 + 0.55).astype(np.float32)  # colour of the texture
GROUND = np.array(
    [[214, 210, 201], [198, 206, 208], [205, 211, 196], [216, 204, 196], [202, 200, 212], [188, 192, 190]],
    dtype=np.float32,
) / 255  # fmt: skip
_N_TILES = 48


@cache
def _clutter() -> Float[np.ndarray, "tile row column"]:
    """Faint pebbles, blades and grain, added to the ground: brightness between about -0.1 and 0.1."""
    draw = uniforms("scenes/clutter", np.arange(_N_TILES * 26), 8).reshape(_N_TILES, 26, 8).astype(np.float32)
    axis = np.arange(SIDE, dtype=np.float32)
    tiles = np.zeros((_N_TILES, SIDE, SIDE), dtype=np.float32)
    for mark in range(26):
        u = draw[:, mark, :, None, None]
        x, y = axis[None, None, :] - u[:, 0] * SIDE, axis[None, :, None] - u[:, 1] * SIDE
        angle = 2 * np.pi * u[:, 2]
        along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        if mark < 14:  # pebbles
            long, wide = 1.5 + 3.5 * u[:, 3], 1.2 + 2.2 * u[:, 4]
            distance = (np.hypot(along / long, across / wide) - 1) * wide
        else:  # blades, slightly bent
            bend = across + (u[:, 5] - 0.5) * 0.05 * along**2
            distance = np.maximum(np.abs(bend) - 0.7, np.abs(along) - (5 + 9 * u[:, 3]))
        tiles += np.clip(0.5 - distance, 0, 1) * (u[:, 6] - 0.5) * 0.20
    grain = uniforms("scenes/grain", np.arange(_N_TILES), SIDE * SIDE).reshape(tiles.shape).astype(np.float32)
    return tiles + (grain - 0.5) * 0.045


def paint_ground(draw: Float[np.ndarray, "image 8"]) -> Float[np.ndarray, "image row column 3"]:
    """Two muted tones running into each other, strewn with clutter."""
    u = draw.astype(np.float32)
    axis = np.linspace(-1, 1, SIDE, dtype=np.float32)
    angle = 2 * np.pi * u[:, 0, None, None]
    slope = axis[None, None, :] * np.cos(angle) + axis[None, :, None] * np.sin(angle)
    wave = 0.35 * np.sin(3.0 * slope + 6 * u[:, 1, None, None] + 2 * axis[None, :, None] * axis[None, None, :])
    mix = np.clip(0.5 + 0.4 * slope + wave, 0, 1)[..., None]
    first, second = GROUND[choose(draw[:, 2], len(GROUND))], GROUND[choose(draw[:, 3], len(GROUND))]
    canvas = first[:, None, None] * mix + (second * (0.88 + 0.1 * u[:, 4, None]))[:, None, None] * (1 - mix)
    canvas += _clutter()[choose(draw[:, 5], _N_TILES)][..., None]
    return canvas


def _texture(grain: Int[np.ndarray, " image"], x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How much ink lies at object coordinates ``x``, ``y`` (pixels): 0 to 1, with soft edges."""
    stripes = np.cos(y * np.float32(2 * np.pi / 9))
    columns = np.cos(x * np.float32(2 * np.pi / 9))
    lattice = stripes + columns - np.float32(0.95)
    checks = np.cos(y * np.float32(np.pi / 6.5)) * np.cos(x * np.float32(np.pi / 6.5)) * 3
    grain = grain[:, None, None]
    field = np.where(grain == 1, stripes * 1.6 - 0.2, np.where(grain == 2, lattice * 2, np.where(grain == 3, checks, -1)))
    return np.clip(0.5 + field, 0, 1)


def paint_object(
    canvas: Float[np.ndarray, "image row column 3"],
    owner: UInt8[np.ndarray, "image row column"],
    number: int,
    there: np.ndarray,
    attributes: Int[np.ndarray, "image 4"],
    centre: np.ndarray,
    turn: np.ndarray,
) -> Int[np.ndarray, " image"]:
    """Paint object ``number`` over each image where it is ``there``, in place, and return its own area in pixels.

    A pixel belongs to the object that covers more than half of it and was painted last; the painted edge fades out within it.
    """
    area = np.zeros(len(canvas), dtype=np.int64)
    for size in range(len(RADII)):
        image = np.flatnonzero(there & (attributes[:, SIZE] == size))
        if len(image):
            area[image] = _paint(canvas, owner, number, image, attributes[image], centre[image], turn[image])
    return area


def _paint(
    canvas: np.ndarray,
    owner: np.ndarray,
    number: int,
    image: np.ndarray,
    attributes: np.ndarray,
    centre: np.ndarray,
    turn: np.ndarray,
) -> np.ndarray:
    """Paint objects of one size over the images of these numbers; returns their areas."""
    shape, tint, grain, size = attributes.T
    centre, turn = centre.astype(np.float32), turn.astype(np.float32)[:, None, None]
    radius, window = np.float32(RADII[size[0]]), WINDOWS[size[0]]
    corner = np.clip(np.floor(centre - window / 2), 0, SIDE - window).astype(np.int64)
    span = np.arange(window)
    columns, rows = corner[:, :1] + span, corner[:, 1:] + span
    across = (columns + 0.5 - centre[:, :1]).astype(np.float32)[:, None, :]
    down = (rows + 0.5 - centre[:, 1:]).astype(np.float32)[:, :, None]
    x = across * np.cos(turn) + down * np.sin(turn)
    y = down * np.cos(turn) - across * np.sin(turn)
    scale = np.float32(CELLS / (2 * REACH)) / radius
    cell_x = np.clip(x * scale + CELLS / 2, 0, CELLS - 1).astype(np.int32)
    cell_y = np.clip(y * scale + CELLS / 2, 0, CELLS - 1).astype(np.int32)
    distance = distance_tables()[shape[:, None, None], cell_y, cell_x] * radius
    cover = np.clip(0.5 - distance, 0, 1)
    ink = _texture(grain, x, y)[..., None]
    rim = np.clip(2.0 + distance, 0, 1)[..., None] * np.float32(0.42)
    light = (1.06 - 0.14 * (across + 1.3 * down) / radius)[..., None]
    colour = (PAINT[tint][:, None, None] * (1 - ink) + INK[tint][:, None, None] * ink) * light * (1 - rim)
    place = (image[:, None, None], rows[:, :, None], columns[:, None, :])
    below = canvas[place]
    canvas[place] = below + (colour - below) * cover[..., None]
    covered = cover > 0.5
    owner[place] = np.where(covered, number, owner[place])
    return covered.sum((1, 2))
