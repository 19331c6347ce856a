"""kill -9 at any moment, and the same command again: the rows of an undisturbed run."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import call, start

from benchmark.store import query_store
from benchmark.store.lock import holder_of
from benchmark.store.paths import StoreFiles

ARGUMENTS = (
    "run",
    "--method",
    "fake_slow[seconds=0.05],fake_noise",
    "--task",
    "fake-mean",
    "--model",
    "fake",
    "--workers",
    "1",
    "--limit",
    "30",
)
ROWS = (
    "SELECT unit_key, payload_hash, seed, status FROM explanations ORDER BY unit_key",
    "SELECT score_key, value, status, flags FROM scores ORDER BY score_key",
    "SELECT * FROM samples ORDER BY sample_id",
)
MADE = "SELECT unit_key, run_id, created FROM explanations"

# A kill comes up to 0.2 s after its moment. After "committed" rows are in the log alone, after "published" in the store too.
MOMENTS = (
    "committed",
    "published",
    "started",
    "committed",
    "locked",
    "published",
    "committed",
    "locked",
    "published",
    "committed",
)

READER = """
import sys, time
import duckdb
n = last = slowest = 0
while time.time() < float(sys.argv[2]):
    began = time.time()
    try:
        with duckdb.connect(sys.argv[1], read_only=True) as connection:
            found = connection.execute("SELECT count(*) FROM scores").fetchone()[0]
    except duckdb.IOException as error:
        if "does not exist" not in str(error):
            raise
        time.sleep(0.01)
        continue
    assert found >= last, (found, last)
    n, last, slowest = n + 1, found, max(slowest, time.time() - began)
    if found >= int(sys.argv[3]):
        break
print(n, last, slowest)
"""


def size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def inode(path: Path) -> int:
    return path.stat().st_ino if path.exists() else 0


def writes(store: Path, pid: int) -> bool:
    holder = holder_of(StoreFiles(store).lock)
    return holder is not None and holder.pid == pid


def wait_until(happened: Callable[[], bool], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.005)


@pytest.mark.slow
def test_a_run_killed_at_ten_random_moments_ends_with_the_same_rows(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole.duckdb", tmp_path / "broken.duckdb"
    assert call(*ARGUMENTS, "--store", str(whole))[0] == 0
    rng = random.Random()
    seed = rng.randrange(10**6)
    rng.seed(seed)
    made: dict[str, tuple] = {}
    command = [sys.executable, "-c", READER, str(broken), str(time.time() + 300), "120"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as reader:
        for moment in MOMENTS:
            before = inode(broken)
            with start(*ARGUMENTS, "--store", str(broken), publish_seconds=0.0 if moment == "published" else 60.0) as process:
                happened = {
                    "started": lambda: True,
                    "locked": lambda pid=process.pid: writes(broken, pid),
                    "committed": lambda pid=process.pid: writes(broken, pid) and size(StoreFiles(broken).part_wal) > 8_000,
                    "published": lambda before=before: inode(broken) != before,
                }[moment]
                wait_until(lambda process=process, happened=happened: happened() or process.poll() is not None)
                time.sleep(rng.random() * 0.2)
                process.send_signal(signal.SIGKILL)
                process.communicate()
            if broken.exists():
                now = {key: (run, created) for key, run, created in query_store(broken, MADE)[1]}
                assert made.items() <= now.items(), f"seed {seed}: a stored unit was lost or made again"
                made = now
        code, _, err = call(*ARGUMENTS, "--store", str(broken))
        assert code == 0, f"seed {seed}: {err}"
        n, last, slowest = reader.communicate(timeout=60)[0].split()
    assert reader.returncode == 0
    for query in ROWS:
        assert query_store(broken, query) == query_store(whole, query), f"seed {seed}"
    now = {key: (run, created) for key, run, created in query_store(broken, MADE)[1]}
    assert made.items() <= now.items(), f"seed {seed}"
    assert len({run for run, _ in now.values()}) > 1, f"seed {seed}: no kill hit a working run"
    assert int(n) > 0
    assert int(last) == 120
    assert float(slowest) < 20
    assert not list(tmp_path.glob("*.part*"))


def test_ctrl_c_publishes_and_says_how_to_go_on(tmp_path: Path) -> None:
    store = tmp_path / "x.duckdb"
    arguments = (
        "run",
        "-m",
        "fake_slow[seconds=0.1]",
        "-t",
        "fake-mean",
        "--model",
        "fake",
        "--workers",
        "1",
        "--store",
        str(store),
    )
    with start(*arguments, publish_seconds=0.0) as process:
        wait_until(store.exists)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the same command goes on" in err
    assert "Traceback" not in err
    assert out == ""
    assert not store.with_name(store.name + ".part").exists()
    assert query_store(store, "SELECT status FROM runs")[1] == [("interrupted",)]
    assert 0 < query_store(store, "SELECT count(*) FROM explanations")[1][0][0] < 40
