"""The ladder of trust: forged scores fall when they are recomputed, forged explanations when they are re-run."""

import json
import shutil
import zipfile
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import duckdb
import numpy as np
import pytest
from click.testing import CliRunner

from benchmark.cli import cli
from benchmark.errors import InvalidExplanation, InvalidInput, UnknownName
from benchmark.explanations import Explanation
from benchmark.ranking import Row, leaderboard
from benchmark.records import KEY_LENGTH
from benchmark.snapshots.checksums import write_checksums
from benchmark.store import open_store, rows
from benchmark.submissions.ladder import climb, keep
from benchmark.submissions.pack import pack
from benchmark.submissions.payloads import read_payload


@pytest.fixture(scope="session")
def packed(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("results") / "grad_eclip"
    found = pack(folder, store, "grad_eclip")
    assert found.n_payloads == found.n_explanations == 6  # three captions and three phrases
    return folder


@pytest.fixture
def results(packed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(packed, tmp_path / "grad_eclip"))


def forge(folder: Path, table: str, change: str) -> None:
    path = folder / f"{table}.parquet"
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE forged AS SELECT * FROM '{path}'; {change}")
        connection.execute(f"COPY forged TO '{path}' (FORMAT parquet)")
    write_checksums(folder)


def badges(store: Path) -> dict[str, str]:
    with open_store(store) as connection:
        found: list[Row] = leaderboard(connection)
    return {row.task: row.badge for row in found if row.method == "grad_eclip"}


def test_honest_results_reach_the_top_and_are_stored_with_their_badge(results: Path, store: Path, tmp_path: Path) -> None:
    found = climb(results, n_reruns=1, seed=3)
    assert found.problems == []
    assert {step.task: step.rung for step in found.steps} == dict.fromkeys(
        ("scenes-pointing", "scenes-spans", "scenes-cost"), "re-run"
    )
    assert all(step.n_rerun == step.n_agreeing >= 1 for step in found.steps)
    mine = tmp_path / "mine.duckdb"
    keep(found, mine, "test", 3)
    assert badges(mine) == dict.fromkeys(("scenes-pointing", "scenes-spans", "scenes-cost"), "re-run")
    query = "SELECT score_key, value FROM scores WHERE label = 'grad_eclip' AND metric <> 'cost_seconds' ORDER BY ALL"
    with open_store(store) as first, open_store(mine) as second:
        handed_in, kept = rows(first, query), rows(second, query)
    assert [row["score_key"] for row in handed_in] == [row["score_key"] for row in kept]
    np.testing.assert_allclose([row["value"] for row in handed_in], [row["value"] for row in kept], atol=1e-6)
    assert keep(found, mine, "again", 3) == 0


def test_without_a_re_run_explanations_are_scored_here_and_costs_are_only_said(results: Path, tmp_path: Path) -> None:
    found = climb(results)
    rungs = {step.task: step.rung for step in found.steps}
    assert rungs == {"scenes-pointing": "recomputed", "scenes-spans": "recomputed", "scenes-cost": "self-reported"}
    keep(found, tmp_path / "mine.duckdb", "test", 0)
    assert badges(tmp_path / "mine.duckdb") == rungs


def test_scores_without_explanations_stay_self_reported(store: Path, tmp_path: Path) -> None:
    pack(tmp_path / "bare", store, "grad_eclip", ["scenes-pointing"], with_explanations=False)
    found = climb(tmp_path / "bare")
    assert [(step.task, step.rung, step.n_samples) for step in found.steps] == [("scenes-pointing", "self-reported", 3)]
    keep(found, tmp_path / "mine.duckdb", "test", 0)
    assert badges(tmp_path / "mine.duckdb") == {"scenes-pointing": "self-reported"}


def test_a_forged_score_is_caught_when_it_is_recomputed_and_named(results: Path) -> None:
    forge(
        results,
        "scores",
        "UPDATE forged SET value = value + 0.01 WHERE metric = 'average_precision' AND sample_id = 'scenes/1/phrase'",
    )
    found = climb(results)
    assert len(found.problems) == 1
    assert "scenes/1/phrase, scored here: scenes-pointing, average_precision" in found.problems[0]
    with pytest.raises(InvalidInput, match="refused"):
        keep(found, results.parent / "none.duckdb", "test", 0)
    assert not (results.parent / "none.duckdb").exists()


def test_forged_explanations_with_scores_to_match_are_caught_when_they_are_re_run(results: Path) -> None:
    """Every map is replaced by another, and every score by what that map truly gets."""
    names = {path.stem for path in (results / "explanations").iterdir()}
    for name in names:
        path = results / "explanations" / f"{name}.npz"
        true = Explanation.load(path)
        turned = replace(true, image=None if true.image is None else true.image[::-1, ::-1])
        path.write_bytes(turned.to_bytes())
    hashes(results)
    said = climb(results).problems
    assert said  # the scores are those of the true maps
    with duckdb.connect() as connection:
        for name in ("scores",):
            connection.execute(f"CREATE TABLE {name} AS SELECT * FROM '{results / name}.parquet'")
        for key, task, metric, value, status in scored(results):
            connection.execute(
                "UPDATE scores SET value = ?, status = ? WHERE unit_key = ? AND task = ? AND metric = ?",
                [value, status, key, task, metric],
            )
        connection.execute(f"COPY scores TO '{results / 'scores.parquet'}' (FORMAT parquet)")
    write_checksums(results)
    assert climb(results).problems == []
    problems = climb(results, n_reruns=2, seed=1).problems
    assert problems
    assert all("explained here" in problem for problem in problems)


def hashes(folder: Path) -> None:
    """Name the explanations that are there in the table."""
    from hashlib import sha256

    found = {path.stem: sha256(path.read_bytes()).hexdigest()[:KEY_LENGTH] for path in (folder / "explanations").iterdir()}
    changes = "; ".join(f"UPDATE forged SET payload_hash = '{value}' WHERE unit_key = '{key}'" for key, value in found.items())
    forge(folder, "explanations", changes)


def scored(folder: Path) -> list[tuple[str, str, str, float | None, str]]:
    """Return what the explanations that are there truly get."""
    from benchmark.runner.execute import run_group
    from benchmark.snapshots.units import Rebuilder
    from benchmark.store import StoredExplanation
    from benchmark.submissions.pack import open_results

    found = []
    with duckdb.connect() as connection:
        open_results(folder, connection)
        rebuilder = Rebuilder(connection)
        for unit in rows(connection, "SELECT * FROM explanations"):
            group = rebuilder.group(unit)
            payload = (folder / "explanations" / f"{unit['unit_key']}.npz").read_bytes()
            stored = StoredExplanation("ok", None, None, payload)
            units = tuple(
                replace(
                    item,
                    is_stored=True,
                    stored=stored,
                    scorings=tuple(scoring for scoring in item.scorings if scoring.task != "scenes-cost"),
                )
                for item in group.units
            )
            for result in run_group(rebuilder.encoder("embedded", unit["revision"]), replace(group, units=units)):
                found += [(score.unit_key, score.task, score.metric, score.value, score.status) for score in result.scores]
    return found


@pytest.mark.parametrize(
    ("table", "change", "message"),
    [
        ("scores", "UPDATE forged SET value = 7 WHERE metric = 'average_precision'", "lies between"),
        ("scores", "UPDATE forged SET value = 'nan' WHERE metric = 'average_precision'", "is nan"),
        ("scores", "UPDATE forged SET sample_id = 'scenes/900/phrase' WHERE position = 1", "contradicts"),
        ("scores", "UPDATE forged SET position = 900 WHERE position = 1", "is not at place 900"),
        ("scores", "UPDATE forged SET task = 'scenes-flying' WHERE position = 1", "no such task"),
        ("scores", "UPDATE forged SET metric = 'beauty' WHERE position = 1", "no such metric"),
        ("scores", "UPDATE forged SET task_hash = 'other'", "another definition"),
        ("scores", "UPDATE forged SET label = 'fixlip'", "the folder of 'grad_eclip'"),
        ("scores", "INSERT INTO forged SELECT * FROM forged", "there twice"),
        ("scores", "DELETE FROM forged WHERE metric = 'average_precision' AND position = 1", "average_precision is missing"),
        ("explanations", "UPDATE forged SET parameters = '{\"steps\": 9}'", "has no parameter 'steps'"),
        ("explanations", "UPDATE forged SET method = 'mine'", "is called 'mine' in tables"),
        ("explanations", "UPDATE forged SET parameters = '3'", "no JSON object"),
        ("explanations", "UPDATE forged SET seed = 1; UPDATE forged SET encoder = 'other'", "contradicts"),
        ("explanations", "UPDATE forged SET seconds = -1", "seconds is -1"),
        ("explanations", "UPDATE forged SET unit_key = '../../secret'", "no key of a unit"),
    ],
)
def test_rows_that_cannot_be_are_refused_by_name(results: Path, table: str, change: str, message: str) -> None:
    forge(results, table, change)
    assert any(message in problem for problem in climb(results).problems), climb(results).problems


def test_an_encoder_that_a_stranger_names_is_not_loaded_unasked(results: Path) -> None:
    found = climb(results, models=("another",))
    assert {step.rung for step in found.steps} == {"self-reported"}
    assert found.problems == []
    assert any("not among those to load here (another)" in remark for remark in found.remarks)


def test_parameters_other_than_those_of_the_key_are_refused(results: Path) -> None:
    forge(results, "explanations", "UPDATE forged SET unit_key = md5(unit_key)")
    said = duckdb.sql(f"SELECT unit_key FROM '{results}/explanations.parquet'").fetchall()
    changed = "; ".join(f"UPDATE forged SET unit_key = '{key}' WHERE md5(unit_key) = '{key}'" for (key,) in said)
    forge(results, "scores", changed)
    assert any("not those of its key" in problem for problem in climb(results).problems)


def test_a_folder_that_was_changed_or_has_other_columns_is_refused(results: Path) -> None:
    forge(results, "scores", "ALTER TABLE forged ADD COLUMN more INTEGER")
    with pytest.raises(InvalidInput, match="other columns"):
        climb(results)
    (results / "explanations" / "extra.npz").write_bytes(b"")
    with pytest.raises(InvalidInput, match=r"extra\.npz was added"):
        climb(results)
    with pytest.raises(InvalidInput, match="holds no results"):
        climb(results.parent)


def archive(**members: bytes) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members.items():
            made.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def npy(array: np.ndarray, pickled: bool = False) -> bytes:
    buffer = BytesIO()
    np.save(buffer, array, allow_pickle=pickled)
    return buffer.getvalue()


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path.touch, (Path("/tmp/never"),))  # type: ignore[return-value]


