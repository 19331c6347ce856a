"""The generated set ``phantoms``: chest-film-like images with findings, and short reports.

Sample ``i`` is a pure function of ``i``; indices from ``HELD_OUT`` on are for evaluation, those below for training.
Sides are the patient's: "left" is on the right of the image. These are drawings, not radiographs; no medical claim rests
on them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Int

from benchmark.data import films
from benchmark.data.draws import choose, uniforms
from benchmark.data.generated import HELD_OUT, GeneratedSet, Rendered
from benchmark.data.grammar import (
    ABSENT,
    FINDINGS,
    FIRST_FILM_SIZE,
    FIRST_FINDING,
    FIRST_SIDE,
    FIRST_ZONE,
    GRAIN,
    KIND,
    SIZE,
    TINT,
    Things,
)

VERSION = "1"
N_THINGS = 4  # three findings at most; the fourth place keeps both sets in one layout
_CANDIDATES = 6
NODULE, OPACITY, EFFUSION, PNEUMOTHORAX, CARDIOMEGALY, LINE = (FIRST_FINDING + kind for kind in range(len(FINDINGS)))
_LEFT, _UPPER, _LOWER = FIRST_SIDE, FIRST_ZONE, FIRST_ZONE + 2
_LARGE = FIRST_FILM_SIZE + 1


def lay_out(indices: Int[np.ndarray, " image"]) -> tuple[np.ndarray, np.ndarray]:
    """Decide on the findings of each film: attributes (image, thing, 4), and the uniform numbers for drawing.

    Findings never share a zone of a lung; a second finding often shares its kind or its side with the first.
    """
    n_images = len(indices)
    u = uniforms(f"phantoms/{VERSION}/layout", indices, 64 + 3 * (16 + _CANDIDATES * 4))
    n_things = np.where(u[:, 0] < 0.06, 0, 1 + choose(u[:, 1], 3))
    attributes = np.full((n_images, N_THINGS, 4), ABSENT, dtype=np.int64)
    occupied = np.zeros((n_images, 3 * 2 + 4), dtype=bool)  # zones by side, then one heart, and one line or free air by side
    for thing in range(3):
        draw = u[:, 64 + thing * (16 + _CANDIDATES * 4) + 16 :][:, : _CANDIDATES * 4].reshape(n_images, _CANDIDATES, 4)
        open_place = n_things > thing
        for candidate in range(_CANDIDATES):
            proposal = _propose(draw[:, candidate], attributes[:, 0] if thing == 1 and candidate < 3 else None)
            needs = _places(proposal)
            accept = open_place & ~(occupied & needs).any(1)
            attributes[accept, thing] = proposal[accept]
            occupied[accept] |= needs[accept]
            open_place &= ~accept
    return attributes, u


def _propose(draw: np.ndarray, first: np.ndarray | None) -> np.ndarray:
    """One finding per film; given the ``first`` finding, it shares that one's kind, or its side and zone's height."""
    proposal = np.empty((len(draw), 4), dtype=np.int64)
    proposal[:, KIND] = FIRST_FINDING + np.searchsorted([0.25, 0.5, 0.65, 0.8, 0.9], draw[:, 0], side="right")
    proposal[:, TINT] = FIRST_SIDE + choose(draw[:, 1], 2)
    proposal[:, GRAIN] = FIRST_ZONE + choose(draw[:, 2], 3)
    proposal[:, SIZE] = FIRST_FILM_SIZE + choose(draw[:, 3], 2)
    if first is not None:
        alike = (draw[:, 3] * 8 % 1 < 0.5) & (first[:, KIND] != ABSENT)
        proposal[alike, KIND] = first[alike, KIND]
    kind = proposal[:, KIND]
    proposal[kind == CARDIOMEGALY, TINT] = ABSENT
    proposal[~np.isin(kind, (NODULE, OPACITY)), GRAIN] = ABSENT
    proposal[np.isin(kind, (CARDIOMEGALY, LINE)), SIZE] = ABSENT
    return proposal


def _places(proposal: np.ndarray) -> np.ndarray:
    """The places a finding takes up, so that no two overlap."""
    kind, side = proposal[:, KIND], np.maximum(proposal[:, TINT] - FIRST_SIDE, 0)
    zone = proposal[:, GRAIN] - FIRST_ZONE
    zone = np.where(kind == EFFUSION, 2, np.where(kind == PNEUMOTHORAX, 0, zone))
    places = np.zeros((len(proposal), 10), dtype=bool)
    rows = np.arange(len(proposal))
    zoned = ~np.isin(kind, (CARDIOMEGALY, LINE))
    places[rows[zoned], (side * 3 + zone)[zoned]] = True
    places[:, 6] = kind == CARDIOMEGALY
    places[rows[kind == LINE], 7 + side[kind == LINE]] = True
    large_fluid = (kind == EFFUSION) & (proposal[:, SIZE] == _LARGE)
    places[rows[large_fluid], (side * 3 + 1)[large_fluid]] = True
    free_air = kind == PNEUMOTHORAX
    places[rows[free_air], (side * 3 + 1)[free_air]] = True
    return places


def render(indices: Int[np.ndarray, " image"]) -> Rendered:
    """Draw the films of these indices."""
    attributes, u = lay_out(indices)
    n_images = len(indices)
    enlarged = (attributes[..., KIND] == CARDIOMEGALY).any(1)
    chest = films.anatomy(u[:, 8:24], enlarged)
    film = films.expose(chest)
    masks = np.zeros((n_images, N_THINGS, films.SIDE, films.SIDE), dtype=bool)
    centres = np.zeros((n_images, N_THINGS, 2))
    for thing in range(3):
        own = u[:, 64 + thing * (16 + _CANDIDATES * 4) :][:, :16]
        here = attributes[:, thing]
        for kind in range(FIRST_FINDING, FIRST_FINDING + len(FINDINGS)):
            for side in range(2):
                rows = np.flatnonzero(
                    (here[:, KIND] == kind) & ((here[:, TINT] == FIRST_SIDE + side) | ((kind == CARDIOMEGALY) & (side == 0)))
                )
                if len(rows):
                    film[rows], cover = _add(film[rows], chest, kind, side, rows, here[rows], own[rows])
                    masks[rows, thing] = cover > 0.25
    weight = masks.sum((2, 3))
    position = np.arange(films.SIDE) + 0.5
    centres[..., 0] = (masks.sum(2) * position).sum(-1) / np.maximum(weight, 1)
    centres[..., 1] = (masks.sum(3) * position).sum(-1) / np.maximum(weight, 1)
    grey = (films.develop(film, u[:, 2:6]) * 255 + 0.5).astype(np.uint8)
    pixels = np.repeat(grey[..., None], 3, axis=-1)
    visible = (weight > 0).astype(np.float64)
    things = Things(attributes=attributes, centres=centres, visible=visible, film=np.ones(n_images, dtype=bool))
    return Rendered(pixels=pixels, masks=masks, things=things)


def _add(
    film: np.ndarray, chest: films.Chest, kind: int, side: int, rows: np.ndarray, here: np.ndarray, own: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Draw one kind of finding on one side of some films; returns the films and how much each pixel shows of it, 0 to 1."""
    large = here[:, SIZE] == _LARGE
    if kind in (NODULE, OPACITY):
        height = films.ZONE_HEIGHTS[here[:, GRAIN] - FIRST_ZONE] + 0.10 * (own[:, 1] - 0.5)
        across = (1, -1)[side] * (films.LUNG_CENTRE + 0.02 + 0.16 * (own[:, 0] - 0.5))
        centre = (np.stack([across, height], 1) + 1) * films.SIDE / 2
        if kind == NODULE:
            cover = films.blob(centre, np.where(large, 8.5, 5.0), own[:, 2:4], ragged=0)
            return film + cover * (0.78 - film) * 0.72, cover
        cover = films.blob(centre, np.where(large, 17.0, 11.5), own[:, 2:4], ragged=0.16)
        return film + cover * (0.66 - film) * 0.72, cover
    if kind == EFFUSION:
        cover = films.fluid(chest, side, rows, large, own[:, 0])
        return film + cover * (0.70 - film) * 0.9, cover
    if kind == PNEUMOTHORAX:
        air, rim = films.free_air(chest, side, rows, large)
        return film * (1 - 0.36 * air) + 0.16 * rim, np.maximum(air, rim)
    if kind == LINE:
        cover = films.catheter(side, own[:, :4])
        return film + cover * (0.92 - film) * 0.8, cover
    cover = films.heart_map(chest)[rows]
    return film, cover


