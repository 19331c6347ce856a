import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import altair
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from benchmark.ranking.tracks import Place, TrackTable
from benchmark.site import charts, downloads, links, wording
from benchmark.site.catalogue import load
from tests.site.stores import HOSTILE, write_store

DRAWN = ("leaderboard", "compare", "methods", "tasks", "failures", "submit", "downloads", "ranks")
SCRIPT = """
import importlib
from pathlib import Path
import streamlit as st
from benchmark.site import catalogue, trouble_page
from benchmark.site.access import Store, Unreadable
from benchmark.site.context import Context
st.session_state["page"] = "{page}"
try:
    page = importlib.import_module("benchmark.site.{page}_page")
    page.render(Context(store=Store(Path("{path}")), catalogue=catalogue.load()))
except Unreadable as error:
    trouble_page.render(error)
"""
Draw = Callable[..., AppTest]


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("site") / "s.duckdb"
    write_store(path)
    return path


@pytest.fixture
def draw(stored: Path) -> Draw:
    def drawn(page: str, path: Path | None = None, **address: str | list[str]) -> AppTest:
        test = AppTest.from_string(SCRIPT.format(page=page, path=path or stored), default_timeout=60)
        for key, value in address.items():
            test.query_params[key] = value
        return test.run()

    return drawn


def address_of(test: AppTest, key: str) -> list[str]:
    value = test.query_params[key]
    return [value] if isinstance(value, str) else list(value)


@pytest.mark.parametrize("page", DRAWN)
def test_every_page_is_drawn(draw: Draw, page: str) -> None:
    test = draw(page)
    assert not test.exception
    assert test.title[0].value == links.PAGES[page]


@pytest.mark.parametrize("page", ["leaderboard", "compare", "failures"])
def test_an_address_restores_its_controls(draw: Draw, page: str) -> None:
    address = {
        "leaderboard": {"metric": "pointing_hit", "yields": ["text"], "ranked": "1"},
        "compare": {"cost": "seconds", "metric": "pointing_hit", "methods": ["random", "fixlip"]},
        "failures": {"method": HOSTILE, "status": "failed"},
    }[page]
    test = draw(page, **address)
    assert not test.exception
    for key, value in address.items():
        assert address_of(test, key) == ([value] if isinstance(value, str) else value)


def test_a_control_changes_the_address_and_its_default_leaves_it(draw: Draw) -> None:
    test = draw("leaderboard")
    metric = next(box for box in test.selectbox if box.label == "Metric")
    usual, other = metric.value, next(option for option in metric.options if option != metric.value)
    metric.select(other).run()
    assert address_of(test, "metric") == [other]
    next(box for box in test.selectbox if box.label == "Metric").select(usual).run()
    assert "metric" not in test.query_params


def test_an_unknown_value_in_an_address_falls_back_with_a_note(draw: Draw) -> None:
    test = draw("leaderboard", metric="'; DROP TABLE scores; --", ranked="perhaps", yields=["<b>"])
    assert not test.exception
    assert len(test.info) == 3
    assert "metric" not in test.query_params


def test_names_from_data_are_shown_as_text(draw: Draw) -> None:
    for page in ("leaderboard", "compare", "failures", "methods"):
        test = draw(page, **({"method": HOSTILE} if page != "compare" else {"methods": [HOSTILE, "random"]}))
        assert not test.exception
        assert not any(shown.proto.allow_html for shown in test.markdown)
        for shown in (*test.markdown, *test.caption, *test.header, *test.info):
            assert "<script>" not in shown.value
            assert "](javascript" not in shown.value


def test_filters_hide_methods_and_change_no_number(draw: Draw) -> None:
    whole = draw("leaderboard").dataframe[0].value
    part = draw("leaderboard", yields=["surrogate"]).dataframe[0].value
    assert part["method"].tolist() == ["fixlip"]
    pd.testing.assert_frame_equal(part, whole[whole["method"] == "fixlip"], check_dtype=False)


