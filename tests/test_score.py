"""Maps made elsewhere: one file in, scores and stored explanations out."""

import json
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest
from click.testing import CliRunner, Result
from fakes import FAKE_TASK, FAKE_TRUTH, GRID, FakeSource, load_fake_encoder, planted  # noqa: F401

from benchmark.cli import cli
from benchmark.errors import InvalidExplanation
from benchmark.ranking import Selection, leaderboard
from benchmark.runner import catalogue
from benchmark.runner.plan import Request
from benchmark.runner.rescore import Wanted, rescore
from benchmark.runner.run import run
from benchmark.runner.score import pooled, score_file
from benchmark.store import open_store, rows

pytestmark = pytest.mark.usefixtures("planted")
N = 4


@pytest.fixture(autouse=True)
def fake_encoder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmark.encoders.load_encoder", load_fake_encoder)
    monkeypatch.setattr(fakes.FakePair, "tokens", property(lambda pair: tuple(pair.text.split())), raising=False)
    monkeypatch.setattr(fakes.FakePair, "frame", None, raising=False)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store.duckdb"


def maps(**changed: np.ndarray) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {f"image/s{i:03}": rng.random(GRID) for i in range(N)} | changed


def write(folder: Path, arrays: dict[str, Any], name: str = "mine.npz") -> Path:
    np.savez(folder / name, **arrays)
    return folder / name


def command(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["score", *arguments, "--task", "fake-mean", "--model", "fake", "--limit", str(N)])


def read(store: Path, query: str) -> list[dict[str, Any]]:
    with open_store(store) as connection:
        return rows(connection, query)


def test_maps_are_scored_as_a_method_that_gives_the_same_maps(tmp_path: Path, store: Path) -> None:
    run(Request(methods=catalogue.methods("fake_good"), tasks=(FAKE_TASK,), limit=N), [FakeSource()], store, workers=1)
    found = read(store, "SELECT sample_id, payload FROM explanations")
    own = {f"image/{row['sample_id']}": fakes.Explanation.from_bytes(row["payload"]).image for row in found}
    score_file(write(tmp_path, own), FAKE_TASK, FakeSource(), store=store, limit=N)  # type: ignore[arg-type]
    with open_store(store) as connection:
        board = leaderboard(connection, Selection(metrics=["fake_mean"]))
    found = {row.method: (row.mean, row.state, row.rank_low) for row in board}
    assert found == dict.fromkeys(("fake_good", "external:mine"), (board[0].mean, "ranked", 1))
    costs = read(store, "SELECT DISTINCT image_forwards, text_forwards FROM explanations WHERE label = 'external:mine'")
    assert [tuple(row.values()) for row in costs] == [(0, 0)]


def test_pixels_are_averaged_over_patches_and_what_does_not_fit_fails_alone(tmp_path: Path) -> None:
    fine = np.kron(maps()["image/s001"], np.ones((4, 5)))
    noisy = fine.copy()
    noisy[::2] += 0.25
    noisy[1::2] -= 0.25
    given = maps(**{"image/s001": noisy, "image/s002": np.full(GRID, np.nan), "image/s003": np.ones((5, 7))})
    outcome = score_file(write(tmp_path, given), FAKE_TASK, FakeSource(), limit=N)  # type: ignore[arg-type]
    scores = {result.sample.sample_id: result.scores[0] for result in outcome.results}
    assert scores["s001"].value == pytest.approx(maps()["image/s001"].mean())
    assert [(scores[name].status, scores[name].value) for name in ("s002", "s003")] == [("failed", 0.5)] * 2
    assert "must be finite" in str(scores["s002"].reason)
    assert "fits neither the patch grid of 2 x 3" in str(scores["s003"].reason)
    assert (outcome.n_failed, outcome.missing) == (2, ())


def test_pooling_is_a_mean_over_each_patch() -> None:
    frame = np.arange(24.0).reshape(4, 6)
    assert np.array_equal(pooled(frame, (2, 3)), [[3.5, 5.5, 7.5], [15.5, 17.5, 19.5]])
    assert pooled(np.stack([frame, frame], axis=2), (2, 3)).shape == (2, 3, 2)
    assert pooled(frame, (4, 6)) is frame
    with pytest.raises(InvalidExplanation, match="4 x 6 fits neither"):
        pooled(frame, (3, 3))


