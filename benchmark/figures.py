"""One figure per image-text pair: what each method says about the patches, the tokens and their pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

import matplotlib
import numpy as np
from jaxtyping import Float, UInt8
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, PathPatch, Rectangle
from matplotlib.path import Path
from matplotlib.patheffects import AbstractPathEffect, withStroke
from matplotlib.textpath import text_to_path
from PIL import Image

from benchmark.data.base import Region
from benchmark.errors import InvalidExplanation
from benchmark.explanations import Explanation

# Everything is placed in inches, y downwards, so that text can be measured against the boxes it sits in.
WIDTH, MARGIN, GAP, COLUMNS, MAX_PANEL = 10.0, 0.15, 0.22, 4, 3.4
TITLE_SIZE, TEXT_SIZE, NOTE_SIZE = 10.0, 9.0, 7.5
LINE, TOKEN_HEIGHT, TOKEN_GAP = 1.3 / 72, 0.23, 0.05
INK, FAINT = "#1a1a1a", "#8a8a8a"
COLOURS = "RdBu_r"  # red raises the similarity, blue lowers it; told apart with any colour vision
OUTLINES = ("#009e73", "#e69f00", "#cc79a7", "#56b4e9", "#f0e442", "#d55e00")  # Okabe and Ito


@dataclass(frozen=True, slots=True)
class _Token:
    """A token's box: left, top and width in inches, top from the strip's own."""

    label: str
    left: float
    top: float
    width: float


@dataclass(frozen=True, slots=True)
class _Layout:
    """Sizes that all panels share, in inches."""

    width: float
    image_height: float
    tokens: tuple[_Token, ...]
    token_size: float

    @property
    def strip_top(self) -> float:
        return TITLE_SIZE * LINE + 0.04 + self.image_height + 0.16

    @property
    def strip_height(self) -> float:
        return max((token.top + TOKEN_HEIGHT for token in self.tokens), default=0.0)


def draw_explanations(
    image: Image.Image,
    text: str,
    tokens: Sequence[str],
    explanations: Mapping[str, Explanation],
    regions: Sequence[tuple[str, Region]] = (),
    title: str | None = None,
    *,
    n_links: int = 8,
    smooth: bool = False,
) -> Figure:
    """Draw the pair with its true regions, then one panel per method.

    ``image`` is what the encoder sees, after its resize and crop, and ``regions`` are in pixels of that; ``tokens`` are
    the content tokens. A panel has the heat map over the dimmed image, the token strip, and the ``n_links`` strongest
    patch-token pairs. Colour is the value over the largest magnitude of the same method and side, which is printed; zero
    is the middle of the scale, also for methods without negative values. ``smooth`` interpolates between patch centres.
    """
    for name, explanation in explanations.items():
        for side, scores in (("text", explanation.text), ("cross", explanation.cross)):
            if scores is not None and scores.shape[-1] != len(tokens):
                raise InvalidExplanation(f"{name} has {side} scores of {scores.shape[-1]} tokens; this text has {len(tokens)}")
    n_panels = len(explanations) + 1
    n_rows = ceil(n_panels / COLUMNS)
    n_columns = ceil(n_panels / n_rows)
    panel = min((WIDTH - 2 * MARGIN - (n_columns - 1) * GAP) / n_columns, MAX_PANEL)
    width = n_columns * panel + (n_columns - 1) * GAP + 2 * MARGIN
    token_size = TEXT_SIZE if len(tokens) <= 32 else NOTE_SIZE
    layout = _Layout(panel, panel * image.height / image.width, _place_tokens(tokens, panel, token_size), token_size)

    caption = _wrap(text, panel, TEXT_SIZE)
    notes = {name: _notes(explanation, n_links, panel) for name, explanation in explanations.items()}
    panel_heights = [layout.strip_top + len(caption) * TEXT_SIZE * LINE]
    notes_top = layout.strip_top + layout.strip_height + 0.07
    panel_heights += [notes_top + len(lines) * NOTE_SIZE * LINE for lines in notes.values()]
    row_heights = [max(panel_heights[row * n_columns : (row + 1) * n_columns]) for row in range(n_rows)]
    heading = _wrap(title, width - 2 * MARGIN, TITLE_SIZE + 1, "bold") if title else []
    top = MARGIN + len(heading) * (TITLE_SIZE + 1) * LINE + (0.08 if heading else 0)
    height = top + sum(row_heights) + n_rows * GAP + NOTE_SIZE * LINE + MARGIN

    figure = Figure(figsize=(width, height), dpi=150, facecolor="white")
    page = _inches(figure, 0, 0, width, height)
    _write(page, MARGIN, MARGIN, heading, TITLE_SIZE + 1, weight="bold")
    axes: list[Axes] = []
    for row, row_height in enumerate(row_heights):
        lefts = [MARGIN + column * (panel + GAP) for column in range(min(n_columns, n_panels - row * n_columns))]
        axes += [_inches(figure, left, top, panel, row_height) for left in lefts]
        top += row_height + GAP
    _draw_pair(axes[0], layout, image, caption, regions)
    for ax, (name, explanation) in zip(axes[1:], explanations.items(), strict=True):
        _draw_method(ax, layout, image, name, explanation, regions, n_links, smooth)
        _write(ax, 0, notes_top, notes[name], NOTE_SIZE, colour="#4d4d4d")
    if explanations:
        _draw_key(page, width, top)
    return figure


def _inches(figure: Figure, left: float, top: float, width: float, height: float) -> Axes:
    """Return axes without frame whose data coordinates are inches from their top left corner."""
    page_width, page_height = figure.get_size_inches()
    box = (left / page_width, 1 - (top + height) / page_height, width / page_width, height / page_height)
    ax = figure.add_axes(box)
    ax.set_axis_off()
    ax.set_xlim(0, width)
    ax.set_ylim(height, 0)
    return ax


def _measure(text: str, size: float, weight: str = "normal") -> float:
    """Return the width of a line in inches."""
    return text_to_path.get_text_width_height_descent(text, FontProperties(size=size, weight=weight), ismath=False)[0] / 72


def _fit(text: str, width: float, size: float, weight: str = "normal") -> str:
    """Shorten one line to a width, with an ellipsis."""
    if _measure(text, size, weight) <= width:
        return text
    while text and _measure(text + "…", size, weight) > width:
        text = text[:-1]
    return text + "…"


def _wrap(text: str, width: float, size: float, weight: str = "normal") -> list[str]:
    lines: list[str] = []
    for word in text.split():
        if lines and _measure(f"{lines[-1]} {word}", size, weight) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(_fit(word, width, size, weight))
    return lines


def _write(
    ax: Axes, left: float, top: float, lines: Sequence[str], size: float, *, colour: str = INK, weight: str = "normal"
) -> None:
    for position, line in enumerate(lines):
        y = top + position * size * LINE
        ax.text(left, y, line, size=size, color=colour, weight=weight, ha="left", va="top", parse_math=False)


def _place_tokens(tokens: Sequence[str], width: float, size: float) -> tuple[_Token, ...]:
    """Lay token boxes out in rows, as text is."""
    placed: list[_Token] = []
    left, top, pad = 0.0, 0.0, 0.09
    for token in tokens:
        label = token.removesuffix("</w>").removeprefix("##").strip("▁Ġ ") or token
        label = _fit(label, width - pad, size)
        box = _measure(label, size) + pad
        if left and left + box > width:
            left, top = 0.0, top + TOKEN_HEIGHT + TOKEN_GAP
        placed.append(_Token(label, left, top, box))
        left += box + TOKEN_GAP
    return tuple(placed)


def _is_constant(scores: Float[np.ndarray, "..."]) -> bool:
    return scores.size == 0 or bool(np.ptp(scores) <= 1e-9 * np.abs(scores).max())


def _scaled(scores: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return the scores over their largest magnitude; a constant array says nothing and becomes zero."""
    if _is_constant(scores):
        return np.zeros_like(scores, dtype=np.float64)
    return np.asarray(scores, dtype=np.float64) / np.abs(scores).max()


