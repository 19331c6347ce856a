"""What the papers say of their methods, checked on the embedded encoder and the generated sets.

``python scripts/check_claims.py --write docs/claims.md`` measures and writes the tables there; about ten minutes on two
cores. A number is a mean over samples with its 95 % bootstrap interval. A claim holds on a set if the whole interval is on
the expected side, fails if it is wholly on the other, and is open otherwise.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest.mock import patch

import click
import numpy as np
import torch
from PIL import Image
from scipy.stats import spearmanr
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
from claims import ARCHITECTURE, CLAIMS, MULTI, RAW, SINGLE, STEPS, TEXT_AWARE, TEXT_BLIND, P

from benchmark.data.base import DATASETS, Sample
from benchmark.encoders import DualEncoder, Pair, load_encoder
from benchmark.explainers import EXPLAINERS
from benchmark.explainers.clip_surgery import ClipSurgery, feature_surgery
from benchmark.explainers.exclip import ExClip
from benchmark.explainers.fixlip import Fixlip
from benchmark.explainers.rise import Rise
from benchmark.explanations import Explanation
from benchmark.games.similarity import SimilarityGame
from benchmark.metrics.interaction import interaction_faithfulness
from benchmark.metrics.localisation import average_precision, pointing_energy, pointing_hit

SETS = ("scenes", "phantoms")
BEGIN, END = "<!-- begin: written by python scripts/check_claims.py --write -->", "<!-- end -->"
ROUND_OFF = 1e-5
"""How far an "= x" may be off on any sample: explanations are computed in single precision."""

Finding = tuple[str, str, float]
"""A claim's key, what was measured, and its value on one sample."""


@dataclass(frozen=True)
class Effort:
    """How many samples are taken, and how much is spent on the costly methods."""

    phrases: int = 60
    costly: int = 16
    image_budget: int = 1600
    masks: int = 2000
    held_out: int = 200


def run(encoder: DualEncoder, pair: Pair, method: str, **parameters: Any) -> Explanation:
    return EXPLAINERS[method].configure(parameters).explain(encoder, pair, np.random.default_rng(0))


def image_map(encoder: DualEncoder, pair: Pair, method: str, **parameters: Any) -> np.ndarray:
    image = run(encoder, pair, method, **parameters).image
    assert image is not None
    return image


def contrast(heat: np.ndarray, cover: np.ndarray) -> float:
    """Return CLIP Surgery's mean score contrast in percent; 0 for a constant map."""
    spread = heat.max() - heat.min()
    scaled = (heat - heat.min()) / spread if spread > 0 else np.zeros_like(heat)
    return float(100 * ((scaled * cover).sum() / cover.sum() - (scaled * (1 - cover)).sum() / (1 - cover).sum()))


def correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Return Pearson's correlation; ``nan`` if a map is constant."""
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return float("nan")
    return float(np.corrcoef(one.ravel(), other.ravel())[0, 1])


# -- one phrase -------------------------------------------------------------------------------------------------------


def visible_phrases(encoder: DualEncoder, samples: Sequence[Sample], limit: int) -> Iterator[tuple[Sample, Pair, np.ndarray]]:
    """Yield samples whose phrase covers a patch at least and three quarters of the image at most."""
    found = 0
    for sample in samples:
        if found == limit:
            return
        pair = encoder.pair(sample.load_image(), sample.text)
        cover = pair.coverage(sample.phrases[0].region)
        if cover.sum() >= 1 and cover.mean() <= 0.75:
            found += 1
            yield sample, pair, cover


