"""Charts as pure functions of rows: Vega-Lite for the page, matplotlib for a file, and a sentence that says the same."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from benchmark.ranking.boards import Row
from benchmark.ranking.pareto import ParetoBoard
from benchmark.ranking.tracks import TrackTable
from benchmark.ranking.wins import WinTable
from benchmark.site import theme
from benchmark.site.vega import Chart, Rows, category, chart, mark, quantity
from benchmark.site.wording import line, number

ROW_HEIGHT = 24
NAME_WIDTH = 150
NAMES = {"labelLimit": NAME_WIDTH, "grid": False, "ticks": False, "domain": False}
LOOSE = {"zero": False, "nice": True}
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


def estimates(rows: Sequence[Row]) -> list[Estimate]:
    """Return the means of ranked rows with their intervals, coloured and numbered by tie group."""
    return [
        Estimate(
            name=row.method,
            value=row.mean,
            low=row.mean if row.low is None else row.low,
            high=row.mean if row.high is None else row.high,
            group=(row.tie_group or 7) - 1,
            note="" if row.tie_group is None else str(row.tie_group),
        )
        for row in rows
        if row.mean is not None
    ]


def intervals(items: Sequence[Estimate], title: str, lines: Sequence[tuple[str, float]] = (), *, dark: bool = False) -> Chart:
    """Return values with their intervals, one row each in the order given; ``lines`` are named values across all rows."""
    tones = theme.ink(dark)
    rows = [
        {
            "name": line(item.name, 60),
            "value": item.value,
            "low": item.low,
            "high": item.high,
            "note": item.note,
            "colour": theme.colour(item.group),
        }
        for item in items
    ]
    floors = [{"name": line(name, 40), "value": value} for name, value in lines]
    y = category("name", sort=[row["name"] for row in rows], title=None, axis=NAMES)
    colour = category("colour", scale=None)
    tips = [
        category("name", title="name"),
        *(quantity(name, title=name, format=".4f") for name in ("value", "low", "high")),
        category("note", title="group"),
    ]
    low, ends = quantity("low", title=title, scale=LOOSE), {"field": "high"}
    return chart(
        mark("rule", floors, {"strokeDash": [4, 3], "color": tones.faint}, x=quantity("value"), tooltip=[*tips[:2]]),
        mark("rule", rows, {"strokeWidth": 2.5}, x=low, x2=ends, y=y, color=colour),
        mark("point", rows, {"size": 55, "filled": True, "opacity": 1}, x=quantity("value"), y=y, color=colour, tooltip=tips),
        mark("text", rows, _beside(tones.faint, dx=6), x=quantity("high"), y=y, text=category("note")),
        height={"step": ROW_HEIGHT},
        dark=dark,
    )


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


def pareto(board: ParetoBoard, *, dark: bool = False) -> Chart:
    """Return score against cost, on a logarithmic axis; the front is joined. What is free stands at the left end."""
    least = min((point.cost for point in board.points if point.cost > 0), default=1.0) / 3
    rows = [
        {
            "name": line(point.method, 60),
            "cost": point.cost,
            "place": max(point.cost, least),
            "score": point.mean,
            "kind": "not beaten" if point.on_front else "control" if point.control else "beaten",
        }
        for point in board.points
    ]
    front = [row for row in rows if row["kind"] == "not beaten"]
    x = quantity(
        "place",
        title=f"{board.cost_unit} for one explanation",
        scale={"type": "log", "nice": True},
        axis={"tickCount": 6},
    )
    y = quantity("score", title=_score_title(board), scale=LOOSE)
    legend = {"title": None, "orient": "top"}
    kinds = {"domain": list(KINDS), "range": [colour for colour, _ in KINDS.values()]}
    shapes = {"domain": list(KINDS), "range": [shape for _, shape in KINDS.values()]}
    tips = [category("name"), quantity("cost", format=".4g"), quantity("score", format=".4f"), category("kind")]
    return chart(
        mark("line", front, {"interpolate": "step-after", "color": KINDS["not beaten"][0], "strokeWidth": 1}, x=x, y=y),
        mark(
            "point",
            rows,
            {"size": 70, "filled": True, "opacity": 1},
            x=x,
            y=y,
            color=category("kind", scale=kinds, legend=legend),
            shape=category("kind", scale=shapes, legend=legend),
            tooltip=tips,
        ),
        mark("text", front, _beside(theme.ink(dark).text, dx=7, dy=-6, size=11), x=x, y=y, text=category("name")),
        height=360,
        dark=dark,
    )


def pareto_words(board: ParetoBoard) -> str:
    """Return what ``pareto`` shows as a sentence."""
    front = [f"{line(point.method, 60)} ({point.cost:.4g}, {number(point.mean)})" for point in board.points if point.on_front]
    title = f"{_score_title(board)} against {board.cost_unit} of {len(board.points)} methods"
    return f"{title}. Beaten by no other one in both: {', '.join(front) or 'none'}."


def critical_differences(table: TrackTable, *, dark: bool = False) -> Chart:
    """Return mean ranks of a track, best on top; vertical bars join methods that are not told apart."""
    faint = theme.ink(dark).faint
    names = [line(place.method, 60) for place in table.places]
    rows = [{"name": names[i], "rank": place.mean_rank, "wins": place.wins} for i, place in enumerate(table.places)]
    right = max((place.mean_rank for place in table.places), default=1.0)
    step = 0.04 * max(len(names), 4)
    joined = [
        {"name": names[first], "last": names[last], "place": right + step * (2 + i)}
        for i, (first, last) in enumerate(table.groups)
    ]
    title = "mean rank, 1 is best"
    y = category("name", sort=names, scale={"domain": names}, title=None, axis=NAMES)
    x = quantity("rank", title=title, scale=LOOSE)
    tips = [category("name"), quantity("rank", format=".2f"), quantity("wins", format=".0%")]
    look = {"size": 60, "filled": True, "opacity": 1, "color": theme.CATEGORIES[0]}
    return chart(
        mark("point", rows, look, x=x, y=y, tooltip=tips),
        mark("text", rows, _beside(faint, dx=8), x=x, y=y, text=quantity("rank", format=".2f")),
        mark("rule", joined, {"strokeWidth": 4, "color": faint}, x=quantity("place", title=title), y=y, y2={"field": "last"}),
        height={"step": ROW_HEIGHT},
        dark=dark,
    )


def critical_difference_words(table: TrackTable) -> str:
    """Return what ``critical_differences`` shows as a sentence."""
    ranks = "; ".join(f"{line(place.method, 60)} {place.mean_rank:.2f}" for place in table.places)
    distance = "" if table.critical_difference is None else f" Closer than {table.critical_difference:.2f} is not told apart."
    return f"Mean ranks over {len(table.blocks)} boards: {ranks}.{distance}"


def win_rates(table: WinTable, *, dark: bool = False) -> Chart:
    """Return the share of samples on which the method of a row beats that of a column; blue is less than half, red more."""
    names = [line(name, 40) for name in table.methods]
    rows = [
        {"row": names[i], "column": names[j], "rate": rate, "n": table.n[i][j]}
        for i, rates in enumerate(table.rates)
        for j, rate in enumerate(rates)
        if rate is not None
    ]
    scale = {"domain": [0, 0.5, 1], "range": list(theme.DIVERGING)}
    axis = {"labelLimit": NAME_WIDTH, "title": None, "ticks": False, "domain": False}
    x, y = category("column", sort=names, axis=axis), category("row", sort=names, axis=axis)
    colour = quantity("rate", scale=scale, title="wins", legend={"format": ".0%"})
    tips = [category("row"), category("column"), quantity("rate", format=".0%"), quantity("n")]
    layers = [mark("rect", rows, {"stroke": theme.ink(dark).paper}, x=x, y=y, color=colour, tooltip=tips)]
    if len(names) <= 8:
        layers.append(mark("text", rows, {"fontSize": 11, "color": "#111111"}, x=x, y=y, text=quantity("rate", format=".0%")))
    return chart(*layers, height={"step": ROW_HEIGHT}, dark=dark)


def curves(points: Rows, source: str, titles: Sequence[str], *, dark: bool = False) -> Chart:
    """Return insertion (solid) and deletion (dashed) of every method, as ``source`` has them.

    ``points`` have ``method``, ``kind``, ``removed`` in percent of the players and ``similarity``.
    """
    names = [line(title, 60) for title in titles]
    colours = {"domain": names, "range": [theme.colour(place) for place in range(len(names))]}
    dashes = {"domain": ["insertion", "deletion"], "range": [[1, 0], [5, 3]]}
    below = {"orient": "bottom", "title": None, "columns": 2, "labelLimit": 160}
    tips = [category("method"), category("kind"), quantity("removed"), quantity("similarity", format="+.3f")]
    drawn = mark(
        "line",
        points,
        {"strokeWidth": 2},
        x=quantity("removed", title="players removed, percent", scale={"domain": [0, 100]}),
        y=quantity("similarity", title="cosine similarity", scale={"zero": False}),
        color=category("method", scale=colours, legend=below),
        strokeDash=category("kind", scale=dashes, legend=None),
        tooltip=tips,
    )
    title = {"text": source, "color": theme.ink(dark).text, "anchor": "start"}
    return chart(drawn, title=title, height=300, dark=dark)


def _beside(colour: str, *, dx: int, dy: int = 0, size: int = 10) -> Chart:
    """Return the look of words that stand to the right of a mark."""
    return {"align": "left", "dx": dx, "dy": dy, "fontSize": size, "color": colour}


def _score_title(board: ParetoBoard) -> str:
    return f"{board.metric}, {board.unit} ({board.better} is better)"


def _name_rows(axis: Any, names: Sequence[str]) -> None:
    axis.set_yticks(range(len(names)), [line(name, 40).replace("$", r"\$") for name in names])
    axis.set_ylim(len(names) - 0.4, -1.0)
    axis.tick_params(labelsize=7)
    axis.spines[["top", "right", "left"]].set_visible(False)