def _colours(values: Float[np.ndarray, "..."]) -> Float[np.ndarray, "... 3"]:
    """Return RGB for values between -1 and 1; the map's near-black ends are left out."""
    return np.asarray(matplotlib.colormaps[COLOURS](0.5 + 0.42 * np.asarray(values)))[..., :3]


def _notes(explanation: Explanation, n_links: int, width: float) -> list[str]:
    """Say what the colours of a panel stand for: the largest magnitude of each side, or why there is none."""
    unit = "cosine" if explanation.players is not None else str(explanation.notes.get("unit", "own unit"))
    notes: list[str] = []
    for side, scores in (("image", explanation.image), ("text", explanation.text), ("pairs", explanation.cross)):
        if scores is None:
            notes += [] if side == "pairs" else [f"no {side} scores"]
        elif _is_constant(scores):
            notes.append(f"{side}: constant" + (f" ({scores.flat[0]:.3g})" if scores.size else ""))
        else:
            shown = f"top {min(n_links, np.count_nonzero(scores))} " if side == "pairs" else ""
            notes.append(f"{shown}{side}: max |value| {np.abs(scores).max():.3g} {unit}")
    return [line for note in notes for line in _wrap(note, width, NOTE_SIZE)]


def _draw_pair(
    ax: Axes, layout: _Layout, image: Image.Image, caption: Sequence[str], regions: Sequence[tuple[str, Region]]
) -> None:
    top = _draw_title(ax, layout, "image, true regions" if regions else "image")
    _draw_image(ax, layout, np.asarray(image.convert("RGB")), top)
    _draw_regions(ax, layout, image.size, regions, top, labelled=True)
    _write(ax, 0, layout.strip_top, caption, TEXT_SIZE)


