"""Which method serves which family of encoders: ``python -m benchmark.families --write docs/methods.md``.

Every registered method is asked, with its defaults, whether it can read a small model of random weights of each family,
and whether anything stands in for a part that its paper reads.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import torch

from benchmark.encoders import wrap_encoder
from benchmark.errors import InvalidInput
from benchmark.explainers import EXPLAINERS, Explainer

if TYPE_CHECKING:
    from benchmark.encoders import DualEncoder

BEGIN, END = "<!-- begin: written by python -m benchmark.families --write -->", "<!-- end -->"
EXTENSIONS: Mapping[str, Mapping[str, Any]] = {
    "grad_eclip": {"variant": "map", "heads": "model"},
    "clip_surgery": {"variant": "map"},
}
"""Parameters with which a method serves what its defaults refuse."""

TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 2, "num_hidden_layers": 2}
VISION, TEXT = {"image_size": 24, "patch_size": 8}, {"vocab_size": 64, "max_position_embeddings": 12}


def huggingface_clip() -> Any:
    """Return a CLIP of ``transformers``."""
    from transformers import CLIPConfig, CLIPModel

    text = TOWER | TEXT | {"bos_token_id": 62, "eos_token_id": 63, "pad_token_id": 0}
    return CLIPModel(CLIPConfig(text_config=text, vision_config=TOWER | VISION, projection_dim=16))


def huggingface_siglip(pad: int = 1, end: int = 1) -> Any:
    """Return a SigLIP of ``transformers``; its successor at a fixed resolution has the same classes and other ids."""
    from transformers import SiglipConfig, SiglipModel

    text = TOWER | TEXT | {"pad_token_id": pad, "eos_token_id": end, "bos_token_id": 2, "projection_size": 32}
    return SiglipModel(SiglipConfig(text_config=text, vision_config=TOWER | VISION))


def open_clip_native() -> Any:
    """Return a CLIP of open_clip's own blocks."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    vision = CLIPVisionCfg(layers=2, width=32, head_width=16, patch_size=8, image_size=24)
    return CLIP(16, vision, CLIPTextCfg(context_length=12, vocab_size=64, width=32, heads=2, layers=2))


def open_clip_biomedclip(image_size: int = 24, vocab_size: int = 64, context: int = 12, layers: int = 2) -> Any:
    """Return BiomedCLIP's architecture in open_clip: timm's vision transformer with a class token, and a BERT."""
    from open_clip.hf_model import HFTextEncoder
    from open_clip.model import CLIPTextCfg, CLIPVisionCfg, CustomTextCLIP
    from open_clip.timm_model import TimmModel
    from timm.models.vision_transformer import VisionTransformer
    from transformers import BertConfig

    small = CLIPVisionCfg(layers=1, width=8, head_width=8, patch_size=8, image_size=image_size)
    model: Any = CustomTextCLIP(16, small, CLIPTextCfg(width=8, heads=1, layers=1))
    visual = TimmModel("vit_tiny_patch16_224", 16, image_size=image_size, pool="", proj="linear")
    visual.trunk = VisionTransformer(img_size=image_size, patch_size=8, embed_dim=32, depth=layers, num_heads=2, num_classes=0)
    visual.head = torch.nn.Sequential(torch.nn.Linear(32, 16, bias=False))
    sizes = {"vocab_size": vocab_size, "max_position_embeddings": context, "num_hidden_layers": layers}
    bert: Any = BertConfig.from_dict(TOWER | sizes)
    model.visual = visual
    model.text = HFTextEncoder("", 16, config=bert, pooler_type="cls_last_hidden_state_pooler", proj_type="mlp")
    return model


FAMILIES: Mapping[str, Callable[[], Any]] = {
    "Hugging Face CLIP": huggingface_clip,
    "SigLIP": huggingface_siglip,
    "SigLIP 2": lambda: huggingface_siglip(pad=0, end=1),
    "open_clip": open_clip_native,
    "open_clip with timm and BERT": open_clip_biomedclip,
}


