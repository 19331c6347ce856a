"""What computing the game in half precision does to values and to every metric, beside the noise of a repeated run.

``python scripts/precision.py --json FILE`` explains and scores scenes with the embedded encoder in float32, in bfloat16 (or
what ``--precision`` names), and in float32 with another seed; it prints two tables. A value is the cosine of a coalition. For
a metric it gives the mean difference to float32 over samples and methods, the mean of its absolute value, and how far
methods' mean ranks move: all of that for each precision, and for the other seed, which is the noise that any run has.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import pandas as pd
import torch

import benchmark as xb
from benchmark.data.scenes import Scenes
from benchmark.encoders import DualEncoder
from benchmark.tasks.protocols import InteractionFaithfulness, Localisation, Perturbation

METHODS = (
    "occlusion",
    "rise[n_masks=200]",
    "fixlip[image_budget=256,text_budget=16,pairs=cross]",
    "grad_eclip",
)
OTHER = "float32, other seed"


def values(encoder: DualEncoder, halves: Sequence[str], n_samples: int, n_coalitions: int) -> dict[str, np.ndarray]:
    """Return the game's values of the same random coalitions in each precision."""
    found: dict[str, list[np.ndarray]] = {}
    for number, sample in enumerate(Scenes().samples("captions", n_samples)):
        pair = encoder.pair(sample.load_image(), sample.text)
        coalitions = np.random.default_rng(number).random((n_coalitions, encoder.n_patches + pair.n_tokens)) < 0.5
        for precision in ("float32", *halves):
            found.setdefault(precision, []).append(xb.SimilarityGame(encoder, pair, precision=precision).values(coalitions))
    return {precision: np.array(rows) for precision, rows in found.items()}


def value_table(found: dict[str, np.ndarray]) -> pd.DataFrame:
    """Compare values with float32's: absolute differences, the spread of values within a pair, and the correlation there."""
    exact, rows = found["float32"], []
    for precision in [name for name in found if name != "float32"]:
        gap = np.abs(found[precision] - exact)
        correlation = [np.corrcoef(a, b)[0, 1] for a, b in zip(found[precision], exact, strict=True)]
        rows.append(
            {
                "precision": precision,
                "mean difference": gap.mean(),
                "largest difference": gap.max(),
                "standard deviation of values": exact.std(axis=1).mean(),
                "lowest correlation": min(correlation),
            }
        )
    return pd.DataFrame(rows)


def scores(encoder: DualEncoder, halves: Sequence[str], n_samples: int, names: list[str]) -> pd.DataFrame:
    """Return one score per run, sample, method and metric."""
    samples, frames = Scenes().samples("phrases", n_samples), []
    for run, precision, seed in (
        ("float32", "float32", 0),
        *((half, half, 0) for half in halves),
        (OTHER, "float32", 1),
    ):
        encoder.precision = precision
        click.echo(f"{run}: {n_samples} samples", err=True)
        frames.append(xb.evaluate(encoder, samples, list(METHODS), names, seed=seed).assign(run=run))
    encoder.precision = "float32"
    return pd.concat(frames)


def metric_table(found: pd.DataFrame) -> pd.DataFrame:
    """Compare every run with float32, a row for each metric and run."""
    wide = found.pivot_table(index=["metric", "method", "sample"], columns="run", values="value")
    rows = []
    for metric, table in wide.groupby(level="metric"):
        spread = table["float32"].groupby(level="sample").mean().std()
        means = table.groupby(level="method").mean()
        for run in table.columns.drop("float32"):
            gap = (table[run] - table["float32"]).dropna()
            rows.append(
                {
                    "metric": metric,
                    "run": run,
                    "mean": table["float32"].mean(),
                    "standard deviation over samples": spread,
                    "mean difference": gap.mean(),
                    "mean absolute difference": gap.abs().mean(),
                    "methods that change rank": int((means[run].rank() != means["float32"].rank()).sum()),
                }
            )
    return pd.DataFrame(rows)


@click.command(help=__doc__)
@click.option("--samples", default=24, show_default=True)
@click.option("--precision", "halves", multiple=True, default=["bfloat16"], help="Also float16, which is slow on a CPU.")
@click.option("--json", "path", type=click.Path(path_type=Path), help="Write both tables here too.")
def main(samples: int, halves: tuple[str, ...], path: Path | None) -> None:
    torch.set_num_threads(1)
    encoder = xb.load_encoder("embedded", device="cpu")
    names = sorted(
        {name for kind in (Localisation(read="image"), Perturbation(), InteractionFaithfulness()) for name in kind.metrics}
    )
    tables: dict[str, Any] = {
        "values": value_table(values(encoder, halves, samples, 128)),
        "metrics": metric_table(scores(encoder, halves, samples, names)),
    }
    for table in tables.values():
        click.echo(table.to_string(index=False, float_format=lambda number: f"{number:.2g}"))
    if path is not None:
        path.write_text(json.dumps({name: table.to_dict("records") for name, table in tables.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
