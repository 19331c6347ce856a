"""``benchmark explain``: one pair, several methods, one figure."""

from pathlib import Path

import click

from benchmark.cli.base import json_option, print_table
from benchmark.errors import BenchmarkError, InvalidInput
from benchmark.explanations import Explanation
from benchmark.runner.catalogue import label, methods, register
from benchmark.runner.encoders import EncoderSource
from benchmark.runner.measure import metered


@click.command()
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("text")
@click.option("--method", "-m", multiple=True, default=("grad_eclip,fixlip",), show_default=True, help="Methods, with commas.")
@click.option("--model", default="embedded", show_default=True, help="Encoder.")
@click.option("--revision", help="Revision of a model on the hub.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default=Path("explanation.png"), show_default=True)
@json_option
def explain(
    image: Path,
    text: str,
    method: tuple[str, ...],
    model: str,
    revision: str | None,
    device: str,
    seed: int,
    out: Path,
    as_json: bool,
) -> None:
    """Explain IMAGE and TEXT with several methods and draw them side by side."""
    from benchmark.explaining import explain as explain_pair
    from benchmark.figures import draw_explanations

    register()
    explainers = methods(",".join(method))
    if out.suffix.lower() not in (".png", ".pdf", ".svg", ".jpg", ".jpeg"):
        raise InvalidInput(f"--out {out}: a figure is a .png, .pdf, .svg or .jpg file")
    encoder = EncoderSource(name=model, device=device, revision=revision).load()
    pair = encoder.pair(image, text)
    found: dict[str, Explanation] = {}
    rows: list[dict[str, object]] = []
    for explainer in explainers:
        with metered(encoder) as meter:
            found[label(explainer)] = explain_pair(encoder, pair, explainer.name, seed, **explainer.parameters)
        cost = meter.cost
        rows.append(
            {
                "method": label(explainer),
                "image forwards": cost.image_forwards,
                "text forwards": cost.text_forwards,
                "backwards": cost.backwards,
                "seconds": cost.seconds,
            }
        )
    if pair.frame is None:
        raise BenchmarkError(f"{encoder.name} keeps no picture of what it sees; there is nothing to draw on")
    title = f"{encoder.name}: cosine {encoder.similarity(pair):.3f}"
    figure = draw_explanations(pair.frame, text, pair.tokens, found, title=title)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(out)
    except OSError as error:
        raise InvalidInput(f"--out {out} cannot be written: {error.strerror or error}") from error
    print_table(rows, as_json)
    click.echo(f"drawn: {out}", err=True)
