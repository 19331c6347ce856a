"""Methods beside each other: paired differences, where each wins, whole tracks, and quality against cost."""

from collections.abc import Sequence
from itertools import combinations

import pandas as pd
import streamlit as st

from benchmark.ranking import Comparison, Row
from benchmark.ranking.diagram import draw_track
from benchmark.ranking.pareto import ParetoBoard, pareto
from benchmark.ranking.pareto_diagram import draw_pareto
from benchmark.site import boards, charts, controls, downloads, links, tables
from benchmark.site.context import Context
from benchmark.site.plot import plot
from benchmark.site.wording import count, number, plain

MOST = 6


def render(context: Context) -> None:
    """Draw the page."""
    st.title("Compare")
    listed = boards.listed(context.store)
    if not listed:
        st.write("This store holds no scores yet, so there is nothing to compare.")
        return
    cells = st.columns(3)
    with cells[0]:
        task = controls.select("Task", "task", sorted({item.task for item in listed}))
    with cells[1]:
        model = controls.select("Encoder", "encoder", sorted({item.model for item in listed if item.task == task}))
    metrics = [item.metric for item in listed if item.task == task and item.model == model]
    with cells[2]:
        metric = controls.select("Metric", "metric", metrics, default=context.catalogue.headline(task))
    rows = boards.board(context.store, task, model, metric)
    names = [row.method for row in rows if row.mean is not None]
    cards = {name: context.catalogue.method(name) for name in names}
    usual = sorted(
        names, key=lambda name: cards[name].baseline or cards[name].reads_truth
    )  # controls only where nothing else is
    chosen = controls.multiselect(
        "Methods", "methods", names, default=usual[:2], most=MOST, help=f"Two to {MOST} of those with scores on this board."
    )
    if len(chosen) < 2:
        st.info("Choose at least two methods with scores on this board.")
    else:
        _differences(context, task, model, metric, chosen)
        _wins(context, task, model, metric, chosen)
    _track(context, listed, metric)
    _pareto(context, rows)


def _differences(context: Context, task: str, model: str, metric: str, chosen: Sequence[str]) -> None:
    found = [
        item
        for first, second in combinations(chosen, 2)
        for item in boards.comparisons(context.store, first, second, [task], [model])
        if item.metric == metric
    ]
    st.header("Paired differences")
    if not found:
        st.info("This metric has no direction, or these methods share no sample.")
        return
    items = [
        charts.Estimate(
            name=f"{item.first} − {item.second}",
            value=item.difference,
            low=item.low,
            high=item.high,
            group=0 if item.winner else 6,
            note=f"{item.winner} is better" if item.winner else "not told apart",
        )
        for item in found
    ]
    title = f"difference in {metric} ({found[0].unit}), {found[0].better} is better"
    lines = [("no difference", 0.0)]
    plot(
        charts.intervals(items, title, lines, dark=context.dark),
        charts.interval_words(items, title),
    )
    st.caption(
        "On the samples that both have; 95 % intervals of a paired bootstrap over images. p is of a sign-flip permutation "
        "test, corrected by Holm over the metrics of this task for each pair of methods."
    )
    st.dataframe(tables.contrasted(found), hide_index=True, alt="The differences as a table.")
    with st.expander("Download"):
        name = f"{task}-{metric}-differences"
        downloads.table_buttons(name, lambda: tables.compared(found), key="differences")
        downloads.figure_buttons(name, lambda: charts.interval_figure(items, title, lines), key="differences-figure")
    _slices(found, context.catalogue.task(task).data)


