"""Stored explanations are scored again: what is the same stays, what changed is replaced, what is new is added."""

import json
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakes
import pytest
from click.testing import CliRunner
from fakes import FAKE_TASK, FAKE_TRUTH, FakeProtocol, FakeSource, load_fake_encoder, planted  # noqa: F401

from benchmark.cli import cli
from benchmark.errors import DataError, InvalidInput, StoreError, UnknownName
from benchmark.metrics.base import Score
from benchmark.runner import catalogue
from benchmark.runner.encoders import EncoderSource
from benchmark.runner.plan import Request
from benchmark.runner.rescore import LateEncoder, Tally, Wanted, rescore
from benchmark.runner.run import run
from benchmark.store import open_store, rows

METHODS = "fake_noise,fake_good,fake_broken,fake_unfit,fake_flat,fake_oracle"


@pytest.fixture(autouse=True)
def fake_encoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "slow" not in request.keywords:
        request.getfixturevalue("planted")
        monkeypatch.setattr("benchmark.encoders.load_encoder", load_fake_encoder)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "store.duckdb"
    asked = Request(methods=catalogue.methods(METHODS), tasks=(FAKE_TASK, FAKE_TRUTH), limit=4)
    run(asked, [FakeSource()], path, workers=1)
    return path


def read(store: Path, table: str = "scores") -> list[dict[str, Any]]:
    with open_store(store) as connection:
        return rows(connection, f"SELECT * FROM {table} ORDER BY 1")


def of(tallies: list[Tally]) -> dict[str, tuple[int, int, int, int]]:
    return {tally.task: (tally.same, tally.changed, tally.added, tally.left) for tally in tallies}


