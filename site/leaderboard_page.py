"""The leaderboard: one board with ranks, intervals and tie groups, as a chart and as a table."""

from collections.abc import Sequence

import streamlit as st

from benchmark.ranking import Row
from benchmark.ranking import render as render_rows
from benchmark.ranking.pareto import CONTROLS
from benchmark.site import boards, charts, controls, downloads, links, tables
from benchmark.site.catalogue import Catalogue
from benchmark.site.context import Context
from benchmark.site.plot import plot
from benchmark.site.wording import count, number, plain

BADGES = ("re-run", "recomputed", "self-reported")
EVERYTHING = "all samples"
FIRST = "localisation"


def render(context: Context) -> None:
    """Draw the page."""
    st.title("Leaderboard")
    listed = boards.listed(context.store)
    if not listed:
        st.write("This store holds no scores yet; new ones appear here while a run is at work.")
        st.code("benchmark run --method grad_eclip,random --task 'scenes-*' --model embedded --limit 8", language="sh")
        return
    task, model, metric, limit = choose(context, listed)
    rows = boards.board(context.store, task, model, metric, limit)
    if not rows:
        st.info("No sample of this board is among the first ones chosen.")
        return
    shown = filtered(context.catalogue, rows)
    _head(context.catalogue, task, metric, rows)
    if not shown:
        st.info("No method passes these filters.")
        return
    _chart(context, rows, shown, f"{task}-{metric}")
    _table(shown, f"{task}-{metric}")
    _remarks(rows)
    _follow(shown, task, model, metric)
    boards.ahead(context.store, _next(context.catalogue, listed, task, model, metric))


def _next(catalogue: Catalogue, listed: Sequence[boards.Board], task: str, model: str, metric: str) -> list[boards.Board]:
    """Return the boards that a reader of one is likely to ask for next: its other metrics, then the other tasks' headlines."""
    track = boards.track_of(metric)
    own = [item for item in listed if item.task == task and item.model == model and boards.track_of(item.metric) == track]
    others = [item for item in listed if item.task != task and item.metric == catalogue.headline(item.task)]
    return own + sorted(others, key=lambda item: (boards.track_of(item.metric) != track, item.model != model))


def choose(context: Context, listed: Sequence[boards.Board]) -> tuple[str, str, str, int | None]:
    """Ask for track, task, encoder, metric and number of samples; options that have no board are not offered."""
    cells = st.columns([2, 3, 2, 3, 2])
    tracks = sorted({boards.track_of(item.metric) for item in listed})
    with cells[0]:
        track = controls.select("Track", "track", tracks, default=FIRST, help="Tracks are ranked apart.")
    in_track = [item for item in listed if boards.track_of(item.metric) == track]
    with cells[1]:
        task = controls.select("Task", "task", sorted({item.task for item in in_track}))
    of_task = [item for item in in_track if item.task == task]
    with cells[2]:
        model = controls.select("Encoder", "encoder", sorted({item.model for item in of_task}))
    metrics = [item.metric for item in of_task if item.model == model]
    with cells[3]:
        metric = controls.select("Metric", "metric", metrics, default=context.catalogue.headline(task))
    tiers = {EVERYTHING: None} | {f"{name}: first {n}": n for name, n in context.catalogue.task(task).tiers.items()}
    with cells[4]:
        tier = controls.select("Samples", "tier", list(tiers), help="Smaller runs can be compared on their samples.")
    return task, model, metric, tiers[tier]


def usual(catalogue: Catalogue, listed: Sequence[boards.Board]) -> boards.Board | None:
    """Return the board that the page shows when nothing was chosen."""
    tracks = {boards.track_of(item.metric) for item in listed}
    track = FIRST if FIRST in tracks else min(tracks, default=FIRST)
    of_track = [item for item in listed if boards.track_of(item.metric) == track]
    return min(of_track, key=lambda i: (i.task, i.model, i.metric != catalogue.headline(i.task)), default=None)


def filtered(catalogue: Catalogue, rows: Sequence[Row]) -> list[Row]:
    """Ask which methods are shown. Ranks are those of the whole board: hiding a method changes no number."""
    cards = {row.method: catalogue.method(row.method) for row in rows}
    with st.expander("Filters"):
        cells = st.columns(4)
        with cells[0]:
            yields = controls.multiselect("Yields", "yields", sorted({item for card in cards.values() for item in card.yields}))
        with cells[1]:
            needs = sorted({item for card in cards.values() for item in card.needs})
            without = controls.multiselect("Without what needs", "without", needs)
        with cells[2]:
            badges = controls.multiselect("Badge", "badge", BADGES, help="Who made the explanations, and who scored them.")
        with cells[3]:
            controls_shown = controls.toggle("Controls as rows", "controls", default=True)
            only_ranked = controls.toggle("Only ranked", "ranked")
    return [
        row
        for row in rows
        if set(yields) <= set(cards[row.method].yields)
        and not set(without) & set(cards[row.method].needs)
        and (not badges or row.badge in badges)
        and (controls_shown or row.method not in CONTROLS)
        and (not only_ranked or row.rank is not None)
    ]