def _slices(found: Sequence[Comparison], data: str) -> None:
    st.header("Where each wins")
    pairs = {f"{item.first} and {item.second}": item for item in found}
    item = pairs[controls.select("Pair", "pair", list(pairs))]
    st.write(
        f"Overall {plain(item.first)} is better on {item.wins:.0%} of {count(item.n, 'sample')} (ties half); "
        f"Holm-corrected p {item.p_holm:.4f}, effect size {number(item.effect_size, 2)}."
    )
    slices = pd.DataFrame(
        [
            {"slice": part.stratum, "n": part.n, "difference": part.difference, "wins of the first": part.wins}
            for part in item.slices
        ]
    )
    if slices.empty:
        st.caption("No stratum has at least five samples and leaves some out.")
    else:
        st.dataframe(slices.round(3), hide_index=True, alt="Win rates by slice.")
        with st.expander("Download the slices"):
            downloads.table_buttons(f"{item.task}-{item.metric}-slices", lambda: slices, key="slices")
    st.write("Samples of largest difference:")
    for contrast in item.contrasts:
        links.link(
            f"{contrast.difference:+.3f} · {contrast.sample} · {contrast.text}",
            "samples",
            data=data,
            sample=contrast.sample,
            methods=[item.first, item.second],
        )


def _wins(context: Context, task: str, model: str, metric: str, chosen: Sequence[str]) -> None:
    table = boards.wins(context.store, task, model, metric, sorted(chosen))
    if table is None:
        return
    st.header("Win rates")
    words = "; ".join(
        f"{first} beats {second} on {rate:.0%}"
        for first, rates in zip(table.methods, table.rates, strict=True)
        for second, rate in zip(table.methods, rates, strict=True)
        if rate is not None
    )
    plot(charts.win_rates(table, dark=context.dark), words)
    st.caption("The share of samples on which the method of a row beats that of a column, ties half.")


def _track(context: Context, listed: Sequence[boards.Board], metric: str) -> None:
    name = boards.track_of(metric)
    headlines = [
        (task, headline)
        for task in sorted({item.task for item in listed})
        if (headline := context.catalogue.headline(task)) and boards.track_of(headline) == name
    ]
    st.header(f"The whole track: {name}")
    if not controls.toggle("Mean ranks and critical differences", "ranks", help="Ranks the whole track, which takes a while."):
        return
    table = boards.track(context.store, name, headlines, sorted({item.model for item in listed}))
    if table is None or not table.places:
        st.info("No board of this track ranks its methods by the first metric of its task.")
        return
    plot(
        charts.critical_differences(table, dark=context.dark),
        charts.critical_difference_words(table),
    )
    p = "" if table.p is None else f" Friedman p = {table.p:.2g}."
    distance = "" if table.critical_difference is None else f" Critical difference {table.critical_difference:.2f} (5 %)."
    st.caption(f"Mean ranks over {count(len(table.blocks), 'board')}; a grey bar joins what is not told apart.{p}{distance}")
    places = pd.DataFrame(
        [{"method": place.method, "mean rank": place.mean_rank, "wins": place.wins} for place in table.places]
    )
    st.dataframe(places.round(3), hide_index=True, alt="Mean ranks as a table.")
    if table.partial:
        st.caption(plain(f"not on every board: {', '.join(table.partial)}"))
    with st.expander("Download the track"):
        downloads.table_buttons(f"track-{name}", lambda: places, key="track")
        downloads.figure_buttons(f"track-{name}", lambda: draw_track(table), key="track-figure")


def _pareto(context: Context, rows: Sequence[Row]) -> None:
    st.header("Quality against cost")
    unit = controls.select("Cost", "cost", ["forwards", "seconds"], help="A backward pass counts as two forwards.")
    found = pareto(rows, "seconds" if unit == "seconds" else "forwards")
    if not found or not found[0].points:
        st.info("Nothing is ranked on this board, or no cost was counted.")
        return
    board = found[0]
    plot(charts.pareto(board, dark=context.dark), charts.pareto_words(board))
    points = _points(board)
    st.dataframe(points.round(4), hide_index=True, alt="Score and cost as a table.")
    for reason in board.left_out:
        st.caption(plain(reason))
    with st.expander("Download quality and cost"):
        name = f"{board.task}-{board.metric}-pareto"
        downloads.table_buttons(name, lambda: points, key="pareto")
        downloads.figure_buttons(name, lambda: draw_pareto(found[:1]), key="pareto-figure")


def _points(board: ParetoBoard) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "method": point.method,
                board.cost_unit: point.cost,
                board.metric: point.mean,
                "low": point.low,
                "high": point.high,
                "beaten by": point.dominated_by or "",
            }
            for point in board.points
        ]
    )
