from pathlib import Path

import pytest

from benchmark.data.hub import load_hub, load_parquet, pinned
from benchmark.errors import DataError

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``datasets`` converts goes to a temporary folder."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


def test_a_revision_is_given_or_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert pinned("someone/Some-Set", COMMIT) == COMMIT
    monkeypatch.setenv("XLIP_REVISION_SOME_SET", COMMIT)
    assert pinned("someone/Some-Set", None) == COMMIT


@pytest.mark.parametrize(("revision", "said"), [(None, "no commit is known here"), ("main", "'main' is not a commit")])
def test_without_a_commit_nothing_is_loaded(revision: str | None, said: str) -> None:
    with pytest.raises(DataError, match=rf"{said}: set XLIP_REVISION_SOME_SET=.*--data-dir"):
        load_hub("someone/Some-Set", revision, "test", ("image",))


def test_without_a_network_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match=rf"someone/Some-Set@{COMMIT}, split 'test', cannot be loaded.*--data-dir FOLDER"):
        load_hub("someone/Some-Set", COMMIT, "test", ("image",))


def test_parquet_keeps_the_columns_asked_for(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    path = tmp_path / "val.parquet"
    datasets.Dataset.from_dict({"answer": ["a", "b"], "bbox": [[1.0], [2.0]], "more": [1, 2]}).to_parquet(path)
    assert load_parquet((path,), ("answer", "bbox")).to_list() == [
        {"answer": "a", "bbox": [1.0]},
        {"answer": "b", "bbox": [2.0]},
    ]
    with pytest.raises(DataError, match=r"val\.parquet has no column 'answers'; its columns are .*Is 'answer' meant"):
        load_parquet((path,), ("answers",))


def test_truncated_parquet_is_an_error(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    path = tmp_path / "val.parquet"
    datasets.Dataset.from_dict({"answer": ["a", "b"]}).to_parquet(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(DataError, match=r"val\.parquet cannot be loaded"):
        load_parquet((path,), ("answer",))
