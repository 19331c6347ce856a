"""Ray gives the rows of a local run, whatever happens to its workers, to the driver or to the disk."""

import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes import FAKE_TASK, FakeSource, call, planted, start

from benchmark.errors import BenchmarkError
from benchmark.records import UnitResult
from benchmark.runner import catalogue
from benchmark.runner.plan import Request
from benchmark.runner.progress import Progress
from benchmark.runner.ray_workers import Cluster, connected
from benchmark.runner.run import Summary, run
from benchmark.store import StoreFull, query_store, writer

__all__ = ["planted"]
pytestmark = [pytest.mark.usefixtures("planted", "in_time"), pytest.mark.slow]

TESTS = Path(__file__).parents[1]
METHODS = "fake_slow[seconds=0.05],fake_noise,fake_broken"
LIMIT = 16
COMMAND = ("run", "-m", METHODS, "-t", "fake-mean", "--model", "fake", "--limit", str(LIMIT))
HOOK = {"worker_process_setup_hook": "fake_ray.set_up"}
ROWS = (
    "SELECT unit_key, status, error_class, reason, payload_hash, similarity, image_forwards FROM explanations ORDER BY 1",
    "SELECT score_key, unit_key, position, status, value, chance, reason, flags FROM scores ORDER BY 1",
    "SELECT * FROM samples ORDER BY sample_id",
)
MADE = "SELECT unit_key, run_id, created FROM explanations"


