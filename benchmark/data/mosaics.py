"""The generated set ``mosaics``: four images in a 2 x 2 grid, one shape in each, for the grid pointing game.

Shapes, paints and grounds are those of ``scenes``; the texts are bare shape names, which the embedded encoder knows as words
but never saw in a row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from PIL import Image

from benchmark.data.base import DataSet, LazySamples, Phrase, Region, Sample
from benchmark.data.draws import choose, uniforms
from benchmark.data.generated import HELD_OUT
from benchmark.data.grammar import ABSENT, COLOURS, GRAIN, KIND, SIZE, TEXTURES, TINT
from benchmark.data.scenes import N_THINGS, Layout, render
from benchmark.data.scenes_drawing import RADII, SIDE
from benchmark.data.shapes import SHAPES
from benchmark.errors import UnknownName

N_CELLS = 4
DEFAULT_SIZE = 250
_HALF = SIDE // 2
_INNER = SIDE // 7 * 3  # an object keeps to the cell's outer 3 of 3.5 patches, so that a 7 x 7 grid has all of it in a corner


@dataclass(frozen=True, slots=True, kw_only=True)
class Mosaic:
    """One image of four cells, row-major from the top left, and the name of the shape in each."""

    image: Image.Image
    labels: tuple[str, ...]


class Mosaics(DataSet):
    """2 x 2 mosaics of single shapes, all four of different kinds; a phrase is a label and its region the label's cell.

    Strata: ``k``, the number of labels of the image in the text, and in the view ``labels`` the ``cell`` instead.
    """

    name = "mosaics"
    version = "1"
    summary = "2 x 2 mosaics of single shapes for the grid pointing game: up to four labels, each with its cell"
    licence = "generated; CC0"
    synthetic = True
    views = ("captions", "labels", "candidates")

    def samples(self, view: str, limit: int | None = None) -> Sequence[Sample]:
        """Return the samples of a view, mosaic by mosaic, 250 mosaics unless ``limit`` says otherwise.

        ``captions``: the first k labels joined by a space, for k = 1 to 4. ``labels``: each label as a text of its own.
        ``candidates``: all twelve shape names; those that are not in the image have an empty region.
        """
        if view not in self.views:
            raise UnknownName("view of mosaics", view, self.views)
        parts = 1 if view == "candidates" else N_CELLS
        count = DEFAULT_SIZE * parts if limit is None else limit
        keys = [divmod(number, parts) for number in range(count)]
        build = {"captions": _caption, "labels": _label, "candidates": _candidates}[view]
        return LazySamples(build, keys)


def cell_box(cell: int) -> tuple[float, float, float, float]:
    """Return the ``[x0, y0, x1, y1)`` box of a cell in the mosaic."""
    row, column = divmod(cell, 2)
    return column * _HALF, row * _HALF, (column + 1) * _HALF, (row + 1) * _HALF


def draw_mosaic(number: int) -> Mosaic:
    """Draw mosaic ``number``, a pure function of it: each cell is cut out of a scene of its own with one object."""
    u = uniforms("mosaics/1", np.array([HELD_OUT + number]), len(SHAPES) + N_CELLS * 16)[0]
    kinds = np.argsort(u[: len(SHAPES)])[:N_CELLS]
    own = u[len(SHAPES) :].reshape(N_CELLS, 16)
    attributes = np.full((N_CELLS, N_THINGS, 4), ABSENT)
    attributes[:, 0, KIND] = kinds
    attributes[:, 0, TINT] = choose(own[:, 0], len(COLOURS))
    attributes[:, 0, GRAIN] = choose(own[:, 1], len(TEXTURES))
    attributes[:, 0, SIZE] = choose(own[:, 2], 2)  # small or medium: a large one would not fit
    centres = np.zeros((N_CELLS, N_THINGS, 2))
    centres[:, 0] = _centres(own[:, 3:5], RADII[attributes[:, 0, SIZE]])
    turns = np.zeros((N_CELLS, N_THINGS))
    turns[:, 0] = (own[:, 5] - 0.5) * 0.4
    pixels = render(Layout(attributes=attributes, centres=centres, turns=turns, ground=own[:, 8:16])).pixels
    mosaic = np.empty_like(pixels[0])
    for cell in range(N_CELLS):
        x0, y0, x1, y1 = (int(edge) for edge in cell_box(cell))
        mosaic[y0:y1, x0:x1] = pixels[cell, y0:y1, x0:x1]
    return Mosaic(image=Image.fromarray(mosaic), labels=tuple(SHAPES[kind] for kind in kinds))


def _centres(draw: Float[np.ndarray, "cell 2"], radius: Float[np.ndarray, " cell"]) -> Float[np.ndarray, "cell 2"]:
    """Return a centre (x, y) in each cell with the object inside the cell's outer part."""
    room = (_INNER - 2 * radius)[:, None]
    from_corner = radius[:, None] + draw * room
    far = np.array([[cell % 2, cell // 2] for cell in range(N_CELLS)], dtype=bool)
    return np.where(far, SIDE - from_corner, from_corner)


def _caption(key: tuple[int, int]) -> Sample:
    number, last = key
    mosaic = draw_mosaic(number)
    k = str(last + 1)
    labels = [(label, cell) for cell, label in enumerate(mosaic.labels[: last + 1])]
    return _sample(mosaic, f"mosaics/{number}", f"k{k}", labels, {"k": k})


def _label(key: tuple[int, int]) -> Sample:
    number, cell = key
    mosaic = draw_mosaic(number)
    return _sample(mosaic, f"mosaics/{number}", f"cell{cell}", [(mosaic.labels[cell], cell)], {"cell": str(cell)})


def _candidates(key: tuple[int, int]) -> Sample:
    number, _ = key
    mosaic = draw_mosaic(number)
    cells = {label: cell for cell, label in enumerate(mosaic.labels)}
    labels = [(shape, cells.get(shape)) for shape in SHAPES]
    return _sample(mosaic, f"mosaics/{number}", "candidates", labels, {"k": str(N_CELLS)})


def _sample(
    mosaic: Mosaic, cluster: str, part: str, labels: Sequence[tuple[str, int | None]], strata: Mapping[str, str]
) -> Sample:
    """Write labels in a row, each a phrase whose region is its cell, empty where it has none."""
    text, phrases = "", list[Phrase]()
    for label, cell in labels:
        text += f" {label}" if text else label
        boxes = np.array([] if cell is None else cell_box(cell), dtype=np.float64).reshape(-1, 4)
        phrases.append(Phrase(span=(len(text) - len(label), len(text)), region=Region(boxes=boxes), label=label))
    return Sample(
        id=f"{cluster}/{part}",
        image=mosaic.image,
        text=text,
        cluster=cluster,
        phrases=tuple(phrases),
        strata=strata,
    )
