"""The views of ``benchmark leaderboard``: badges, win rates, Pareto, BibTeX, LaTeX."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from test_ranking import row
from test_store import result, run_record

from benchmark.cli import cli
from benchmark.ranking.tables import render
from benchmark.records import score_key
from benchmark.store import StoreWriter


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of two methods with a registered metric."""
    path = tmp_path / "store.duckdb"
    with StoreWriter(path) as writer:
        writer.begin(run_record())
        for i in range(6):
            for name, value in (("grad_cam", 1.0), ("random", float(i % 2))):
                unit = result(i)
                origin = replace(unit.origin, method=name, label=name)
                key = origin.unit_key({"sample": f"s{i}"})
                score = replace(
                    unit.scores[0], score_key=score_key(key, "h", "x"), unit_key=key, metric="pointing_hit", value=value
                )
                made = replace(unit.explanation, unit_key=key, origin=origin)
                writer.add(replace(unit, unit_key=key, origin=origin, explanation=made, scores=(score,)))
        writer.end("done")
    return path


def leaderboard(store: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["leaderboard", "--store", str(store), *arguments])


def test_rows_have_win_rates_costs_and_badges(store: Path) -> None:
    found = {item["method"]: item for item in json.loads(leaderboard(store, "--json").stdout)}
    assert found["grad_cam"]["wins"] == 0.75
    assert found["random"]["wins"] == 0.25
    assert list(found["random"])[-3:] == ["backwards", "wins", "badge"]
    assert (found["random"]["backwards"], found["random"]["badge"]) == (0.0, "re-run")


def test_a_badge_is_a_mark_with_a_remark_only_where_it_is_not_re_run() -> None:
    rows = [row("a", 1), row("b", 2, badge="recomputed"), row("c", 3, badge="self-reported", below=("random",))]
    for form in ("text", "markdown"):
        table = render(rows, form)
        assert "b ‡" in table
        assert "c † §" in table
        assert "‡ recomputed: explanations made elsewhere, scored here" in table
        assert "re-run" not in table
    assert '"badge": "re-run"' in render(rows, "json")
    assert "‡" not in render(rows[:1], "text")


def test_wins_are_a_matrix(store: Path) -> None:
    (table,) = json.loads(leaderboard(store, "--wins", "--json").stdout)
    assert table["rates"] == [[None, 0.75], [0.25, None]]
    assert "0.75" in leaderboard(store, "--wins").stdout


def test_pareto_is_a_table_and_a_figure(store: Path, tmp_path: Path) -> None:
    (board,) = json.loads(leaderboard(store, "--pareto", "--json").stdout)
    assert [(point["method"], point["cost"]) for point in board["points"]] == [("grad_cam", 3.0), ("random", 3.0)]
    done = leaderboard(store, "--pareto", "--out", str(tmp_path / "front.svg"))
    assert done.exit_code == 0, done.output
    assert "dominated by" in done.stdout
    assert (tmp_path / "front.svg").read_text().startswith("<?xml")


def test_bibtex_has_the_suite_and_each_method_with_a_paper(store: Path) -> None:
    text = leaderboard(store, "--format", "bibtex").stdout
    assert text.count("@") == 2
    assert "@misc{xlip_bench" in text
    assert "selvaraju2017gradcam" in text
    assert r"\cite{selvaraju2017gradcam}" in leaderboard(store, "--format", "latex", "--cite").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--pareto", "--format", "latex"), "--pareto prints text or JSON, not latex"),
        (("--cite",), "give --format latex, not text"),
        (("--pareto", "--out", "front.txt"), "name a file that ends in .png, .svg, .pdf, not front.txt"),
    ],
)
def test_wrong_usage_is_said(store: Path, arguments: tuple[str, ...], message: str) -> None:
    done = leaderboard(store, *arguments)
    assert done.exit_code == 2
    assert message in done.output
