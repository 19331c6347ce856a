"""A small store, made by a real run, and a snapshot of it."""

from pathlib import Path

import pytest

from benchmark.ranking import Selection
from benchmark.runner import catalogue
from benchmark.runner.encoders import EncoderSource
from benchmark.runner.plan import Request
from benchmark.runner.run import run
from benchmark.snapshots.create import create

METHODS = "grad_eclip,random,centre,raw_attention"
TASKS = "scenes-pointing,scenes-spans,scenes-cost"


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    catalogue.register()
    path = tmp_path_factory.mktemp("frozen") / "store.duckdb"
    request = Request(methods=catalogue.methods(METHODS), tasks=catalogue.tasks(TASKS), limit=3)
    source = EncoderSource(name="embedded", device="cpu")
    run(
        request, [source], path, workers=1, command="benchmark run --store /home/somebody/secret/store.duckdb --task 'scenes-*'"
    )
    return path


@pytest.fixture(scope="session")
def snapshot(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leaderboards") / "scenes" / "2026.11"
    create(folder, store, Selection())
    return folder