def _draw_method(
    ax: Axes,
    layout: _Layout,
    image: Image.Image,
    name: str,
    explanation: Explanation,
    regions: Sequence[tuple[str, Region]],
    n_links: int,
    smooth: bool,
) -> None:
    top = _draw_title(ax, layout, name, weight="bold")
    _draw_image(ax, layout, _overlay(image, explanation.image, smooth), top)
    _draw_regions(ax, layout, image.size, regions, top, labelled=False)
    if explanation.image is None:
        _draw_plate(ax, layout, top, "no image scores")
    elif _is_constant(explanation.image):
        _draw_plate(ax, layout, top, "constant")
    _draw_tokens(ax, layout, explanation.text)
    if explanation.cross is not None and not _is_constant(explanation.cross):
        _draw_links(ax, layout, explanation.cross, top, n_links)


def _draw_title(ax: Axes, layout: _Layout, title: str, weight: str = "normal") -> float:
    """Write a panel's title and return the top of its image."""
    _write(ax, 0, 0, [_fit(title, layout.width, TITLE_SIZE, weight)], TITLE_SIZE, weight=weight)
    return TITLE_SIZE * LINE + 0.04


def _draw_image(ax: Axes, layout: _Layout, pixels: UInt8[np.ndarray, "height width 3"], top: float) -> None:
    extent = (0, layout.width, top + layout.image_height, top)
    limits = ax.get_xlim(), ax.get_ylim()
    ax.imshow(pixels, extent=extent, aspect="auto", interpolation="antialiased")
    ax.set_xlim(limits[0])
    ax.set_ylim(limits[1])


def _overlay(
    image: Image.Image, scores: Float[np.ndarray, "row column"] | None, smooth: bool
) -> UInt8[np.ndarray, "height width 3"]:
    """Return the image in pale grey, tinted by each patch's value; zero leaves it as it is."""
    size = (max(image.width, 448), round(image.height * max(image.width, 448) / image.width))
    grey = np.asarray(image.convert("L").resize(size, Image.Resampling.BICUBIC), dtype=np.float64) / 255
    pale = np.repeat((0.5 + 0.5 * grey)[..., None], 3, axis=2)
    if scores is not None:
        kind = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
        values = np.asarray(Image.fromarray(_scaled(scores).astype(np.float32)).resize(size, kind), dtype=np.float64)
        pale = pale * _colours(values) / _colours(np.zeros(1))
    return np.clip(np.rint(255 * pale), 0, 255).astype(np.uint8)


def _draw_regions(
    ax: Axes, layout: _Layout, size: tuple[int, int], regions: Sequence[tuple[str, Region]], top: float, labelled: bool
) -> None:
    """Outline each region: its mask where it is known, else its boxes; with a label beside it on the first panel."""
    scale = np.array([layout.width / size[0], layout.image_height / size[1]])
    for position, (label, region) in enumerate(regions):
        colour = OUTLINES[position % len(OUTLINES)] if labelled else INK
        width = 1.8 if labelled else 0.9
        halo: list[AbstractPathEffect] = [withStroke(linewidth=width + 1.4, foreground="white")]
        if region.mask is not None and region.mask.any():
            padded = np.pad(region.mask, 1).astype(np.float64)
            x = (np.arange(padded.shape[1]) - 0.5) * scale[0]
            y = top + (np.arange(padded.shape[0]) - 0.5) * scale[1]
            outline = ax.contour(x, y, padded, levels=[0.5], colors=[colour], linewidths=width, zorder=3)
            outline.set_path_effects(halo)
        else:
            for x0, y0, x1, y1 in region.boxes * np.tile(scale, 2):
                box = Rectangle((x0, top + y0), x1 - x0, y1 - y0, fill=False, ec=colour, lw=width, zorder=3)
                box.set_path_effects(halo)
                ax.add_patch(box)
        if labelled and label and len(region.boxes):
            x0, y0 = region.boxes[0, :2] * scale
            name = _fit(label, 0.6 * layout.width, NOTE_SIZE)
            x = min(max(x0, 0.04), layout.width - _measure(name, NOTE_SIZE) - 0.08)
            plate = {"facecolor": "white", "edgecolor": colour, "linewidth": 1.2, "pad": 1.5}
            ax.text(x, top + max(y0, 0.2), name, size=NOTE_SIZE, color=INK, bbox=plate, zorder=4, parse_math=False)


