"""``benchmark speed`` from the command line: tables, JSON and a figure; and what it says to wrong wishes."""

import json
from xml.etree import ElementTree

import pytest
from click.testing import CliRunner

from benchmark.cli import cli

SPREAD = {"median", "low", "high"}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("speed")
    arguments = ["--size", "embedded", "--part", "game,fit", "--precision", "float32", "--device", "cpu", "--quick"]
    files = ["--json", str(folder / "speed.json"), "--figure", str(folder / "speed.svg")]
    result = CliRunner().invoke(cli, ["speed", *arguments, *files])
    assert result.exit_code == 0, result.output
    return result, json.loads((folder / "speed.json").read_text()), folder / "speed.svg"


def test_the_report_says_on_what_it_was_made(measured):
    _, report, _ = measured
    assert report["device"]
    assert report["threads"] == 1
    assert report["clock"] == "processor time"
    assert report["quick"]
    assert {"python", "torch", "transformers"} <= report["versions"].keys()
    assert report["peaks"]["float32"] > 1e8
    assert report["methods"] == report["growth"] == []  # not asked for


def test_every_way_is_compared_with_the_library(measured):
    _, report, _ = measured
    rows = {row["way"]: row for row in report["game"]}
    assert rows.keys() == {"library", "naive", "mask_pixels", "drop_tokens"}
    assert rows["library"]["of_library"] == dict.fromkeys(SPREAD, 1.0)
    for row in rows.values():
        assert row["per_second"].keys() == SPREAD
        assert 0 < row["of_peak"] < 2
        assert row["per_second"]["low"] <= row["per_second"]["median"] <= row["per_second"]["high"]


def test_our_fit_is_the_naive_one_in_less_memory(measured):
    _, report, _ = measured
    fits = {(row["against"], row["pairs"], row["n_players"], row["budget"], row["way"]): row for row in report["fits"]}
    naive = [key for key in fits if key[-1] == "naive"]
    assert len(naive) >= 4
    for key in naive:
        ours = fits[(*key[:-1], "ours")]
        assert ours["difference"] < 1e-6
        assert ours["megabytes"] < fits[key]["megabytes"] / 10


def test_the_tables_and_the_figure_show_what_was_measured(measured):
    result, _, figure = measured
    assert "x library" in result.stdout
    assert "mask_pixels" in result.stdout
    assert "game: embedded" in result.stderr
    assert ElementTree.parse(figure).getroot().tag.endswith("svg")
    assert figure.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--size", "vit-b-23"], "Did you mean 'vit-b-32'?"),
        (["--part", "fits"], "Did you mean 'fit'?"),
        (["--precision", "fp8"], "no precision is called 'fp8'"),
        (["--precision", "tf32", "--device", "cpu"], "tf32 needs a CUDA device"),
        (["--method", "oclusion"], "Did you mean 'occlusion'?"),
        (["--figure", "speed.txt"], "a figure's name ends in one of .png, .svg, .pdf"),
        (["--json", "no/such/folder/a.json"], "does not exist"),
    ],
)
def test_a_wrong_wish_ends_with_2_and_says_what_is_known(arguments, message):
    result = CliRunner().invoke(cli, ["speed", *arguments])
    assert result.exit_code == 2
    assert message in result.output