def test_payloads_of_strangers_are_bounded_and_never_unpickled() -> None:
    good = Explanation(image=np.eye(3))
    assert np.array_equal(read_payload(good.to_bytes()).image, np.eye(3))  # type: ignore[arg-type]
    huge = npy(np.zeros(4)).replace(b"(4,)", b"(9,)")
    for data, message in (
        (b"no archive", "archive"),
        (archive(image=npy(np.array([Bomb()], dtype=object), pickled=True)), "type object"),
        (archive(image=huge), "says it has 72 bytes, and 32 follow"),
        (archive(image=npy(np.zeros((20_000, 500)))), "more than"),
        (archive(weights=npy(np.zeros(3))), "allowed is one of each"),
        (archive(image=npy(np.array(["a"]))), "type <U1"),
        (archive(image=npy(np.full((2, 2), np.nan))), "finite"),
        (archive(image=npy(np.eye(2)), meta=npy(np.array("[" * 100_000))), "not a stored explanation"),
    ):
        with pytest.raises(InvalidExplanation, match=message):
            read_payload(data)
    assert not Path("/tmp/never").exists()


def test_the_command_line_packs_verifies_and_refuses(store: Path, tmp_path: Path) -> None:
    def call(*words: object) -> tuple[int, str]:
        done = CliRunner().invoke(cli, ["submission", *map(str, words)])
        return done.exit_code, done.output

    folder, mine = tmp_path / "handed_in", tmp_path / "mine.duckdb"
    assert call("pack", "grad_eclip", folder, "--store", store, "--task", "scenes-pointing")[0] == 0
    code, said = call("verify", folder, "--store", mine, "--rerun", 1, "--seed", 2)
    assert code == 0, said
    assert "re-run" in said
    assert badges(mine) == {"scenes-pointing": "re-run"}
    forge(folder, "scores", "UPDATE forged SET value = 0.999 WHERE metric = 'average_precision' AND position = 0")
    code, said = call("verify", folder, "--store", mine, "--rerun", 0, "--json")
    assert code == 1
    assert "average_precision" in json.loads(said[: said.rindex("}") + 1])["problems"][0]
    assert call("verify", tmp_path, "--store", mine)[0] == 2
    with pytest.raises(UnknownName, match="Did you mean 'grad_eclip'"):
        pack(tmp_path / "other", store, "grad_eclp")