def of_phrase(encoder: DualEncoder, image: Image.Image, pair: Pair, cover: np.ndarray, bank: list[str]) -> Iterator[Finding]:
    """Yield what is measured on one phrase with the cheap methods; ``bank`` holds phrases of all images."""
    other = encoder.pair(image, bank[(bank.index(pair.text) + 1) % len(bank)])
    methods = {*TEXT_BLIND, *TEXT_AWARE, "gradient_x_input", "integrated_gradients", "m2ib", "occlusion", "centre"}
    found = {name: run(encoder, pair, name) for name in sorted(methods)}
    maps = {name: explanation.image for name, explanation in found.items() if explanation.image is not None}
    scores = {
        "hit": {name: pointing_hit(heat, cover).value for name, heat in maps.items()},
        "energy": {name: pointing_energy(heat, cover).value for name, heat in maps.items()},
        "average precision": {name: average_precision(heat, cover).value for name, heat in maps.items()},
    }
    for key, claim in CLAIMS.items():
        for name in claim.expected:
            score, _, rest = name.partition(": ")
            one, _, subtracted = rest.replace("`", "").partition(" − ")
            if score in scores and one in maps and subtracted in maps:
                yield key, name, scores[score][one] - scores[score][subtracted]
    for name in ("occlusion", "centre"):
        yield "removal", f"hit: `{name}` − chance", scores["hit"][name] - float(cover.mean())
    for name in (*TEXT_BLIND, *TEXT_AWARE):
        moved = image_map(encoder, other, name)
        yield "wrong_caption", f"correlation of own and other phrase's map: `{name}`", correlation(maps[name], moved)
    ranks = {name: float(spearmanr(maps[name].ravel(), maps["occlusion"].ravel()).statistic) for name in TEXT_BLIND}
    yield "rollout", "rank correlation with `occlusion`: `rollout`", ranks["rollout"]
    yield "rollout", "rank correlation with `occlusion`: `rollout` − `raw_attention`", ranks["rollout"] - ranks["raw_attention"]
    yield from of_heads(encoder, pair, cover, found["grad_eclip"])
    short = run(encoder, pair, "integrated_gradients", steps=10)
    notes = found["integrated_gradients"].notes
    yield "gradients", "|image gap|, 50 steps", abs(notes["image_gap"])
    for side in ("image", "text"):
        yield "gradients", f"|{side} gap|: 50 − 10 steps", abs(notes[f"{side}_gap"]) - abs(short.notes[f"{side}_gap"])
    yield from of_surgery(encoder, image, pair, cover, bank, maps["mask_clip"])


def of_heads(encoder: DualEncoder, pair: Pair, cover: np.ndarray, one: Explanation) -> Iterator[Finding]:
    """Yield how far Grad-ECLIP's one head takes it from the encoder."""
    model, cosine = run(encoder, pair, "grad_eclip", heads="model"), encoder.similarity(pair)
    assert one.image is not None
    assert model.image is not None
    for label, explanation in (("one head", one), ("model's heads", model)):
        explained = {"image": explanation.similarity, "text": explanation.notes["text_similarity"]}
        for side, value in explained.items():
            yield "one_head", f"{side} pass, |cosine explained − cosine|: {label}", abs(value - cosine)
    hits = pointing_hit(one.image, cover).value - pointing_hit(model.image, cover).value
    yield "one_head", "hit: one head − model's heads", hits
    yield "one_head", "correlation of the two maps", correlation(one.image, model.image)


