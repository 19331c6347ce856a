"""FIxLIP on large grids: memory, time and conditioning against the number of patches, and two towers of 576 patches.

``python scripts/large_grids.py`` writes ``docs/large_grids.json`` and ``docs/large_grids.md``; some minutes on two cores. Every
case has a process of its own (Linux). Memory is what a case adds to the resident memory of its process: the encoder's
weights are there before, masked batches, embeddings, coalitions and all systems of the fit count. ``--quick`` computes tiny
cases in this process, for a test.
"""

import json
import multiprocessing
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch

from benchmark.encoders import DualEncoder, wrap_encoder
from benchmark.explainers.fixlip import BOUND, Fixlip
from benchmark.explanations import Explanation
from benchmark.games.similarity import SimilarityGame

DOCS = Path(__file__).resolve().parents[1] / "docs"
LIMIT = 4000  # megabytes wanted
N_TOKENS, DIM = 16, 768
GRIDS = (7, 14, 16, 24, 32)
PUBLISHED = 2**21  # MS COCO's number of values, kept as given; measured at 576 patches
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "patch-token pairs": {"pairs": "cross"},
    "and pairs of the strongest patches": {"pairs": "strongest"},
    f"patch-token pairs, budget={PUBLISHED:,}": {"pairs": "cross", "budget": PUBLISHED},
}


@dataclass
class RandomGame:
    """Unit embeddings of two random networks stand for an encoder, so that the method alone is measured."""

    patch_grid: tuple[int, int]
    n_tokens: int = N_TOKENS
    scale: float = 1.0
    bias: float = 0.0
    n_patches: int = field(init=False)

    def __post_init__(self) -> None:
        self.n_patches = self.patch_grid[0] * self.patch_grid[1]
        rng = np.random.default_rng(0)
        self.inner = {n: rng.normal(size=(n, 64)) / np.sqrt(n) for n in (self.n_patches, self.n_tokens)}
        self.outer = rng.normal(size=(64, DIM))

    def embed_images(self, coalitions: np.ndarray) -> np.ndarray:
        raw = (np.tanh(1 + coalitions @ self.inner[coalitions.shape[1]]) @ self.outer).astype(np.float32)
        raw /= np.linalg.norm(raw, axis=1, keepdims=True)
        return raw

    embed_texts = embed_images

    def values(self, coalitions: np.ndarray) -> np.ndarray:
        images, texts = self.embed_images(coalitions[:, : self.n_patches]), self.embed_texts(coalitions[:, self.n_patches :])
        return (images * texts).sum(axis=1)


def clip(side: int, patch: int, width: int, layers: int) -> DualEncoder:
    """Return a CLIP of random weights, as shallow and as narrow as said, on a grid of ``side / patch`` squared."""
    from transformers import CLIPConfig, CLIPModel

    tower = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": width // 64}
    ids = {"vocab_size": 64, "bos_token_id": 62, "eos_token_id": 63, "pad_token_id": 0, "max_position_embeddings": 77}
    text, vision = tower | ids, tower | {"image_size": side, "patch_size": patch}
    text, vision = text | {"num_hidden_layers": layers}, vision | {"num_hidden_layers": layers}
    torch.manual_seed(0)
    return wrap_encoder(CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=width)), name="random clip")


