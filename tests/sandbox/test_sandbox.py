"""What a confined explainer is to the rest of the suite: an explainer like any other."""

import json
import pickle
import shutil
import socket
import struct
from pathlib import Path

import numpy as np
import pytest

import benchmark as xb
from benchmark.errors import InvalidInput, UnsupportedEncoder
from benchmark.explainers import EXPLAINERS
from benchmark.runner.catalogue import label
from benchmark.runner.measure import metered
from benchmark.sandbox import Limits, SandboxUnavailable, best_confinement, confinement, sandboxed
from benchmark.sandbox.limits import ProtocolError, TimeLimit
from benchmark.sandbox.watch import harmless
from benchmark.sandbox.wire import Message, receive, send

from .conftest import Write


def test_without_bubblewrap_and_unshare_submitted_code_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda *_, **__: None)
    with pytest.raises(SandboxUnavailable, match=r"bubblewrap: bwrap not installed.*unshare: unshare.*--unconfined"):
        best_confinement()
    assert best_confinement(allow_none=True) == "none"


def test_a_means_of_confinement_that_does_not_work_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confinement, "_trial", lambda name: "no user namespaces")
    with pytest.raises(SandboxUnavailable, match="no user namespaces"):
        best_confinement()


def test_limits_are_above_zero() -> None:
    with pytest.raises(InvalidInput, match="memory_mb must be above 0"):
        Limits(memory_mb=0)


def test_a_declaration_makes_an_explainer_that_nobody_registered(tmp_path: Path) -> None:
    (tmp_path / "explainer.py").write_text("raise SystemError('never imported here')")

    def declare(**fields):
        return sandboxed(
            tmp_path, entry="explainer.py:Mine", name="mine", defaults={"steps": 3, "sizes": [1]}, confinement="none", **fields
        )

    explainer = declare(parameters={"steps": 4})
    assert (label(explainer), label(declare())) == ("mine[steps=4]", "mine")
    assert "mine" not in EXPLAINERS
    again = pickle.loads(pickle.dumps(explainer))
    assert (again.name, again.parameters) == ("mine", explainer.parameters)
    assert declare().parameters == declare().parameters
    (tmp_path / "weights.bin").write_bytes(b"other")
    assert declare().parameters != declare(parameters={"steps": 3}).parameters | {"code": explainer.parameters["code"]}
    with pytest.raises(InvalidInput, match="has no parameter 'stops'"):
        declare(parameters={"stops": 1})
    for entry in ("explainer.py", "../explainer.py:Mine", "other.py:Mine"):
        with pytest.raises(InvalidInput, match=r"write explainer\.py:ClassName"):
            sandboxed(tmp_path, entry=entry, name="mine", confinement="none")
    with pytest.raises(InvalidInput, match="taken by the suite"):
        sandboxed(tmp_path, entry="explainer.py:Mine", name="mine", parameters={"explain": 1}, confinement="none")


def test_a_black_box_plays_the_games_of_the_harness_which_counts(
    write: Write, confined: str, encoder: xb.DualEncoder, honest_pair: xb.Pair
) -> None:
    head = "from benchmark.explainers.lime import Lime\n\nclass Mine(Lime, name='mine'):\n    n_samples: int = 50\n"
    explainer = write("", head=head, confinement=confined, parameters={"n_samples": 50}, deterministic=False)
    with metered(encoder) as theirs:
        explanation = explainer.explain(encoder, honest_pair, np.random.default_rng(0))
    with metered(encoder) as ours:
        expected = xb.explain(encoder, honest_pair, "lime", n_samples=50)
    for name, array in expected.arrays().items():
        np.testing.assert_allclose(explanation.arrays()[name], array, atol=1e-6)
    assert (
        (theirs.cost.image_forwards, theirs.cost.text_forwards) == (ours.cost.image_forwards, ours.cost.text_forwards) != (0, 0)
    )
    assert theirs.cost.peak_mb is not None


