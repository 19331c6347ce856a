"""``benchmark speed``: the performance report."""

from collections.abc import Collection
from pathlib import Path
from typing import get_args

import click

from benchmark.cli.base import note
from benchmark.errors import InvalidInput, UnknownName

SUFFIXES = (".png", ".svg", ".pdf")


@click.command()
@click.option("--size", "sizes", help="Encoder sizes, with commas: embedded, vit-b-32, vit-b-16, vit-l-14.  [default: all]")
@click.option("--part", "parts", help="Parts, with commas: game, methods, fit, end-to-end, growth, settings.  [default: all]")
@click.option("--method", "names", help="Methods whose cost is measured, with commas.  [default: all]")
@click.option("--precision", "precisions", default="float32,bfloat16", show_default=True, help="Also tf32 and float16.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Threads of torch on a CPU.")
@click.option("--quick", is_flag=True, help="Small batches and budgets: some minutes on two cores.")
@click.option("--full", is_flag=True, help="Methods at ViT-B/32's size too.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write all numbers here.")
@click.option("--figure", "figure_path", type=click.Path(path_type=Path, dir_okay=False), help="Draw here: png, svg or pdf.")
def speed(
    sizes: str | None,
    parts: str | None,
    names: str | None,
    precisions: str,
    device: str,
    threads: int,
    quick: bool,
    full: bool,
    json_path: Path | None,
    figure_path: Path | None,
) -> None:
    """Measure how fast this machine explains, beside the bare library and a naive way.

    Things compared take turns; tables show medians, the JSON their ranges too. With one thread on a CPU seconds are
    processor time, which other work disturbs least. Files are written anew after every part, so that a measurement stopped
    in the middle leaves what it has.
    """
    for path in (json_path, figure_path):
        if path is not None and not path.absolute().parent.is_dir():
            raise InvalidInput(f"the folder of {path} does not exist; make it first")
    if figure_path is not None and figure_path.suffix not in SUFFIXES:
        raise InvalidInput(f"a figure's name ends in one of {', '.join(SUFFIXES)}; got {figure_path.name}")
    from benchmark.encoders import choose_device
    from benchmark.encoders.precision import Precision
    from benchmark.explainers.base import EXPLAINERS
    from benchmark.runner import catalogue
    from benchmark.speed.encoders import SIZES
    from benchmark.speed.figure import draw
    from benchmark.speed.report import PARTS, Asked, make

    catalogue.register()
    chosen = choose_device(device)
    asked = Asked(
        sizes=_known("size", sizes, SIZES),
        parts=_known("part", parts, PARTS),
        precisions=_known("precision", precisions, get_args(Precision)),
        names=_known("method", names, EXPLAINERS) if names else (),
        quick=quick,
        full=full,
        threads=threads,
    )
    report = None
    for report in make(chosen, asked, note):
        if json_path is not None:
            json_path.write_text(report.to_json())
        if figure_path is not None:
            draw(report, figure_path)
    if report is None:
        raise InvalidInput(f"nothing of {', '.join(asked.parts)} can be measured on {chosen}")
    click.echo(report.text())


def _known[T: str](kind: str, given: str | None, known: Collection[T]) -> list[T]:
    """Return the names given with commas, or all; an unknown one raises."""
    if given is None:
        return list(known)
    names = [name.strip() for name in given.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise UnknownName(kind, name, known)
    return [name for name in known if name in names]
