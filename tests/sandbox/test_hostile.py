"""Hostile and broken submissions: each is stopped, says why, and takes nothing with it."""

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

import benchmark as xb
from benchmark import metrics
from benchmark.data import scenes
from benchmark.errors import InvalidExplanation
from benchmark.runner.encoders import EncoderSource
from benchmark.runner.plan import Request
from benchmark.runner.run import run
from benchmark.sandbox import SandboxError
from benchmark.sandbox.limits import (
    ChangedWeights,
    GivenUp,
    MemoryLimit,
    OutputLimit,
    ProcessDied,
    ProcessLimit,
    ProtocolError,
    SubmissionError,
    TimeLimit,
)
from benchmark.sandbox.watch import tree
from benchmark.store import open_store, rows
from benchmark.tasks.base import TASKS

from .conftest import HEAD, QUICK, Write


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


PROBES = """
def attempt(work):
    try:
        return f"done: {work()}"
    except BaseException as error:
        return type(error).__name__

def connect(port):
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        return "connected"

def write(path):
    with open(path, "a") as file:
        file.write("x")

def patch():
    import benchmark.metrics.localisation
"""


def test_nothing_of_the_machine_can_be_seen_or_touched(
    tmp_path: Path,
    write: Write,
    confinement: str,
    encoder: xb.DualEncoder,
    hostile_pair: xb.Pair,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, home = tmp_path / "store.duckdb", Path.home()
    store.write_text("truth")
    monkeypatch.setenv("HF_TOKEN", "secret")
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    probes = {
        "network": f"connect({listener.getsockname()[1]})",
        "store": f"open({str(store)!r}).read()",
        "regions": f"open({scenes.__file__!r}).read()",
        "data": "__import__('benchmark.data.scenes')",
        "tasks": "__import__('benchmark.tasks')",
        "metrics": "patch()",
        "secret": "os.environ['HF_TOKEN']",
        "own folder": "write(__file__)",
        "library": "write(np.__file__)",
        "suite": "write(sys.modules['benchmark'].__file__)",
        "root": "write('/written')",
        "namespace": "os.unshare(os.CLONE_NEWUSER)",
        "settings": "write('/proc/sys/kernel/core_pattern')",
        "host's scratch": f"write({str(tmp_path / 'written')!r})",
        "host's home": f"write({str(home / 'xlip-written')!r})",
        "other processes": f"os.kill({os.getpid()}, 0)",
        "scratch": "write(os.path.join(os.environ['TMPDIR'], 'mine'))",
    }
    lines = ",\n    ".join(f"{name!r}: attempt(lambda: {probe})" for name, probe in probes.items())
    body = f"notes = {{\n    {lines}}}\nreturn Explanation(image=np.ones(encoder.patch_grid), notes=notes)"
    notes = dict(write(body, head=PROBES + HEAD, confinement=confinement).explain(encoder, hostile_pair, rng()).notes)
    assert notes.pop("scratch") == "done: None"
    assert {name: found for name, found in notes.items() if found.startswith("done")} == {}
    with pytest.raises(BlockingIOError):
        listener.accept()
    assert not (tmp_path / "written").exists()
    assert not (home / "xlip-written").exists()


KILLS = """
for pid in (os.getppid() or 1, -1, os.getpid()):
    try:
        os.kill(pid, signal.SIGKILL)
    except OSError:
        continue
os.abort()
"""
GARBAGE = """
for fd in range(3, 256):
    try:
        os.write(fd, b"\\xff" * 64)
    except OSError:
        continue
time.sleep(1e6)
"""
FATAL = {
    "forks without end": ("while True:\n    os.fork()", ProcessLimit),
    "starts threads without end": (
        "import threading\nfor _ in range(99):\n    threading.Thread(target=time.sleep, args=(99,)).start()\ntime.sleep(1e6)",
        ProcessLimit,
    ),
    "allocates without end": ("held = []\nwhile True:\n    held.append(np.ones(2**21))", MemoryLimit),
    "sleeps for ever": ("time.sleep(1e6)", TimeLimit),
    "prints a gigabyte": ("for _ in range(1000):\n    os.write(1, b'x' * 2**20)", OutputLimit),
    "leaves in the middle": ("os._exit(0)", ProcessDied),
    "kills all it can": (KILLS, ProcessDied),
    "writes garbage to every file descriptor": (GARBAGE, ProtocolError),
    "sends a message of its own": (
        "from benchmark.sandbox.wire import Message, send\nsend(encoder._connection, Message('store'))\ntime.sleep(1e6)",
        ProtocolError,
    ),
    "hands back a huge array": ("return Explanation(image=np.zeros((2**13, 2**13)))", ProtocolError),
}
SMALL = replace(QUICK, memory_mb=800, message_mb=64, processes=8, threads=64)


@pytest.mark.parametrize("case", FATAL)
def test_a_submission_that_is_stopped_is_one_failure_and_goes_on_afresh(
    case: str, write: Write, confined: str, encoder: xb.DualEncoder, hostile_pair: xb.Pair, honest_pair: xb.Pair
) -> None:
    body, error = FATAL[case]
    limits = replace(SMALL, seconds_per_unit=3) if error is TimeLimit else SMALL
    explainer = write(body, confinement=confined, limits=limits)
    with pytest.raises(error) as raised:
        explainer.explain(encoder, hostile_pair, rng())
    assert len(str(raised.value)) < 1500
    explanation = explainer.explain(encoder, honest_pair, rng())
    np.testing.assert_array_equal(explanation.image, rng().standard_normal(encoder.patch_grid))


@pytest.mark.parametrize(("body", "error"), [FATAL["forks without end"], FATAL["leaves in the middle"]])
def test_unshare_stops_a_submission_like_bubblewrap(
    body: str, error: type[SandboxError], write: Write, confinement: str, encoder: xb.DualEncoder, hostile_pair: xb.Pair
) -> None:
    with pytest.raises(error):
        write(body, confinement=confinement, limits=SMALL).explain(encoder, hostile_pair, rng())


def test_what_is_no_explanation_is_refused_and_the_process_goes_on(
    write: Write, confined: str, encoder: xb.DualEncoder, image, honest_pair: xb.Pair, tmp_path: Path
) -> None:
    body = """
    class Evil:
        def __reduce__(self):
            return os.system, ("touch /tmp/pickled",)

    class Loud(Exception):
        def __str__(self):
            return "\\x1b[2J" + "loud " * 2_000_000

    grid = encoder.patch_grid
    if "nan" in pair.text:
        return Explanation(image=np.full(grid, np.nan))
    if "shape" in pair.text:
        return Explanation(image=np.ones((2, 2)))
    if "pickle" in pair.text:
        return Evil()
    if "object" in pair.text:
        made = Explanation(image=np.ones(grid))
        object.__setattr__(made, "image", np.array([[Evil()]], dtype=object))
        return made
    if "note" in pair.text:
        return Explanation(image=np.ones(grid), notes={"evil": Evil()})
    if "loud" in pair.text:
        raise Loud
    if "exit" in pair.text:
        sys.exit()
    return Explanation(image=np.ones(grid))
    """
    explainer = write(body, confinement=confined)
    expected = {
        "nan": (InvalidExplanation, "finite"),
        "shape": (InvalidExplanation, r"shape \(2, 2\)"),
        "pickle": (InvalidExplanation, "returned Evil"),
        "object": (SandboxError, "no array|type object|finite|isfinite"),
        "note": (SandboxError, "Evil"),
        "loud": (SubmissionError, "^Loud: .2J"),
        "exit": (SubmissionError, "SystemExit"),
    }
    for text, (error, reason) in expected.items():
        with pytest.raises(error, match=reason) as raised:
            explainer.explain(encoder, encoder.pair(image, text), rng())
        assert str(raised.value).isprintable()
        assert len(str(raised.value)) < 1500
    constant = explainer.explain(encoder, encoder.pair(image, "constant"), rng())
    assert constant.image is not None
    assert np.ptp(constant.image) == 0
    assert not Path("/tmp/pickled").exists()
    assert explainer.explain(encoder, honest_pair, rng()).image is not None


def test_a_submission_that_keeps_dying_is_given_up(
    write: Write, confined: str, encoder: xb.DualEncoder, hostile_pair: xb.Pair
) -> None:
    explainer = write("os._exit(3)", confinement=confined, limits=replace(QUICK, deaths=2))
    for _ in range(2):
        with pytest.raises(ProcessDied, match="status 3"):
            explainer.explain(encoder, hostile_pair, rng())
    began = time.monotonic()
    with pytest.raises(GivenUp, match=r"died 2 times in a row.*status 3"):
        explainer.explain(encoder, hostile_pair, rng())
    assert time.monotonic() - began < 0.5


LOOKS_INSIDE = """
from benchmark.explainers import EXPLAINERS, Explainer

class Mine(EXPLAINERS["grad_eclip"], name="mine"):
    def explain(self, encoder, pair, rng):
        if "honest" not in pair.text:
            with __import__("torch").no_grad():
                next(encoder.model.parameters()).add_(1.0)
        return super().explain(encoder, pair, rng)
"""


def test_a_copy_of_the_encoder_that_was_changed_is_noticed(
    write: Write, confined: str, encoder: xb.DualEncoder, hostile_pair: xb.Pair, honest_pair: xb.Pair
) -> None:
    source = EncoderSource(name="embedded", device="cpu")
    explainer = write("", head=LOOKS_INSIDE, confinement=confined, needs=("gradients",), encoder_source=source)
    with pytest.raises(ChangedWeights, match="changed the weights"):
        explainer.explain(encoder, hostile_pair, rng())
    before = encoder.costs.copy()
    explanation = explainer.explain(encoder, honest_pair, rng())
    sandboxed_costs, before = encoder.costs - before, encoder.costs.copy()
    ours = xb.explain(encoder, honest_pair, "grad_eclip")
    np.testing.assert_allclose(explanation.image, ours.image, atol=1e-6)
    assert asdict(encoder.costs - before) == pytest.approx(asdict(sandboxed_costs))
    assert sandboxed_costs.backwards > 0
    assert "own process" in explanation.notes["passes_counted"]


def test_a_run_keeps_every_row_of_an_honest_method_beside_a_hostile_one(tmp_path: Path, write: Write, confined: str) -> None:
    honest = write("return Explanation(image=rng.standard_normal(encoder.patch_grid))", name="kind", confinement=confined)
    hostile = write("os._exit(0)", name="hostile", confinement=confined)
    still = write("return Explanation(image=np.ones(encoder.patch_grid))", name="still", confinement=confined)
    evil_metrics = dict(vars(metrics))
    store = tmp_path / "store.duckdb"
    request = Request(methods=[honest, hostile, still], tasks=[TASKS["scenes-pointing"]], limit=2)
    summary = run(request, [EncoderSource(name="embedded", device="cpu")], store, workers=1)
    assert (summary.n_done, summary.n_failed) == (6, 2)
    with open_store(store) as connection:
        units = rows(connection, "SELECT method, status, error_class, reason FROM explanations ORDER BY method, sample_id")
        scores = rows(connection, "SELECT method, status FROM scores WHERE metric = 'pointing' ORDER BY method")
    assert [unit["status"] for unit in units] == ["failed"] * 2 + ["ok"] * 4
    assert all("in the middle of its work" in unit["reason"] for unit in units[:2])
    assert {unit["error_class"] for unit in units[:2]} == {"ProcessDied"}
    found = {row["method"]: row["status"] for row in scores}
    assert found.get("hostile", "failed") == "failed"
    assert vars(metrics) == evil_metrics


def test_a_submission_ends_with_whoever_started_it(tmp_path: Path, confinement: str) -> None:
    (tmp_path / "explainer.py").write_text("while True: pass")
    program = f"""
import sys, threading
from pathlib import Path
from benchmark.sandbox.limits import Limits
from benchmark.sandbox.process import Process, nothing_to_ask
process = Process(Path({str(tmp_path)!r}), Limits(), {confinement!r})
print(process._process.pid, flush=True)
start = {{"entry": "explainer.py:Mine", "parameters": {{}}, "encoder": None, "scratch_mb": 8, "data_mb": 4096}}
process.ask("start", start, {{}}, answer=nothing_to_ask, ends=("ready",), seconds=60, what="the start")
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    deadline = time.monotonic() + 60
    while not any(map(_is_python, pids := tree(child).pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert any(map(_is_python, pids))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    while any(_runs(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(_runs(pid) for pid in pids)


def _is_python(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/exe").readlink().name.startswith("python")
    except OSError:
        return False


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
