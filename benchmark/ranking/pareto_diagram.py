"""Score against cost as a picture: a point and an interval for each method, and the front that nothing beats in both."""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.ticker import FuncFormatter
from matplotlib.transforms import Bbox

from benchmark.errors import InvalidInput
from benchmark.ranking.pareto import ParetoBoard, ParetoPoint

PANELS = 6
"""Boards in one figure."""

_FRONT, _METHOD, _CONTROL = (
    "#0072B2",
    "#4d4d4d",
    "#D55E00",
)  # Okabe and Ito's blue and vermilion stay apart for the colour-blind
_POINTS_PER_INCH = 72


def draw_pareto(boards: Sequence[ParetoBoard]) -> Figure:
    """Draw one panel for each board, with better always up and cost on a logarithmic axis that begins at 0."""
    if not 1 <= len(boards) <= PANELS:
        raise InvalidInput(f"a figure holds 1 to {PANELS} boards, not {len(boards)}; choose with --task, --model and --metric")
    figure = Figure(figsize=(9, 6 * len(boards)), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes: list[Axes] = list(figure.subplots(len(boards), squeeze=False)[:, 0])
    for axis, board in zip(axes, boards, strict=True):
        _draw(axis, board)
    figure.draw_without_rendering()  # labels are placed where the layout has put their points
    figure.set_layout_engine("none")
    for axis, board in zip(axes, boards, strict=True):
        _label(axis, board.points)
    return figure


def _draw(axis: Axes, board: ParetoBoard) -> None:
    costs = [point.cost for point in board.points]
    smallest = min((cost for cost in costs if cost > 0), default=1.0)
    decade = 10.0 ** math.floor(math.log10(smallest))
    axis.set_xscale("symlog", linthresh=decade, linscale=0.4)
    front = [point for point in board.points if point.on_front]
    right = max(costs, default=1.0) * 3 or 1.0
    axis.step(
        [point.cost for point in front] + [right],
        [point.mean for point in front] + [point.mean for point in front[-1:]],
        where="post",
        color=_FRONT,
        linewidth=1.4,
        alpha=0.7,
        zorder=2,
        label="front: the best mean for the cost",
    )
    for kind, chosen in (
        ("not dominated", [point for point in front if not point.control]),
        ("dominated", [point for point in board.points if not point.on_front and not point.control]),
        ("control", [point for point in board.points if point.control]),
    ):
        if chosen:
            means = [point.mean for point in chosen]
            spread = [[p.mean - p.low for p in chosen], [p.high - p.mean for p in chosen]]
            color, marker, face = {
                "not dominated": (_FRONT, "o", _FRONT),
                "dominated": (_METHOD, "o", "white"),
                "control": (_CONTROL, "s", "white"),
            }[kind]
            axis.errorbar(
                [point.cost for point in chosen],
                means,
                yerr=spread,
                fmt=marker,
                color=color,
                markerfacecolor=face,
                markersize=6,
                elinewidth=0.8,
                alpha=0.95,
                zorder=3,
                label=kind,
            )
    axis.set_xlim(-0.25 * decade, right)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    if board.better == "lower":
        axis.invert_yaxis()
    axis.grid(color="#e8e8e8", linewidth=0.7)
    axis.set_axisbelow(True)
    axis.set_xlabel(f"cost of one explanation, {board.cost_unit}", fontsize=9)
    unit = f", {board.unit}" if board.unit else ""
    axis.set_ylabel(
        f"{board.metric}{unit} ({board.better} is better{', axis turned' if board.better == 'lower' else ''})", fontsize=9
    )
    axis.set_title(f"{board.task} · {board.model}: means and their 95 % intervals", fontsize=10, loc="left")
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=9)
    axis.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.11), ncols=4)


def _label(axis: Axes, points: Sequence[ParetoPoint]) -> None:
    """Name every point beside it, or as near as there is room, with a line to it; no label covers a label or a point."""
    dots = axis.figure.dpi / _POINTS_PER_INCH
    window = _edges(axis.get_window_extent())
    centres = [axis.transData.transform((point.cost, point.mean)) for point in points]
    ends = [sorted(axis.transData.transform((point.cost, end))[1] for end in (point.low, point.high)) for point in points]
    taken = [(x - 5 * dots, y - 5 * dots, x + 5 * dots, y + 5 * dots) for x, y in centres]
    bars = [(x - dots, low, x + dots, high) for (x, _), (low, high) in zip(centres, ends, strict=True)]
    front = [centre for centre, point in zip(centres, points, strict=True) if point.on_front]
    stops = [x for x, _ in front[1:]] + [window[2]]
    lines = np.array(bars + [(x, y - dots, stop, y + dots) for (x, y), stop in zip(front, stops, strict=True)])
    for i in sorted(range(len(points)), key=lambda i: (not points[i].on_front, centres[i][0], centres[i][1])):
        point = points[i]
        color = _CONTROL if point.control else _FRONT if point.on_front else _METHOD
        text = axis.annotate(
            point.method,
            (point.cost, point.mean),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=8,
            color=color,
            fontweight="bold" if point.on_front else "normal",
            annotation_clip=False,
            parse_math=False,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.5, "alpha": 0.6, "shrinkA": 0, "shrinkB": 3},
            verticalalignment="bottom",
            zorder=4,
        )
        size = Text.get_window_extent(text)  # an annotation's own extent takes in its arrow
        offsets = _offsets(size.width / dots, size.height / dots)
        corners = centres[i] + dots * offsets
        boxes = np.hstack([corners, corners + np.array([size.width, size.height])])
        outside = size.width * size.height - _shared(boxes, np.array([window]))
        covered = _shared(boxes, np.array(taken)) + outside
        best = int(
            np.argmin(1e6 * (covered > 1e-6) + covered + 2 * _shared(boxes, lines) + np.arange(len(boxes)) * dots**2 * 2)
        )
        text.set_position((offsets[best, 0], offsets[best, 1]))
        taken.append(tuple(boxes[best]))


def _offsets(width: float, height: float) -> Float[np.ndarray, "place 2"]:
    """Return where the lower left corner of a label may go, in points from its point: to its right first, then further off."""
    found: list[tuple[float, float]] = []
    for step in range(14):
        away = 8.0 + 8.0 * step
        for up in (0.0, *(sign * 6.0 * k for k in range(1, 3 + 2 * step) for sign in (1, -1))):
            found += [(away, up - height / 2), (-away - width, up - height / 2)]
    return np.array(found)


def _edges(box: Bbox) -> tuple[float, float, float, float]:
    return box.x0, box.y0, box.x1, box.y1


def _shared(boxes: Float[np.ndarray, "box 4"], others: Float[np.ndarray, "other 4"]) -> Float[np.ndarray, " box"]:
    """Return how much of each box, in square pixels, the others cover, one after another."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    return np.clip(high - low, 0, None).prod(axis=2).sum(axis=1)