@torch.no_grad()
def of_surgery(
    encoder: DualEncoder, image: Image.Image, pair: Pair, cover: np.ndarray, bank: list[str], mask_clip: np.ndarray
) -> Iterator[Finding]:
    """Yield what each part of CLIP Surgery does to the maps of the phrase and of nine others."""
    texts = [pair.text, *[text for text in bank if text != pair.text][:9]]
    embeddings = encoder.embed_texts(torch.tensor([encoder.tokenize(text).ids for text in texts], device=encoder.device))
    tower = encoder.image
    plain = F.normalize(tower.tokens(tower.run(encoder.image_state(pair.pixel_values))), dim=-1)
    second, pooled = ClipSurgery().surgery_tokens(encoder, pair.pixel_values)
    unit = F.normalize(second, dim=-1)
    found = {
        RAW: plain @ embeddings.T,
        ARCHITECTURE: unit @ embeddings.T,
        MULTI: feature_surgery(second, pooled, embeddings, "channel"),
    }
    maps = {kind: tokens[0, tower.prefix :].T.double().cpu().numpy() for kind, tokens in found.items()}
    maps[SINGLE] = np.stack([image_map(encoder, encoder.pair(image, text), "clip_surgery").ravel() for text in texts])
    own = {kind: heats[0].reshape(cover.shape) for kind, heats in maps.items()}
    contrasts = {kind: contrast(heat, cover) for kind, heat in own.items()}
    for kind, value in contrasts.items():
        yield "opposite", f"contrast, %: {kind}", value
    yield "opposite", f"contrast, %: {SINGLE} − {RAW}", contrasts[SINGLE] - contrasts[RAW]
    yield "mask_clip", "contrast, %: `mask_clip`", contrast(mask_clip, cover)
    yield "mask_clip", f"contrast, %: `mask_clip` − {RAW}", contrast(mask_clip, cover) - contrasts[RAW]
    above = np.triu_indices(len(texts), 1)
    alike = {kind: float(np.corrcoef(heats)[above].mean()) for kind, heats in maps.items()}
    off = {kind: 1 - pointing_energy(heat, cover).value for kind, heat in own.items()}
    yield "common", f"correlation between texts: {RAW}", alike[RAW]
    yield "common", f"correlation between texts: {ARCHITECTURE}", alike[ARCHITECTURE]
    for kind in (SINGLE, MULTI):
        yield "common", f"correlation between texts: {kind} − {ARCHITECTURE}", alike[kind] - alike[ARCHITECTURE]
        yield "common", f"share of positive mass off the region: {kind} − {ARCHITECTURE}", off[kind] - off[ARCHITECTURE]