def _head(catalogue: Catalogue, task: str, metric: str, rows: Sequence[Row]) -> None:
    card, of_task = catalogue.metric(metric), catalogue.task(task)
    ranked = [row for row in rows if row.rank is not None]
    better = {"higher": "higher is better", "lower": "lower is better", "neither": "has no direction, so nothing is ranked"}
    st.write(f"**{plain(task)}**: {plain(of_task.summary)}" if of_task.summary else f"**{plain(task)}**")
    unit = rows[0].unit or card.unit or "no unit"
    st.write(f"**{plain(metric)}**: {plain(card.summary)} In {plain(unit)}; {better[rows[0].better]}.")
    contenders = [row for row in ranked if row.method not in CONTROLS and not catalogue.method(row.method).reads_truth]
    if contenders:
        leaders = [plain(row.method) for row in contenders if row.tie_group == contenders[0].tie_group]
        many = f"{leaders[0]} leads alone"
        if len(leaders) > 1:
            many = f"{', '.join(leaders[:-1])} and {leaders[-1]} cannot be told apart"
        st.write(f"In front: {many}, on {count(contenders[0].n_samples, 'sample')}.")


def _chart(context: Context, board: Sequence[Row], rows: Sequence[Row], name: str) -> None:
    items = charts.estimates(rows)
    lines = [(row.method, row.mean) for row in board if row.method in CONTROLS and row.mean is not None]
    title = f"{rows[0].metric} ({rows[0].unit})"
    words = charts.interval_words(items, title)
    plot(charts.intervals(items, title, lines, dark=context.dark), words)
    floors = "".join(f", {control} {number(mean)}" for control, mean in lines)
    st.caption(f"Points are means, bars 95 % intervals, numbers and colours tie groups. Dashed lines are controls{floors}.")
    with st.expander("Download the figure"):
        downloads.figure_buttons(name, lambda: charts.interval_figure(items, title, lines), key="board-figure")


def _table(rows: Sequence[Row], name: str) -> None:
    words = f"The same as a table of {len(rows)} rows."
    widths = {name: st.column_config.Column(width=width) for name, width in tables.WIDTHS.items()}
    st.dataframe(tables.shown(rows), hide_index=True, alt=words, height="content", column_config=widths)
    with st.expander("Download the table"):
        downloads.table_buttons(name, lambda: tables.whole(rows), key="board")
        paper = f"{downloads.file_name(name)}-paper.tex"
        downloads.bytes_button(
            "LaTeX with intervals", paper, lambda: render_rows(rows, "latex").encode(), "application/x-tex", key="paper"
        )


def _remarks(rows: Sequence[Row]) -> None:
    notes = [f"{row.method}: does not apply: {row.reason}" for row in rows if row.state == "unsupported"]
    notes += [f"{row.method}: {row.n} of {row.n_samples} samples, so it has no rank" for row in rows if row.state == "partial"]
    notes += [f"{row.method}: failed on {row.n_failed}, counted as chance: {row.reason}" for row in rows if row.n_failed]
    left_out = max(rows, key=lambda row: row.n_excluded)
    if left_out.n_excluded:
        notes.append(f"left out for every method: {left_out.n_excluded} ({left_out.exclusion})")
    if any(row.below for row in rows):
        notes.append("† below random or centre")
    for note in notes:
        st.caption(plain(note))


def _follow(rows: Sequence[Row], task: str, model: str, metric: str) -> None:
    st.subheader("Look closer")
    method = controls.select("Method", "method", [row.method for row in rows])
    row = next(row for row in rows if row.method == method)
    st.write(
        f"{plain(method)}: mean {number(row.mean)}, best with probability {number(row.p_best, 2)}, "
        f"wins {number(row.wins, 2)} of its comparisons on a sample, {plain(row.badge)}."
    )
    with st.container(horizontal=True):
        links.link(f"Card of {method}", "methods", icon=":material/menu_book:", method=method)
        links.link("Samples", "samples", icon=":material/image_search:", methods=method)
        others = [other.method for other in rows if other.method != method and other.rank is not None]
        if others:
            links.link(
                f"Compare with {others[0]}",
                "compare",
                icon=":material/compare_arrows:",
                methods=[method, others[0]],
                task=task,
                encoder=model,
                metric=metric,
            )
