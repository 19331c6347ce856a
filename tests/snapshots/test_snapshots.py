"""Snapshots: what is frozen gives every table again, and whatever was changed is found and named."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
from click.testing import CliRunner

from benchmark.cli import cli
from benchmark.ranking import Selection, leaderboard
from benchmark.snapshots import SnapshotError, is_snapshot, open_snapshot, read_manifest
from benchmark.snapshots.checksums import changed_files, write_checksums
from benchmark.snapshots.create import create
from benchmark.snapshots.frozen import choose, freeze
from benchmark.snapshots.tables import TABLES
from benchmark.snapshots.verify import verify
from benchmark.store import StoreWriter, open_store, rows

PARQUET = ("scores.parquet", "explanations.parquet", "samples.parquet", "verifications.parquet")


@pytest.fixture
def copy(snapshot: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(snapshot, tmp_path / "scenes" / "2026.11"))


def forge(folder: Path, table: str, change: str) -> None:
    """Change the rows of a frozen table with SQL."""
    path = folder / f"{table}.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE forged AS SELECT * FROM '{path}'; {change}")
        connection.execute(f"COPY forged TO '{path}' (FORMAT parquet)")


def test_a_snapshot_has_every_file_and_is_read_like_the_store_that_it_was_made_of(store: Path, snapshot: Path) -> None:
    assert {path.name for path in snapshot.iterdir()} == {*TABLES, *PARQUET, "manifest.json", "SHA256SUMS"}
    assert is_snapshot(snapshot)
    with open_store(store) as first, open_snapshot(snapshot) as second:
        assert leaderboard(first) == leaderboard(second)
        keys = [rows(connection, "SELECT score_key, value FROM scores ORDER BY ALL") for connection in (first, second)]
        assert keys[0] == keys[1]
        views = [rows(connection, "SELECT * FROM results ORDER BY ALL") for connection in (first, second)]
        assert views[0] == views[1]
        assert rows(second, "SELECT count(payload) AS n FROM explanations") == [{"n": 0}]
        assert [row["run_id"] for row in rows(second, "SELECT * FROM runs")] == [
            row["run_id"] for row in rows(first, "SELECT * FROM runs")
        ]


def test_the_manifest_names_what_the_numbers_depend_on_and_no_folder_of_the_machine(snapshot: Path) -> None:
    manifest = read_manifest(snapshot)
    assert (manifest.suite, manifest.version) == ("scenes", "2026.11")
    assert [task.id for task in manifest.tasks] == ["scenes-cost", "scenes-pointing", "scenes-spans"]
    assert {method.label for method in manifest.methods} == {"grad_eclip", "random", "centre", "raw_attention"}
    assert all(method.version >= 1 and method.seeds for method in manifest.methods)
    assert [(item.name, item.synthetic) for item in manifest.data] == [("scenes", True)]
    assert manifest.runs[0].command == "benchmark run --store store.duckdb --task 'scenes-*'"
    assert "torch" in manifest.runs[0].versions
    assert r"\cite{" in (snapshot / "leaderboard.tex").read_text()
    assert (snapshot / "CITATION.bib").read_text().strip() in (snapshot / "references.bib").read_text()
    assert {item.name: item.tolerance for item in manifest.metrics}["cost_seconds"] is None
    assert "somebody" not in "".join(path.read_text(errors="replace") for path in snapshot.iterdir())


def test_the_same_scores_give_the_same_files(store: Path, snapshot: Path, tmp_path: Path) -> None:
    create(tmp_path / "scenes" / "2026.11", store, Selection())
    same = {*TABLES, *PARQUET} - {"README.md"}
    assert all((tmp_path / "scenes" / "2026.11" / name).read_bytes() == (snapshot / name).read_bytes() for name in same)


def test_an_untouched_snapshot_is_verified_and_its_units_are_the_same_when_made_anew(snapshot: Path) -> None:
    report = verify(snapshot, n_reruns=4, seed=2)
    assert report.good, report.problems
    assert report.rebuilt == len(TABLES)
    assert [found.verdict for found in report.reruns] == ["same"] * 4
    assert all(found.n_scores for found in report.reruns)


def test_tables_are_the_same_in_another_locale_and_time_zone_and_need_no_torch(snapshot: Path) -> None:
    code = """
