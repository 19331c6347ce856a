"""Charts as pure functions of rows: Altair for the page, matplotlib for a file, and a sentence that says the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import pandas as pd
from altair.utils import schemapi
from matplotlib.figure import Figure

from benchmark.ranking.pareto import ParetoBoard
from benchmark.ranking.tracks import TrackTable
from benchmark.ranking.wins import WinTable
from benchmark.site import theme
from benchmark.site.wording import line, number

ROW_HEIGHT = 24
NAME_WIDTH = 150
KINDS = {
    "not beaten": (theme.CATEGORIES[0], "circle"),
    "beaten": (theme.CATEGORIES[1], "square"),
    "control": (theme.CATEGORIES[6], "cross"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A number with its interval under a name; ``group`` colours it, ``note`` stands beside it."""

    name: str
    value: float
    low: float
    high: float
    group: int = 0
    note: str = ""


schemapi.disable_debug_mode()  # every part of every chart would be checked against Vega-Lite's schema, half of a page's time


def specification(chart: Any) -> dict[str, Any]:
    """Return a chart as Vega-Lite with its data inside."""
    return chart.to_dict(validate=False)


def intervals(items: Sequence[Estimate], title: str, lines: Sequence[tuple[str, float]] = (), *, dark: bool = False) -> Any:
    """Return values with their intervals, one row each in the order given; ``lines`` are named values across all rows."""
    tones = theme.ink(dark)
    frame = pd.DataFrame(
        [
            {
                "place": i,
                "name": line(item.name, 60),
                "value": item.value,
                "low": item.low,
                "high": item.high,
                "note": item.note,
                "colour": theme.colour(item.group),
            }
            for i, item in enumerate(items)
        ],
        columns=["place", "name", "value", "low", "high", "note", "colour"],
    )
    order = frame["name"].tolist()
    scale = alt.Scale(zero=False, nice=True)
    y = alt.Y("name:N", sort=order, title=None, axis=alt.Axis(labelLimit=NAME_WIDTH, grid=False, ticks=False, domain=False))
    colour = alt.Color("colour:N", scale=None)
    tips = [
        alt.Tooltip("name:N", title="name"),
        alt.Tooltip("value:Q", format=".4f"),
        alt.Tooltip("low:Q", format=".4f"),
        alt.Tooltip("high:Q", format=".4f"),
        alt.Tooltip("note:N", title="group"),
    ]
    base = alt.Chart(frame)
    bars = base.mark_rule(strokeWidth=2.5).encode(x=alt.X("low:Q", title=title, scale=scale), x2="high:Q", y=y, color=colour)
    points = base.mark_point(size=55, filled=True, opacity=1).encode(x="value:Q", y=y, color=colour, tooltip=tips)
    notes = base.mark_text(align="left", dx=6, fontSize=10, color=tones.faint).encode(x="high:Q", y=y, text="note:N")
    layers: list[Any] = [bars, points, notes]
    marks = alt.Chart(pd.DataFrame([{"name": line(name, 40), "value": value} for name, value in lines]))
    if lines:
        layers.insert(
            0, marks.mark_rule(strokeDash=[4, 3], color=tones.faint).encode(x="value:Q", tooltip=["name:N", "value:Q"])
        )
    return theme.dressed(alt.layer(*layers).properties(height=alt.Step(ROW_HEIGHT), width="container"), dark)


def interval_words(items: Sequence[Estimate], title: str) -> str:
    """Return what ``intervals`` shows as a sentence, for those who do not see it."""
    if not items:
        return f"{title}: nothing to show."
    first = "; ".join(
        f"{line(item.name, 60)} {number(item.value)} [{number(item.low)}, {number(item.high)}]" for item in items[:5]
    )
    return (
        f"{title}, with intervals, in order: {first}{f'; and {len(items) - 5} more' if len(items) > 5 else ''}. See the table."
    )


