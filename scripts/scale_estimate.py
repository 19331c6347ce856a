"""What a big board would cost: ``python scripts/scale_estimate.py STORE`` prints the tables of docs/scale.md.

Measured: what the store says its explanations took (passes, seconds, bytes), how fast this machine's writer stores units and
what a planned unit holds of memory. Not measured: the time on a GPU, which is arithmetic from counted operations, a published
peak and an assumed utilisation.
"""

import argparse
import gc
import tempfile
import time
import tracemalloc
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmark.cli.base import print_table
from benchmark.records import Cost, ExplanationRecord, Origin, RunRecord, SampleRecord, ScoreRecord, UnitResult, score_key
from benchmark.runner import catalogue
from benchmark.runner.plan import Known, Request, make_plan
from benchmark.store import StoreWriter, open_store, rows

# GFLOP of one forward pass of an image of 224 px and of a text of 77 or 64 tokens (two for every weight and every position,
# attention left out), and the number of patches
ENCODERS = {
    "CLIP ViT-B/32": (8.8, 5.8, 49),
    "CLIP ViT-B/16": (33.7, 5.8, 196),
    "CLIP ViT-L/14": (155.0, 13.1, 256),
    "SigLIP 2 ViT-B/16": (33.7, 10.9, 196),
}
SAMPLES = 5_000
GPUS = (1, 8, 64)


def measured(store: Path) -> dict[str, float]:
    """Return means per sample over everything that a store holds, probes among it."""
    with open_store(store) as connection:
        (found,) = rows(
            connection,
            """
            SELECT count(*) AS explanations, sum(image_forwards) AS image_forwards, sum(text_forwards) AS text_forwards,
                sum(backwards) AS backwards, sum(seconds) AS seconds, sum(octet_length(payload)) AS payload_bytes,
                count(DISTINCT label) AS methods,
                (SELECT count(*) FROM (SELECT DISTINCT data, split_part(sample_id, '~', 1) FROM explanations)) AS samples,
                (SELECT count(*) FROM scores) AS scores,
                (SELECT sum(epoch(finished - started) * CAST(hardware ->> 'cores' AS DOUBLE)) FROM runs) AS core_seconds
            FROM explanations""",
        )
    n = found["samples"]
    per_sample = {name: (found[name] or 0) / n for name in found if name not in ("samples", "methods")}
    return per_sample | {"methods": found["methods"], "samples": n, "file_bytes": store.stat().st_size / n}


def methods_of(store: Path) -> list[dict[str, Any]]:
    """Return what each method's explanation of a sample itself took, probes left out."""
    query = """
        SELECT label AS method, count(*) AS n, median(seconds) AS seconds, avg(image_forwards) AS image_forwards,
            avg(text_forwards) AS text_forwards, avg(backwards) AS backwards, avg(octet_length(payload)) AS bytes
        FROM explanations WHERE status = 'ok' AND NOT contains(sample_id, '~') AND NOT contains(revision, '+')
        GROUP BY label ORDER BY seconds DESC"""
    with open_store(store) as connection:
        return rows(connection, query)


def gpu_hours(per_sample: dict[str, float], scoring: float, tflops: float, utilisation: float) -> dict[str, float]:
    """Return hours on one GPU by encoder: the passes of every method, a backward pass as two forward passes of both towers."""
    found: dict[str, float] = {}
    for name, (image, text, _) in ENCODERS.items():
        passes = per_sample["image_forwards"] * image + per_sample["text_forwards"] * text
        gflop = (passes + per_sample["backwards"] * 2 * (image + text)) * (1 + scoring)
        found[name] = gflop * SAMPLES / (tflops * 1_000 * utilisation) / 3_600
    return found


def writer_speed(n_scores: int, payload: int, n_units: int = 200) -> float:
    """Return how many units a second the one writer stores here, publications left out."""
    origin = Origin(encoder="e", revision="", method="m", method_version=1, parameters={}, label="m", seed=0)
    results: list[UnitResult] = []
    for i in range(n_units):
        sample = SampleRecord(data="d", data_version="1", sample_id=f"s{i}", text_hash="t", text="a text", cluster=f"c{i}")
        unit = origin.unit_key({"sample": f"s{i}"})
        record = ExplanationRecord(
            unit_key=unit, origin=origin, sample=sample, status="ok", payload=bytes(payload), cost=Cost(seconds=0.1)
        )
        first = ScoreRecord(
            score_key="", unit_key=unit, task="t", task_version=1, task_hash="h", metric="x", position=i, status="ok", value=0.5
        )
        scores = tuple(replace(first, score_key=score_key(unit, "h", f"{k}"), metric=f"{k}") for k in range(n_scores))
        results.append(UnitResult(unit_key=unit, origin=origin, sample=sample, explanation=record, scores=scores))
    with tempfile.TemporaryDirectory() as folder, StoreWriter(Path(folder) / "x.duckdb") as store:
        store.begin(RunRecord(run_id="r", command="", versions={}, seeds=(0,)))
        began = time.perf_counter()
        for result in results:
            store.add(result)
        return n_units / (time.perf_counter() - began)