def _draw_plate(ax: Axes, layout: _Layout, top: float, words: str) -> None:
    """Write in the corner of an image that there is nothing to see."""
    plate = {"facecolor": "white", "edgecolor": FAINT, "pad": 3}
    ax.text(layout.width - 0.1, top + 0.1, words, size=TEXT_SIZE, color=INK, ha="right", va="top", bbox=plate, zorder=6)


def _draw_tokens(ax: Axes, layout: _Layout, scores: Float[np.ndarray, " token"] | None) -> None:
    """Draw the token strip; without scores the boxes are empty and dashed, which the notes put in words."""
    values = np.zeros(len(layout.tokens)) if scores is None else _scaled(scores)
    for token, value in zip(layout.tokens, values, strict=True):
        colour = tuple(_colours(np.array(value)))
        luminance = float(np.dot(colour, (0.2126, 0.7152, 0.0722)))
        y = layout.strip_top + token.top
        style, fill, ink = ("-", colour, "white" if luminance < 0.4 else INK) if scores is not None else (":", "white", FAINT)
        ax.add_patch(Rectangle((token.left, y), token.width, TOKEN_HEIGHT, fc=fill, ec=FAINT, lw=0.6, ls=style, zorder=5))
        middle = token.left + token.width / 2, y + TOKEN_HEIGHT / 2
        ax.text(
            *middle,
            token.label,
            size=layout.token_size,
            color=ink,
            ha="center",
            va="center_baseline",
            zorder=6,
            parse_math=False,
        )


def _draw_links(ax: Axes, layout: _Layout, cross: Float[np.ndarray, "row column token"], top: float, n_links: int) -> None:
    """Join the strongest patch-token pairs, colour by sign and width by strength; the strongest is drawn last.

    Lines pass behind tokens on their way to a later row; the token that one ends at has an edge of its colour.
    """
    rows, columns, _ = cross.shape
    values = _scaled(cross)
    order = np.argsort(-np.abs(values), axis=None, kind="stable")[:n_links]
    for flat in order[::-1]:
        row, column, index = (int(i) for i in np.unravel_index(flat, cross.shape))
        value, token = float(values[row, column, index]), layout.tokens[index]
        if value == 0:
            continue
        colour = tuple(_colours(np.array(np.sign(value))))
        start = ((column + 0.5) / columns * layout.width, top + (row + 0.5) / rows * layout.image_height)
        end = (token.left + token.width / 2, layout.strip_top + token.top)
        bend = (end[0], top + layout.image_height - 0.25 * (top + layout.image_height - start[1]))
        width = 0.8 + 2.2 * abs(value)
        halo = [withStroke(linewidth=width + 1.2, foreground="white")]
        path = Path([start, bend, end], [Path.MOVETO, Path.CURVE3, Path.CURVE3])
        ax.add_patch(PathPatch(path, fill=False, ec=colour, lw=width, zorder=4, path_effects=halo, capstyle="round"))
        box = Rectangle((token.left, end[1]), token.width, TOKEN_HEIGHT, fill=False, ec=colour, lw=1.8, zorder=5.5)
        ax.add_patch(box)
        ax.add_patch(Circle(start, 0.025 + 0.02 * abs(value), fc=colour, ec="white", lw=0.8, zorder=4.5))


def _draw_key(page: Axes, width: float, top: float) -> None:
    """Draw the colour scale that all panels share, once, at the foot of the page."""
    left, right = "lowers similarity  −max", "+max  raises similarity"
    bar, height = 1.6, 0.1
    x = (width - bar) / 2
    y = top + (NOTE_SIZE * LINE - height) / 2
    limits = page.get_xlim(), page.get_ylim()
    ramp = _colours(np.linspace(-1, 1, 256))[None]
    page.imshow(ramp, extent=(x, x + bar, y + height, y), aspect="auto")
    page.set_xlim(limits[0])
    page.set_ylim(limits[1])
    page.add_patch(Rectangle((x, y), bar, height, fill=False, ec=FAINT, lw=0.6))
    for position, words, side in ((x - 0.08, left, "right"), (x + bar + 0.08, right, "left")):
        page.text(position, y + height / 2, words, size=NOTE_SIZE, color=INK, ha=side, va="center_baseline", parse_math=False)