def interval_figure(items: Sequence[Estimate], title: str, lines: Sequence[tuple[str, float]] = ()) -> Figure:
    """Return ``intervals`` as a matplotlib figure, on white, for a paper."""
    figure = Figure(figsize=(6.5, 1 + 0.28 * max(len(items), 1)), dpi=200, layout="constrained")
    axis = figure.subplots()
    for name, value in lines:
        axis.axvline(value, color=theme.LIGHT.faint, linestyle="--", linewidth=0.8)
        axis.text(value, -0.8, line(name, 40), fontsize=6, color=theme.LIGHT.faint, ha="center", parse_math=False)
    for i, item in enumerate(items):
        colour = theme.colour(item.group)
        axis.plot([item.low, item.high], [i, i], color=colour, linewidth=1.6)
        axis.plot(item.value, i, "o", color=colour, markersize=4)
        axis.annotate(item.note, (item.high, i), xytext=(4, 0), textcoords="offset points", va="center", fontsize=6)
    _name_rows(axis, [item.name for item in items])
    axis.set_xlabel(title, fontsize=8, parse_math=False)
    return figure


def pareto(board: ParetoBoard, *, dark: bool = False) -> Any:
    """Return score against cost, on a logarithmic axis; the front is joined. What is free stands at the left end."""
    tones = theme.ink(dark)
    least = min((point.cost for point in board.points if point.cost > 0), default=1.0) / 3
    frame = pd.DataFrame(
        [
            {
                "name": line(point.method, 60),
                "cost": point.cost,
                "place": max(point.cost, least),
                "score": point.mean,
                "front": point.on_front,
                "kind": "not beaten" if point.on_front else "control" if point.control else "beaten",
            }
            for point in board.points
        ],
        columns=["name", "cost", "place", "score", "front", "kind"],
    )
    x = alt.X(
        "place:Q",
        title=f"{board.cost_unit} for one explanation",
        scale=alt.Scale(type="log", nice=True),
        axis=alt.Axis(tickCount=6),
    )
    y = alt.Y("score:Q", title=_score_title(board), scale=alt.Scale(zero=False, nice=True))
    kinds = alt.Scale(domain=list(KINDS), range=[colour for colour, _ in KINDS.values()])
    shapes = alt.Scale(domain=list(KINDS), range=[shape for _, shape in KINDS.values()])
    legend = alt.Legend(title=None, orient="top")
    tips = ["name:N", alt.Tooltip("cost:Q", format=".4g"), alt.Tooltip("score:Q", format=".4f"), "kind:N"]
    base = alt.Chart(frame)
    front = base.transform_filter("datum.front")
    joined = front.mark_line(interpolate="step-after", color=KINDS["not beaten"][0], strokeWidth=1).encode(x=x, y=y)
    points = base.mark_point(size=70, filled=True, opacity=1).encode(
        x=x,
        y=y,
        color=alt.Color("kind:N", scale=kinds, legend=legend),
        shape=alt.Shape("kind:N", scale=shapes, legend=legend),
        tooltip=tips,
    )
    names = front.mark_text(align="left", dx=7, dy=-6, fontSize=11, color=tones.text).encode(x=x, y=y, text="name:N")
    return theme.dressed(alt.layer(joined, points, names).properties(height=360, width="container"), dark)


def pareto_words(board: ParetoBoard) -> str:
    """Return what ``pareto`` shows as a sentence."""
    front = [f"{line(point.method, 60)} ({point.cost:.4g}, {number(point.mean)})" for point in board.points if point.on_front]
    title = f"{_score_title(board)} against {board.cost_unit} of {len(board.points)} methods"
    return f"{title}. Beaten by no other one in both: {', '.join(front) or 'none'}."