import locale, sys
from pathlib import Path
from benchmark.snapshots.verify import verify
report = verify(Path(sys.argv[1]))
assert report.good, report.problems
assert report.rebuilt == int(sys.argv[2])
assert "torch" not in sys.modules
"""
    environment = {**os.environ, "TZ": "Pacific/Chatham", "LC_ALL": "C", "PYTHONHASHSEED": "7", "PYTHONUTF8": "0"}
    command = [sys.executable, "-c", code, str(snapshot), str(len(TABLES))]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


def test_a_changed_byte_in_any_file_is_found_and_the_file_named(copy: Path) -> None:
    for path in sorted(copy.iterdir()):
        content = path.read_bytes()
        for place in {0, len(content) // 3, len(content) // 2, len(content) - 1}:
            path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
            assert any(path.name in problem for problem in changed_files(copy)), (path.name, place)
        path.write_bytes(content)
    assert changed_files(copy) == []


@pytest.mark.parametrize("name", ["scores.parquet", "manifest.json", "SHA256SUMS", "leaderboard.tex"])
def test_a_changed_byte_is_reported_even_where_the_rest_cannot_be_read_any_more(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(bytes([content[0] ^ 1]) + content[1:])
    report = verify(copy)
    assert not report.good
    assert any(name in problem for problem in report.problems)


def test_an_added_a_missing_and_a_linked_file_are_named(copy: Path) -> None:
    (copy / "more").mkdir()
    (copy / "more" / "notes.txt").write_text("mine")
    (copy / "tracks.txt").unlink()
    (copy / "README.md").rename(copy.parent / "elsewhere.md")
    (copy / "README.md").symlink_to(copy.parent / "elsewhere.md")
    problems = " ".join(verify(copy).problems)
    assert "more/notes.txt was added" in problems
    assert "tracks.txt is missing" in problems
    assert "README.md is a link" in problems


def test_a_changed_score_with_new_checksums_does_not_give_the_tables(copy: Path) -> None:
    forge(copy, "scores", "UPDATE forged SET value = 1 WHERE metric = 'average_precision' AND label = 'random'")
    write_checksums(copy)
    report = verify(copy)
    assert {problem.split()[0] for problem in report.problems} >= {"leaderboard.json", "leaderboard.txt"}
    assert any("line" in problem and "should be" in problem for problem in report.problems)


def test_tables_of_other_code_are_said_to_be_so(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    manifest["code"] |= {"version": "0.0.7", "commit": "0123456789abcdef"}
    (copy / "manifest.json").write_text(json.dumps(manifest))
    write_checksums(copy)
    report = verify(copy)
    assert any("CITATION.bib is not what" in problem for problem in report.problems)
    assert any("made by version 0.0.7, commit 0123456789ab" in remark for remark in report.remarks)


def test_a_changed_score_with_new_tables_is_found_when_its_unit_is_made_anew(copy: Path) -> None:
    from benchmark.snapshots.tables import build, content

    forge(copy, "scores", "UPDATE forged SET value = 1 - value WHERE label = 'centre' AND metric = 'average_precision'")
    with open_snapshot(copy) as connection:
        for name, text in build(content(connection, read_manifest(copy), copy)).items():
            (copy / name).write_text(text)
    write_checksums(copy)
    assert verify(copy).good
    report = verify(copy, n_reruns=100, seed=0)
    assert {found.label for found in report.reruns if found.verdict == "differs"} == {"centre"}
    assert any("centre" in problem and "average_precision" in problem for problem in report.problems)


def test_a_unit_that_cannot_be_made_here_is_named_and_never_counted_as_passed(copy: Path) -> None:
    forge(copy, "explanations", "UPDATE forged SET method = 'nowhere_to_be_found' WHERE label = 'centre'")
    forge(copy, "explanations", "UPDATE forged SET method_version = 99 WHERE label = 'random'")
    manifest = json.loads((copy / "manifest.json").read_text())
    write_checksums(copy)
    report = verify(copy, n_reruns=100, seed=0)
    verdicts = {found.label: (found.verdict, found.reason or "") for found in report.reruns}
    assert verdicts["centre"][0] == verdicts["random"][0] == "not re-run"
    assert "not installed" in verdicts["centre"][1]
    assert "version 99" in verdicts["random"][1]
    assert verdicts["grad_eclip"][0] == "same"
    assert manifest["counts"]["scores"] > 0


def test_the_command_line_creates_verifies_and_ends_with_the_right_code(store: Path, snapshot: Path, copy: Path) -> None:
    def call(*words: object) -> Any:
        return CliRunner().invoke(cli, ["snapshot", *map(str, words)])

    folder = copy.parents[1] / "small" / "1"
    made = call(
        "create", folder, "--store", store, "--task", "scenes-pointing", "--method", "random,centre", "--note", "A try."
    )
    assert made.exit_code == 0, made.output
    assert "A try." in (folder / "README.md").read_text()
    assert {task.id for task in read_manifest(folder).tasks} == {"scenes-pointing"}
    assert {method.label for method in read_manifest(folder).methods} == {"random", "centre"}
    good = call("verify", folder, "--rerun", 1, "--seed", 4, "--json")
    assert good.exit_code == 0, good.output
    assert json.loads(good.stdout)["good"] is True
    (copy / "tracks.txt").write_text("nothing")
    bad = call("verify", copy, "--rerun", 0)
    assert bad.exit_code == 1
    assert "tracks.txt was changed" in bad.output
    assert "not verified" in bad.output
    assert call("verify", copy.parent / "nothing").exit_code == 2
    assert call("verify", copy.parent).exit_code == 2


def test_what_is_there_is_not_overwritten_and_nothing_makes_no_snapshot(store: Path, snapshot: Path, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="is there already"):
        create(snapshot, store, Selection())
    with pytest.raises(SnapshotError, match=r"no score in .* is of this selection"):
        create(tmp_path / "scenes" / "1", store, Selection(tasks=["coco-*"]))
    with pytest.raises(SnapshotError, match="is no name"):
        create(tmp_path / "My Suite" / "1", store, Selection())
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_newer_format_is_refused_by_name(copy: Path) -> None:
    manifest = json.loads((copy / "manifest.json").read_text())
    (copy / "manifest.json").write_text(json.dumps(manifest | {"format": 2, "more": 1}))
    with pytest.raises(SnapshotError, match="format 2 of a newer version"), open_snapshot(copy):
        pass


def test_texts_that_may_not_be_shown_and_what_reasons_quote_of_them_are_left_out(store: Path, tmp_path: Path) -> None:
    work = tmp_path / "store.duckdb"
    shutil.copy(store, work)
    with StoreWriter(work) as writer, writer.transaction() as connection:
        connection.execute("UPDATE samples SET text = 'a secret finding'")
        connection.execute("""UPDATE scores SET reason = 'the image /data/p10/x.png has the text ''a secret finding''' """)
    for hidden, shown in ((["scenes"], False), ([], True)):
        folder = tmp_path / str(shown)
        folder.mkdir()
        with open_store(work) as connection:
            choose(connection, Selection())
            freeze(connection, folder, hidden)
        with duckdb.connect() as connection:
            texts = {text for (text,) in connection.execute(f"SELECT text FROM '{folder}/samples.parquet'").fetchall()}
            reasons = {text for (text,) in connection.execute(f"SELECT reason FROM '{folder}/scores.parquet'").fetchall()}
        assert texts == ({"a secret finding"} if shown else {""})
        quoted = "'a secret finding'" if shown else "(not shown)"
        assert reasons == {f"the image x.png has the text {quoted}"}


def test_an_unfinished_store_makes_a_snapshot_that_says_so(store: Path, tmp_path: Path) -> None:
    work = tmp_path / "store.duckdb"
    shutil.copy(store, work)
    with StoreWriter(work) as writer, writer.transaction() as connection:
        connection.execute("DELETE FROM scores WHERE label = 'centre' AND position = 2")
    folder = tmp_path / "scenes" / "1"
    words = ["snapshot", "create", str(folder), "--store", str(work)]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 0, done.output
    assert "unfinished" in done.stderr
    assert read_manifest(folder).counts.partial > 0
    assert "have no rank" in (folder / "README.md").read_text()
