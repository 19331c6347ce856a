"""The generated set ``scenes``: two to four textured shapes on cluttered ground, some overlapping.

Sample ``i`` is a pure function of ``i``; indices from ``HELD_OUT`` on are for evaluation, those below for training.
Every image holds a distractor that shares its shape or its colour with the first object, and lacks at least one texture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, UInt8

from benchmark.data.draws import choose, uniforms
from benchmark.data.generated import HELD_OUT, GeneratedSet, Rendered
from benchmark.data.grammar import ABSENT, COLOURS, GRAIN, KIND, PRESENT_ABOVE, SIZE, TEXTURES, TINT, Things
from benchmark.data.scenes_drawing import NOBODY, RADII, SIDE, paint_ground, paint_object
from benchmark.data.shapes import SHAPES

VERSION = "1"
N_THINGS = 4
LATTICE = 8  # object centres lie on a lattice of this pitch, in pixels
_CANDIDATES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What is drawn where, before drawing; hidden parts are not yet known."""

    attributes: Int[np.ndarray, "image thing 4"]
    centres: Float[np.ndarray, "image thing 2"]  # x then y, pixels
    turns: Float[np.ndarray, "image thing"]  # radians
    ground: Float[np.ndarray, "image 8"]  # uniform numbers


def lay_out(indices: Int[np.ndarray, " image"], fewest: int = 2, most: int = N_THINGS) -> Layout:
    """Decide on objects, attributes and places; training begins with ``fewest = most = 1``."""
    n_images = len(indices)
    u = uniforms(f"scenes/{VERSION}/layout", indices, 32 + N_THINGS * (8 + 2 * _CANDIDATES))
    n_things = fewest + choose(u[:, 8], most - fewest + 1)
    own = u[:, 32:].reshape(n_images, N_THINGS, -1)
    attributes = np.empty((n_images, N_THINGS, 4), dtype=np.int64)
    attributes[..., KIND] = choose(own[..., 0], len(SHAPES))
    attributes[..., TINT] = choose(own[..., 1], len(COLOURS))
    missing = choose(u[:, 9], len(TEXTURES))[:, None]
    attributes[..., GRAIN] = (missing + 1 + choose(own[..., 2], len(TEXTURES) - 1)) % len(TEXTURES)
    attributes[..., SIZE] = np.where(np.arange(N_THINGS) < 2, choose(own[..., 3], 3), choose(own[..., 3], 2))
    shared = np.where(u[:, 10] < 0.5, KIND, TINT)
    rows = np.arange(n_images)
    attributes[rows, 1, shared] = attributes[rows, 0, shared]
    attributes[np.arange(N_THINGS)[None] >= n_things[:, None]] = ABSENT
    centres = _place(attributes, own[:, :, 8:], close=u[:, 11] < 0.4)
    return Layout(attributes=attributes, centres=centres, turns=(own[..., 4] - 0.5) * 0.4, ground=u[:, :8])


def _place(attributes: np.ndarray, draw: np.ndarray, close: np.ndarray) -> np.ndarray:
    """Choose each object's centre among candidates inside the image: clear of the others or, if ``close``, overlapping."""
    n_images = len(attributes)
    radius = np.where(attributes[..., KIND] == ABSENT, 0, RADII[attributes[..., SIZE]])
    draw = draw.reshape(n_images, N_THINGS, 2, _CANDIDATES)
    centres = np.zeros((n_images, N_THINGS, 2))
    for thing in range(N_THINGS):
        edge = radius[:, thing, None, None] + 1
        spots = edge + draw[:, thing] * (SIDE - 2 * edge)
        spots = np.clip(np.round(spots / LATTICE) * LATTICE, edge, SIDE - edge)  # (image, axis, candidate)
        penalty = np.zeros((n_images, _CANDIDATES))
        for other in range(thing):
            gap = np.hypot(*(spots - centres[:, other, :, None]).transpose(1, 0, 2))
            reach = (radius[:, thing] + radius[:, other])[:, None]
            penalty += np.clip(np.where(close[:, None] & (thing == 1), 0.66, 0.96) * reach - gap, 0, None)
            if thing == 1:
                penalty += np.where(close[:, None], np.clip(gap - 0.86 * reach, 0, None), 0)
        best = penalty.argmin(1)
        centres[:, thing] = np.take_along_axis(spots, best[:, None, None], 2)[..., 0]
    return centres


def render(layout: Layout) -> Rendered:
    """Draw a batch."""
    n_images = len(layout.attributes)
    canvas = paint_ground(layout.ground)
    owner = np.full((n_images, SIDE, SIDE), NOBODY, dtype=np.uint8)
    area = np.zeros((n_images, N_THINGS), dtype=np.int64)
    there = layout.attributes[..., KIND] != ABSENT
    for thing in range(N_THINGS):
        area[:, thing] = paint_object(
            canvas, owner, thing, there[:, thing], layout.attributes[:, thing], layout.centres[:, thing], layout.turns[:, thing]
        )
    pixels: UInt8[np.ndarray, "image row column 3"] = (np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8)
    masks = owner[:, None] == np.arange(N_THINGS, dtype=np.uint8)[:, None, None]
    visible = masks.sum((2, 3)) / np.maximum(area, 1)
    things = Things(attributes=layout.attributes, centres=layout.centres, visible=visible, film=np.zeros(n_images, dtype=bool))
    return Rendered(pixels=pixels, masks=masks, things=things)


class Scenes(GeneratedSet):
    """Shapes with attributes and relations; the phrase view names one of two objects that share a shape or a colour."""

    name = "scenes"
    version = VERSION
    summary = "2 to 4 shapes in ten colours, four textures and three sizes on cluttered ground, with exact masks and spans"
    attribute_names = ("shape", "colour", "texture", "size")
    gated = (True, True, True, False)

    @staticmethod
    def draw(indices: Int[np.ndarray, " image"]) -> Rendered:
        return render(lay_out(indices))

    def phrase_indices(self, count: int) -> Int[np.ndarray, " image"]:
        """Every scene holds a distractor."""
        return HELD_OUT + np.arange(count)

    def phrase_target(self, things: Things) -> Int[np.ndarray, " image"]:
        """One of the first two objects, which share a shape or a colour: which one depends on its place, if it can be seen."""
        second = things.centres[:, 1].sum(1) % (2 * LATTICE) < LATTICE
        return np.where(second & (things.visible[:, 1] > PRESENT_ABOVE), 1, 0)

    def strata(self, rendered: Rendered, row: int, about: Sequence[int]) -> Mapping[str, str]:
        area = rendered.masks[row, list(about)].mean((1, 2)).mean() if len(about) else 0.0
        there = rendered.things.attributes[row, :, KIND] != ABSENT
        return {
            "object_area": "small" if area < 0.04 else "medium" if area < 0.08 else "large",
            "overlap": "yes" if (rendered.things.visible[row, there] < 0.98).any() else "no",
            "n_objects": str(int(there.sum())),
        }
