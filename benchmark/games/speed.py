"""Image coalitions per second of the game, against the bare forward pass of the library's own model.

``python -m benchmark.games.speed`` measures an encoder of the embedded one's size and one of ViT-B/32's, random weights,
at one batch size; the three are timed in turn, many times over, so that other work on the machine burdens all alike.
"""

import json
import time
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING, Any

import click
import numpy as np
import torch

if TYPE_CHECKING:
    from benchmark.encoders import DualEncoder

SIZES: dict[str, dict[str, int]] = {
    "embedded": {"image": 112, "patch": 16, "width": 192, "depth": 5, "heads": 6},
    "ViT-B/32": {"image": 224, "patch": 32, "width": 768, "depth": 12, "heads": 12},
}


def random_encoder(size: str, device: str = "cpu") -> "DualEncoder":
    """Return a Hugging Face CLIP of one of ``SIZES`` with random weights and a text tower of one block."""
    from transformers import CLIPConfig, CLIPModel

    from benchmark.encoders import wrap_encoder

    shape = SIZES[size]
    width = {"hidden_size": shape["width"], "intermediate_size": 4 * shape["width"], "num_attention_heads": shape["heads"]}
    vision = width | {"num_hidden_layers": shape["depth"], "image_size": shape["image"], "patch_size": shape["patch"]}
    text = width | {
        "num_hidden_layers": 1,
        "vocab_size": 64,
        "bos_token_id": 62,
        "max_position_embeddings": 16,
        "eos_token_id": 63,
        "pad_token_id": 0,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = CLIPModel(CLIPConfig(vision_config=vision, text_config=text, projection_dim=512))
    return wrap_encoder(model.to(device), name=size)


def measure(encoder: "DualEncoder", batch_size: int, n_batches: int, repeats: int) -> dict[str, float]:
    """Return images per second: ``library``, and the game's ``mask_pixels`` and ``drop_tokens`` at half the patches."""
    from benchmark.games.similarity import SimilarityGame

    rng = np.random.default_rng(0)
    n = batch_size * n_batches
    half = rng.random((n, encoder.n_patches)).argsort(axis=1) < encoder.n_patches // 2
    pixel_values = torch.randn(batch_size, 3, *encoder.frame_size, device=encoder.device)
    pair = encoder.pair_from_tensors(pixel_values[:1], encoder.probe_ids())

    @torch.no_grad()
    def library() -> None:
        for _ in range(n_batches):
            encoder.library_image_embeddings(pixel_values)

    def game(removal: str) -> Callable[[], None]:
        def run() -> None:
            SimilarityGame(encoder, pair, removal, batch_size=batch_size).embed_images(half)

        return run

    contenders = {"library": library, "mask_pixels": game("mask_pixels"), "drop_tokens": game("drop_tokens")}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for repeat in range(repeats + 1):
        for name, contender in contenders.items():
            start = time.perf_counter()
            contender()
            if encoder.device.type == "cuda":
                torch.cuda.synchronize()
            if repeat:  # the first round warms up
                seconds[name].append(time.perf_counter() - start)
    rates = {name: n / median(durations) for name, durations in seconds.items()}
    ratios = {
        f"{name}_ratio": median(bare / own for bare, own in zip(seconds["library"], seconds[name], strict=True))
        for name in ("mask_pixels", "drop_tokens")
    }
    return rates | ratios


@click.command()
@click.option("--batch-size", default=32, show_default=True, help="Images per forward pass, for the library and for the game.")
@click.option("--batches", default=2, show_default=True, help="Batches per measurement.")
@click.option("--repeats", default=5, show_default=True, help="Measurements of each, in turn; the median counts.")
@click.option("--threads", type=int, help="Threads of torch; its default if not given.")
@click.option("--device", default="cpu", show_default=True)
@click.option("--size", "sizes", multiple=True, type=click.Choice(list(SIZES)), help="Measure this size only; repeatable.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def main(
    batch_size: int, batches: int, repeats: int, threads: int | None, device: str, sizes: tuple[str, ...], as_json: bool
) -> None:
    """Compare the game's speed with the library's own forward pass."""
    if threads:
        torch.set_num_threads(threads)
    rows = {
        size: measure(random_encoder(size, device), batch_size, batches * (8 if size == "embedded" else 1), repeats)
        for size in sizes or SIZES
    }
    if as_json:
        click.echo(json.dumps({"batch_size": batch_size, "threads": torch.get_num_threads(), "device": device, "sizes": rows}))
        return
    click.echo(f"image coalitions per second at batch size {batch_size}, {torch.get_num_threads()} threads, {device}")
    click.echo(f"{'size':<10} {'library':>9} {'mask_pixels':>20} {'drop_tokens, half':>20}")
    for size, row in rows.items():
        cells = [f"{row[name]:.0f} ({row[f'{name}_ratio']:.2f}x)" for name in ("mask_pixels", "drop_tokens")]
        click.echo(f"{size:<10} {row['library']:>9.0f} {cells[0]:>20} {cells[1]:>20}")


if __name__ == "__main__":
    main()
