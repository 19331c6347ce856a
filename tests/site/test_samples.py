"""The samples page: its arithmetic, what it asks of a store, hostile rows, and a reader in a real browser."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import duckdb
import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.colors import to_hex
from PIL import Image

from benchmark.data.scenes import Scenes
from benchmark.explanations import Explanation, Players
from benchmark.site import samples_arrays, samples_pictures, samples_store, theme
from benchmark.site.samples_arrays import Chosen, Layout
from benchmark.store import schema
from tests.site.conftest import DONE, Serve, visit

GRID, HOSTILE = (7, 7), "evil<img src=x onerror=\"document.title='owned'\">*b*"
SCRIPT = """
import os
from pathlib import Path
from types import SimpleNamespace
import streamlit as st
from benchmark.site.access import Store
from benchmark.site.samples_page import render
@st.cache_resource
def store():
    return Store(Path(os.environ["XLIP_STORE"]))
folder = os.environ.get("TEST_DATA_DIR")
render(SimpleNamespace(store=store(), dark=False, data_dir=Path(folder) if folder else None))
"""


def surrogate(n_tokens: int, seed: int = 0) -> Explanation:
    rng = np.random.default_rng(seed)
    n = GRID[0] * GRID[1] + n_tokens
    pairs = np.triu(rng.normal(size=(n, n)), 1)
    return Explanation.from_players(Players(rng.normal(size=n), pairs + pairs.T, 0.25), GRID, index="FWBII")


def ranking(n_tokens: int, seed: int = 1) -> Explanation:
    rng = np.random.default_rng(seed)
    return Explanation(image=np.abs(rng.normal(size=GRID)), text=np.abs(rng.normal(size=n_tokens)))


# -- arithmetic --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [Chosen(), Chosen((0, 8, 48), (1,)), Chosen(tuple(range(49)), (0, 1, 2))])
def test_the_parts_of_a_surrogate_add_up_to_its_value(chosen: Chosen) -> None:
    explanation, layout = surrogate(3), Layout(*GRID, 3)
    assert explanation.players is not None
    coalition = chosen.coalition(layout)
    parts = samples_arrays.parts(explanation.players, coalition, layout.n_patches)
    assert tuple(parts) == samples_arrays.PARTS
    assert sum(parts.values()) == pytest.approx(explanation.predict(coalition[None])[0])
    if chosen.patches and chosen.tokens:
        assert explanation.cross is not None
        block = explanation.cross.reshape(49, 3)[np.ix_(chosen.patches, chosen.tokens)]
        assert parts["cross pairs"] == pytest.approx(block.sum())


def test_the_palette_is_the_figures_one_and_symmetric_in_lightness() -> None:
    stops = [to_hex(mpl.colormaps["RdBu_r"](place)) for place in np.linspace(0, 1, len(theme.PALETTE))]
    ours, theirs = np.array(theme.STOPS), np.array([[int(stop[i : i + 2], 16) for i in (1, 3, 5)] for stop in stops])
    assert np.abs(ours - theirs).max() <= 8
    lightness = ours @ [0.2126, 0.7152, 0.0722]
    assert lightness.argmax() == len(ours) // 2  # zero is the lightest
    assert (np.diff(lightness)[: len(ours) // 2] > 0).all()
    assert (np.diff(lightness)[len(ours) // 2 :] < 0).all()


def test_maps_of_one_unit_share_a_scale_and_the_others_do_not() -> None:
    maps = {"a": np.array([[-4.0, 1.0]]), "b": np.array([[2.0]]), "c": np.array([[100.0]]), "d": None, "e": np.zeros((1, 1))}
    units = {"a": "cosine", "b": "cosine", "c": "its own", "d": "cosine", "e": "flat"}
    assert samples_arrays.limits(maps, units) == {"a": 4.0, "b": 4.0, "c": 100.0, "d": 4.0, "e": 1.0}
    assert samples_arrays.limits(maps, units, own=True) == {"a": 4.0, "b": 2.0, "c": 100.0, "d": 1.0, "e": 1.0}


def test_picked_tokens_choose_the_map_and_picked_patches_the_strip() -> None:
    explanation = surrogate(3)
    assert explanation.cross is not None
    np.testing.assert_allclose(
        samples_arrays.map_of(explanation, (0, 2)), explanation.cross[..., 0] + explanation.cross[..., 2]
    )
    np.testing.assert_allclose(samples_arrays.strip_of(explanation, (8,)), explanation.cross[1, 1])
    assert samples_arrays.map_of(explanation, ()) is explanation.image
    only_ranks = ranking(3)
    assert samples_arrays.map_of(only_ranks, (0,)) is only_ranks.image


@pytest.mark.parametrize("indices", [(), (0,), (3, 4), (0, 1, 2, 7, 9, 10)])
def test_ranges_come_back_from_the_address(indices: tuple[int, ...]) -> None:
    assert samples_arrays.read_ranges(samples_arrays.write_ranges(indices), 11) == (indices, True)


@pytest.mark.parametrize("text", ["11", "-1", "0-99", "5-2", "x", "<b>", "9" * 400, "0..1", "0-999999"])
def test_impossible_ranges_are_told(text: str) -> None:
    found, clean = samples_arrays.read_ranges(text, 11)
    assert not clean
    assert set(found) <= set(range(11))


def test_a_foreseen_curve_runs_from_everything_to_nothing() -> None:
    explanation = surrogate(3)
    everything, nothing = explanation.predict(np.stack([np.ones(52, dtype=bool), np.zeros(52, dtype=bool)]))
    for variant in ("joint", "joint_greedy"):
        curves = samples_arrays.predicted_curves(explanation, variant)
        assert curves is not None
        for curve in curves.values():
            assert curve[[0, -1]] == pytest.approx([everything, nothing])
    image = samples_arrays.predicted_curves(explanation, "image")
    assert image is not None
    text_only = np.arange(52) >= 49
    assert image["deletion"][-1] == pytest.approx(explanation.predict(text_only[None])[0])
    assert samples_arrays.predicted_curves(ranking(3), "image") is None


def test_a_kept_curve_is_read_in_order_and_other_flags_are_not_points() -> None:
    curve = samples_arrays.stored_curve({"removed_100": 0.0, "removed_000": 1.0, "orders": 3.0, "removed_050": 0.5})
    assert curve is not None
    np.testing.assert_allclose(curve, [[0, 50, 100], [1.0, 0.5, 0.0]])
    assert samples_arrays.stored_curve({"orders": 1.0}) is None


def test_a_sentence_names_the_strongest_patches_and_tokens() -> None:
    image = np.zeros((2, 3))
    image[1, 2], image[0, 1] = -0.5, 0.25
    words = samples_arrays.describe("m", image, np.array([0.0, 0.1]), ["a", "moon"])
    assert words == "m: strongest patches row 2 column 3 (-0.5), row 1 column 2 (+0.25); strongest tokens “moon” (+0.1)."
    assert samples_arrays.describe("m", np.ones((2, 2)), None, []) == "m: every patch +1; no token scores."


def test_agreement_is_a_rank_correlation() -> None:
    rising = np.arange(6.0).reshape(2, 3)
    found = samples_arrays.agreement({"a": rising, "b": rising**3, "c": -rising, "d": np.ones((2, 3)), "e": None})
    assert found[0, 1:3] == pytest.approx([1.0, -1.0])
    assert np.isnan(found[0, 3:]).all()


@pytest.mark.parametrize("payload", [b"", b"not a file", b"PK\x03\x04" + b"\x00" * 40, surrogate(2).to_bytes()[:200]])
def test_a_payload_that_cannot_be_read_is_a_sentence(payload: bytes) -> None:
    assert "cannot be read" in str(samples_arrays.read_payload(payload))


# -- pictures ----------------------------------------------------------------------------------------------------------


def test_a_generated_sample_is_drawn_again_with_its_regions_and_token_names() -> None:
    sample = Scenes().samples("captions", 2)[1]
    found = samples_pictures.find_sample("scenes", "1", sample.id, 1, sample.text, None)
    assert found.image is not None
    np.testing.assert_array_equal(np.asarray(found.image), np.asarray(sample.load_image()))
    frame = samples_pictures.frame_of("embedded", "", found.image.size)
    assert frame.known
    lines = samples_pictures.outlines(found.regions, frame)[0]["lines"]
    mask = sample.phrases[0].region.mask
    assert mask is not None
    rows, columns = np.nonzero(mask)
    points = np.concatenate([np.array(line) for line in lines]) * found.image.size
    assert points.min(axis=0) == pytest.approx([columns.min(), rows.min()], abs=1.1)
    assert points.max(axis=0) == pytest.approx([columns.max(), rows.max()], abs=1.1)
    names, known = samples_pictures.token_names("embedded", "", sample.text, len(sample.text.split()))
    assert known
    assert list(names) == sample.text.split()
    assert samples_pictures.token_names("embedded", "", sample.text, 99)[1] is False


@pytest.mark.parametrize(
    ("data", "version", "sample", "said"),
    [
        ("scenes", "1", "scenes/../../etc/passwd", "no such sample"),
        ("scenes", "0", "scenes/0", "version 0"),
        ("scenes", "1", "scenes/1", "another text"),
        ("nowhere", "1", "x", "no data set"),
        ("coco", "1", "coco/1", "--data-dir"),
        ("folder", "1", "folder/1", "licence"),
    ],
)
def test_what_cannot_be_shown_is_said(data: str, version: str, sample: str, said: str) -> None:
    found = samples_pictures.find_sample(data, version, sample, 0, "some text", None)
    assert found.image is None
    assert said in str(found.why)
    assert found.text_hidden == (data == "folder")


def decoded(path: Path, folder: Path) -> tuple[Image.Image, tuple[int, int]]:
    return samples_pictures._decode(SimpleNamespace(image=path), folder)  # pyright: ignore


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_huge_images_are_made_smaller_or_refused_and_nothing_outside_the_folder_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    Image.new("L", (10_000, 200)).save(folder / "wide.png")
    image, size = decoded(folder / "wide.png", folder)
    assert size == (10_000, 200)
    assert max(image.size) <= 4 * samples_pictures.LONGEST_SIDE
    Image.new("1", (10_000, 10_000)).save(folder / "huge.png")
    with pytest.raises(ValueError, match="10000 x 10000"):
        decoded(folder / "huge.png", folder)
    Image.new("L", (8, 8)).save(tmp_path / "secret.png")
    with pytest.raises(ValueError, match="outside"):
        decoded(folder / ".." / "secret.png", folder)


# -- the store ---------------------------------------------------------------------------------------------------------


def insert(connection: duckdb.DuckDBPyConnection, table: str, **values: Any) -> None:
    names = ", ".join(values)
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(values))})", list(values.values()))


def fill(path: Path) -> Path:
    """Three scenes of four methods: a surrogate, two that rank, one with a hostile name; and what cannot be read."""
    connection = duckdb.connect(str(path))
    schema.create(connection, "test")
    now = schema.utc_now()
    for place, sample in enumerate(Scenes().samples("captions", 3)):
        text, id_ = sample.text, sample.id
        n_tokens = len(text.split())
        if place == 2:
            text, id_ = f"<script>document.title='owned'</script> **bold** {'long ' * 2000}", "scenes/../../secret"
        key = {"data": "scenes", "data_version": "1", "sample_id": id_}
        insert(connection, "samples", **key, text_hash=f"t{place}", text=text, cluster=id_, strata='{"n_objects": "2"}')
        methods = {
            "pairs": surrogate(n_tokens, place),
            "ranks": ranking(n_tokens, place),
            HOSTILE: ranking(n_tokens, place + 9),
        }
        payloads = {name: explanation.to_bytes() for name, explanation in methods.items()} | {"broken": b"no archive"}
        for number, (label, payload) in enumerate(payloads.items()):
            unit, who = f"{place}-{number}", {"encoder": "embedded", "revision": "r", "method": "m", "label": label}
            insert(
                connection, "explanations", unit_key=unit, **who, method_version=1, parameters="{}", **key,
                text_hash=f"t{place}", seed=0, status="ok",
                payload=payload, payload_hash="h", similarity=0.3, image_forwards=1.0, text_forwards=1.0,
                backwards=0.0, seconds=0.1, device="cpu", run_id="r1", created=now,
            )  # fmt: skip
            failed = label == "broken" and place == 1
            value = {0: 0.5 + 0.01 * number, 1: 0.9 - 0.3 * number, 2: 0.1}[place]
            flags = '{"removed_000": 0.3, "removed_050": 0.2, "removed_100": 0.0}' if label == "ranks" else "{}"
            for metric in ("pointing_hit", "deletion_image"):
                insert(
                    connection, "scores", score_key=f"{unit}-{metric}", unit_key=unit, task="scenes-pointing", task_version=1,
                    task_hash="h", metric=metric, position=place, **who, method_version=1, **key, cluster=id_, seed=0,
                    status="failed" if failed else "ok", value=-value if metric == "deletion_image" else value, chance=0.1,
                    flags=flags if metric == "deletion_image" else "{}", run_id="r1", created=now,
                )  # fmt: skip
    connection.close()
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("samples") / "store.duckdb")


def asking(path: Path) -> samples_store.Query:
    def ask(query: str, parameters: Any) -> list[dict[str, Any]]:
        with duckdb.connect(str(path), read_only=True) as connection:
            result = connection.execute(query, parameters)
            return [dict(zip([column[0] for column in result.description], row, strict=True)) for row in result.fetchall()]

    return ask


def test_samples_are_ordered_by_disagreement_difficulty_and_failure(store: Path) -> None:
    listed = samples_store.list_samples(asking(store))
    first = {order: samples_store.ordered(listed, order)[0].id for order in samples_store.ORDERS}
    assert first == {
        "position": "scenes/0",
        "disagreement": "scenes/1",
        "difficulty": "scenes/../../secret",  # 0.1 where higher is better, and -0.1 where lower is
        "failure": "scenes/1",
    }
    assert [sample.failures for sample in listed] == [0, 1, 0]


def test_a_sample_brings_its_explanations_and_scores(store: Path) -> None:
    ask = asking(store)
    sample = samples_store.list_samples(ask)[0]
    rows = samples_store.explained(ask, sample)
    assert [row["label"] for row in rows] == sorted(["pairs", "ranks", HOSTILE, "broken"])
    keys = [row["unit_key"] for row in rows if row["label"] == "ranks"]
    assert list(samples_store.payloads(ask, keys)) == keys
    scores = samples_store.scores_of(ask, sample, keys)
    assert [score["metric"] for score in scores] == ["deletion_image", "pointing_hit"]
    assert scores[0]["flags"]["removed_050"] == 0.2
    means = samples_store.method_means(ask, "scenes", "1")
    assert means["embedded", "scenes-pointing", "pointing_hit", "ranks"] == pytest.approx(((0.51 + 0.6 + 0.1) / 3, 3))


# -- the page ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def drawn(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    testing = pytest.importorskip("streamlit.testing.v1")
    monkeypatch.setenv("XLIP_STORE", str(store))
    script = tmp_path / "page.py"
    script.write_text(SCRIPT)
    return testing.AppTest.from_file(str(script), default_timeout=120)


def test_the_page_steps_through_samples_and_drops_what_was_picked_of_another(drawn: Any) -> None:
    drawn.query_params["methods"] = ["pairs", "ranks"]
    drawn.query_params["patches"], drawn.query_params["tokens"] = "0-2.8", "1"
    drawn.run()
    assert not drawn.exception
    table = next(frame.value for frame in drawn.dataframe if "pairs" in frame.value.columns)
    explanation = surrogate(len(Scenes().samples("captions", 1)[0].text.split()), 0)
    layout = samples_arrays.layout_of(explanation)
    assert layout is not None
    expected = explanation.predict(Chosen((0, 1, 2, 8), (1,)).coalition(layout)[None])[0]
    assert table["pairs"].iloc[0] == pytest.approx(expected)
    next(button for button in drawn.button if button.label == "Next").click().run()
    assert not drawn.exception
    assert drawn.query_params["sample"] in ("scenes/1", ["scenes/1"])  # newer releases of streamlit give lists
    assert "patches" not in drawn.query_params


def test_wrong_addresses_are_told_and_the_page_stays_up(drawn: Any) -> None:
    wrong = {
        "patches": "900",
        "tokens": "<b>",
        "sample": "../../x",
        "order": "; DROP TABLE scores",
        "opacity": "1e9",
        "curve": "?",
    }
    for key, value in wrong.items():
        drawn.query_params[key] = value
    drawn.run()
    assert not drawn.exception
    assert len(drawn.info) >= len(wrong)


def test_hostile_captions_and_broken_payloads_leave_the_page_up(drawn: Any) -> None:
    drawn.query_params["sample"] = "scenes/../../secret"
    drawn.query_params["methods"] = ["broken", HOSTILE, "pairs"]
    drawn.run()
    assert not drawn.exception
    assert any("cannot be read" in warning.value for warning in drawn.warning)
    assert any("no such sample" in info.value for info in drawn.info)
    assert all("<script" not in block.value.replace("\\<", "") for block in drawn.markdown)


# -- a browser ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def root(store: Path, serve: Serve) -> Iterator[str]:
    with serve("--store", str(store)) as address:
        yield f"{address}/samples"


def chosen_in(page: Any) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def settled(page: Any, address: str) -> None:
    """Wait until the address holds what was chosen, and the page was drawn with it."""
    page.wait_for_url(address)
    page.wait_for_selector(DONE)


@pytest.mark.slow
@pytest.mark.flaky(reruns=2)
def test_a_reader_picks_tokens_patches_and_a_box_and_the_address_keeps_them(page: Any, browser: Any, root: str) -> None:
    page.set_viewport_size({"width": 1440, "height": 1800})
    visit(page, f"{root}?methods=pairs&methods=ranks")
    panels = page.frame_locator("iframe")
    panels.locator("svg.map").nth(2).wait_for()
    first, second = (panels.locator(f"svg[data-panel='{i}']") for i in (0, 1))
    before = second.get_attribute("aria-label")

    panels.locator(".panel").nth(0).locator(".token").nth(1).click()
    settled(page, "**tokens=1**")
    panels.locator(".panel").nth(1).locator(".token[aria-pressed=true]").wait_for()
    assert second.get_attribute("aria-label") != before  # other patches are the strongest now
    panels.locator(".panel").nth(0).locator(".token").nth(2).click(modifiers=["Shift"])
    settled(page, "**tokens=1-2**")

    second.click(position={"x": 5, "y": 5})
    settled(page, "**patches=0**")
    cell = first.bounding_box()["width"] / 7
    corners = ({"x": 1.5 * cell, "y": 1.5 * cell}, {"x": 2.5 * cell, "y": 2.5 * cell})
    first.drag_to(first, source_position=corners[0], target_position=corners[1])
    settled(page, "**patches=8-9.15-16**")

    first.focus()
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    settled(page, "**patches=1.8-9.15-16**")
    kept = page.url

    pasted = browser.new_page(viewport={"width": 390, "height": 1600})
    pasted.set_default_timeout(60_000)
    visit(pasted, kept)
    pasted.frame_locator("iframe").locator("[data-panel='0'] .token[aria-pressed=true]").nth(1).wait_for()
    assert chosen_in(pasted) == chosen_in(page)
    assert pasted.evaluate("document.documentElement.scrollWidth") <= 390
    pasted.close()

    page.get_by_role("button", name="Next").click()
    settled(page, "**sample=scenes**1**")
    page.wait_for_function("!location.search.includes('patches')")
    page.get_by_role("button", name="Previous").click()
    page.wait_for_function("!location.search.includes('sample')")
    assert page.troubles == []


@pytest.mark.slow
@pytest.mark.flaky(reruns=2)
def test_an_answer_that_comes_while_a_box_is_drawn_leaves_the_box(page: Any, root: str) -> None:
    visit(page, f"{root}?methods=pairs&methods=ranks")
    panels = page.frame_locator("iframe")
    svg = panels.locator("svg[data-panel='0']")
    svg.scroll_into_view_if_needed()
    frame = svg.bounding_box()
    cell = frame["width"] / 7
    page.mouse.move(frame["x"] + 1.5 * cell, frame["y"] + 1.5 * cell)
    page.mouse.down()
    page.mouse.move(frame["x"] + 2.5 * cell, frame["y"] + 2.5 * cell, steps=4)
    svg.evaluate("() => window.postMessage({ type: 'streamlit:render', args }, '*')")
    page.mouse.up()
    settled(page, "**patches=8-9.15-16**")
    assert page.troubles == []


@pytest.mark.slow
@pytest.mark.flaky(reruns=2)
def test_nothing_hostile_is_executed(page: Any, root: str) -> None:
    page.set_viewport_size({"width": 390, "height": 1600})
    visit(page, f"{root}?sample=scenes/../../secret&methods=pairs&methods=broken")
    page.frame_locator("iframe").locator("svg.map").nth(1).wait_for()
    assert page.get_by_text("document.title").count() >= 1  # the caption is there, as text
    assert page.title() != "owned"
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.troubles == []
