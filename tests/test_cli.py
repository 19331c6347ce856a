"""Commands parse and print: results on stdout, the rest on stderr, exit codes that mean something."""

import json
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner, Result
from fakes import call, load_fake_encoder, planted  # noqa: F401

from benchmark.cli import cli
from benchmark.store import StoreWriter, query_store

pytestmark = pytest.mark.usefixtures("planted")
RUN = ("run", "--task", "fake-mean", "--model", "fake", "--limit", "6", "--workers", "1")


@pytest.fixture
def benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XLIP_STORE", str(tmp_path / "store.duckdb"))
    monkeypatch.setattr("benchmark.encoders.load_encoder", load_fake_encoder)

    def invoke(*arguments: str) -> Result:
        return CliRunner().invoke(cli, arguments)

    return invoke


def test_a_run_ends_with_a_ranked_table_and_nothing_else_on_stdout(benchmark) -> None:
    result = benchmark(*RUN, "--method", "fake_noise,fake_good,fake_text")
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0] == "fake-mean · fake_mean (higher is better, chance 0.500) · fake"
    assert lines[2].split()[2] == "fake_good"
    assert "what a method prints" not in result.stdout
    assert "18 of 18 units" in result.stderr
    assert "18 units: 18 done now, 0 stored before" in result.stderr


