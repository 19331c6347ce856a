"""Error of every first-order estimator against its budget, on the similarity game of a small encoder with 12 players.

``python scripts/estimator_error.py docs/figures/estimator_error.svg`` prints the table and draws it. The exact values come
from all 4,096 coalitions; an error is the root mean square over players and ten seeds, divided by that of the exact values.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import matplotlib as mpl
import numpy as np
import torch

from benchmark.explainers.banzhaf import Banzhaf, Estimator
from benchmark.explainers.base import Explainer
from benchmark.explainers.exact import Exact
from benchmark.explainers.shapley import ESTIMATORS, Shapley
from benchmark.families import encoders
from benchmark.games.similarity import SimilarityGame

mpl.use("svg")
from matplotlib import pyplot as plt

BUDGETS = (32, 64, 128, 256, 512, 1024, 2048, 4096)
SEEDS = range(10)


def small_game() -> SimilarityGame:
    """Return a game of nine patches and three tokens."""
    encoder = encoders()["Hugging Face CLIP"]
    with torch.no_grad():  # default initialisation barely moves a cosine; larger matrices make the game a game
        generator = torch.Generator().manual_seed(0)
        for parameter in encoder.model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(0.2 * torch.randn(parameter.shape, generator=generator))
    pixels = torch.randn(1, 3, 24, 24, generator=generator)
    ids = torch.tensor([[62, 5, 17, 30, 63, *[0] * 7]])
    return SimilarityGame(encoder, encoder.pair_from_tensors(pixels, ids))


def errors(game: SimilarityGame, build: Callable[[int], Explainer], exact: np.ndarray) -> list[float]:
    """Return the relative error at each budget."""
    found = []
    for budget in BUDGETS:
        runs = [build(budget).explain_game(game, np.random.default_rng(seed)).players.main for seed in SEEDS]
        found.append(float(np.sqrt(np.mean((np.array(runs) - exact) ** 2) / np.mean(exact**2))))
    return found


def main(path: Path) -> None:
    game = small_game()
    figure, panels = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    indices = (
        ("SV", "Shapley values", ESTIMATORS, lambda name: lambda budget: Shapley(estimator=name, budget=budget)),
        (
            "BV",
            "Banzhaf values",
            get_args(Estimator.__value__),
            lambda name: lambda budget: Banzhaf(estimator=name, budget=budget),
        ),
    )
    print(f"{'':24}" + "".join(f"{budget:>9}" for budget in BUDGETS))
    for panel, (index, title, names, build) in zip(panels, indices, strict=True):
        exact = Exact(index=index).explain_game(game, np.random.default_rng(0)).players.main
        for number, name in enumerate(names):
            found = errors(game, build(name), exact)
            print(f"{index} {name:21}" + "".join(f"{error:9.1e}" for error in found))
            panel.loglog(BUDGETS, np.maximum(found, 1e-9), label=name, marker="osv^D<>P"[number % 8], markersize=4, linewidth=1)
        panel.set(title=title, xlabel="budget, coalitions (all: 4,096)", ylim=(5e-3, 2))  # exact lines leave at the bottom
        panel.legend(frameon=False, fontsize=8)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("relative error (below the axis: exact)")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