class Phantoms(GeneratedSet):
    """Films with reports; the phrase view names one of two findings of one kind, or of one side."""

    name = "phantoms"
    version = VERSION
    summary = "drawings like chest films with up to three of six findings, and reports with side, zone, size and negation"
    attribute_names = ("finding", "side", "zone", "size")
    gated = (True, True, True, False)

    @staticmethod
    def draw(indices: Int[np.ndarray, " image"]) -> Rendered:
        return render(indices)

    def phrase_indices(self, count: int) -> Int[np.ndarray, " image"]:
        """Films on which a finding shares its kind or its side with another."""
        found, start = np.empty(0, dtype=np.int64), HELD_OUT
        while len(found) < count:
            block = start + np.arange(max(2 * count, 64))
            found = np.concatenate([found, block[_has_partner(lay_out(block)[0]).any(1)]])
            start = int(block[-1]) + 1
        return found[:count]

    def phrase_target(self, things: Things) -> Int[np.ndarray, " image"]:
        """One of the findings that have a partner, which one depending on where it lies."""
        preference = _has_partner(things.attributes) * (1 + things.centres.sum(2) % 1)
        return preference.argmax(1)

    def strata(self, rendered: Rendered, row: int, about: Sequence[int]) -> Mapping[str, str]:
        area = rendered.masks[row, list(about)].mean((1, 2)).mean() if len(about) else 0.0
        kinds = rendered.things.attributes[row, :, KIND]
        named = sorted({FINDINGS[kinds[thing] - FIRST_FINDING] for thing in about})
        return {
            "object_area": "small" if area < 0.02 else "medium" if area < 0.06 else "large",
            "finding": named[0] if len(named) == 1 else "several" if named else "none",
            "n_objects": str(int((kinds != ABSENT).sum())),
        }


def _has_partner(attributes: Int[np.ndarray, "image thing 4"]) -> np.ndarray:
    """Which findings share their kind or their side with another one on the film: (image, thing)."""
    partner = np.zeros(attributes.shape[:2], dtype=bool)
    for shared in (KIND, TINT):
        value = attributes[..., shared]
        same = (value[:, :, None] == value[:, None, :]) & (value != ABSENT)[:, :, None]
        partner |= same.sum(2) > 1
    return partner