def test_impossible_questions_are_answered_with_an_error(
    write: Write, confined: str, encoder: xb.DualEncoder, hostile_pair: xb.Pair
) -> None:
    body = """
    def attempt(work):
        try:
            return str(work())
        except Exception as error:
            return type(error).__name__

    ids = np.array(pair.arrays["input_ids"])
    notes = {
        "ids": attempt(lambda: encoder.embed_texts(ids + 10**6)),
        "negative": attempt(lambda: encoder.embed_texts(ids - 10**6)),
        "pixels": attempt(lambda: encoder.embed_images(np.zeros((1, 3, 2, 2), np.float32))),
        "players": attempt(lambda: encoder.embed_coalitions("image", "mask_pixels", pair, np.ones((1, 2), bool))),
        "operator": attempt(lambda: encoder.embed_coalitions("image", "eval", pair, np.ones((1, encoder.n_patches), bool))),
        "inside": attempt(lambda: encoder.image),
        "other pair": str(encoder.pair(pair.frame, "a blue square").n_tokens),
        "similarity": str(encoder.similarity(pair)),
    }
    return Explanation(image=np.ones(encoder.patch_grid), notes=notes)
    """
    notes = dict(write(body, confinement=confined).explain(encoder, hostile_pair, np.random.default_rng(0)).notes)
    assert notes.pop("other pair") == "3"
    assert float(notes.pop("similarity")) == pytest.approx(encoder.similarity(hostile_pair), abs=1e-5)
    assert notes.pop("inside") == UnsupportedEncoder.__name__
    assert notes.pop("operator") == "RuntimeError"
    assert set(notes.values()) == {InvalidInput.__name__}


def test_a_submission_that_cannot_be_loaded_says_where(
    write: Write, confined: str, encoder: xb.DualEncoder, honest_pair: xb.Pair
) -> None:
    broken = write("", head="import numpy\n\nnumpy.nothing\n", confinement=confined)
    with pytest.raises(xb.errors.BenchmarkError, match=r"AttributeError.*explainer.py, line 3"):
        broken.explain(encoder, honest_pair, np.random.default_rng(0))
    other = write("", name="other", confinement=confined, entry="explainer.py:Yours")
    with pytest.raises(xb.errors.BenchmarkError, match="holds no class Yours"):
        other.explain(encoder, honest_pair, np.random.default_rng(0))


@pytest.fixture
def ends() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


def test_a_message_arrives_as_it_was_sent(ends: tuple[socket.socket, socket.socket]) -> None:
    arrays = {
        "a": np.arange(6.0).reshape(2, 3),
        "empty": np.zeros((0, 4), np.float32),
        "scalar": np.array(2),
        "b": np.array([True]),
    }
    send(ends[0], Message("kind", {"text": "é"}, arrays))
    found = receive(ends[1], 1000)
    assert (found.kind, found.fields) == ("kind", {"text": "é"})
    for name, array in arrays.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].dtype == array.dtype


HEADERS = {
    "no JSON": b"\xff\xfe",
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "no kind": b"{}",
    "objects": json.dumps({"kind": "x", "fields": {}, "arrays": [["a", "object", [1]]]}).encode(),
    "negative": json.dumps({"kind": "x", "fields": {}, "arrays": [["a", "float64", [-1]]]}).encode(),
    "huge": json.dumps({"kind": "x", "fields": {}, "arrays": [["a", "float64", [2**20, 2**20]]]}).encode(),
}


@pytest.mark.parametrize("name", HEADERS)
def test_a_message_that_cannot_be_is_refused_before_it_is_read(name: str, ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].sendall(struct.pack(">I", len(HEADERS[name])) + HEADERS[name])
    with pytest.raises(ProtocolError):
        receive(ends[1], 2**20)


def test_an_endless_header_is_refused(ends: tuple[socket.socket, socket.socket]) -> None:
    ends[0].sendall(b"\xff" * 4)
    with pytest.raises(ProtocolError, match="bytes of header"):
        receive(ends[1], 2**20)


def test_texts_are_made_harmless_for_a_terminal() -> None:
    assert harmless("a\x1b[2Jb\r\nc\u202ed") == "a [2Jb c d"


def test_without_confinement_limits_still_hold(
    write: Write, encoder: xb.DualEncoder, hostile_pair: xb.Pair, honest_pair: xb.Pair
) -> None:
    limits = Limits(seconds_per_unit=3)
    explainer = write("while True:\n    pass", confinement="none", limits=limits)
    assert explainer.explain(encoder, honest_pair, np.random.default_rng(0)).image is not None
    with pytest.raises(TimeLimit, match="the explanation took more than 3 s"):
        explainer.explain(encoder, hostile_pair, np.random.default_rng(0))
