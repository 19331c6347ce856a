"""Train the embedded encoder: ``python -m benchmark.embedded.train --minutes 90 --out build/embedded``.

One process per core draws its own images and texts and computes gradients; gradients are averaged. The only supervision is
whether a text is true of an image, also after patches or words have been removed. Without ``--images`` the schedule follows
the clock, so that the number of images depends on the machine; with it, the run is a function of the seed and the number of
processes.
"""

import json
import math
import os
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import torch
import torch.distributed as distributed
import transformers
from jaxtyping import Float, Int
from torch import Tensor
from torch.multiprocessing.spawn import spawn

from benchmark.data import phantoms, scenes
from benchmark.embedded.batches import Batch, Recipe, Texts, make_batch
from benchmark.embedded.model import embed_images, embed_texts, initial_model, normalise, save, zero_patches


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything a run depends on."""

    minutes: float
    images: int | None  # stop and schedule by images seen instead of minutes
    processes: int
    seed: int = 0
    n_scenes: int = 46  # per process and step
    n_films: int = 20
    peak_rate: float = 1.2e-3
    warm_up: float = 0.02  # as shares of the run, like the three below
    crowd_from: float = 0.06  # scenes hold one or two objects before, two to four after
    captions_from: float = 0.14
    masking_from: float = 0.30
    weight_decay: float = 0.05
    edit_weight: float = 0.5  # of the loss between a caption and its own edits
    largest_scale: float = 60.0
    save_every_seconds: float = 150.0


def recipe_at(progress: float, settings: Settings) -> Recipe:
    """The curriculum: single things, then crowds, then captions with edits, then removal."""
    crowded, told = progress >= settings.crowd_from, progress >= settings.captions_from
    return Recipe(
        n_scenes=settings.n_scenes, n_films=settings.n_films, fewest=2 if crowded else 1, most=4 if crowded else 2,
        n_phrases=2 if told else 3, n_edits=2 if told else 0, masking=progress >= settings.masking_from,
    )  # fmt: skip


def contrast(logits: Float[Tensor, "query text"], labels: Int[Tensor, "query text"]) -> Tensor:
    """Cross-entropy of each true text against all false ones, averaged over a query's true texts, then over queries."""
    false = torch.logsumexp(logits.masked_fill(labels != 0, -1e4), 1, keepdim=True)
    true = (labels == 1).float()
    loss = (torch.nn.functional.softplus(false - logits) * true).sum(1) / true.sum(1).clamp(min=1)
    return loss.sum() / (true.sum(1) > 0).sum().clamp(min=1)


def edit_contrast(logits: Float[Tensor, "image text"], labels: Int[Tensor, "image text"], n_edits: int) -> Tensor:
    """Logistic loss between each image's caption and the edits of that caption."""
    n_images = len(logits)
    rows = torch.arange(n_images)
    losses, counts = logits.new_zeros(()), 0
    for number in range(1, n_edits + 1):
        edits = rows + number * n_images
        valid = (labels[rows, rows] == 1) & (labels[rows, edits] == 0)
        losses = losses + torch.nn.functional.softplus(logits[rows, edits] - logits[rows, rows])[valid].sum()
        counts += int(valid.sum())
    return losses / max(counts, 1)


def batch_loss(model: transformers.CLIPModel, batch: Batch, settings: Settings) -> tuple[Tensor, dict[str, float]]:
    """The loss of one batch, and its parts for the log."""
    pixel_values = normalise(torch.from_numpy(batch.pixels))
    keep = torch.from_numpy(batch.keep)
    n_whole = len(keep) - batch.n_dropped
    images = [embed_images(model, zero_patches(pixel_values[:n_whole], keep[:n_whole]))]
    if batch.n_dropped:
        images.append(embed_images(model, pixel_values[n_whole:], keep[n_whole:]))
    embedded = torch.cat(images)
    scale = model.logit_scale.exp()

    def compare(texts: Texts) -> tuple[Tensor, Tensor]:
        texts_embedded = embed_texts(model, torch.from_numpy(texts.input_ids), torch.from_numpy(texts.attention_mask))
        return scale * embedded @ texts_embedded.T, torch.from_numpy(texts.labels)

    logits, labels = compare(batch.phrases)
    by_text = contrast(logits.T, labels.T)
    edits = logits.new_zeros(())
    if batch.captions is not None:
        caption_logits, caption_labels = compare(batch.captions)
        edits = edit_contrast(caption_logits, caption_labels, batch.n_edits)
        by_text = by_text + 0.5 * contrast(caption_logits.T, caption_labels.T)
        logits, labels = torch.cat([logits, caption_logits], 1), torch.cat([labels, caption_labels], 1)
    by_image = contrast(logits, labels)
    loss = by_image + by_text + settings.edit_weight * edits
    return loss, {"by_image": by_image.item(), "by_text": by_text.item(), "edits": edits.item()}