def encoders() -> dict[str, "DualEncoder"]:
    """Build one small encoder of each family."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {family: wrap_encoder(build().eval(), name=family) for family, build in FAMILIES.items()}


class Footnotes:
    """Sentences under a table, each once, numbered in the order of their first use."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, sentence: str) -> str:
        return f" [{self._numbers.setdefault(sentence, len(self._numbers) + 1)}]"

    def lines(self) -> Iterator[str]:
        for sentence, number in self._numbers.items():
            yield f"{number}. {sentence}"


def verdict(explainer: Explainer, encoder: "DualEncoder", notes: Footnotes, served: str = "works") -> str:
    """Return ``served``, adapted or refused, with the number of the sentence that says what stands in, or why."""
    if reason := explainer.unsupported(encoder):
        return f"refused{notes.mark(reason)}"
    if stand_in := explainer.adapted(encoder):
        return f"{'adapted' if served == 'works' else served}{notes.mark(stand_in)}"
    return served


def kinds() -> list[type[Explainer]]:
    """Return the package's own methods, baselines and controls last."""
    own = [kind for kind in EXPLAINERS.values() if kind.__module__.startswith("benchmark.")]
    return sorted(own, key=lambda kind: (kind.baseline, kind.name))


def page() -> str:
    """Return what stands between the markers: the table, its footnotes, and a paragraph for every method."""
    return "\n".join([*_table(encoders()), "", *_paragraphs()])


def _table(found: Mapping[str, "DualEncoder"]) -> Iterator[str]:
    notes = Footnotes()
    yield f"| method | yields | {' | '.join(found)} |"
    yield "| --- " * (2 + len(found)) + "|"
    for kind in kinds():
        yield _row(kind, kind.configure({}), "", found, notes)
        if kind.name in EXTENSIONS:
            inside = ", ".join(f"{name}={value}" for name, value in EXTENSIONS[kind.name].items())
            yield _row(kind, kind.configure(EXTENSIONS[kind.name]), f"[{inside}]", found, notes)
    yield ""
    yield from notes.lines()


def _row(kind: type[Explainer], explainer: Explainer, inside: str, found: Mapping[str, "DualEncoder"], notes: Footnotes) -> str:
    served = "extension" if inside else "works"
    cells = [f"`{kind.name}{inside}`", _words(kind.yields)]
    cells += [verdict(explainer, encoder, notes, served) for encoder in found.values()]
    return f"| {' | '.join(cells)} |"


def _paragraphs() -> Iterator[str]:
    for kind in kinds():
        yield f"### {kind.name}\n"
        yield f"{_summary(kind)}\n"
        if kind.paper:
            yield f"- Paper: {kind.paper}"
        nature = "deterministic" if kind.deterministic else "seeded"
        yield f"- Yields: {_words(kind.yields)}; {nature}; version {kind.version}"
        if kind.needs:
            yield f"- Needs: {_words(kind.needs)}"
        if parameters := kind.configure({}).parameters:
            yield f"- Parameters: {', '.join(f'`{name}={value!r}`' for name, value in parameters.items())}"
        for name, value in kind.published.items():
            yield f"- Published `{name}`: {value}"
        if kind.differs:
            yield f"- Differs: {kind.differs}"
        yield ""


def _summary(kind: type[Explainer]) -> str:
    """Return the first paragraph of a class's docstring on one line."""
    return " ".join((kind.__doc__ or "").split("\n\n")[0].split())


def _words(items: Iterable[str]) -> str:
    return ", ".join(items)


def insert(document: str, generated: str) -> str:
    """Return a document with what stands between the markers replaced."""
    before, found, rest = document.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise InvalidInput(f"the page needs a line {BEGIN!r} and, below it, a line {END!r}")
    return f"{before}{BEGIN}\n\n{generated}\n{END}{after}"


@click.command()
@click.option(
    "--write", "path", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="The page to bring up to date."
)
def main(path: Path | None) -> None:
    """Print which method serves which family of encoders, or write it between the markers of a page."""
    generated = page()
    if path is None:
        click.echo(generated)
    else:
        path.write_text(insert(path.read_text(), generated))


if __name__ == "__main__":
    main()