def test_a_run_with_failures_exits_1_every_time(benchmark) -> None:
    for done in (6, 0):
        result = benchmark(*RUN, "--method", "fake_broken")
        assert result.exit_code == 1
        assert f"6 units: {done} done now" in result.stderr
        assert "failed on 1, counted as chance: three is too much" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("run", "--method", "fake_nois"), "no method is called 'fake_nois'. Did you mean 'fake_noise'?"),
        (("run", "--task", "fake-meen"), "no task is called 'fake-meen'. Did you mean 'fake-mean'?"),
        (
            ("run", "--task", "fake-mean", "--model", "fak", "-m", "fake_noise"),
            "no model is called 'fak'. Did you mean 'fake'?",
        ),
        (("run", "--limit", "0"), "Invalid value for '--limit'"),
        (("run", "--limit", "3", "--tier", "lite"), "give one of them"),
        (("run", "--seed", "x"), "not a whole number"),
        (("rum",), "no command is called 'rum'. Did you mean 'run'?"),
        (("leaderboard",), "there is no store at"),
        (("list", "methods", "--where", "nothing=1"), "methods have no field 'nothing'"),
        (("sql", "SELECT 1"), "there is no store at"),
    ],
)
def test_wrong_usage_is_one_clear_message_and_exit_2(benchmark, arguments: tuple[str, ...], message: str) -> None:
    result = benchmark(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_a_second_writer_and_a_newer_store_are_refused(benchmark, tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store.duckdb"):
        refused = benchmark(*RUN, "--method", "fake_noise")
    assert refused.exit_code == 2
    assert "another run is writing to" in refused.stderr
    assert benchmark(*RUN, "--method", "fake_noise").exit_code == 0
    with duckdb.connect(tmp_path / "store.duckdb") as connection:
        connection.execute("UPDATE meta SET schema_version = 99")
    for arguments in ((*RUN, "--method", "fake_noise"), ("leaderboard",)):
        newer = benchmark(*arguments)
        assert newer.exit_code == 2
        assert "newer version" in newer.stderr


def test_the_leaderboard_in_json_has_the_promised_fields(benchmark) -> None:
    benchmark(*RUN, "--method", "fake_noise,fake_good,fake_broken")
    result = benchmark("leaderboard", "--format", "json", "--task", "fake-*")
    rows = json.loads(result.stdout)
    assert len(rows) == 6
    promised = {"task", "model", "method", "metric", "mean", "low", "high", "n", "n_failed", "rank", "tie_group"}
    assert all(promised <= set(row) for row in rows)
    assert json.loads(benchmark("leaderboard", "--json").stdout) == rows
    best = {row["metric"]: row["method"] for row in rows if row["rank"] == 1}
    assert best == {"fake_mean": "fake_good", "fake_loss": "fake_good"}
    for form in ("text", "markdown", "csv", "latex"):
        assert "fake" in benchmark("leaderboard", "--format", form).stdout
    wrong = benchmark("leaderboard", "--metric", "fake_meen")
    assert wrong.exit_code == 2
    assert "Did you mean 'fake_mean'" in wrong.stderr


def test_methods_with_fewer_samples_are_listed_but_not_ranked(benchmark) -> None:
    benchmark(*RUN, "--method", "fake_noise,fake_good")
    benchmark("run", "--task", "fake-mean", "--model", "fake", "--limit", "3", "--workers", "1", "--method", "fake_flat")
    rows = {row["method"]: row for row in json.loads(benchmark("leaderboard", "--metric", "fake_mean", "--json").stdout)}
    assert (rows["fake_flat"]["state"], rows["fake_flat"]["rank"], rows["fake_flat"]["n"]) == ("partial", None, 3)
    assert "3 of 6" in benchmark("leaderboard").stdout
    rows = json.loads(benchmark("leaderboard", "--metric", "fake_mean", "--limit", "3", "--json").stdout)
    assert {row["state"] for row in rows} == {"ranked"}
    assert {row["n"] for row in rows} == {3}


def test_a_dry_run_counts_and_prices_and_stores_nothing(benchmark, tmp_path: Path) -> None:
    result = benchmark(*RUN, "--method", "fake_good,fake_noise", "--dry-run", "--json")
    rows = {row["method"]: row for row in json.loads(result.stdout)}
    assert (rows["fake_good"]["to_explain"], rows["fake_good"]["forwards"]) == (6, 6 * 8.0)
    assert rows["fake_noise"]["seconds"] is None
    assert not (tmp_path / "store.duckdb").exists()
    benchmark(*RUN, "--method", "fake_noise")
    result = benchmark("run", "--task", "fake-mean", "--model", "fake", "--limit", "8", "--method", "fake_noise", "--dry-run")
    assert result.stdout.splitlines()[1].split()[:6] == ["fake", "fake_noise", "8", "6", "2", "0"]


def test_lists_are_objects_with_ids_and_can_be_filtered(benchmark) -> None:
    benchmark(*RUN, "--method", "fake_noise")
    for kind, name in (("methods", "fake_noise"), ("tasks", "fake-mean"), ("metrics", "fake_loss"), ("runs", "2")):
        rows = json.loads(benchmark("list", kind, "--json").stdout)
        assert any(row["id"].startswith(name) for row in rows)
        assert "id" in benchmark("list", kind).stdout
    found = json.loads(benchmark("list", "methods", "--where", "reads_truth=true", "--where", "yields=image", "--json").stdout)
    assert "fake_oracle" in [row["id"] for row in found]
    assert "fake_noise" not in [row["id"] for row in found]


def test_sql_reads_and_never_writes(benchmark) -> None:
    benchmark(*RUN, "--method", "fake_noise")
    query = "SELECT label, count(*) AS n FROM explanations GROUP BY label"
    assert benchmark("sql", query).stdout.split() == ["label", "n", "fake_noise", "6"]
    assert benchmark("sql", query, "--format", "csv").stdout == "label,n\nfake_noise,6\n"
    assert json.loads(benchmark("sql", query, "--json").stdout) == [{"label": "fake_noise", "n": 6}]
    refused = benchmark("sql", "DELETE FROM scores")
    assert refused.exit_code == 2
    assert "read-only" in refused.stderr
    assert benchmark("sql", "SELECT nothing FROM scores").exit_code == 2


@pytest.mark.slow
def test_results_are_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    rows: list[object] = []
    for workers in ("1", "2"):
        store = tmp_path / f"{workers}.duckdb"
        arguments = ("--method", "fake_noise,fake_good", "--task", "fake-*", "--model", "fake", "--limit", "8")
        code, _, err = call("run", *arguments, "--workers", workers, "--store", str(store))
        assert code == 0, err
        found = "SELECT unit_key, payload_hash FROM explanations ORDER BY 1", "SELECT score_key, value FROM scores ORDER BY 1"
        rows.append([query_store(store, query) for query in found])
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_a_unit_that_kills_its_worker_twice_is_a_failed_row_and_the_rest_goes_on(tmp_path: Path) -> None:
    store = tmp_path / "dead.duckdb"
    arguments = ("--method", "fake_broken[how=dies],fake_noise", "--task", "fake-mean", "--model", "fake", "--limit", "5")
    code, _, err = call("run", *arguments, "--workers", "2", "--store", str(store))
    assert code == 1, err
    status = query_store(store, "SELECT sample_id, label, error_class FROM explanations WHERE status != 'ok'")[1]
    assert status == [("s003", "fake_broken[how=dies]", "WorkerLost")]
    assert query_store(store, "SELECT count(*) FROM explanations")[1] == [(10,)]


def test_a_run_says_what_was_left_out_of_the_data(benchmark, monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmark.data.base import DATASETS

    monkeypatch.setattr(DATASETS["fake"], "problems", ("entry 3 has no box; left out",))
    result = benchmark(*RUN, "--method", "fake_good")
    assert "fake: 1 entries of its files are left out or mended; the first: entry 3 has no box; left out" in result.stderr
