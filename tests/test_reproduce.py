"""Published numbers stand beside measured ones, and are never shown as measured."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from fakes import FAKE_TASK, FakeSource, load_fake_encoder, planted  # noqa: F401

from benchmark.cli import cli
from benchmark.errors import DataError, UnknownName
from benchmark.reproduce import EXPERIMENTS, Experiment, Target, compare, targets
from benchmark.reproduce.comparison import targets_of
from benchmark.reproduce.experiments import Measure
from benchmark.reproduce.identities import IDENTITIES
from benchmark.reproduce.published import COLUMNS, PROVENANCE, read_targets
from benchmark.runner import catalogue
from benchmark.runner.plan import Request
from benchmark.runner.run import run
from benchmark.store import open_store, rows

HEADER = ",".join(COLUMNS)


def target(method: str, value: float, provenance: str = "[repo]", dataset: str = "set") -> Target:
    return Target(
        paper="fake",
        table="1",
        dataset=dataset,
        model="hub/fake",
        method=method,
        metric="the mean %",
        value=value,
        ci="",
        n=0,
        provenance=provenance,
    )


@pytest.fixture
def experiment(planted: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Experiment]:  # noqa: F811
    monkeypatch.setattr("benchmark.encoders.load_encoder", load_fake_encoder)
    monkeypatch.setattr("benchmark.reproduce.comparison.targets", lambda: (target("ours", 50.0), target("theirs", 9.0)))
    yield Experiment(
        id="fake",
        paper="fake",
        tables=("1",),
        what="The mean of a map.",
        model="hub/fake",
        methods={"ours": "fake_noise", "theirs": "fake_good"},
        metrics={"the mean %": Measure(task="fake-mean", metric="fake_mean", scale=100)},
        tolerance=20.0,
        needs="nothing",
    )
    del EXPERIMENTS._items["fake"]


def test_every_target_says_how_it_is_known() -> None:
    found = targets()
    assert len(found) > 300
    assert {item.provenance for item in found} <= set(PROVENANCE)
    assert not any(item.gates for item in found if item.provenance in ("[2nd]", "[3rd]"))
    keys = [(item.paper, item.table, item.dataset, item.model, item.method, item.metric) for item in found]
    assert len(set(keys)) == len(keys)
    b32 = {item.method: item.value for item in found if item.table == "PGR" and item.dataset == "imagenet mosaics k=4"}
    assert (b32["grad_eclip"], b32["exclip"], b32["cap, shared unsigned map"]) == (0.28, 0.92, 0.25)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("paper,value\nx,1\n", "targets have the columns"),
        (f"{HEADER}\na,b,c,d,e,f,1,,,[recall]\n", "line 2: provenance"),
        (f"{HEADER}\na,b,c,d,e,f,high,,,[calc]\n", "line 2: value and n are numbers"),
    ],
)
def test_a_row_that_cannot_be_right_is_named(text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_targets(text)


def test_every_experiment_answers_targets_and_every_identity_is_computed() -> None:
    assert {"identities", "golden", "fixlip-pgr", "metagame-pgr", "coco-localisation"} <= set(EXPERIMENTS)
    for experiment in EXPERIMENTS.values():
        found = targets_of(experiment)
        assert found or experiment.kind == "golden", experiment.id
        if experiment.kind == "table":
            assert {item.method for item in found} == set(experiment.methods), experiment.id
            assert {item.metric for item in found} == set(experiment.metrics), experiment.id
    assert {(item.table, item.dataset) for item in targets_of(EXPERIMENTS["identities"])} == set(IDENTITIES)


def test_the_identities_hold() -> None:
    cells = compare(EXPERIMENTS["identities"], Path("none.duckdb"))
    assert [cell.verdict for cell in cells] == ["within"] * len(IDENTITIES)
    exact = {cell.metric: cell.measured for cell in cells if cell.target in (0.0, 0.25, 1.0)}
    assert exact["mass_ratio_correct"] == pytest.approx(0.25, abs=1e-12)
    assert exact["area"] == pytest.approx(0.0, abs=1e-12)
    assert exact["faithfulness_r2"] == pytest.approx(1.0, abs=1e-12)
    assert exact["pointing_energy / area"] == pytest.approx(1.0, abs=1e-6)


def test_what_was_not_measured_stays_empty_and_says_why(experiment: Experiment, tmp_path: Path) -> None:
    cells = compare(experiment, tmp_path / "none.duckdb")
    assert [(cell.measured, cell.verdict, cell.n) for cell in cells] == [(None, "not run", 0)] * 2
    assert "there is no store at" in str(cells[0].why)
    assert "the weights of hub/fake are not on this machine" in str(cells[0].why)
    assert "benchmark run -m 'fake_noise,fake_good' -t fake-mean --model hub/fake" in str(cells[0].why)
    (golden, *_) = compare(EXPERIMENTS["golden"], tmp_path / "none.duckdb")
    assert (golden.verdict, golden.measured) == ("not run", None)
    assert "--golden" in str(golden.why)


def test_a_store_is_compared_with_the_published_numbers(experiment: Experiment, tmp_path: Path) -> None:
    store = tmp_path / "store.duckdb"
    run(
        Request(methods=catalogue.methods("fake_noise,fake_flat"), tasks=(FAKE_TASK,), limit=8),
        [FakeSource()],
        store,
        workers=1,
    )
    ours, theirs = compare(experiment, store)
    with open_store(store) as connection:
        (mean,) = rows(connection, "SELECT avg(value) AS mean FROM scores WHERE label = 'fake_noise' AND metric = 'fake_mean'")
    assert ours.measured == pytest.approx(100 * mean["mean"])
    assert (ours.n, ours.verdict, ours.target, ours.gates) == (8, "within", 50.0, True)
    assert 0 < (ours.standard_error or 0) < 20
    assert (theirs.measured, theirs.verdict) == (None, "not run")
    assert "has no such scores" in str(theirs.why)


def test_scores_of_another_definition_of_a_task_do_not_count(experiment: Experiment, tmp_path: Path) -> None:
    import duckdb

    store = tmp_path / "store.duckdb"
    run(Request(methods=catalogue.methods("fake_noise"), tasks=(FAKE_TASK,), limit=4), [FakeSource()], store, workers=1)
    with duckdb.connect(store) as connection:
        connection.execute("UPDATE scores SET task_hash = 'older'")
    assert compare(experiment, store)[0].measured is None


def command(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["reproduce", *arguments])


def test_the_command_fails_when_a_number_that_must_be_met_is_not(
    experiment: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = tmp_path / "store.duckdb"
    run(Request(methods=catalogue.methods("fake_noise"), tasks=(FAKE_TASK,), limit=4), [FakeSource()], store, workers=1)
    for provenance, exit_code in (("[repo]", 1), ("[2nd]", 0)):
        monkeypatch.setattr("benchmark.reproduce.comparison.targets", lambda p=provenance: (target("ours", 90.0, p),))
        result = command("fake", "--store", str(store), "--json")
        assert result.exit_code == exit_code, result.output
        (row,) = json.loads(result.stdout)
        assert (row["verdict"], row["target"], row["provenance"]) == ("outside", 90.0, provenance)


def test_the_command_lists_and_names_the_nearest(experiment: Experiment) -> None:
    listed = {row["id"]: row for row in json.loads(command("--list", "--json").stdout)}
    assert set(listed) == set(EXPERIMENTS)
    assert listed["fake"]["tasks"] == ["fake-mean"]
    wrong = command("identitie")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "Did you mean 'identities'" in wrong.stderr
    with pytest.raises(UnknownName):
        EXPERIMENTS["none"]


@pytest.mark.slow
def test_recorded_outputs_are_met(shared: Path) -> None:
    catalogue.register()
    cells = compare(EXPERIMENTS["golden"], Path("none.duckdb"), golden=shared / "golden")
    assert len(cells) >= 8
    assert {cell.verdict for cell in cells} == {"within"}