def plan_bytes(n_samples: int = 40) -> tuple[float, float]:
    """Return the bytes that a planned unit holds in the driver, and the seconds that planning it takes."""
    request = Request(methods=catalogue.methods(catalogue.ALL), tasks=catalogue.tasks("scenes-*"), limit=n_samples)
    encoder: Any = SimpleNamespace(name="e", revision="r")
    make_plan(replace(request, limit=1), encoder, Known())
    gc.collect()
    began = time.perf_counter()
    make_plan(request, encoder, Known())
    seconds = time.perf_counter() - began
    tracemalloc.start()
    plan = make_plan(request, encoder, Known())
    gc.collect()
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return held / plan.n_units, seconds / plan.n_units


def table(title: str, found: Sequence[dict[str, Any]]) -> None:
    print(f"\n{title}\n")
    print_table(found, False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--tflops", type=float, default=312.0, help="published peak of the GPU: A100, bf16, dense")
    parser.add_argument("--utilisation", type=float, default=0.3, help="assumed share of that peak")
    parser.add_argument("--price", type=float, default=2.0, help="assumed dollars for a GPU-hour")
    asked = parser.parse_args()
    catalogue.register()
    per = measured(asked.store)
    table("Measured, one explanation of the embedded encoder on this CPU:", methods_of(asked.store))
    scoring = max(0.0, per["core_seconds"] / per["seconds"] - 1)
    table("Measured, all methods and tasks, one sample:", [{"what": name, "value": value} for name, value in per.items()])
    print(f"\nscoring and all else: {scoring:.2f} of the time of explaining (cores x wall time of the runs)")

    hours = gpu_hours(per, scoring, asked.tflops, asked.utilisation)
    total = sum(hours.values())
    bytes_each = {name: per["file_bytes"] * patches / 49 for name, (_, _, patches) in ENCODERS.items()}
    table(
        f"NOT measured, {SAMPLES:,} samples at {asked.tflops:g} TFLOP/s x {asked.utilisation:g}:",
        [
            {"encoder": name, "GPU-hours": hours[name], "GB": bytes_each[name] * SAMPLES / 1e9}
            for name in ENCODERS
        ]
        + [{"encoder": "all", "GPU-hours": total, "GB": sum(bytes_each.values()) * SAMPLES / 1e9}],
    )  # fmt: skip
    units = per["explanations"] * SAMPLES * len(ENCODERS)
    n_scores = round(per["scores"] / per["explanations"])
    speed = writer_speed(n_scores, round(per["payload_bytes"] / per["explanations"]))
    held, seconds = plan_bytes()
    writing = units / speed / 3_600
    table(
        f"NOT measured but for the writer, at ${asked.price:g} a GPU-hour:",
        [
            {
                "GPUs": n,
                "hours": total / n,
                "dollars": total * asked.price,
                "hours of one writer": writing,
                "what it waits for": "the writer" if writing > total / n else "the GPUs",
            }
            for n in GPUS
        ],
    )
    limits = {
        "units of the board": units,
        "units a second, one writer": speed,
        "rows a second, one writer": speed * (1 + n_scores),
        "bytes of a planned unit": held,
        "milliseconds to plan a unit": 1_000 * seconds,
    }
    planned = units / len(ENCODERS) / per["explanations"] * per["methods"]  # of one encoder, probes left out
    for factor in (1, 100):
        limits |= {
            f"x {factor}: days of one writer": factor * writing / 24,
            f"x {factor}: GB of plan in one driver": factor * planned * held / 1e9,
            f"x {factor}: GB of one store, copied at every publication": factor * sum(bytes_each.values()) * SAMPLES / 1e9,
            f"x {factor}: GPU-hours": factor * total,
        }
    table("What breaks first:", [{"what": name, "value": f"{value:,.3g}"} for name, value in limits.items()])


if __name__ == "__main__":
    main()
