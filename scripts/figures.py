"""Draw the README's figures from the demo's store: ``python scripts/figures.py results/benchmark.duckdb docs/figures``."""

import json
import subprocess
import sys
from pathlib import Path

from matplotlib.figure import Figure

from benchmark.data import DATASETS
from benchmark.encoders import load_encoder
from benchmark.explaining import explain
from benchmark.figures import draw_explanations

HEADLINES = {"pointing": "average_precision", "grounding": "average_precision", "insertion": "area_image"} | {
    "interactions": "faithfulness_spearman"
}
EXPLAINED = {
    "grad_eclip[heads=model]": ("grad_eclip", {"heads": "model"}),
    "transformer_mm": ("transformer_mm", {}),
    "occlusion": ("occlusion", {}),
    "fixlip": ("fixlip", {}),
    "exclip": ("exclip", {}),
    "clip_surgery": ("clip_surgery", {}),
}


def leaderboard(store: Path, out: Path) -> None:
    """One panel per task: mean and 95 % interval of every method, the first tie group dark, chance dashed."""
    command = [sys.executable, "-m", "benchmark", "leaderboard", "--format", "json", "--store", str(store)]
    rows = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    sets = ("scenes", "phantoms")
    figure = Figure(figsize=(17, 8.4), dpi=100, layout="constrained")
    axes = figure.subplots(len(sets), len(HEADLINES))
    for i, name in enumerate(sets):
        for j, (family, metric) in enumerate(HEADLINES.items()):
            axis = axes[i, j]
            chosen = [row for row in rows if row["task"] == f"{name}-{family}" and row["metric"] == metric and row["rank"]]
            chosen.sort(key=lambda row: -row["rank"])
            for y, row in enumerate(chosen):
                colour = "#1f4e79" if row["tie_group"] == 1 else "#8aa4bd"
                axis.plot([row["low"], row["high"]], [y, y], color=colour, linewidth=3, solid_capstyle="round")
                axis.plot(row["mean"], y, "o", color=colour, markersize=7)
            chance = [row["chance"] for row in chosen if row.get("chance") is not None]
            if chance:
                axis.axvline(sum(chance) / len(chance), color="#b5482a", linestyle="--", linewidth=1)
            axis.set_yticks(range(len(chosen)), [row["method"].replace("[", "\n[") for row in chosen])
            axis.set_title(f"{name}-{family}, n = {max((row['n'] for row in chosen), default=0)}", fontsize=11, loc="left")
            axis.set_xlabel(f"{metric}, higher is better", fontsize=9)
            axis.spines[["top", "right"]].set_visible(False)
            axis.tick_params(labelsize=9)
    figure.savefig(out, bbox_inches="tight")


def explanations(out: Path) -> None:
    """One held-out scene with its caption and true regions, explained by several methods."""
    samples = DATASETS["scenes"]().samples("captions", 60)
    sample = next(sample for sample in samples if len(sample.phrases) == 2 and len(sample.text.split()) <= 11)
    encoder = load_encoder("embedded", device="cpu")
    pair = encoder.pair(sample.load_image(), sample.text)
    drawn = {name: explain(encoder, pair, method, **parameters) for name, (method, parameters) in EXPLAINED.items()}
    regions = [(sample.text[slice(*phrase.span)], phrase.region) for phrase in sample.phrases]
    draw_explanations(pair.frame, sample.text, pair.tokens, drawn, regions).savefig(out)


if __name__ == "__main__":
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    leaderboard(Path(sys.argv[1]), folder / "leaderboard.png")
    explanations(folder / "explain.png")
