"""Small stores for the pages: three methods on two boards, one with a hostile name, and a failure."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from benchmark.explanations import Explanation
from benchmark.store import schema

HOSTILE = "<script>alert(1)</script>[x](javascript:1)"
METHODS = ("fixlip", "random", HOSTILE)
N_SAMPLES = 12
_TIME = datetime(2026, 1, 1)
_COST = {"image_forwards": 10.0, "text_forwards": 2.0, "backwards": 0.0, "seconds": 0.5, "device": "cpu"}
_RUN: dict[str, Any] = {"run_id": "r1", "command": "benchmark run", "status": "done", "started": _TIME, "device": "cpu"}


def write_store(path: Path, methods: tuple[str, ...] = METHODS, caption: str = "a <b>red</b> star") -> None:
    """Write a store as a run would leave it."""
    with duckdb.connect(path) as connection:
        schema.create(connection, "test")
        _insert(connection, "runs", _RUN | {"versions": "{}", "hardware": "{}", "seeds": [0]})
        for i in range(N_SAMPLES):
            sample = {"data": "scenes", "data_version": "1", "sample_id": f"scenes/{i}/phrase", "text_hash": str(i)}
            text = {"text": caption, "cluster": f"scenes/{i}", "strata": json.dumps({"n_objects": str(i % 2)})}
            _insert(connection, "samples", sample | text)
            for place, method in enumerate(methods):
                _explained(connection, sample, place, method, i)


def _explained(connection: duckdb.DuckDBPyConnection, sample: dict[str, Any], place: int, method: str, i: int) -> None:
    failed = method == HOSTILE and i == 0
    who = {"encoder": "embedded", "revision": "r", "method": method, "label": method, "method_version": 1, "seed": 0}
    unit = {"unit_key": f"{place}-{i}", "run_id": "r1", "created": _TIME}
    outcome: dict[str, Any] = {"status": "ok", "similarity": 0.3}
    if failed:
        outcome = {"status": "failed", "error_class": "ValueError", "reason": "it <i>failed</i>"}
    else:
        rng = np.random.default_rng(10 * i + place)
        outcome["payload"] = Explanation(image=rng.standard_normal((4, 4)), text=rng.standard_normal(3)).to_bytes()
    _insert(connection, "explanations", sample | who | unit | outcome | _COST | {"parameters": "{}"})
    for metric in ("pointing_hit", "average_precision"):
        score = {
            "score_key": f"{place}-{i}-{metric}",
            "task": "scenes-pointing",
            "task_version": 1,
            "task_hash": "t",
            "metric": metric,
            "position": i,
            "data": "scenes",
            "data_version": "1",
            "sample_id": sample["sample_id"],
            "cluster": f"scenes/{i}",
            "status": "failed" if failed else "ok",
            "reason": "it <i>failed</i>" if failed else None,
            "value": 0.1 if failed else round(0.9 - 0.2 * place + 0.01 * i, 6),
            "chance": 0.1,
            "flags": "{}",
        }
        _insert(connection, "scores", score | who | unit)


def _insert(connection: duckdb.DuckDBPyConnection, table: str, row: dict[str, Any]) -> None:
    names, places = ", ".join(f'"{name}"' for name in row), ", ".join("?" * len(row))
    connection.execute(f"INSERT INTO {table} ({names}) VALUES ({places})", list(row.values()))