@pytest.fixture
def in_time() -> Iterator[None]:
    """No test hangs, whatever its workers do."""

    def stop(number: int, frame: object) -> None:
        raise TimeoutError("the test took more than 240 seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(240)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One Ray on two cores for all tests here; its workers know nothing but the fakes."""
    ray = pytest.importorskip("ray", reason="Ray is an optional extra: pip install 'xlip-bench[scale]'")
    path = os.pathsep.join([str(TESTS.parent), str(TESTS)])
    changes = {"PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0"}
    before = {name: os.environ.get(name) for name in changes}
    os.environ |= changes
    quiet: dict[str, Any] = {"include_dashboard": False, "log_to_driver": False, "logging_level": "error"}
    try:
        for last in (False, False, True):  # Ray gives itself half a minute to start, which a busy machine may exceed
            try:
                ray.init(address="local", num_cpus=2, object_store_memory=80 * 2**20, runtime_env=HOOK, **quiet)
                break
            except Exception:
                ray.shutdown()
                if last:
                    raise
        with connected() as found:
            yield found
    finally:
        ray.shutdown()
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.__setitem__(name, value)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list:
    store = tmp_path_factory.mktemp("local") / "local.duckdb"
    code, _, err = call(*COMMAND, "--workers", "1", "--store", str(store))
    assert code == 1, err  # fake_broken fails where it is told to
    return rows(store)


def rows(store: Path) -> list:
    return [query_store(store, query)[1] for query in ROWS]


class Count(Progress):
    """Does something after every result."""

    def __init__(self, act: Callable[[int], None]) -> None:
        super().__init__("", 0)
        self._act, self._n = act, 0

    def count(self, result: UnitResult) -> None:
        self._n += 1
        self._act(self._n)


def go(
    store: Path, cluster: Cluster, act: Callable[[int], None] = lambda n: None, methods: str = METHODS, **more: Any
) -> Summary:
    limit = more.pop("limit", LIMIT)
    request = Request(methods=catalogue.methods(methods), tasks=(FAKE_TASK,), limit=limit)
    return run(request, [FakeSource()], store, cluster=cluster, progress=lambda title, n: Count(act), **more)


def actors() -> list[int]:
    """Return the processes of this machine in which our actors live."""
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if command.startswith(b"ray::_Actor"):
                found.append(int(folder.name))
    return found


def test_the_rows_of_a_local_run(tmp_path: Path, cluster: Cluster, undisturbed: list) -> None:
    summary = go(tmp_path / "ray.duckdb", cluster)
    assert (summary.n_done, summary.interrupted) == (3 * LIMIT, False)
    assert rows(tmp_path / "ray.duckdb") == undisturbed
    assert go(tmp_path / "ray.duckdb", cluster).n_done == 0


def test_workers_killed_at_random(tmp_path: Path, cluster: Cluster, undisturbed: list) -> None:
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    killed: list[int] = []

    def kill(n: int) -> None:
        if n % 8 == 0 and n < 3 * LIMIT - 8:  # so far apart that no unit is hit twice
            time.sleep(rng.random() * 0.1)
            alive = [pid for pid in actors() if pid not in killed]
            if alive:
                killed.append(rng.choice(alive))
                os.kill(killed[-1], signal.SIGKILL)

    go(tmp_path / "ray.duckdb", cluster, kill)
    assert len(killed) >= 3, f"seed {seed}"
    assert rows(tmp_path / "ray.duckdb") == undisturbed, f"seed {seed}"


def test_units_that_kill_hang_or_exhaust_memory_end_as_in_a_local_run(tmp_path: Path, cluster: Cluster) -> None:
    methods = "fake_broken[how=dies],fake_broken[how=hangs],fake_broken[how=memory],fake_noise"
    local = tmp_path / "local.duckdb"
    common = ("-t", "fake-mean", "--model", "fake", "--limit", "5", "--unit-timeout", "4", "--workers", "2")
    code, _, err = call("run", "-m", methods, *common, "--store", str(local))
    assert code == 1, err
    go(tmp_path / "ray.duckdb", cluster, methods=methods, limit=5, unit_timeout=4.0)
    assert rows(tmp_path / "ray.duckdb") == rows(local)
    failed = "SELECT label, sample_id, error_class FROM explanations WHERE status = 'failed' ORDER BY label"
    assert query_store(local, failed)[1] == [
        ("fake_broken[how=dies]", "s003", "WorkerLost"),
        ("fake_broken[how=hangs]", "s003", "WorkerLost"),
        ("fake_broken[how=memory]", "s003", "MemoryError"),
    ]


def test_a_full_disk(tmp_path: Path, cluster: Cluster, undisturbed: list, monkeypatch: pytest.MonkeyPatch) -> None:
    store = tmp_path / "ray.duckdb"

    def full(*arguments: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(writer, "PUBLISH_SECONDS", 0.3)
        patch.setattr(shutil, "copyfile", full)
        with pytest.raises(StoreFull, match="is full"):
            go(store, cluster)
    summary = go(store, cluster)
    assert 0 < summary.n_done < 3 * LIMIT
    assert rows(store) == undisturbed


def test_ctrl_c_publishes_what_is_finished(tmp_path: Path, cluster: Cluster, undisturbed: list) -> None:
    store = tmp_path / "ray.duckdb"
    summary = go(store, cluster, lambda n: os.kill(os.getpid(), signal.SIGINT) if n == 10 else None)
    assert (summary.interrupted, summary.n_done) == (True, 10)
    assert query_store(store, "SELECT count(*) FROM explanations")[1] == [(10,)]
    assert go(store, cluster).n_done == 3 * LIMIT - 10
    assert rows(store) == undisturbed


def test_a_driver_that_is_killed_and_started_again(
    tmp_path: Path, cluster: Cluster, undisturbed: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "ray.duckdb"
    address = cluster.ray.get_runtime_context().gcs_address
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", json.dumps({"runtime_env": HOOK}))
    with start(*COMMAND, "--executor", "ray", "--ray-address", address, "--store", str(store), publish_seconds=0.0) as driver:
        deadline = time.monotonic() + 120
        while not store.exists() and driver.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.3)
        driver.send_signal(signal.SIGKILL)
        _, err = driver.communicate(timeout=60)
    assert store.exists(), err
    made = set(query_store(store, MADE)[1])
    assert 0 < len(made) < 3 * LIMIT, "the kill came too late"
    assert go(store, cluster).n_done > 0
    assert made <= set(query_store(store, MADE)[1])
    assert rows(store) == undisturbed


def test_the_embedded_encoder_gives_the_rows_of_a_local_run(tmp_path: Path, cluster: Cluster) -> None:
    address = cluster.ray.get_runtime_context().gcs_address
    arguments = ("run", "-m", "random,gradient_x_input", "-t", "scenes-pointing", "--limit", "2", "--device", "cpu")
    found: list[list] = []
    for place in (("--workers", "1"), ("--executor", "ray", "--ray-address", address, "--workers", "2")):
        store = tmp_path / f"{len(found)}.duckdb"
        command = [sys.executable, "-m", "benchmark", *arguments, *place, "--store", str(store)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
        assert ended.returncode == 0, ended.stderr
        assert "ray" not in ended.stdout.lower()
        found.append(rows(store))
    assert found[0] == found[1]
    assert len(found[0][0]) > 2


def test_without_ray_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BenchmarkError, match=r"pip install 'xlip-bench\[scale\]'"), connected():
        pass