def siglip(side: int, patch: int, width: int, layers: int) -> DualEncoder:
    """Return a SigLIP (SigLIP 2 has its classes at a fixed resolution) of random weights."""
    from transformers import SiglipConfig, SiglipModel

    tower = {"hidden_size": width, "intermediate_size": 4 * width, "num_attention_heads": width // 64}
    ids = {"vocab_size": 64, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2, "projection_size": width}
    text, vision = tower | ids, tower | {"image_size": side, "patch_size": patch}
    text, vision = text | {"num_hidden_layers": layers}, vision | {"num_hidden_layers": layers}
    torch.manual_seed(0)
    return wrap_encoder(SiglipModel(SiglipConfig(text_config=text, vision_config=vision)), name="random siglip")


TOWERS: Mapping[str, Callable[[], DualEncoder]] = {
    "CLIP at 336 px, patch 14, 2 layers of width 64": partial(clip, 336, 14, 64, 2),
    "SigLIP at 384 px, patch 16, 1 layer of width 64": partial(siglip, 384, 16, 64, 1),
}
WIDE = partial(clip, 336, 14, 1024, 1)
"""One layer as wide as those of L/14: what a batch takes in memory hangs on the width, not on the number of layers."""


def pairs_of(encoder: DualEncoder) -> list[Any]:
    """Return one random image with two captions."""
    generator = torch.Generator().manual_seed(1)
    side = encoder.model.config.vision_config.image_size
    pixels = torch.randn(1, 3, side, side, generator=generator)
    found = []
    for first in (10, 30):
        words = list(range(first, first + N_TOKENS))
        ids = [62, *words, 63] if encoder.model.config.model_type == "clip" else [*words, 1]
        found.append(encoder.pair_from_tensors(pixels, torch.tensor([ids + [0] * (64 - len(ids))])))
    return found


def memory(key: str, *, reset: bool = False) -> int:
    """Return a line of this process's status in bytes; with ``reset`` its peak starts anew."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    return 1024 * int(Path("/proc/self/status").read_text().split(f"{key}:")[1].split()[0])


def measured(run: Callable[[], Explanation]) -> tuple[Explanation, dict[str, Any]]:
    """Run once; return what came out, and what it took."""
    memory("VmHWM", reset=True)
    before, wall, cpu = memory("VmRSS"), time.perf_counter(), time.process_time()
    found = run()
    took = {"seconds": time.perf_counter() - wall, "cpu_seconds": time.process_time() - cpu}
    return found, took | {"megabytes": (memory("VmHWM") - before) / 1e6} | dict(found.notes)


def method_alone(grid: int, setting: str) -> dict[str, Any]:
    game, explainer = RandomGame((grid, grid)), Fixlip(**SETTINGS[setting])
    _, took = measured(lambda: explainer.explain_game(game, np.random.default_rng(0)))
    return {"patches": game.n_patches, "tokens": game.n_tokens, "setting": setting} | took


def end_to_end(title: str) -> dict[str, Any]:
    """Explain a pair, then a second caption of its image, which must encode no image coalition."""
    encoder, explainer = TOWERS[title](), Fixlip()
    first, second = pairs_of(encoder)
    found, took = measured(lambda: explainer.explain(encoder, first, np.random.default_rng(0)))
    found.check(encoder.patch_grid, N_TOKENS)
    before = encoder.costs.copy()
    _, again = measured(lambda: explainer.explain(encoder, second, np.random.default_rng(1)))
    return {
        "title": title,
        "patches": encoder.n_patches,
        "tokens": N_TOKENS,
        **took,
        "again_seconds": again["seconds"],
        "again_megabytes": again["megabytes"],
        "again_image_forwards": (encoder.costs - before).image_forwards,
    }


def one_batch() -> dict[str, Any]:
    """Encode one batch of masked images with a layer as wide as those of L/14."""
    encoder = WIDE()
    game = SimilarityGame(encoder, pairs_of(encoder)[0])
    kept = np.random.default_rng(0).random((32, encoder.n_patches)) < 0.5
    memory("VmHWM", reset=True)
    before = memory("VmRSS")
    game.embed_images(kept)
    return {"coalitions": len(kept), "megabytes": (memory("VmHWM") - before) / 1e6}


def apart(run: Callable[..., dict[str, Any]], *arguments: Any) -> dict[str, Any]:
    """Run in a fresh process, forked from one that has only imported the libraries."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmark.explainers.fixlip", "transformers"])
    with ProcessPoolExecutor(1, mp_context=context) as process:
        return process.submit(run, *arguments).result()


def rows(table: list[dict[str, Any]], first: Callable[[dict[str, Any]], str]) -> list[str]:
    return [
        f"| {first(row)} | {row['image_coalitions']:,} x {row['text_coalitions']:,} | {row['image_condition']:.2f} | "
        f"{row['text_condition']:.2f} | {'yes' if row['condition_met'] else 'no'} | {row['seconds']:.3g} s | "
        f"{row['cpu_seconds']:.3g} s | {row['megabytes']:,.0f} MB |"
        for row in table
    ]


def page(found: Mapping[str, Any]) -> str:
    """Return the page: what was chosen, the tables, what is returned where a system is singular."""
    head = "| {} | coalitions | condition, image | condition, text | at most 10 | time | processor time | memory |"
    line = "| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: |"
    again = [
        f"| {row['title']} | {row['again_image_forwards']:.0f} | {row['again_seconds']:.3g} s | "
        f"{row['again_megabytes']:,.0f} MB |"
        for row in found["towers"]
    ]
    worst = max(row["megabytes"] for row in (*found["method"], *found["towers"]))
    return "\n".join(
        [
            TEXT.format(bound=BOUND, limit=LIMIT, worst=worst, cores=found["cores"]).strip(),
            "",
            "## The method alone",
            "",
            f"Unit embeddings of dimension {DIM} from two random networks stand for the encoder; {N_TOKENS} tokens.",
            "",
            head.format("patches, pairs fitted"),
            line,
            *rows(found["method"], lambda row: f"{row['patches']:,}, {row['setting']}"),
            "",
            "## With towers of 576 patches",
            "",
            WITH_TOWERS.format(**found["batch"]).strip(),
            "",
            head.format("encoder"),
            line,
            *rows(found["towers"], lambda row: row["title"]),
            "",
            "A second caption of the same image:",
            "",
            "| encoder | image coalitions encoded | time | memory |",
            "| --- | ---: | ---: | ---: |",
            *again,
            "",
        ]
    )