def test_a_limit_ranks_the_first_samples_only(draw: Draw) -> None:
    assert set(draw("leaderboard", tier="smoke: first 8").dataframe[0].value["of"]) == {8}


@pytest.mark.parametrize("page", DRAWN)
def test_a_missing_store_gets_advice_on_every_page(draw: Draw, page: str, tmp_path: Path) -> None:
    test = draw(page, path=tmp_path / "none.duckdb")
    assert not test.exception
    assert page in ("submit", "ranks") or "no store" in test.title[-1].value


def test_a_store_without_rows_is_drawn(draw: Draw, tmp_path: Path) -> None:
    write_store(tmp_path / "s.duckdb", methods=())
    for page in DRAWN:
        assert not draw(page, path=tmp_path / "s.duckdb").exception


def test_texts_that_may_not_be_shown_are_neither_shown_nor_handed_out(stored: Path) -> None:
    from benchmark.site import queries
    from benchmark.site.access import Store

    store = Store(stored)
    assert queries.whole(store, "samples")["text"].notna().all()
    assert queries.whole(store, "samples", ["scenes"])["text"].isna().all()
    assert not load().data_set("mscxr").shows_images
    assert not load().data_set("never heard of").shows_images


def test_a_table_is_the_same_in_every_form() -> None:
    table = pd.DataFrame({"method": ["a_b", "<i>&"], "mean": [0.5, None]})
    assert pd.read_csv(io.BytesIO(downloads.to_csv(table)))["method"].tolist() == ["a_b", "<i>&"]
    pd.testing.assert_frame_equal(pd.read_parquet(io.BytesIO(downloads.to_parquet(table))), table, check_dtype=False)
    assert pd.read_json(io.BytesIO(downloads.to_json(table)))["mean"].tolist()[0] == 0.5
    assert rb"a\_b" in downloads.to_latex(table)
    assert downloads.file_name("../../etc/passwd") == "etc_passwd"


def test_a_figure_is_a_picture_in_both_forms() -> None:
    figure = charts.interval_figure([charts.Estimate(name="a_$b", value=1.0, low=0.5, high=1.5)], "x")
    assert downloads.to_image(figure, "png").startswith(b"\x89PNG")
    assert b"<svg" in downloads.to_image(figure, "svg")


@pytest.mark.parametrize(("page", "n_charts"), [("leaderboard", 1), ("compare", 3)])
def test_every_chart_is_valid_vega_lite_and_has_words(draw: Draw, page: str, n_charts: int) -> None:
    drawn = draw(page).get("vega_lite_chart")
    assert len(drawn) == n_charts
    for element in drawn:
        altair.Chart.from_dict(json.loads(element.proto.spec))  # raises where the schema does not know something


def test_charts_that_need_more_results_are_valid_too() -> None:
    places = tuple(Place(method=name, mean_rank=rank, wins=0.5) for name, rank in (("a_$b", 1.0), ("c", 2.0)))
    table = TrackTable(
        track="t", blocks=("one", "two"), places=places, partial=(), p=0.2, critical_difference=1.5, groups=((0, 1),)
    )
    curve = {"method": "a", "kind": "insertion", "removed": 0.0, "similarity": 0.2}
    nothing = charts.intervals([], "x")
    for chart in (charts.critical_differences(table), charts.curves([curve], "measured", ["a"], dark=True), nothing):
        altair.Chart.from_dict(chart)


def test_plain_text_survives_markdown() -> None:
    assert wording.plain("a\nb <i>") == r"a b \<i\>"
    assert len(wording.line("x" * 5000)) == wording.LONGEST


def test_a_wheel_holds_the_site(tmp_path: Path) -> None:
    from setuptools import find_packages

    root = Path(__file__).resolve().parents[2]
    assert "benchmark.site" in find_packages(str(root), include=["benchmark*"])
    shutil.copytree(root / "benchmark" / "site", tmp_path / "site")  # what a build does: links become files
    assert (tmp_path / "site" / "app.py").is_file()
    assert not (tmp_path / "site" / "app.py").is_symlink()
