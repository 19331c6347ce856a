"""Drawing phantom chest films: frontal, so the patient's right is on the image's left; fluid and bone bright, air dark."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

from benchmark.data.draws import choose, uniforms

SIDE = 112  # image side in pixels
_HALF = SIDE / 2
_AXIS = ((np.arange(SIDE) + 0.5 - _HALF) / _HALF).astype(np.float32)  # -1 to 1
X, Y = _AXIS[None, None, :], _AXIS[None, :, None]
ZONE_HEIGHTS = np.array([-0.47, -0.09, 0.27])  # upper, middle, lower
LUNG_CENTRE = 0.43
_N_TILES = 32
Map = Float[np.ndarray, "image row column"]


@dataclass(frozen=True, slots=True)
class Chest:
    """The parts of a batch of chests as soft maps, 0 to 1, before any finding."""

    lungs: tuple[Map, Map]  # the patient's left, then right
    edges: tuple[Map, Map]  # lung coordinates: 0 in the middle of a lung, 1 at its outline
    heart: Float[np.ndarray, "image 4"]  # centre x and y, half width and half height
    body: Map
    bones: Map


def _soft(distance: np.ndarray, width: float) -> np.ndarray:
    """1 where ``distance`` is well above zero, 0 well below, over about ``width``."""
    return np.clip(0.5 + distance * np.float32(1 / width), 0, 1)


@cache
def _cloud() -> Float[np.ndarray, "tile row column"]:
    """Smooth noise of about unit deviation."""
    u = uniforms("phantoms/cloud", np.arange(_N_TILES), 14 * 4).reshape(_N_TILES, 14, 4).astype(np.float32)
    tiles = np.zeros((_N_TILES, SIDE, SIDE), dtype=np.float32)
    for wave in range(14):
        angle, rate = 2 * np.pi * u[:, wave, 0, None, None], 4 + 16 * u[:, wave, 1, None, None]
        tiles += np.sin(rate * (X * np.cos(angle) + Y * np.sin(angle)) + 2 * np.pi * u[:, wave, 2, None, None])
    return tiles / np.sqrt(7)


@cache
def _grain() -> Float[np.ndarray, "tile row column"]:
    return uniforms("phantoms/grain", np.arange(_N_TILES), SIDE * SIDE).reshape(-1, SIDE, SIDE).astype(np.float32) - 0.5


def anatomy(draw: Float[np.ndarray, "image 16"], enlarged: np.ndarray) -> Chest:
    """Lungs, heart, ribs and collar bones of each chest; ``enlarged`` hearts are about half as wide again."""
    jitter = (draw.astype(np.float32) - 0.5)[:, :, None, None]
    lungs, edges = [], []
    for side, sign in enumerate((1, -1)):
        across = (X * sign - (LUNG_CENTRE + 0.03 * jitter[:, side])) / (0.345 + 0.04 * jitter[:, 2])
        down = (Y + 0.08 + 0.04 * jitter[:, 3]) / (0.74 + 0.05 * jitter[:, 4])
        narrow = 0.80 + 0.20 * np.clip((down + 1.0) * 1.1, 0, 1)
        edge = (np.abs(across / narrow) ** 2.6 + np.abs(down) ** 3.2) ** np.float32(0.36)
        dome = 0.46 + 0.05 * jitter[:, 5 + side] - 0.04 * (sign < 0) + 0.16 * across**2
        lungs.append(_soft(1 - edge, 0.10) * _soft(dome - Y, 0.06))
        edges.append(edge)
    big = enlarged[:, None, None].astype(np.float32)
    place = (0.10 + 0.03 * jitter[:, 7] + 0.04 * big, 0.26 + 0.04 * jitter[:, 8] - 0.02 * big)
    extent = (0.235 + 0.03 * jitter[:, 9] + 0.17 * big, 0.31 + 0.03 * jitter[:, 10] + 0.06 * big)
    heart = np.stack([*place, *extent], 1)[..., 0, 0]
    trunk = (np.abs(X) / (0.93 + 0.03 * jitter[:, 11])) ** 4 + np.clip(-Y - 0.55, 0, 1) ** 2 * 2.2 * np.abs(X)
    body = _soft(1 - trunk, 0.35)
    height = Y + 0.30 * np.abs(X) ** 1.5 * (1.2 + 0.3 * jitter[:, 12]) + 0.05 * jitter[:, 13]
    phase = height * np.float32(2 * np.pi / 0.235)
    ribs = (
        np.clip(np.cos(phase) * 2.2 - 0.7, 0, 1)
        * _soft(0.86 - np.abs(X), 0.1)
        * _soft(0.55 - Y, 0.2)
        * _soft(np.abs(X) - 0.12, 0.1)
    )
    collar = _soft(0.035 - np.abs(Y + 0.74 - 0.22 * np.abs(X) + 0.10 * np.sin(5 * np.abs(X)) + 0.04 * jitter[:, 14]), 0.04)
    bones = 0.055 * ribs + 0.14 * collar * _soft(0.80 - np.abs(X), 0.1) * _soft(np.abs(X) - 0.08, 0.06)
    spine = _soft(0.085 - np.abs(X + 0.02 * jitter[:, 15]), 0.08) * (0.75 + 0.25 * np.cos(Y * 34))
    return Chest((lungs[0], lungs[1]), (edges[0], edges[1]), heart, body, bones + 0.10 * spine)


def heart_map(chest: Chest) -> Map:
    x, y, wide, high = (chest.heart[:, column, None, None] for column in range(4))
    return _soft(1 - np.hypot((X - x + 0.25 * (Y - y)) / wide, (Y - y) / high), 0.16)


def expose(chest: Chest) -> Map:
    """The film without findings other than the heart's size: brightness 0 to 1."""
    air = np.maximum(chest.lungs[0], chest.lungs[1])
    film = chest.body * (0.60 + 0.10 * _soft(Y - 0.45, 0.5)) + 0.04
    film = film * (1 - 0.62 * air) + chest.bones * chest.body
    vessels = np.exp(-(((np.abs(X) - 0.22) / 0.13) ** 2) - ((Y + 0.02) / 0.28) ** 2)
    film += 0.10 * vessels * air
    heart = heart_map(chest)
    return film * (1 - heart) + (0.70 + 0.3 * (film - 0.5)) * heart