TEXT = """
# Large grids

CLIP L/14 at 336 px and SigLIP 2 at 384 px (patch 16) have 576 patches. All patch-token pairs come from the decoupled closed
form: one system of 577 unknowns for the image, one of as many unknowns as tokens plus one for the text. Neither the design
nor the table of values is ever written out.

    python scripts/large_grids.py

Measured on {cores} cores shared with other work, so the processor time says more than the time. Memory is the peak of the
resident memory less what the process held at the start, the encoder's weights among it: {worst:,.0f} MB at most, {limit:,} MB
wanted.

## How budgets are chosen

- Up to 256 patches the default budgets are what they were: results there are unchanged.
- Above, each side starts with 4.5 coalitions for each of its unknowns (at least 2,048 for the image), then grows by a
  quarter at a time, six times at most, until the condition number of its system is at most {bound:g}. The system is the
  weighted Gram matrix of the centred players, scaled to unit diagonal; coalitions alone decide it, so nothing is encoded
  before the choice is made, and the same seed draws on: a grown design starts with the coalitions of the smaller one.
- A condition number of {bound:g} means that no combination of effects has a standard error over 2.1 times that of an
  orthogonal design of the same size. It says nothing about how large that error is beside the effects: for this, compare
  several values of `image_seed`.
- A given budget (`budget`, `image_budget`, `text_budget`) is kept as it is.
- The notes of every product design say what was used: `image_coalitions`, `text_coalitions`, `image_condition`,
  `text_condition`, `condition_bound`, `condition_met`.

## What is returned where a system is singular

| what is singular or nearly so | what happens |
| --- | --- |
| a side's main effects: too few coalitions, a player kept in all or none, two that always change together | `InvalidInput` \
with the players and the number needed; nothing is returned, and a run keeps a failure row |
| all pairs within a side under `pairs="auto"`, though the side has the coalitions | a warning; these pairs are zero, \
`image_pairs` or `text_pairs` in the notes is false; patch-token pairs are the same with and without them |
| pairs asked for with `pairs="all"`, `"clique"` or `"strongest"` | `InvalidInput` with the number of coefficients |
| pairs within a side under `"all"` or `"strongest"`, with under 1.25 coalitions for each coefficient | the \
least-squares solution, with a warning that they may be mostly noise |
| a condition number over 100 under a given budget | the least-squares solution, a warning with the budget that is \
enough, `condition_met` false |

No minimum-norm solution is ever returned.

## Pairs within the image

All pairs of 576 patches would be 165,600 coefficients. `pairs="strongest"` fits all patch-token pairs and those among the
strongest patches of a first-order fit (`clique=72` players less the share of the tokens); `pairs="clique"`, as published,
fits the pairs of the strongest players of both sides and no other. Both need coalitions for their coefficients, and
their default budgets provide one and a half for each.
"""

WITH_TOWERS = """
Random weights, fewer and narrower layers than the released models, so that two cores suffice: every masked image flows
through 576 patches. One batch of {coalitions} masked images takes {megabytes:,.0f} MB at L/14's width of 1,024, however many
layers there are: no gradient is kept.
"""


@click.command(help=__doc__)
@click.option("--json", "path", default=DOCS / "large_grids.json", type=click.Path(path_type=Path), help="Numbers go here.")
@click.option("--page", "text", default=DOCS / "large_grids.md", type=click.Path(path_type=Path), help="The page goes here.")
@click.option("--quick", is_flag=True, help="Print tiny cases; write nothing.")
def main(path: Path, text: Path, quick: bool) -> None:
    if quick:
        click.echo(json.dumps([method_alone(3, setting) for setting in list(SETTINGS)[:2]]))
        return
    found: dict[str, Any] = {"cores": os.cpu_count(), "method": [], "towers": []}
    for grid in GRIDS:
        for setting in SETTINGS:
            if "budget" in SETTINGS[setting] and grid != 24:
                continue
            found["method"].append(apart(method_alone, grid, setting))
            click.echo(rows(found["method"][-1:], lambda row: f"{row['patches']:,}, {row['setting']}")[0])
    found["batch"] = apart(one_batch)
    for title in TOWERS:
        found["towers"].append(apart(end_to_end, title))
        click.echo(rows(found["towers"][-1:], lambda row: row["title"])[0])
    path.write_text(json.dumps(found, indent=2) + "\n")
    text.write_text(page(found))
    heaviest = max(row["megabytes"] for row in (*found["method"], *found["towers"]))
    if heaviest > LIMIT:
        raise SystemExit(f"a case took {heaviest:,.0f} MB; wanted: {LIMIT:,}")


if __name__ == "__main__":
    main()