def test_missing_samples_are_named_and_keep_the_method_from_a_rank(tmp_path: Path, store: Path) -> None:
    run(Request(methods=catalogue.methods("fake_noise"), tasks=(FAKE_TASK,), limit=N), [FakeSource()], store, workers=1)
    given = maps()
    del given["image/s002"]
    result = command(str(write(tmp_path, given)), "--store", str(store))
    assert result.exit_code == 0, result.output
    assert "1 of 4 samples have no map (s002)" in result.stderr
    with open_store(store) as connection:
        board = {row.method: row for row in leaderboard(connection, Selection(metrics=["fake_mean"]))}
    assert (board["external:mine"].state, board["external:mine"].n) == ("partial", 3)


def test_names_that_nothing_has_are_answered_with_the_nearest(tmp_path: Path, store: Path) -> None:
    wrong = command(str(write(tmp_path, maps(**{"image/s0003": np.ones(GRID)}))), "--store", str(store))
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "have no 's0003'. Did you mean 's003'?" in wrong.stderr
    beyond = command(str(write(tmp_path, maps(**{"image/s004": np.ones(GRID)}))), "--store", str(store))
    assert "the first 4 samples of fake-mean have no 's004'" in beyond.stderr
    for name in ("heat/s001", "s001", "image/"):
        assert "arrays are named image/<sample id>" in command(str(write(tmp_path, {name: np.ones(GRID)}))).stderr
    assert not store.exists()


def test_pickles_and_other_files_are_refused(tmp_path: Path) -> None:
    evil = np.empty(GRID, dtype=object)
    result = command(str(write(tmp_path, maps(**{"image/s001": evil}))), "--no-store")
    assert result.exit_code == 1
    assert "1 maps failed" in result.stderr
    (tmp_path / "text.npz").write_text("no archive")
    np.save(tmp_path / "one.npy", np.ones(GRID))
    words = write(tmp_path, maps(**{"image/s001": np.full(GRID, "high")}), "words.npz")
    for path, message in (("text.npz", "is no .npz file"), ("one.npy", "is no .npz file"), ("none.npz", "there is no file")):
        refused = command(str(tmp_path / path), "--no-store")
        assert refused.exit_code == 2, path
        assert message in refused.stderr
        assert "Traceback" not in refused.output
    assert command(str(words), "--no-store").exit_code == 1


def test_the_same_file_again_changes_nothing_and_other_maps_need_another_name(tmp_path: Path, store: Path) -> None:
    path = write(tmp_path, maps())
    first = command(str(path), "--store", str(store), "--json")
    assert command(str(path), "--store", str(store), "--json").stdout == first.stdout
    before = read(store, "SELECT unit_key, payload_hash FROM explanations ORDER BY 1")
    write(tmp_path, maps(**{"image/s001": np.ones(GRID)}))
    refused = command(str(path), "--store", str(store))
    assert refused.exit_code == 2
    assert "choose another --name" in refused.stderr
    assert read(store, "SELECT unit_key, payload_hash FROM explanations ORDER BY 1") == before
    assert command(str(path), "--store", str(store), "--name", "second").exit_code == 0
    labels = read(store, "SELECT DISTINCT label FROM scores ORDER BY 1")
    assert [row["label"] for row in labels] == ["external:mine", "external:second"]


def test_stored_maps_are_scored_again_like_any_method(tmp_path: Path, store: Path) -> None:
    score_file(write(tmp_path, maps()), FAKE_TASK, FakeSource(), store=store, limit=N)  # type: ignore[arg-type]
    found = {tally.task: (tally.same, tally.added) for tally in rescore(store, Wanted(tasks=[FAKE_TASK, FAKE_TRUTH]))}
    assert found == {"fake-mean": (8, 0), "fake-truth": (0, 8)}


def test_a_template_names_samples_texts_and_tokens_and_is_itself_a_start(tmp_path: Path) -> None:
    path = tmp_path / "todo.npz"
    assert command(str(path), "--template").exit_code == 0
    with np.load(path, allow_pickle=False) as archive:
        todo = dict(archive)
    assert list(todo["samples"]) == ["s000", "s001", "s002", "s003"]
    assert list(todo["texts"]) == ["sample 0", "sample 1", "sample 2", "sample 3"]
    assert list(todo["tokens/s001"]) == ["sample", "1"]
    assert tuple(todo["grid"]) == GRID
    assert "is there already" in command(str(path), "--template").stderr
    empty = command(str(path), "--no-store")
    assert empty.exit_code == 2
    assert "holds no map" in empty.stderr
    result = command(str(write(tmp_path, todo | maps(), "done.npz")), "--no-store", "--json")
    assert result.exit_code == 0, result.output
    row = next(row for row in json.loads(result.stdout) if row["metric"] == "fake_mean")
    assert row["mean"] == pytest.approx(np.mean([array.mean() for array in maps().values()]))
    assert (row["method"], row["n"], row["n_missing"]) == ("external:done", 4, 0)