def develop(film: Map, draw: Float[np.ndarray, "image 4"]) -> Map:
    """Add grain, a soft vignette and the exposure of the day."""
    grain = _grain()[choose(draw[:, 0], _N_TILES)]
    bright = (0.94 + 0.12 * draw[:, 1]).astype(np.float32)[:, None, None]
    vignette = 1 - 0.14 * np.clip(X**2 + Y**2 - 0.5, 0, 2)
    return np.clip((film + 0.05 * grain) * vignette * bright, 0, 1)


def blob(centre: np.ndarray, radius: np.ndarray, draw: np.ndarray, ragged: float) -> Map:
    """A round patch, pixels; ``ragged`` roughens and softens its outline, so that it reads as a cloud."""
    u = draw.astype(np.float32)
    wide = radius[:, None, None].astype(np.float32)
    stretch = 1 + 0.25 * (u[:, 0] - 0.5)[:, None, None]
    x = (X * _HALF + _HALF - centre[:, 0, None, None]) * stretch
    y = (Y * _HALF + _HALF - centre[:, 1, None, None]) / stretch
    distance = (wide - np.hypot(x, y)).astype(np.float32)
    if ragged:
        distance += ragged * wide * _cloud()[choose(draw[:, 1], _N_TILES)]
        return _soft(distance - 0.1 * wide, 9.0)
    return _soft(distance, 2.5)


def fluid(chest: Chest, side: int, rows: np.ndarray, large: np.ndarray, draw: np.ndarray) -> Map:
    """Fluid at the base of one lung, climbing along the chest wall."""
    sign = (1, -1)[side]
    level = (np.where(large, 0.06, 0.30) + 0.05 * (draw - 0.5)).astype(np.float32)[:, None, None]
    lateral = np.clip((X * sign - 0.30) / 0.5, 0, 1)
    surface = _soft(Y - level + 0.26 * lateral**2, 0.05)
    cavity = _soft(1.03 - chest.edges[side][rows], 0.10) * _soft(0.70 - Y, 0.06) * _soft(X * sign - 0.10, 0.05)
    return surface * cavity


def free_air(chest: Chest, side: int, rows: np.ndarray, large: np.ndarray) -> tuple[Map, Map]:
    """Air between lung and chest wall, and the thin line of the lung's edge: two maps."""
    sign = (1, -1)[side]
    edge = chest.edges[side][rows]
    inner = np.where(large, 0.62, 0.76).astype(np.float32)[:, None, None]
    outside = _soft(X * sign - LUNG_CENTRE + 0.06 + 0.25 * np.clip(-Y - 0.5, 0, 1), 0.06)
    height = _soft(0.22 - Y, 0.08)
    lung = chest.lungs[side][rows]
    air = _soft(edge - inner, 0.04) * lung * height * outside
    rim = np.clip(1 - np.abs(edge - inner) / 0.045, 0, 1) * lung * height * outside
    return air, rim


def catheter(side: int, draw: np.ndarray) -> Map:
    """A thin tube from under one collar bone to above the heart: 1 on its axis, 0 from three pixels away."""
    sign = (1, -1)[side]
    u = draw.astype(np.float32)
    t = np.linspace(0, 1, 44, dtype=np.float32)[None, :]
    start_x, start_y = 0.62 + 0.1 * u[:, :1], -0.70 + 0.1 * u[:, 1:2]
    end_x, end_y = 0.10 + 0.06 * u[:, 2:3], 0.02 + 0.14 * u[:, 3:4]
    x = sign * ((1 - t) ** 2 * start_x + 2 * t * (1 - t) * 0.10 + t**2 * end_x)
    y = (1 - t) ** 2 * start_y + 2 * t * (1 - t) * -0.74 + t**2 * end_y
    nearest = np.full((len(u), SIDE, SIDE), 9.0, dtype=np.float32)
    for step in range(t.shape[1]):
        square = (X - x[:, step, None, None]) ** 2 + (Y - y[:, step, None, None]) ** 2
        np.minimum(nearest, square, out=nearest)
    return np.clip(1.5 - np.sqrt(nearest) * _HALF * 0.6, 0, 1)