def test_what_is_the_same_is_left_alone_and_nothing_is_explained(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, explained, file = read(store), read(store, "explanations"), store.stat().st_ino
    for kind in (fakes.FakeNoise, fakes.FakeGood, fakes.FakeBroken, fakes.FakeFlat):
        monkeypatch.setattr(kind, "explain", None)
    n = {task: sum(row["task"] == task for row in before) for task in ("fake-mean", "fake-truth")}
    assert of(rescore(store, Wanted())) == {task: (count, 0, 0, 0) for task, count in n.items()}
    assert (read(store), read(store, "explanations"), store.stat().st_ino) == (before, explained, file)
    assert len(read(store, "runs")) == 1


def test_a_changed_metric_replaces_rows_of_the_same_key_and_says_by_how_much(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {row["score_key"]: row for row in read(store)}
    original = FakeProtocol.score

    def lifted(self, explanation, evaluation):
        found = original(self, explanation, evaluation)
        if isinstance(found["fake_mean"], Score) and evaluation.sample.id == "s002" and self == FAKE_TASK.protocol:
            found["fake_mean"] = replace(found["fake_mean"], value=found["fake_mean"].value + 0.125)
        return found

    monkeypatch.setattr(FakeProtocol, "score", lifted)
    (tally,) = rescore(store, Wanted(tasks=[FAKE_TASK]))
    assert (tally.changed, tally.added, tally.largest_metric) == (4, 0, "fake_mean")  # the oracle may not; unfit has no score
    assert tally.largest_change == pytest.approx(0.125)
    after = {row["score_key"]: row for row in read(store)}
    assert set(after) == set(before)
    changed = [key for key in after if after[key] != before[key]]
    assert len(changed) == 4
    assert all(after[key]["value"] == pytest.approx(before[key]["value"] + 0.125) for key in changed)
    assert len({after[key]["run_id"] for key in changed} - {row["run_id"] for row in before.values()}) == 1


def test_a_new_metric_is_added_for_failures_and_excluded_samples_too(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeProtocol, "more", ("fake_extra",))
    tallies = of(rescore(store, Wanted()))
    assert (tallies["fake-mean"][2], tallies["fake-truth"][2]) == (20, 24)
    new = [row for row in read(store) if row["metric"] == "fake_extra"]
    old = [row for row in read(store) if row["metric"] == "fake_mean"]
    assert [row["status"] for row in sorted(new, key=lambda row: (row["task"], row["unit_key"]))] == [
        row["status"] for row in sorted(old, key=lambda row: (row["task"], row["unit_key"]))
    ]


def test_scores_are_those_that_a_run_gives(store: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.duckdb"
    asked = Request(methods=catalogue.methods("fake_noise,fake_good,fake_flat,fake_unfit"), tasks=(FAKE_TASK,), limit=4)
    run(asked, [FakeSource()], other, workers=1)
    assert of(rescore(other, Wanted(tasks=[FAKE_TRUTH]))) == {"fake-truth": (0, 0, 4 * 4 * 2, 0)}
    columns = ("score_key", "status", "value", "chance", "reason", "flags", "position", "label", "cluster", "seed")
    expected, found = (
        {row["score_key"]: [row[name] for name in columns] for row in read(path) if row["task"] == "fake-truth"}
        for path in (store, other)
    )
    assert found == {key: expected[key] for key in found}


def test_a_sample_that_is_no_longer_excluded_waits_for_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "truth.duckdb"
    asked = Request(methods=catalogue.methods("fake_noise,fake_oracle"), tasks=(FAKE_TRUTH,), limit=4)
    run(asked, [FakeSource()], path, workers=1)
    before = read(path)
    monkeypatch.setattr(FakeProtocol, "excluded", lambda self, evaluation: None)
    assert of(rescore(path, Wanted())) == {"fake-truth": (12, 0, 0, 4)}
    assert read(path) == before


def test_methods_and_metrics_can_be_chosen_and_one_that_is_not_registered_is_scored_too(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(fakes.EXPLAINERS._items, "fake_good")
    wanted = Wanted(tasks=[FAKE_TASK], methods=["fake_good"], metrics=["fake_loss"])
    assert of(rescore(store, wanted)) == {"fake-mean": (4, 0, 0, 0)}


def test_whatever_goes_wrong_leaves_the_store_as_it_was(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = store.read_bytes()
    with pytest.raises(UnknownName, match="Did you mean 'fake_mean'"):
        rescore(store, Wanted(metrics=["fake_meen"]))
    with pytest.raises(UnknownName, match="Did you mean 'fake'"):
        rescore(store, Wanted(models=["fakes"]))
    monkeypatch.setattr(FakeProtocol, "more", ("fake_extra",))

    def no_data(self, view, limit=None):
        raise DataError("say where it is")

    monkeypatch.setattr(fakes.FakeData, "samples", no_data)
    with pytest.raises(DataError):
        rescore(store, Wanted(tasks=[FAKE_TASK]))
    assert [tally.reason for tally in rescore(store, Wanted())] == ["say where it is"] * 2
    monkeypatch.undo()
    assert store.read_bytes() == before
    with pytest.raises(StoreError, match="there is no store at"):
        rescore(store.with_name("none.duckdb"), Wanted())
    assert not list(store.parent.glob("none*"))


def test_an_error_while_writing_takes_back_every_row(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = read(store)
    monkeypatch.setattr(FakeProtocol, "more", ("fake_extra",))
    monkeypatch.setattr("benchmark.store.writer.canonical", _fails_late(20))
    with pytest.raises(InvalidInput, match="late"):
        rescore(store, Wanted())
    monkeypatch.undo()
    assert read(store) == before


def _fails_late(after: int):
    calls = iter(range(after))

    def canonical(value):
        if next(calls, None) is None:
            raise InvalidInput("late")
        return "{}"

    return canonical


def test_the_command_prints_what_changed(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = ["rescore", "--store", str(store), "--task", "fake-mean"]
    result = CliRunner().invoke(cli, [*arguments, "--json"])
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)
    assert (row["task"], row["model"], row["changed"], row["added"], row["largest_change"]) == ("fake-mean", "fake", 0, 0, None)
    assert row["same"] == 40
    assert "40 scores are the same, 0 changed, 0 added" in result.stderr
    wrong = CliRunner().invoke(cli, ["rescore", "--store", str(store), "--metric", "fake_meen"])
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "Did you mean 'fake_mean'" in wrong.stderr


@pytest.mark.slow
def test_a_thousand_explanations_are_scored_without_weights_in_well_under_a_minute(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    catalogue.register()
    path = tmp_path / "store.duckdb"
    task = catalogue.TASKS["scenes-pointing"]
    asked = Request(methods=catalogue.methods("random"), tasks=(task,), limit=102, seeds=(0, 1))
    run(asked, [EncoderSource(name="embedded", device="cpu")], path, workers=1)
    assert len(read(path, "explanations")) >= 1000
    made: list[LateEncoder] = []

    def load(source: EncoderSource, name: str, revision: str) -> LateEncoder:
        made.append(LateEncoder(source, name, revision))
        return made[-1]

    began = time.perf_counter()
    (tally,) = rescore(path, Wanted(), load=load)
    seconds = time.perf_counter() - began
    with capsys.disabled():
        sys.stderr.write(f"1,000 explanations, {tally.same} scores: {seconds:.1f} s\n")
    assert (tally.same, tally.changed, tally.added) == (102 * 10 * 3, 0, 0)
    assert not made[0].has_weights
    assert seconds < 60  # a few seconds on an idle machine; the bound is for a busy one
