"""The snapshots that are part of the repository."""

import shutil
from pathlib import Path

import pytest

from benchmark.snapshots.verify import verify

COMMITTED = sorted(path.parent for path in (Path(__file__).parents[2] / "leaderboards").glob("*/*/manifest.json"))


def test_there_is_one_of_each_generated_set() -> None:
    assert {path.parent.name for path in COMMITTED} >= {"scenes", "phantoms"}


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda path: "/".join(path.parts[-2:]))
def test_a_committed_snapshot_is_verified_until_a_byte_changes(folder: Path, tmp_path: Path) -> None:
    report = verify(folder)
    assert report.good, report.problems
    assert report.rebuilt
    copy = Path(shutil.copytree(folder, tmp_path / folder.parent.name / folder.name))
    content = bytearray((copy / "scores.parquet").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "scores.parquet").write_bytes(content)
    assert any("scores.parquet" in problem for problem in verify(copy).problems)
