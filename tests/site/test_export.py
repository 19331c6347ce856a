import json
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import duckdb
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from benchmark.cli.base import cli
from benchmark.data import DATASETS
from benchmark.data.generated import HELD_OUT, GeneratedSet
from benchmark.site.access import Unreadable
from benchmark.site.export import export
from benchmark.site.export_figures import chart, heat, level
from benchmark.site.export_files import MARKER, ExportError, Files, replacing, slug
from benchmark.site.export_pages import linked, markdown
from tests.site.stores import HOSTILE, METHODS, N_SAMPLES, write_store

VOID = {"meta", "link", "img", "input", "br", "hr"}
CLIMBING = "../../../climbed"
CAPTION = "a <b onclick='x()'>red</b> star\u202e & more"


class Page(HTMLParser):
    """Reads a page, and notes what is wrong with it and what it points to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.attributes: set[str] = set()
        self.without_alt = 0
        self.words = ""
        self.feed(text)
        self.close()
        self.wrong += [f"never closed: {tag}" for tag in self.open]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.attributes |= set(found)
        if tag not in VOID:
            self.open.append(tag)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if "href" in found:
            (self.loaded if tag == "link" else self.links).append(str(found["href"]))
        if "src" in found:
            self.loaded.append(str(found["src"]))
        self.without_alt += tag == "img" and "alt" not in found

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(f"closed out of turn: {tag}")

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "s.duckdb"
    write_store(path, (*METHODS, CLIMBING), CAPTION)
    scenes = DATASETS["scenes"](None)
    assert isinstance(scenes, GeneratedSet)
    with duckdb.connect(path) as connection:
        for i in range(0, N_SAMPLES, 2):  # the others have a text that the data set does not know, so no image
            text = scenes.batch("phrases", np.array([HELD_OUT + i]))[0].text
            connection.execute("UPDATE samples SET text = ? WHERE sample_id = ?", [text, f"scenes/{i}/phrase"])
    return path


@pytest.fixture(scope="module")
def folder(store: Path) -> Path:
    place = store.parent / "out"
    export(store, place, n_samples=N_SAMPLES)
    return place


@pytest.fixture(scope="module")
def pages(folder: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(folder.rglob("*.html"))}


def test_every_kind_of_page_is_written(folder: Path, pages: dict[Path, Page]) -> None:
    names = {path.relative_to(folder).as_posix() for path in pages}
    assert {"index.html", "compare.html", "samples.html", "methods.html", "tasks.html", "failures.html"} <= names
    assert {"ranks.html", "submit.html", "downloads.html", "boards/scenes-pointing--embedded.html"} <= names
    assert {"methods/fixlip.html", f"methods/{slug(HOSTILE)}.html", "tasks/scenes-pointing.html", "data/scenes.html"} <= names
    assert sum(name.startswith("samples/") for name in names) == N_SAMPLES


def test_every_page_is_well_formed(pages: dict[Path, Page]) -> None:
    assert {path.name: page.wrong for path, page in pages.items() if page.wrong} == {}
    assert {path.name: page.ids for path, page in pages.items() if len(set(page.ids)) != len(page.ids)} == {}


def test_the_check_of_pages_finds_a_tag_that_is_not_closed() -> None:
    assert Page("<p><b>x</p>").wrong
    assert not Page("<p><img src='a'><svg><line/></svg></p>").wrong


def test_every_link_inside_leads_to_something(folder: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        for address in (*page.links, *page.loaded):
            target, part = urldefrag(address)
            if target.startswith(("https://arxiv.org/abs/", "data:")):
                continue
            assert ":" not in target, f"{path.name} leads outside: {address}"
            place = (path.parent / unquote(target)).resolve() if target else path
            assert place.is_relative_to(folder), f"{path.name} climbs out: {address}"
            assert place.is_file(), f"{path.name} leads nowhere: {address}"
            if part and place in pages:
                assert part in pages[place].ids, f"{path.name} leads to no part: {address}"


def test_nothing_is_loaded_from_elsewhere_and_nothing_stands_inline(folder: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        assert not [address for address in page.loaded if ":" in address and not address.startswith("data:")], path.name
        assert not {name for name in page.attributes if name.startswith("on") or name == "style"}, path.name
        text = path.read_text(encoding="utf-8")
        assert "default-src 'self'" in text
        assert text.count("<script") == 1
        assert "<style" not in text
    assert "http" not in (folder / "site.js").read_text() + (folder / "style.css").read_text()


def test_every_image_says_what_it_shows(pages: dict[Path, Page]) -> None:
    assert sum(page.without_alt for page in pages.values()) == 0


def test_names_and_captions_are_text(folder: Path, pages: dict[Path, Page]) -> None:
    board = pages[folder / "boards" / "scenes-pointing--embedded.html"]
    assert HOSTILE in board.words
    assert CLIMBING in board.words
    samples = [page.words for path, page in pages.items() if path.parent.name == "samples"]
    assert sum("a <b onclick='x()'>red</b> star" in words for words in samples) == N_SAMPLES / 2
    assert "it <i>failed</i>" in pages[folder / "failures.html"].words
    assert not any("\u202e" in page.words for page in pages.values())


@pytest.mark.parametrize(
    "name",
    ["../../etc/passwd", "/etc/passwd", "a\\b", "..", ".", "", "<b>", "x[a=1]", "A", "CON", "con", "a\x00b", "é" * 500, "a--b"],
)
def test_a_slug_is_one_harmless_name(name: str) -> None:
    found = slug(name)
    assert found
    assert len(found) <= 80
    assert set(found) <= set("abcdefghijklmnopqrstuvwxyz0123456789_-")
    assert "--" not in found
    assert found != name.lower()


def test_different_names_have_different_slugs() -> None:
    names = ["a", "A", "a ", "a/b", "a\\b", "a-b", "x[p=1]", "x[p=2]", slug("A"), "", "é", "è"]
    assert len({slug(name).casefold() for name in names}) == len(names)
    assert slug("grad_eclip") == "grad_eclip"


@pytest.mark.parametrize("path", ["../out.html", "a/../../out.html", "/tmp/out.html", "", "a/.."])
def test_no_file_leaves_the_folder(tmp_path: Path, path: str) -> None:
    with pytest.raises(ExportError, match="outside"):
        Files(tmp_path / "inside").write(path, "x")
    assert not (tmp_path / "out.html").exists()


def test_hostile_names_stay_below_the_folder(store: Path, folder: Path) -> None:
    assert {path.name for path in store.parent.iterdir()} == {"s.duckdb", "out"}
    assert (folder / "methods" / f"{slug(CLIMBING)}.html").is_file()


def test_the_same_store_gives_the_same_bytes(store: Path, folder: Path, tmp_path: Path) -> None:
    export(store, tmp_path / "again", n_samples=N_SAMPLES)
    first = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    second = {
        path.relative_to(tmp_path / "again"): path.read_bytes() for path in (tmp_path / "again").rglob("*") if path.is_file()
    }
    assert {str(path) for path in first.keys() ^ second.keys()} == set()
    assert [str(path) for path in first if first[path] != second[path]] == []


def test_the_files_beside_a_board_hold_its_numbers(folder: Path) -> None:
    base = folder / "boards" / "scenes-pointing--embedded"
    csv = pd.read_csv(base / "pointing_hit.csv").set_index("method")["mean"]
    assert csv["fixlip"] == pytest.approx(0.9 + 0.01 * (N_SAMPLES - 1) / 2)
    assert pd.read_parquet(base / "pointing_hit.parquet").set_index("method")["mean"].to_dict() == pytest.approx(csv.to_dict())
    assert {row["method"]: row["mean"] for row in json.loads((base / "pointing_hit.json").read_text())} == pytest.approx(
        csv.to_dict()
    )
    assert r"\begin{tabular}" in (base / "pointing_hit.tex").read_text()
    assert (base / "pointing_hit.svg").read_text().startswith("<?xml")
    assert len(pd.read_parquet(folder / "tables" / "scores.parquet")) == 2 * N_SAMPLES * 4


def test_a_data_set_that_may_not_be_shown_has_maps_and_scores_only(store: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden.duckdb"
    hidden.write_bytes(store.read_bytes())
    with duckdb.connect(hidden) as connection:
        for table in ("samples", "explanations", "scores"):
            connection.execute(f"UPDATE {table} SET data = 'mscxr'")
        connection.execute("UPDATE scores SET task = 'mscxr-pointing'")
    export(hidden, tmp_path / "out", n_samples=2)
    for path in (tmp_path / "out").rglob("*"):
        assert path.suffix not in (".png", ".jpg"), path
        if path.suffix in (".html", ".csv", ".json", ".tex"):
            assert "red" not in Page(path.read_text(encoding="utf-8")).words.replace("are red", "").split(), path
            assert "failed</i>" not in path.read_text(encoding="utf-8"), path
    assert pd.read_parquet(tmp_path / "out" / "tables" / "samples.parquet")["text"].isna().all()
    sample = next((tmp_path / "out" / "samples").glob("*.html")).read_text(encoding="utf-8")
    assert 'class="heat alone"' in sample
    assert "lets neither image nor text" in sample


def test_a_folder_with_other_things_is_left_alone(store: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("ten years")
    with pytest.raises(ExportError, match="not empty"):
        export(store, tmp_path, n_samples=0)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(ExportError, match="is a file"):
        export(store, tmp_path / "thesis.tex", n_samples=0)


def test_an_earlier_export_is_replaced_and_what_was_put_beside_it_stays(tmp_path: Path) -> None:
    place = tmp_path / "out"
    place.mkdir()
    for name in ("old.html", "new.html"):
        with replacing(place) as files:
            files.write(name, name)
            files.write("sub/page.html", name)
            files.finish("s.duckdb")
        (place / "CNAME").write_text("example.org")
    assert {path.name for path in place.iterdir()} == {"new.html", "sub", "CNAME", MARKER}
    assert (place / "sub" / "page.html").read_text() == "new.html"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_an_export_that_breaks_leaves_the_earlier_one(tmp_path: Path) -> None:
    with replacing(tmp_path / "out") as files:
        files.write("index.html", "whole")
        files.finish("s.duckdb")

    def interrupted() -> None:
        with replacing(tmp_path / "out") as files:
            files.write("index.html", "half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "out" / "index.html").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("state", ["missing", "empty", "damaged", "scoreless"])
def test_a_store_that_cannot_be_shown_gives_one_sentence_and_no_folder(tmp_path: Path, state: str) -> None:
    path = tmp_path / "s.duckdb"
    if state == "damaged":
        path.write_bytes(b"no database" * 1000)
    elif state == "empty":
        duckdb.connect(path).close()
    elif state == "scoreless":
        write_store(path, ())
    with pytest.raises((Unreadable, ExportError)):
        export(path, tmp_path / "out")
    done = CliRunner().invoke(cli, ["site", "--store", str(path), "--export", str(tmp_path / "out")])
    assert done.exit_code == 2
    assert done.output.startswith("Error: ")
    assert len(done.output.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_command_writes_a_site_without_torch_or_streamlit(store: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom benchmark.cli.base import cli\n"
        "cli(sys.argv[1:], standalone_mode=False)\n"
        "print([name for name in ('torch', 'streamlit') if name in sys.modules])"
    )
    command = ["site", "--store", str(store), "--export", str(tmp_path / "out"), "--samples", "1"]
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert "MB, in" in done.stderr
    assert len(list((tmp_path / "out" / "samples").glob("*.html"))) == 1


def test_a_chart_places_values_between_round_ends() -> None:
    from benchmark.site.charts import Estimate

    found = chart([Estimate(name="a", value=0.5, low=0.25, high=1.0)], [("random", 0.0)])
    assert found.lines == (("random", 0.0),)
    assert [(bar.low, bar.value, bar.high) for bar in found.bars] == [(25.0, 50.0, 100.0)]
    assert found.ticks[0] == ("0", 0.0)
    assert found.ticks[-1] == ("1", 100.0)
    assert chart([Estimate(name="a", value=1.0, low=1.0, high=1.0)], []).bars[0].name == "a"


def test_a_map_is_blue_below_zero_white_at_zero_and_red_above() -> None:
    from base64 import b64decode
    from io import BytesIO

    from PIL import Image

    image = Image.open(BytesIO(b64decode(heat(np.array([[-1.0, 0.0, 1.0]]), 1.0).partition(",")[2])))
    low, zero, high = (image.getpixel((x, 0)) for x in range(3))
    assert low[2] > low[0]
    assert min(zero) > 240
    assert high[0] > high[2]
    assert (level(-2.0, 1.0), level(0.0, 1.0), level(2.0, 1.0)) == (0, 10, 20)


def test_documents_become_harmless_html() -> None:
    found = markdown(
        "# Title\n\n<script>x</script> [file](store.md) [site](https://a.org) [bad](javascript:x) ![p](http://b.org/p.png)"
    )
    assert "Title" not in found
    assert "<script>" not in found
    assert "<img" not in found
    assert 'href="https://a.org"' in found
    assert "store.md" not in found
    assert 'href="javascript' not in found
    assert linked("<b> arXiv 2508.05430").startswith("&lt;b&gt; arXiv <a")


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1440])
def test_pages_open_from_the_disk_without_errors(browser, folder: Path, width: int) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme="dark" if width == 390 else "light")
    page = context.new_page()
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(message.text))
    page.on("pageerror", lambda error: troubles.append(str(error)))
    page.on("requestfailed", lambda request: troubles.append(request.url))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or troubles.append(request.url))
    drawn = (path for path in (folder / "samples").glob("*.html") if 'class="regions"' in path.read_text(encoding="utf-8"))
    sample = next(drawn).relative_to(folder)
    for name in (
        "index.html",
        "boards/scenes-pointing--embedded.html",
        f"methods/{slug(HOSTILE)}.html",
        sample,
        "compare.html",
    ):
        page.goto((folder / name).as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgba(0, 0, 0, 0)"
    page.goto((folder / "boards" / "scenes-pointing--embedded.html").as_uri())
    first = "table.sortable tbody tr:not([hidden]) th"
    before = page.locator(first).first.inner_text()
    page.get_by_role("button", name="mean").first.click()
    assert page.locator(first).first.inner_text() != before
    page.get_by_placeholder("Filter methods").fill("fixlip")
    assert all("fixlip" in text for text in page.locator(first).all_inner_texts())
    page.goto((folder / sample).as_uri())
    assert page.locator(".regions").first.is_visible()
    page.get_by_label("True regions").uncheck()
    assert not page.locator(".regions").first.is_visible()
    context.close()
    assert troubles == []
