"""``benchmark leaderboard``: stored scores as ranked tables."""

import dataclasses
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Literal, cast, get_args

import click
from duckdb import DuckDBPyConnection

from benchmark.cli.base import cell, json_option, note, print_table, store_option
from benchmark.errors import BenchmarkError, UnknownName
from benchmark.ranking import Format, Row, Selection, WinTable, render, win_tables
from benchmark.ranking import leaderboard as rank
from benchmark.ranking.citations import Bibliography, gather, suite_entry
from benchmark.ranking.latex import to_latex
from benchmark.ranking.pareto import CostUnit, ParetoBoard, pareto
from benchmark.ranking.tables import columns, number, to_parquet
from benchmark.runner.catalogue import register, split
from benchmark.store import open_store

FIGURES = (".png", ".svg", ".pdf")


@click.command()
@click.option("--task", "-t", multiple=True, help="Tasks or patterns, with commas. [default: all]")
@click.option("--model", multiple=True, help="Encoders or patterns, with commas. [default: all]")
@click.option("--metric", multiple=True, help="Metrics or patterns, with commas. [default: all]")
@click.option("--method", "-m", multiple=True, help="Rank only these methods, by their label. [default: all]")
@click.option("--limit", type=click.IntRange(min=1), help="Rank on the first samples of every task only.")
@click.option("--format", "form", type=click.Choice([*get_args(Format), "bibtex"]), default="text", show_default=True)
@click.option("--cite", is_flag=True, help="Cite the methods' papers in LaTeX tables; --format bibtex gives the entries.")
@click.option("--wins", "view", flag_value="wins", help="Show on which share of samples each method beats each other one.")
@click.option("--pareto", "view", flag_value="pareto", help="Show score against cost, and what nothing beats in both.")
@click.option("--cost", type=click.Choice(get_args(CostUnit)), default="forwards", show_default=True, help="Cost of --pareto.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write here; a .parquet file gets every field, and with --pareto a .png, .svg or .pdf file the figure.",
)
@store_option
@json_option
def leaderboard(
    task: tuple[str, ...],
    model: tuple[str, ...],
    metric: tuple[str, ...],
    method: tuple[str, ...],
    limit: int | None,
    form: str,
    cite: bool,
    view: Literal["wins", "pareto"] | None,
    cost: CostUnit,
    out: Path | None,
    store: Path,
    as_json: bool,
) -> None:
    """Print ranks with 95 % intervals, one table per task, model and metric.

    Only methods scored on every sample of a table are ranked; others are listed with how many they have.
    """
    form = "json" if as_json else form
    if view is not None and form not in ("text", "json"):
        raise click.UsageError(f"--{view} prints text or JSON, not {form}")
    if cite and form != "latex":
        raise click.UsageError(f"--cite is for LaTeX tables: give --format latex, not {form}")
    selection = Selection(
        tasks=split(task) or None,
        models=split(model) or None,
        metrics=split(metric) or None,
        methods=split(method) or None,
        limit=limit,
    )
    with open_store(store) as connection:
        rows = rank(connection, selection)
        if not rows:
            for kind, column, asked in (("task", "task", task), ("model", "encoder", model), ("metric", "metric", metric)):
                known = [name for (name,) in connection.execute(f"SELECT DISTINCT {column} FROM scores").fetchall()]
                for name in split(asked):
                    if name not in known and not any(sign in name for sign in "*?"):
                        raise UnknownName(f"{kind} with scores in {store}", name, known)
            if any((task, model, metric, method)):
                raise BenchmarkError(f"no score in {store} is of this selection; `benchmark list runs` shows what was run")
            note(f"{store} holds no scores yet")
        wins = win_tables(connection, selection) if view == "wins" else []
        cited = _bibliography(connection, rows) if cite or form == "bibtex" else None
    if view == "wins":
        _print_wins(wins, as_json=form == "json")
    elif view == "pareto":
        _show_pareto(pareto(rows, cost), form == "json", out)
    elif out is not None and out.suffix == ".parquet":
        to_parquet(rows, out)
    else:
        if form == "bibtex":
            text = str(cited)
        elif cited is not None:
            text = to_latex(rows, cited.keys)
        else:
            text = render(rows, cast(Format, form))
        if out is None:
            click.echo(text)
        else:
            out.write_text(text + "\n", encoding="utf-8")


def _bibliography(connection: DuckDBPyConnection, rows: Sequence[Row]) -> Bibliography:
    """Gather what to cite for these rows: the suite, the methods by label, and the data of the tasks."""
    register()
    from benchmark.data import DATASETS
    from benchmark.explainers.base import EXPLAINERS

    query = "SELECT DISTINCT label, method, data FROM scores WHERE list_contains(?, task) AND list_contains(?, label)"
    shown = [sorted({getattr(row, name) for row in rows}) for name in ("task", "method")]
    found: list[tuple[str, str, str]] = connection.execute(f"{query} ORDER BY ALL", shown).fetchall()
    sources = {"xlip-bench": suite_entry(version("xlip-bench"))}
    sources |= {label: EXPLAINERS[method].bibtex for label, method, _ in found if method in EXPLAINERS}
    sources |= {f"data set {data}": DATASETS[data]().bibtex for _, _, data in found if data in DATASETS}
    unknown = sorted({label for label, method, _ in found if method not in EXPLAINERS})
    if unknown:
        note(f"not known here, so without an entry: {', '.join(unknown)}")
    return gather(sources)


def _print_wins(tables: Sequence[WinTable], as_json: bool) -> None:
    if as_json:
        print_table([dataclasses.asdict(table) for table in tables], True)
        return
    for table in tables:
        click.echo(
            f"{table.task} · {table.metric} · {table.model}: share of samples on which the row beats the column, ties half"
        )
        numbers = [str(i + 1) for i in range(len(table.methods))]
        lines = [
            [place, method, *(number(rate, 2) for rate in rates)]
            for place, method, rates in zip(numbers, table.methods, table.rates, strict=True)
        ]
        click.echo(columns([["", "method", *numbers], *lines], left=[1]) + "\n")


def _show_pareto(boards: Sequence[ParetoBoard], as_json: bool, out: Path | None) -> None:
    if out is not None:
        from benchmark.ranking.pareto_diagram import draw_pareto

        if out.suffix not in FIGURES:
            raise click.UsageError(
                f"--pareto --out draws a figure: name a file that ends in {', '.join(FIGURES)}, not {out.name}"
            )
        draw_pareto(boards).savefig(out)
        note(f"drawn in {out}")
    if as_json:
        print_table([dataclasses.asdict(board) for board in boards], True)
        return
    for board in boards:
        click.echo(f"{board.task} · {board.metric} ({board.better} is better) · {board.model}")
        lines = [
            (
                "*" if point.on_front else "",
                point.method,
                number(point.mean),
                f"[{number(point.low)}, {number(point.high)}]",
                cell(point.cost),
                point.dominated_by or "",
            )
            for point in board.points
        ]
        click.echo(
            columns([("front", "method", "mean", "95 % interval", board.cost_unit, "dominated by"), *lines], left=(1, 3, 5))
        )
        click.echo("".join(f"{sentence}\n" for sentence in board.left_out))
