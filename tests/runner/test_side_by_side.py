"""Samples side by side: methods of one pass share passes, images are read ahead, and rows stay what they are."""

import threading
from pathlib import Path

import numpy as np
import pytest
from fakes import FAKE_TASK, N_SAMPLES, FakeBatch, FakeEncoder, FakeSource, call, planted  # noqa: F401

import benchmark as xb
from benchmark.explainers.base import EXPLAINERS, Explainer
from benchmark.runner import catalogue
from benchmark.runner.encoders import EncoderSource
from benchmark.runner.execute import run_groups
from benchmark.runner.plan import Known, Request, make_plan
from benchmark.runner.run import AT_ONCE, Labour, run
from benchmark.store import open_store, query_store, rows

WHAT = "SELECT sample_id, label, seed, status, reason, payload, image_forwards FROM explanations ORDER BY ALL"
SCORES = "SELECT sample_id, label, metric, status, reason, value, chance, position FROM scores ORDER BY ALL"


pytestmark = pytest.mark.usefixtures("planted")


@pytest.fixture(autouse=True)
def _nothing_asked() -> None:
    FakeBatch.asked.clear()


def done(store: Path, at_once: int | None, method: Explainer, workers: int = 1, device: str = "cpu") -> list[list[dict]]:
    noise = EXPLAINERS["fake_noise"]()
    request = Request(methods=[noise, method], tasks=[FAKE_TASK])
    run(request, [FakeSource(device=device)], store, workers=workers, at_once=at_once)
    with open_store(store) as connection:
        return [rows(connection, query) for query in (WHAT, SCORES)]


@pytest.mark.parametrize("how", ["", "raises", "shape"])
def test_rows_are_those_of_one_sample_at_a_time(tmp_path: Path, how: str) -> None:
    alone = done(tmp_path / "a.duckdb", 1, FakeBatch(how=how))
    assert FakeBatch.asked == []
    assert done(tmp_path / "b.duckdb", 16, FakeBatch(how=how)) == alone
    assert FakeBatch.asked == [16, 16, N_SAMPLES - 32]
    failed = {row["sample_id"] for row in alone[0] if row["status"] == "failed"}
    assert len(failed) == (4 if how else 0)  # 3, 13, 23 and 33, whose neighbours are not harmed


def test_only_what_is_missing_is_explained(tmp_path: Path) -> None:
    store = tmp_path / "s.duckdb"
    first = done(store, 16, FakeBatch())
    assert done(store, 16, FakeBatch()) == first
    assert len(FakeBatch.asked) == 3


def test_a_sample_that_cannot_be_read_loses_nobody_else(tmp_path: Path) -> None:
    request = Request(methods=[FakeBatch()], tasks=[FAKE_TASK], limit=6, data_dir=tmp_path)  # its second and third are broken
    groups = make_plan(request, FakeEncoder(), Known()).groups
    results = list(run_groups(FakeEncoder(), groups, at_once=6))
    assert [result.failed for result in results] == [False, True, True, False, False, False]
    assert FakeBatch.asked == [4]


def test_a_gpu_takes_several_and_a_cpu_one() -> None:
    assert (Labour().side_by_side(on_cpu=True), Labour().side_by_side(on_cpu=False)) == (1, AT_ONCE)
    assert Labour(at_once=3).side_by_side(on_cpu=True) == 3


def test_images_are_read_while_others_are_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []  # filled from both sides
    read_ahead, in_time = threading.Event(), list[bool]()
    pair, explain_pairs = FakeEncoder.pair, FakeBatch.explain_pairs

    def read(encoder, image, text):
        events.append("read")
        if events.count("read") > 4:
            read_ahead.set()
        return pair(encoder, image, text)

    def explain(explainer, encoder, pairs, rngs):
        in_time.append(read_ahead.wait(30))  # what comes next is read before these are explained, or never
        return explain_pairs(explainer, encoder, pairs, rngs)

    monkeypatch.setattr(FakeEncoder, "pair", read)
    monkeypatch.setattr(FakeBatch, "explain_pairs", explain)
    groups = make_plan(Request(methods=[FakeBatch()], tasks=[FAKE_TASK], limit=8), FakeEncoder(), Known()).groups
    events.extend(result.sample.sample_id for result in run_groups(FakeEncoder(), groups, at_once=4))
    assert in_time == [True, True]
    assert events.index("s000") >= 4
    assert events[: events.index("s003")].count("read") >= 4
    assert events.count("read") == 8  # each once


def test_a_unit_that_kills_its_worker_takes_no_neighbour_along(tmp_path: Path) -> None:
    store = tmp_path / "s.duckdb"
    asked = ("-m", "fake_batch[how=dies],fake_noise", "-t", "fake-mean", "--model", "fake", "--limit", "8")
    code, _, err = call("run", *asked, "--workers", "2", "--at-once", "4", "--store", str(store))
    assert code == 1, err
    failed = "SELECT label, sample_id, error_class FROM explanations WHERE status = 'failed'"
    assert query_store(store, failed)[1] == [("fake_batch[how=dies]", "s003", "WorkerLost")]
    assert query_store(store, "SELECT count(*) FROM explanations")[1][0][0] == 16


@pytest.mark.slow
def test_real_methods_score_the_same_and_pay_the_same(tmp_path: Path) -> None:
    catalogue.register()
    request = Request(methods=catalogue.methods("grad_eclip,legrad,fixlip[image_budget=64,text_budget=8,order=1]"),
                      tasks=catalogue.tasks("scenes-pointing"), limit=5)  # fmt: skip
    found = []
    for at_once in (1, 4):
        store = tmp_path / f"{at_once}.duckdb"
        run(request, [EncoderSource(name="embedded", device="cpu")], store, workers=1, at_once=at_once)
        with open_store(store) as connection:
            found.append(rows(connection, "SELECT * FROM explanations ORDER BY sample_id, label, seed"))
    for one, other in zip(*found, strict=True):
        assert [one[name] for name in ("unit_key", "status")] == [other[name] for name in ("unit_key", "status")]
        for name in ("image_forwards", "text_forwards", "backwards"):
            assert one[name] == pytest.approx(other[name])
        a, b = (xb.Explanation.from_bytes(row["payload"]) for row in (one, other))
        assert np.allclose(a.image, b.image, rtol=1e-5, atol=1e-5 * np.abs(a.image).max())