@torch.no_grad()
def rise_maps(encoder: DualEncoder, pair: Pair, n_masks: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return RISE as published, centred, and the coverage of its masks, from one pass over them.

    The map is linear in the cosines: with all of them 1 it is the coverage, and that times their mean is what centring
    takes away.
    """
    rise, text = Rise(n_masks=n_masks, text=False), encoder.embed_texts(pair.input_ids)[0]
    scores: list[torch.Tensor] = []
    embed = encoder.embed_images

    def noted(pixel_values: torch.Tensor) -> torch.Tensor:
        embeddings = embed(pixel_values)
        scores.append(embeddings @ text)
        return embeddings

    with patch.object(encoder, "embed_images", noted):
        published = rise.explain(encoder, pair, np.random.default_rng(0)).image
    with patch.object(encoder, "embed_images", lambda pixel_values: text.expand(len(pixel_values), -1)):
        coverage = rise.explain(encoder, pair, np.random.default_rng(0)).image
    assert published is not None
    assert coverage is not None
    return published, published - float(torch.cat(scores).mean()) * coverage, coverage


def of_masks(encoder: DualEncoder, pair: Pair, cover: np.ndarray, effort: Effort) -> Iterator[Finding]:
    """Yield what is measured with the methods that take hundreds of forward passes."""
    published, centred, coverage = rise_maps(encoder, pair, effort.masks)
    precision = {
        name: average_precision(heat, cover).value
        for name, heat in {"published": published, "centred": centred, "m2ib": image_map(encoder, pair, "m2ib")}.items()
    }
    yield "rise", "correlation with the masks' coverage: published", correlation(published, coverage)
    gap = correlation(published, coverage) - correlation(centred, coverage)
    yield "rise", "correlation with the masks' coverage: published − centred", gap
    yield "rise", "average precision: centred − published", precision["centred"] - precision["published"]
    yield "m2ib", "average precision: `m2ib` − `rise`", precision["m2ib"] - precision["published"]
    width = encoder.image_state(pair.pixel_values).hidden.shape[-1]
    few, all_of_them = (image_map(encoder, pair, "gscore_cam", channels=channels) for channels in (width // 3, None))
    gain = average_precision(few, cover).value - average_precision(all_of_them, cover).value
    yield "gscore_cam", "average precision: a third of the channels − all", gain


# -- one caption ------------------------------------------------------------------------------------------------------


def of_caption(encoder: DualEncoder, sample: Sample, effort: Effort) -> Iterator[Finding]:
    """Yield what is measured on one caption: completeness, surrogates and grounding."""
    pair = encoder.pair(sample.load_image(), sample.text)
    gaps = {steps: run(encoder, pair, "exclip", steps=steps) for steps in STEPS}
    off = {steps: abs(explanation.notes["gap"]) for steps, explanation in gaps.items()}
    for steps in STEPS:
        yield "exclip", f"|gap|, {steps} steps", off[steps]
    for few, many in pairwise(STEPS):
        yield "exclip", f"|gap|: {many} − {few} steps", off[many] - off[few]
    midpoint = abs(ExClip(rule="midpoint").explain(encoder, pair, np.random.default_rng(0)).notes["gap"])
    yield "exclip", "|gap|: midpoint rule, 10 steps − published rule, 50", midpoint - off[50]
    yield "exclip", "|difference| explained", abs(gaps[10].notes["difference"])

    game = SimilarityGame(encoder, pair)
    surrogates: dict[tuple[float, int], Explanation] = {}
    for p in P:
        for order in (1, 2):
            method = Fixlip(p=p, order=order, image_budget=effort.image_budget, text_budget=64)
            surrogates[p, order] = method.explain_game(game, np.random.default_rng(0))
    scores = {p: _faithfulness(game, surrogates, p, effort.held_out) for p in P}
    for p, of_surrogate in scores.items():
        for score in ("rank correlation", "R2"):
            gain = of_surrogate[p, 2][score] - of_surrogate[p, 1][score]
            yield "order", f"{score} at p = {p}: order 2 − order 1", gain
    for p, wrong in ((0.3, 0.7), (0.7, 0.3)):
        gain = scores[p][p, 2]["R2"] - scores[p][wrong, 2]["R2"]
        yield "matched_p", f"R2 at p = {p}: fitted at {p} − fitted at {wrong}", gain

    for name, explanation in (("exclip", gaps[10]), ("fixlip", surrogates[0.5, 2])):
        gain = _grounding(pair, sample, explanation)
        if gain is not None:
            yield "grounding", f"average precision, own − other phrase's tokens: `{name}`", gain
    shapley = (
        EXPLAINERS["shapley"].configure({"budget": max(effort.held_out // 2, 80)}).explain_game(game, np.random.default_rng(0))
    )
    everything = np.ones((1, game.n_players), dtype=bool)
    nothing = float(game.values(~everything)[0])
    gap = float(shapley.players.main.sum()) - (float(game.values(everything)[0]) - nothing)
    yield "efficiency", "|sum of values − difference|: `shapley`", abs(gap)


def _faithfulness(
    game: SimilarityGame, surrogates: dict[tuple[float, int], Explanation], p: float, n_coalitions: int
) -> dict[tuple[float, int], dict[str, float]]:
    """Score every surrogate on coalitions that it has not seen, drawn at ``p``."""
    kept = np.random.default_rng(1).random((n_coalitions, game.n_players)) < p
    values = game.values(kept)
    found = {key: interaction_faithfulness(surrogate.predict(kept), values) for key, surrogate in surrogates.items()}
    return {
        key: {"rank correlation": scores["faithfulness_spearman"].value, "R2": scores["faithfulness_r2"].value}
        for key, scores in found.items()
    }


def _grounding(pair: Pair, sample: Sample, explanation: Explanation) -> float | None:
    """Return how much better phrases' own tokens find their regions than other phrases' tokens do; ``None`` without two."""
    assert explanation.cross is not None
    usable = []
    for phrase in sample.phrases:
        cover, tokens = pair.coverage(phrase.region), list(pair.tokens_of(phrase.span))
        if cover.sum() >= 1 and cover.mean() <= 0.75 and tokens:
            usable.append((cover, explanation.cross[:, :, tokens].sum(axis=2)))
    if len(usable) < 2:
        return None
    scores = np.array([[average_precision(heat, cover).value for _, heat in usable] for cover, _ in usable])
    own = np.eye(len(usable), dtype=bool)
    return float(scores[own].mean() - scores[~own].mean())


# -- all of them ------------------------------------------------------------------------------------------------------


def findings(encoder: DualEncoder, data: str, effort: Effort) -> Iterator[Finding]:
    source = DATASETS[data]()
    phrases = list(visible_phrases(encoder, source.samples("phrases", 2 * effort.phrases + 20), effort.phrases))
    bank = list(dict.fromkeys(sample.text for sample, _, _ in phrases))
    for number, (sample, pair, cover) in enumerate(phrases):
        yield from of_phrase(encoder, sample.load_image(), pair, cover, bank)
        if number < effort.costly:
            yield from of_masks(encoder, pair, cover, effort)
    for sample in source.samples("captions", effort.costly):
        yield from of_caption(encoder, sample, effort)


@dataclass(frozen=True)
class Measured:
    """A mean over samples, its bootstrap interval, and whether it is as expected: "holds", "fails" or "open"."""

    mean: float
    low: float
    high: float
    n: int
    verdict: str

    def __str__(self) -> str:
        shown = f"{self.mean:.3g} [{self.low:.2g}, {self.high:.2g}], n = {self.n}"
        return f"{shown}: **{self.verdict}**" if self.verdict else shown


def summarise(values: Sequence[float], expected: tuple[str, float] | None) -> Measured:
    known = np.array([value for value in values if np.isfinite(value)])
    if not known.size:
        return Measured(float("nan"), float("nan"), float("nan"), 0, "open" if expected else "")
    drawn = np.random.default_rng(0).choice(known, size=(2000, len(known))).mean(axis=1)
    low, high = (float(end) for end in np.quantile(drawn, (0.025, 0.975)))
    verdict = ""
    if expected is not None:
        sign, level = expected
        if sign == "=":
            verdict = "holds" if np.abs(known - level).max() <= ROUND_OFF else "fails"
        else:
            above, below = ("holds", "fails") if sign == ">" else ("fails", "holds")
            verdict = above if low > level else below if high < level else "open"
    return Measured(float(known.mean()), low, high, len(known), verdict)


def report(encoder: DualEncoder, effort: Effort, progress: Callable[[str], None]) -> str:
    """Return the tables of all claims."""
    values: dict[tuple[str, str, str], list[float]] = {}
    for data in SETS:
        progress(data)
        for claim, quantity, value in findings(encoder, data, effort):
            if quantity not in CLAIMS[claim].expected:
                raise KeyError(f"{claim} says nothing of {quantity!r}")
            values.setdefault((claim, quantity, data), []).append(float(value))
    lines = [f"Encoder `{encoder.name}@{encoder.revision}`.", ""]
    for key, claim in CLAIMS.items():
        lines += [f"### {claim.statement}", "", f"Source: {claim.source}. {claim.remark}".rstrip(), ""]
        lines += ["| measured | expected | scenes | phantoms |", "| --- | --- | --- | --- |"]
        for quantity, expected in claim.expected.items():
            cells = [str(summarise(values.get((key, quantity, data), ()), expected)) for data in SETS]
            side = f"{expected[0]} {expected[1]:g}" if expected else ""
            lines.append(f"| {quantity.replace('|', '&#124;')} | {side} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--encoder", "name", default="embedded", show_default=True)
@click.option("--phrases", default=Effort.phrases, show_default=True, help="Phrases of each set.")
@click.option("--costly", default=Effort.costly, show_default=True, help="Captions, and phrases for costly methods.")
@click.option("--quick", is_flag=True, help="Two samples, small budgets; for a test.")
@click.option("--write", "path", type=click.Path(path_type=Path, exists=True), help="Put the tables between this file's marks.")
def main(name: str, phrases: int, costly: int, quick: bool, path: Path | None) -> None:
    effort = Effort(2, 1, 60, 60, 50) if quick else Effort(phrases, costly)
    text = report(load_encoder(name, device="cpu"), effort, lambda data: click.echo(f"measuring on {data}", err=True))
    if path is None:
        click.echo(text)
        return
    page = path.read_text()
    before, after = page[: page.index(BEGIN) + len(BEGIN)], page[page.index(END) :]
    path.write_text(f"{before}\n\n{text}\n{after}")


if __name__ == "__main__":
    main()