def critical_differences(table: TrackTable, *, dark: bool = False) -> Any:
    """Return mean ranks of a track, best on top; vertical bars join methods that are not told apart."""
    tones = theme.ink(dark)
    names = [line(place.method, 60) for place in table.places]
    frame = pd.DataFrame(
        [{"name": names[i], "rank": place.mean_rank, "wins": place.wins} for i, place in enumerate(table.places)],
        columns=["name", "rank", "wins"],
    )
    right = max((place.mean_rank for place in table.places), default=1.0)
    step = 0.04 * max(len(names), 4)
    joined = pd.DataFrame(
        [
            {"name": names[first], "last": names[last], "x": right + step * (2 + i)}
            for i, (first, last) in enumerate(table.groups)
        ],
        columns=["name", "last", "x"],
    )
    axis = alt.Axis(labelLimit=NAME_WIDTH, grid=False, ticks=False, domain=False)
    y = alt.Y("name:N", sort=names, scale=alt.Scale(domain=names), title=None, axis=axis)
    x = alt.X("rank:Q", title="mean rank, 1 is best", scale=alt.Scale(zero=False, nice=True))
    base = alt.Chart(frame)
    points = base.mark_point(size=60, filled=True, opacity=1, color=theme.CATEGORIES[0]).encode(
        x=x, y=y, tooltip=["name:N", alt.Tooltip("rank:Q", format=".2f"), alt.Tooltip("wins:Q", format=".0%")]
    )
    values = base.mark_text(align="left", dx=8, fontSize=10, color=tones.faint).encode(
        x=x, y=y, text=alt.Text("rank:Q", format=".2f")
    )
    bars = (
        alt.Chart(joined)
        .mark_rule(strokeWidth=4, color=tones.faint)
        .encode(x=alt.X("x:Q", title="mean rank, 1 is best"), y=y, y2="last:N")
    )
    return theme.dressed(alt.layer(points, values, bars).properties(height=alt.Step(ROW_HEIGHT), width="container"), dark)


def critical_difference_words(table: TrackTable) -> str:
    """Return what ``critical_differences`` shows as a sentence."""
    ranks = "; ".join(f"{line(place.method, 60)} {place.mean_rank:.2f}" for place in table.places)
    distance = "" if table.critical_difference is None else f" Closer than {table.critical_difference:.2f} is not told apart."
    return f"Mean ranks over {len(table.blocks)} boards: {ranks}.{distance}"


def win_rates(table: WinTable, *, dark: bool = False) -> Any:
    """Return the share of samples on which the method of a row beats that of a column; blue is less than half, red more."""
    tones = theme.ink(dark)
    names = [line(name, 40) for name in table.methods]
    frame = pd.DataFrame(
        [
            {"row": names[i], "column": names[j], "rate": rate, "n": table.n[i][j]}
            for i, rates in enumerate(table.rates)
            for j, rate in enumerate(rates)
            if rate is not None
        ],
        columns=["row", "column", "rate", "n"],
    )
    colour = alt.Color(
        "rate:Q",
        scale=alt.Scale(domain=[0, 0.5, 1], range=list(theme.DIVERGING)),
        title="wins",
        legend=alt.Legend(format=".0%"),
    )
    axis = alt.Axis(labelLimit=NAME_WIDTH, title=None, ticks=False, domain=False)
    base = alt.Chart(frame).encode(x=alt.X("column:N", sort=names, axis=axis), y=alt.Y("row:N", sort=names, axis=axis))
    tips = ["row:N", "column:N", alt.Tooltip("rate:Q", format=".0%"), "n:Q"]
    cells = base.mark_rect(stroke=tones.paper).encode(color=colour, tooltip=tips)
    layers = [cells]
    if len(names) <= 8:
        layers.append(base.mark_text(fontSize=11, color="#111111").encode(text=alt.Text("rate:Q", format=".0%")))
    return theme.dressed(alt.layer(*layers).properties(height=alt.Step(ROW_HEIGHT), width="container"), dark)


def _score_title(board: ParetoBoard) -> str:
    return f"{board.metric}, {board.unit} ({board.better} is better)"


def _name_rows(axis: Any, names: Sequence[str]) -> None:
    axis.set_yticks(range(len(names)), [line(name, 40).replace("$", r"\$") for name in names])
    axis.set_ylim(len(names) - 0.4, -1.0)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right", "left"]].set_visible(False)
