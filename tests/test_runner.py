"""Plan, run, resume: nothing twice, nothing lost, failures as rows."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest
from fakes import FAKE_TASK, FAKE_TRUTH, FakeEncoder, FakeProtocol, FakeSource, planted  # noqa: F401

from benchmark.errors import InvalidInput, UnknownName, UnsupportedEncoder
from benchmark.explanations import Explanation
from benchmark.metrics.base import Score
from benchmark.records import text_hash
from benchmark.runner import catalogue
from benchmark.runner.estimate import estimate
from benchmark.runner.evaluate import evaluate
from benchmark.runner.execute import run_group
from benchmark.runner.plan import Known, Request, make_plan, with_stored
from benchmark.runner.progress import Progress, duration
from benchmark.runner.run import Summary, run
from benchmark.store import StoredExplanation, open_store, rows
from benchmark.tasks.base import TASKS, Probe, Task

pytestmark = pytest.mark.usefixtures("planted")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.duckdb"


def request(methods: str, *tasks, **fields) -> Request:
    return Request(methods=catalogue.methods(methods), tasks=tasks or (FAKE_TASK,), **{"limit": 4, **fields})


def go(store: Path, asked: Request, **fields) -> Summary:
    return run(asked, [FakeSource()], store, workers=1, **fields)


def read(store: Path, query: str) -> list[dict[str, Any]]:
    with open_store(store) as connection:
        return rows(connection, query)


def test_methods_are_read_with_their_parameters() -> None:
    found = catalogue.methods("fake_noise, fake_good[lift=1],fake_broken[how=nan]  fake_good")
    assert [catalogue.label(item) for item in found] == [
        "fake_noise",
        "fake_good[lift=1.0]",
        "fake_broken[how=nan]",
        "fake_good",
    ]
    assert [catalogue.label(item) for item in catalogue.methods("fake_good[lift=0.5],fake_good")] == ["fake_good"]
    with pytest.raises(UnknownName, match="Did you mean 'fake_noise'"):
        catalogue.methods("fake_nois")
    with pytest.raises(InvalidInput, match="has no parameter 'left'"):
        catalogue.methods("fake_good[left=1]")
    for wrong in ("fake_good[lift]", "fake_good[lift=1", "=,", ""):
        with pytest.raises(InvalidInput):
            catalogue.methods(wrong)


def test_tasks_are_read_with_patterns() -> None:
    assert catalogue.tasks("fake-*") == [FAKE_TASK, FAKE_TRUTH]
    assert catalogue.tasks("fake-truth,fake-*") == [FAKE_TRUTH, FAKE_TASK]
    with pytest.raises(UnknownName, match="Did you mean 'fake-mean'"):
        catalogue.tasks("fake-meen")
    with pytest.raises(UnknownName):
        catalogue.tasks("none-*")


def test_tasks_share_explanations_and_controls_that_know_the_truth_run_only_where_they_may() -> None:
    plan = make_plan(request("fake_noise,fake_oracle", FAKE_TASK, FAKE_TRUTH), FakeEncoder(), Known())
    assert {name: tally.units for name, tally in plan.per_method.items()} == {"fake_noise": 4, "fake_oracle": 4}
    tasks = {unit.origin.method: [scoring.task for scoring in unit.scorings] for unit in plan.groups[0].units}
    assert tasks == {"fake_noise": ["fake-mean", "fake-truth"], "fake_oracle": ["fake-truth"]}


def test_a_key_changes_with_whatever_changes_the_result_and_with_nothing_else() -> None:
    def keys(encoder=None, method="fake_noise", **fields) -> set[str]:
        plan = make_plan(request(method, **fields), encoder or FakeEncoder(), Known())
        return {unit.key for group in plan.groups for unit in group.units}

    base = keys()
    assert keys(FakeEncoder(device="cuda:1")) == base
    assert keys(limit=2) < base
    assert keys(method="fake_good") == keys(method="fake_good", seeds=(1,))  # deterministic: seeds change nothing
    others = [keys(FakeEncoder(revision="r2")), keys(FakeEncoder("other")), keys(seeds=(1,)), keys(method="fake_good")]
    others.append(keys(method="fake_good[lift=0.25]"))
    assert not any(base & other for other in others)
    assert len(set.union(*others)) == 20


def test_a_repeated_command_computes_nothing_and_a_larger_one_only_the_rest(store: Path) -> None:
    asked = request("fake_noise,fake_good", FAKE_TASK, FAKE_TRUTH)
    assert go(store, asked) == Summary(n_units=8, n_done=8, encoders=("fake",))
    before = read(store, "SELECT * FROM explanations ORDER BY unit_key")
    assert go(store, asked) == Summary(n_units=8, n_stored=8, encoders=("fake",))
    assert go(store, replace(asked, limit=5)).n_done == 2
    after = {row["unit_key"]: row for row in read(store, "SELECT * FROM explanations")}
    assert all(after[row["unit_key"]] == row for row in before)
    assert len(read(store, "SELECT * FROM runs")) == 2


def test_a_new_metric_is_scored_on_stored_explanations(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(store, request("fake_noise"))
    scores = read(store, "SELECT * FROM scores WHERE metric = 'fake_mean' ORDER BY score_key")
    explained = read(store, "SELECT * FROM explanations ORDER BY unit_key")
    monkeypatch.setattr(FakeProtocol, "more", ("fake_extra",))
    monkeypatch.setattr(fakes.FakeNoise, "explain", None)
    assert go(store, request("fake_noise")).n_done == 4
    assert read(store, "SELECT * FROM explanations ORDER BY unit_key") == explained
    assert read(store, "SELECT * FROM scores WHERE metric = 'fake_mean' ORDER BY score_key") == scores
    new = read(store, "SELECT value, status FROM scores WHERE metric = 'fake_extra'")
    assert [row["status"] for row in new] == ["ok"] * 4


@pytest.mark.parametrize(
    ("how", "error_class", "reason"),
    [
        ("raises", "ZeroDivisionError", "three is too much"),
        ("nan", "InvalidExplanation", "finite"),
        ("shape", "InvalidExplanation", "shape"),
        ("none", "InvalidExplanation", "NoneType"),
        ("notes", "InvalidExplanation", "none of them"),
    ],
)
def test_a_failure_is_a_row_and_counts_as_chance(store: Path, how: str, error_class: str, reason: str) -> None:
    summary = go(store, request(f"fake_broken[how={how}]"))
    assert (summary.n_done, summary.n_failed) == (4, 1)
    failed = read(store, "SELECT * FROM explanations WHERE status != 'ok'")
    assert [(row["sample_id"], row["status"], row["error_class"]) for row in failed] == [("s003", "failed", error_class)]
    assert reason in failed[0]["reason"]
    assert "\n" not in failed[0]["reason"]
    scores = read(store, "SELECT status, value, reason FROM scores WHERE sample_id = 's003'")
    assert [(row["status"], row["value"]) for row in scores] == [("failed", 0.5)] * 2
    assert go(store, request(f"fake_broken[how={how}]")) == Summary(n_units=4, n_stored=4, n_failed=1, encoders=("fake",))


def test_a_method_with_replicates_gets_several_seeds_for_one(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fakes.FakeNoise, "replicates", 3)
    summary = go(store, request("fake_noise"))
    seeds = read(store, "SELECT DISTINCT seed FROM explanations ORDER BY seed")
    assert [row["seed"] for row in seeds] == [0, 1, 2]
    assert summary.n_units == 12


def test_failures_are_tried_again_when_asked(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go(store, request("fake_broken"))
    monkeypatch.setattr(fakes.FakeBroken, "explain", fakes.FakeNoise.explain)
    summary = go(store, request("fake_broken"), retry_failed=True)
    assert (summary.n_done, summary.n_stored, summary.n_failed) == (1, 3, 0)
    assert {row["status"] for row in read(store, "SELECT status FROM scores")} == {"ok"}


def test_what_does_not_apply_and_what_is_constant_says_so(store: Path) -> None:
    assert go(store, request("fake_unfit,fake_text,fake_flat", limit=1)).n_failed == 0
    found = {
        row["label"]: row for row in read(store, "SELECT label, status, value, reason FROM scores WHERE metric = 'fake_mean'")
    }
    assert (found["fake_unfit"]["status"], found["fake_unfit"]["value"]) == ("unsupported", None)
    assert found["fake_unfit"]["reason"] == "needs attention weights; this encoder has none"
    assert (found["fake_text"]["status"], found["fake_text"]["reason"]) == ("unsupported", "there is no image map")
    assert (found["fake_flat"]["status"], found["fake_flat"]["value"]) == ("degenerate", 0.5)
    explained = read(store, "SELECT label, status FROM explanations ORDER BY label")
    assert [row["status"] for row in explained] == ["ok", "ok", "unsupported"]


def test_a_sample_that_cannot_be_scored_is_counted_and_not_explained(store: Path) -> None:
    go(store, request("fake_noise", FAKE_TRUTH))
    excluded = read(store, "SELECT sample_id, status, value, reason FROM scores WHERE status = 'excluded'")
    assert [(row["sample_id"], row["reason"]) for row in excluded] == [("s001", "its region lies outside")] * 2
    assert len(read(store, "SELECT * FROM explanations")) == 3
    assert go(store, request("fake_noise", FAKE_TRUTH)).n_done == 0
    assert go(store, request("fake_noise")).n_done == 4
    assert len(read(store, "SELECT * FROM explanations")) == 4


def test_unreadable_images_and_empty_captions_lose_one_sample(store: Path, tmp_path: Path) -> None:
    summary = go(store, request("fake_noise,fake_good", data_dir=tmp_path))
    assert (summary.n_done, summary.n_failed) == (8, 4)
    found = read(store, "SELECT sample_id, status, error_class, reason FROM explanations WHERE status != 'ok' ORDER BY 1")
    assert [row["sample_id"] for row in found] == ["s001", "s001", "s002", "s002"]
    assert "there is no image at" in found[0]["reason"]
    assert "no content tokens" in found[2]["reason"]
    assert {row["status"] for row in read(store, "SELECT status FROM scores WHERE sample_id IN ('s001', 's002')")} == {
        "excluded"
    }


def test_a_method_pays_for_its_own_passes_only(store: Path) -> None:
    go(store, request("fake_noise,fake_flat"))
    costs = read(store, "SELECT DISTINCT label, image_forwards, text_forwards, backwards FROM explanations ORDER BY label")
    assert [tuple(row.values()) for row in costs] == [("fake_flat", 0, 0, 0), ("fake_noise", 1, 1, 0)]
    timed = read(
        store, "SELECT seconds, peak_mb, similarity, explained_similarity FROM explanations WHERE label = 'fake_noise'"
    )
    assert all(row["seconds"] > 0 and row["similarity"] == row["explained_similarity"] for row in timed)


def test_a_run_says_what_it_was_made_with(store: Path) -> None:
    go(store, request("fake_noise", seeds=(0, 3)), command="benchmark run -m fake_noise")
    found = read(store, "SELECT * FROM runs")[0]
    assert (found["status"], found["command"], found["seeds"]) == ("done", "benchmark run -m fake_noise", [0, 3])
    assert found["n_units"] == 8
    assert {"python", "numpy", "duckdb"} <= set(json.loads(found["versions"]))
    assert json.loads(found["hardware"])["cores"] >= 1


def test_wrong_names_touch_no_store(store: Path) -> None:
    with pytest.raises(InvalidInput, match="has no tier"):
        go(store, request("fake_noise", limit=None, tier="huge"))
    assert not store.exists()
    assert list(store.parent.iterdir()) == []


def test_an_interrupted_run_keeps_what_is_done_and_goes_on(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    original = fakes.FakeNoise.explain

    def explain(self, encoder, pair, rng):
        calls.append(pair.text)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(self, encoder, pair, rng)

    monkeypatch.setattr(fakes.FakeNoise, "explain", explain)
    summary = go(store, request("fake_noise"))
    assert (summary.interrupted, summary.n_done) == (True, 2)
    assert read(store, "SELECT status, n_units FROM runs") == [{"status": "interrupted", "n_units": 2}]
    assert go(store, request("fake_noise")).n_done == 2


def test_evaluate_needs_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.runner.evaluate.register", lambda: None)
    monkeypatch.setattr("benchmark.tasks.protocols.protocols_for", lambda metrics: (FakeProtocol(),))
    samples = fakes.FakeData().samples("captions", 4)
    frame = evaluate(FakeEncoder(), samples, methods=["fake_noise", fakes.FakeBroken()], metrics=["fake_mean"])
    assert list(frame["method"]) == ["fake_noise", "fake_broken"] * 4
    assert list(frame[frame["method"] == "fake_broken"]["status"]) == ["ok", "ok", "ok", "failed"]
    again = evaluate(FakeEncoder(), samples, methods=["fake_noise"], metrics=["fake_mean"])
    assert list(again["value"]) == list(frame[frame["method"] == "fake_noise"]["value"])


def test_progress_says_rate_and_time_left(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.runner.progress.LINE_SECONDS", 0.0)
    bar = Progress("fake", 2)
    bar.count(next(_results()))
    bar.close()
    err = capsys.readouterr().err
    assert err.startswith("fake: 1 of 2 units, ")
    assert " left" in err
    assert [duration(seconds) for seconds in (0.26, 42, 61, 7325)] == ["0.3 s", "42 s", "1 min 1 s", "2 h 2 min"]


def _results():
    from benchmark.runner.execute import run_group

    plan = make_plan(request("fake_noise"), FakeEncoder(), Known())
    return run_group(FakeEncoder(), plan.groups[0])


@dataclass(frozen=True)
class FakeProbe(Probe):
    """Another encoder, text, image or seed; ``how`` says what goes wrong with it."""

    changes: str
    how: str = ""

    @property
    def name(self) -> str:
        return f"other-{self.changes}{self.how}"

    def encoder(self, encoder):
        if self.how == "unfit":
            raise UnsupportedEncoder("no copy can be made of this encoder")
        return FakeEncoder("copy") if self.changes == "encoder" else encoder

    def text(self, text: str) -> str:
        return f"not {text}" if self.changes == "text" else text

    def pair(self, evaluation):
        if self.how == "broken":
            raise OSError("the image cannot be changed")
        return evaluation.pair


@dataclass(frozen=True, kw_only=True)
class ProbedProtocol(FakeProtocol):
    """Scores how far the mean of the map moves on average."""

    kinds: tuple[str, ...] = ("encoder", "text", "image", "seed")
    how: str = ""

    @property
    def probes(self):
        return tuple(FakeProbe(kind, self.how) for kind in self.kinds)

    def compare(self, explained, probes, evaluation):
        assert explained.similarity is not None
        moved = [abs(probe.explanation.image.mean() - explained.explanation.image.mean()) for probe in probes.values()]
        return {name: Score(value=float(np.mean(moved)), chance=0.5, flags=dict.fromkeys(probes, 1.0)) for name in self.metrics}


def probed(name: str = "fake-probed", **fields) -> Task:
    """Make a task that nobody else meets."""
    task = Task(id=name, version=1, data="fake", view="captions", protocol=ProbedProtocol(**fields), summary="Probed.")
    TASKS._items.pop(name)
    return task


EXPLAINED = "SELECT encoder, revision, sample_id, text_hash, seed, status FROM explanations ORDER BY ALL"


def test_probes_are_explained_and_stored_once(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = request("fake_noise", probed(), limit=2)
    assert go(store, asked) == Summary(n_units=2, n_done=2, encoders=("fake",))
    found = read(store, EXPLAINED)
    assert len(found) == 2 * 5
    own = [row for row in found if row["sample_id"].startswith("s000")]
    assert {row["revision"] for row in own} == {"r1", "r1+other-encoder"}
    assert {row["sample_id"] for row in own} == {"s000", "s000~other-image"}
    assert {row["text_hash"] for row in own} == {text_hash("sample 0"), text_hash("not sample 0")}
    assert {row["seed"] for row in own} == {0, 1}
    assert len(read(store, "SELECT * FROM samples WHERE text = 'not sample 0'")) == 1
    scores = read(store, "SELECT * FROM scores ORDER BY score_key")
    assert {row["status"] for row in scores} == {"ok"}
    assert json.loads(scores[0]["flags"]) == dict.fromkeys([probe.name for probe in probed().protocol.probes], 1.0)
    assert go(store, asked).n_done == 0
    monkeypatch.setattr(fakes.FakeNoise, "explain", None)  # and a new metric explains nothing
    monkeypatch.setattr(FakeProtocol, "more", ("fake_extra",))
    assert go(store, asked) == Summary(n_units=2, n_done=2, encoders=("fake",))
    new = read(store, "SELECT value FROM scores WHERE metric = 'fake_extra' ORDER BY unit_key")
    old = read(store, "SELECT value FROM scores WHERE metric = 'fake_mean' ORDER BY unit_key")
    assert new == old
    assert read(store, EXPLAINED) == found


def test_a_deterministic_method_is_its_own_other_seed(store: Path) -> None:
    go(store, request("fake_good", probed(kinds=("seed",)), limit=1))
    assert len(read(store, EXPLAINED)) == 1
    assert read(store, "SELECT value FROM scores") == [{"value": 0.0}] * 2


def test_tasks_share_probes_and_a_stored_explanation(store: Path) -> None:
    go(store, request("fake_noise", FAKE_TASK, limit=1))
    tasks = probed(kinds=("text", "image")), probed("fake-probed-too", kinds=("image", "seed"))
    assert go(store, request("fake_noise", FAKE_TASK, *tasks, limit=1)).n_done == 1
    assert len(read(store, EXPLAINED)) == 1 + 3
    more = probed("fake-probed-three", kinds=("text", "encoder"))
    assert go(store, request("fake_noise", more, limit=1)).n_done == 1
    assert len(read(store, EXPLAINED)) == 1 + 4


def test_probes_change_no_key_of_what_has_none() -> None:
    def keys(*tasks) -> dict[str, set[str]]:
        plan = make_plan(request("fake_noise", *tasks, limit=1), FakeEncoder(), Known())
        units = [unit for group in plan.groups for unit in group.units]
        return {unit.key: {s.key(unit.key, name) for s in unit.scorings for name in s.metrics} for unit in units}

    unit, scores = "5697dce29344b95683113d843b36efdd", {"65b14064b916850205e7ceef580a6e78", "3c686e013050800f551143b1ad6fe40a"}
    assert keys(FAKE_TASK) == {unit: scores}  # as they were before there were probes
    assert scores < keys(FAKE_TASK, probed())[unit]


def test_a_failed_probe_fails_its_scores_and_nothing_else(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = request("fake_noise", FAKE_TASK, probed(how="broken", kinds=("image", "seed")), limit=1)
    summary = go(store, asked)
    assert (summary.n_done, summary.n_failed) == (1, 1)
    scores = read(store, "SELECT task, status, value, reason FROM scores ORDER BY task")
    assert [(row["task"], row["status"]) for row in scores] == [("fake-mean", "ok")] * 2 + [("fake-probed", "failed")] * 2
    assert {row["value"] for row in scores[2:]} == {0.5}
    assert scores[2]["reason"] == "the probe other-imagebroken could not be explained: the image cannot be changed"
    failed = read(store, "SELECT sample_id, error_class FROM explanations WHERE status = 'failed'")
    assert failed == [{"sample_id": "s000~other-imagebroken", "error_class": "OSError"}]
    assert go(store, asked) == Summary(n_units=1, n_stored=1, n_failed=1, encoders=("fake",))
    monkeypatch.setattr(FakeProbe, "pair", Probe.pair)
    assert go(store, asked, retry_failed=True).n_failed == 0
    assert {row["status"] for row in read(store, EXPLAINED)} == {"ok"}


def test_a_method_that_fails_on_a_probe_alone_fails_there(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = fakes.FakeNoise.explain

    def explain(self, encoder, pair, rng):
        if pair.text.startswith("not"):
            raise ZeroDivisionError("never say no")
        return original(self, encoder, pair, rng)

    monkeypatch.setattr(fakes.FakeNoise, "explain", explain)
    assert go(store, request("fake_noise", probed(), limit=1)).n_failed == 1
    reasons = {row["reason"] for row in read(store, "SELECT reason FROM scores WHERE value = 0.5")}
    assert reasons == {"the probe other-text could not be explained: never say no"}


def test_an_encoder_that_cannot_be_copied_leaves_the_task_unsupported(store: Path) -> None:
    assert go(store, request("fake_noise", probed(how="unfit"), limit=1)).n_failed == 0
    scores = read(store, "SELECT status, value, reason FROM scores")
    assert {(row["status"], row["value"]) for row in scores} == {("unsupported", None)}
    assert "no copy can be made of this encoder" in scores[0]["reason"]


def test_a_method_pays_for_each_probe_by_itself(store: Path) -> None:
    go(store, request("fake_noise", probed(), limit=1))
    costs = read(store, "SELECT image_forwards, similarity, explained_similarity FROM explanations")
    assert [row["image_forwards"] for row in costs] == [1] * 5
    assert all(row["similarity"] == row["explained_similarity"] for row in costs)


def test_an_interruption_among_probes_stores_nothing_of_the_unit(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    original = fakes.FakeNoise.explain

    def explain(self, encoder, pair, rng):
        calls.append(pair.text)
        if len(calls) == 8:
            raise KeyboardInterrupt
        return original(self, encoder, pair, rng)

    monkeypatch.setattr(fakes.FakeNoise, "explain", explain)
    asked = request("fake_noise", probed(), limit=2)
    assert (go(store, asked).interrupted, len(read(store, EXPLAINED))) == (True, 5)
    assert go(store, asked).n_done == 1
    assert len(read(store, EXPLAINED)) == 10
    assert len(calls) == 8 + 5


def test_a_unit_that_killed_its_worker_is_lost_with_its_probes(store: Path) -> None:
    plan = make_plan(request("fake_noise", probed(), limit=1), FakeEncoder(), Known())
    key = plan.groups[0].units[0].key
    (result,) = run_group(FakeEncoder(), plan.groups[0], lost=frozenset({key}))
    assert (result.explanation.status, result.probes) == ("failed", ())
    stored = StoredExplanation("ok", None, None, Explanation(image=np.ones(fakes.GRID)).to_bytes(), 0.5)
    group = with_stored(replace(plan.groups[0], units=(replace(plan.groups[0].units[0], is_stored=True),)), {key: stored}.get)
    (result,) = run_group(FakeEncoder(), group, lost=frozenset({key}))
    assert result.explanation is None
    assert [probe.error_class for probe in result.probes] == ["WorkerLost"]
    assert {score.status for score in result.scores} == {"failed"}


def test_an_estimate_counts_the_probes_that_are_missing(store: Path) -> None:
    asked = request("fake_noise,fake_good", probed(), limit=3)
    found = {row.method: row for row in estimate(asked, [FakeSource()], store)}
    assert (found["fake_noise"].to_explain, found["fake_noise"].probes) == (3, 12)
    assert found["fake_good"].probes == 9
    assert found["fake_good"].forwards == (3 + 9) * (6 + 2)
    go(store, replace(asked, limit=2))
    found = {row.method: row for row in estimate(asked, [FakeSource()], store)}
    assert (found["fake_noise"].to_explain, found["fake_noise"].probes) == (1, 4)
    more = request("fake_noise", probed("fake-probed-too", kinds=("image",)), limit=2)
    assert [(row.to_score, row.probes) for row in estimate(more, [FakeSource()], store)] == [(2, 0)]
