"""One file, one writer, any number of readers."""

import errno
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import duckdb
import pytest

from benchmark.errors import StoreError
from benchmark.records import (
    Cost,
    ExplanationRecord,
    Origin,
    RunRecord,
    SampleRecord,
    ScoreRecord,
    UnitResult,
    canonical,
    content_key,
    score_key,
)
from benchmark.store import StoreFull, StoreWriter, open_store, query_store, rows, writer
from benchmark.store.lock import WriterLock, holder_of
from benchmark.store.paths import StoreFiles


def result(i: int, value: float = 0.5) -> UnitResult:
    sample = SampleRecord(data="d", data_version="1", sample_id=f"s{i}", text_hash="t", text="a text", cluster=f"c{i}")
    origin = Origin(encoder="e", revision="", method="m", method_version=1, parameters={"p": 0.5}, label="m", seed=0)
    unit = origin.unit_key({"sample": f"s{i}"})
    explanation = ExplanationRecord(
        unit_key=unit, origin=origin, sample=sample, status="ok", payload=b"npz", cost=Cost(image_forwards=3, seconds=0.1)
    )
    score = ScoreRecord(
        score_key=score_key(unit, "h", "hit"),
        unit_key=unit,
        task="t",
        task_version=1,
        task_hash="h",
        metric="hit",
        position=i,
        status="ok",
        value=value,
        flags={"tie": 0.25},
    )
    return UnitResult(unit_key=unit, origin=origin, sample=sample, explanation=explanation, scores=(score,))


def run_record(name: str = "r1") -> RunRecord:
    return RunRecord(run_id=name, command="benchmark run", versions={"python": "3"}, seeds=(0, 1))


def fill(path: Path, n: int, run: str = "r1", start: int = 0) -> None:
    with StoreWriter(path) as store:
        store.begin(run_record(run))
        for i in range(start, start + n):
            store.add(result(i))
        store.end("done")


def count(path: Path, table: str = "scores") -> int:
    return query_store(path, f"SELECT count(*) FROM {table}")[1][0][0]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results" / "benchmark.duckdb"


def test_a_key_depends_on_content_and_not_on_order_or_container() -> None:
    assert content_key({"a": 1, "b": (1, 2)}) == content_key({"b": [1, 2], "a": 1})
    assert content_key({"a": 1}) != content_key({"a": 1.5})
    assert len(content_key({})) == 32
    with pytest.raises(TypeError, match="no canonical form"):
        canonical({"a": object()})
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical(float("nan"))


def test_what_a_writer_adds_is_there_for_readers_once_it_ends(path: Path) -> None:
    fill(path, 3)
    with open_store(path) as connection:
        found = rows(connection, "SELECT * FROM results ORDER BY position")
        run = rows(connection, "SELECT * FROM runs")[0]
    assert [row["value"] for row in found] == [0.5] * 3
    assert found[0]["image_forwards"] == 3
    assert found[0]["text"] == "a text"
    assert (run["status"], run["n_units"], run["n_failed"], run["seeds"]) == ("done", 3, 0, [0, 1])
    assert sorted(item.name for item in path.parent.iterdir()) == ["benchmark.duckdb", "benchmark.duckdb.lock"]


def test_a_second_run_keeps_the_rows_of_the_first(path: Path) -> None:
    fill(path, 3)
    fill(path, 2, "r2", start=3)
    assert query_store(path, "SELECT run_id, count(*) FROM scores GROUP BY run_id ORDER BY 1")[1] == [("r1", 3), ("r2", 2)]


def test_a_row_of_the_same_key_is_replaced_and_never_doubled(path: Path) -> None:
    fill(path, 1)
    with StoreWriter(path) as store:
        store.begin(run_record("r2"))
        store.add(result(0, value=0.75))
    assert query_store(path, "SELECT run_id, value FROM scores")[1] == [("r2", 0.75)]


def test_a_units_probes_are_stored_with_it_or_not_at_all(path: Path) -> None:
    unit = result(0)
    assert unit.explanation is not None
    sample = replace(unit.sample, sample_id="s0~probe")
    probe = replace(unit.explanation, unit_key="probe", sample=sample, similarity=0.25, cost=Cost(backwards=2, seconds=0.5))
    bad = replace(result(1), probes=(replace(probe, unit_key="other", status=cast(Any, None)),))
    with StoreWriter(path) as store:
        store.begin(run_record())
        store.add(replace(unit, probes=(probe,)))
        found = store.explanation("probe")
        with pytest.raises(duckdb.Error):
            store.add(bad)
        assert store.explanation("other") is None
    assert found is not None
    assert (found.status, found.payload, found.similarity, found.cost) == ("ok", b"npz", 0.25, probe.cost)
    assert (count(path), count(path, "explanations"), count(path, "samples")) == (1, 2, 2)


def test_a_writer_that_adds_nothing_leaves_the_store_as_it_was(path: Path) -> None:
    fill(path, 1)
    before = path.stat()
    with StoreWriter(path):
        pass
    assert path.stat().st_ino == before.st_ino
    assert not StoreFiles(path).part.exists()