def _average(model: torch.nn.Module, elapsed: float) -> float:
    """Average gradients over processes in place; returns the first process's ``elapsed``."""
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    clock = torch.tensor([elapsed if distributed.get_rank() == 0 else 0.0])
    flat = torch.cat([gradient.flatten() for gradient in gradients] + [clock])
    distributed.all_reduce(flat)
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient) / distributed.get_world_size())
        start += gradient.numel()
    return float(flat[-1])


def _record(
    settings: Settings, step: int, images: int, seconds: float, losses: dict[str, float], finished: bool
) -> dict[str, object]:
    return {
        "command": "python -m benchmark.embedded.train "
        + (f"--images {settings.images}" if settings.images else f"--minutes {settings.minutes:g}"),
        "finished": finished,
        "seconds": round(seconds, 1),
        "steps": step,
        "images": images,
        "images_per_second": round(images / max(seconds, 1e-9), 1),
        "hardware": f"{settings.processes} {platform.machine()} CPU cores, one process each, bfloat16 autocast",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__.split("+")[0],
            "transformers": transformers.__version__,
            "numpy": np.__version__,
            "scenes": scenes.VERSION,
            "phantoms": phantoms.VERSION,
        },
        "losses": {name: round(value, 4) for name, value in losses.items()},
        "settings": asdict(settings),
    }


def work(rank: int, settings: Settings, out: Path, store: str) -> None:
    """One process of a run; the first one writes the files."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=settings.processes)
    torch.manual_seed(settings.seed)
    model = initial_model().train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.peak_rate, betas=(0.9, 0.98), weight_decay=settings.weight_decay, fused=True
    )
    per_step = settings.processes * (settings.n_scenes + settings.n_films)
    began = saved = time.monotonic()
    progress, step, smooth = 0.0, 0, dict[str, float]()
    while progress < 1:
        rate = settings.peak_rate * min(1.0, progress / settings.warm_up + 0.01) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in optimizer.param_groups:
            group["lr"] = rate
        place = step * settings.processes + rank
        rng = np.random.default_rng([settings.seed, place])
        batch = make_batch(recipe_at(progress, settings), place * settings.n_scenes, place * settings.n_films, rng)
        with torch.autocast("cpu", torch.bfloat16):
            loss, losses = batch_loss(model, batch, settings)
        optimizer.zero_grad()
        loss.backward()
        seconds = _average(model, time.monotonic() - began)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(settings.largest_scale))
        step += 1
        progress = step * per_step / settings.images if settings.images else seconds / (60 * settings.minutes)
        smooth = {name: 0.98 * smooth.get(name, value) + 0.02 * value for name, value in losses.items()}
        finished = progress >= 1
        if rank == 0 and step % 50 == 0:
            scale = model.logit_scale.exp().item()
            state = {"step": step, "seconds": seconds, "progress": progress, "rate": rate, "scale": scale, **smooth}
            click.echo(json.dumps({name: round(value, 4) for name, value in state.items()}), err=True)
        if rank == 0 and (finished or time.monotonic() - saved > settings.save_every_seconds):
            saved = time.monotonic()
            save(model, out, _record(settings, step, step * per_step, seconds, smooth, finished))
    distributed.destroy_process_group()


def run(settings: Settings, out: Path) -> None:
    """Train and leave model, tokenizer, image processor and training record in ``out``."""
    # glibc hands large blocks back at once, and every batch pays for fetching them again; read when a process starts.
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "4000000000")
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "8000000000")
    with tempfile.TemporaryDirectory() as temporary:
        target: Callable[..., None] = work
        spawn(target, (settings, out, str(Path(temporary) / "store")), nprocs=settings.processes)


@click.command(help=__doc__)
@click.option("--minutes", default=90.0, show_default=True)
@click.option("--images", type=int, help="stop after this many images instead")
@click.option("--processes", default=os.cpu_count() or 1, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), required=True)
def main(minutes: float, images: int | None, processes: int, seed: int, out: Path) -> None:
    run(Settings(minutes=minutes, images=images, processes=processes, seed=seed), out)


if __name__ == "__main__":
    main()