def test_a_second_writer_is_told_who_writes(path: Path) -> None:
    with StoreWriter(path) as store:
        store.begin(run_record())
        with pytest.raises(StoreError, match=f"process {os.getpid()} on"), StoreWriter(path):
            pass
        assert str(holder_of(StoreFiles(path).lock)).startswith(f"process {os.getpid()}")
        store.add(result(0))
    assert holder_of(StoreFiles(path).lock) is None
    assert count(path) == 1


def test_the_lock_of_a_dead_process_is_no_obstacle(tmp_path: Path) -> None:
    lock = tmp_path / "x.lock"
    lock.write_text('{"pid": 1, "host": "gone", "command": "c", "started": "then"}')
    assert holder_of(lock) is None
    with WriterLock(lock):
        assert holder_of(lock) is not None


def test_a_reader_keeps_its_state_and_does_not_stop_a_publication(path: Path) -> None:
    fill(path, 1)
    code = (
        "import sys, duckdb\n"
        "with duckdb.connect(sys.argv[1], read_only=True) as c:\n"
        "    for line in sys.stdin: print(c.execute('SELECT count(*) FROM scores').fetchone()[0], flush=True)\n"
    )
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        reader.stdin.write("\n")
        assert reader.stdout.readline() == "1\n"
        with StoreWriter(path) as store:
            store.begin(run_record("r2"))
            store.add(result(1))
            store.publish()
            assert count(path) == 2
        reader.stdin.write("\n")
        assert reader.stdout.readline() == "1\n"
        reader.stdin.close()


def test_a_newer_store_is_refused_and_left_alone(path: Path) -> None:
    fill(path, 1)
    with duckdb.connect(path) as connection:
        connection.execute("UPDATE meta SET schema_version = 99")
    before = path.read_bytes()
    with pytest.raises(StoreError, match="newer version of the benchmark"), StoreWriter(path):
        pass
    with pytest.raises(StoreError, match="newer version of the benchmark"), open_store(path):
        pass
    assert path.read_bytes() == before
    assert not StoreFiles(path).part.exists()


def test_another_programs_file_is_refused(tmp_path: Path) -> None:
    foreign, text = tmp_path / "foreign.duckdb", tmp_path / "text.duckdb"
    with duckdb.connect(foreign) as connection:
        connection.execute("CREATE TABLE t (a INTEGER)")
    text.write_text("not a database")
    for path in (foreign, text):
        with pytest.raises(StoreError, match=r"not a store|cannot be opened"), StoreWriter(path):
            pass
        with pytest.raises(StoreError, match=r"not a store|cannot be opened"), open_store(path):
            pass
    with pytest.raises(StoreError, match="there is no store at"), open_store(tmp_path / "none.duckdb"):
        pass


def test_an_error_of_the_run_keeps_what_was_stored(path: Path) -> None:
    def stumble() -> None:
        with StoreWriter(path) as store:
            store.begin(run_record())
            store.add(result(0))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stumble()
    assert count(path) == 1


def test_a_bad_row_adds_nothing_of_its_unit(path: Path) -> None:
    bad = result(1)
    object.__setattr__(bad.scores[0], "status", None)
    with StoreWriter(path) as store:
        store.begin(run_record())
        store.add(result(0))
        with pytest.raises(duckdb.Error):
            store.add(bad)
    assert (count(path), count(path, "explanations"), count(path, "samples")) == (1, 1, 1)


def test_a_full_disk_loses_nothing_that_was_stored(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(path, 1)

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def overflow() -> None:
        with StoreWriter(path) as store:
            store.begin(run_record("r2"))
            store.add(result(1))
            monkeypatch.setattr(shutil, "copyfile", full)
            store.publish()

    with pytest.raises(StoreFull, match=r"the disk of .* is full"):
        overflow()
    assert count(path) == 1
    monkeypatch.undo()
    with StoreWriter(path):
        pass
    assert count(path) == 2


def _fill_up(path: Path, stored: list[int]) -> None:
    with StoreWriter(path) as store:
        store.begin(run_record())
        for i in range(4000):
            unit = result(i)
            assert unit.explanation is not None
            object.__setattr__(unit.explanation, "payload", os.urandom(20_000))
            store.add(unit)
            stored.append(i)


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a small disk needs root")
    try:
        path = disk / "x.duckdb"
        stored: list[int] = []
        with pytest.raises(StoreFull, match="is full"):
            _fill_up(path, stored)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        with StoreWriter(path):
            pass
        assert count(path) in (len(stored), len(stored) + 1)
        assert len(stored) > 20
    finally:
        subprocess.run(["umount", str(disk)], check=False)


def test_publication_takes_a_small_share_of_the_time(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(float(i) for i in range(10_000))
    monkeypatch.setattr(writer.time, "monotonic", lambda: next(clock))
    published: list[int] = []
    monkeypatch.setattr(StoreWriter, "publish", lambda self: published.append(1))
    with StoreWriter(path) as store:
        store.begin(run_record())
        for i in range(4):
            store.add(result(i))
        assert not published
        for i in range(4, 8):
            store.add(result(i))
        assert published
