"""Check an encoder on held-out pairs of the generated sets: ``python -m benchmark.embedded.evaluate``.

The gate asks whether ground truth may rest on what the encoder knows. Per kind of attribute: is the true caption preferred
to the same caption with one attribute changed to a value that makes it false? And: does deleting the patches of a phrase's
object lower the similarity more than deleting as many others? Kinds that are not gated are probes. Writes ``gates.json``
beside the model.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from transformers import CLIPModel

from benchmark.data.captions import DRAWS, EDITS, edit
from benchmark.data.draws import uniforms
from benchmark.data.generated import GeneratedSet
from benchmark.data.grammar import ATTRIBUTES, KIND, Statements, Things, matching, pack, slots, truth
from benchmark.data.phantoms import Phantoms
from benchmark.data.scenes import Scenes
from benchmark.embedded.model import FOLDER, PATCH, embed_images, embed_texts, normalise, zero_patches
from benchmark.embedded.removal import N_PATCHES, patch_areas

Rate = dict[str, float]  # "n", "rate", and the "low" and "high" end of its interval
_BATCH = 50
MEAN_FLOOR, KIND_FLOOR, DELETION_FLOOR = 0.90, 0.75, 0.95  # over the gated kinds, of each of them, of deletions
_N_OCCLUDED = 200  # phrases for the occlusion check, 49 forward passes each


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What was measured on one set; rates with 95 % Wilson intervals."""

    kinds: dict[str, Rate]
    gated: list[str]
    mean_of_gated: float
    deletion: Rate  # patches set to the normalised zero
    dropping: Rate  # patches left out of the sequence
    similarity: dict[str, float]  # mean cosine of a phrase with its image, whole and in parts
    phrase_auc: float
    occlusion: dict[str, float]
    by_value: dict[str, Rate]  # rates by the shape or finding that was edited away

    @property
    def passed(self) -> bool:
        rates = [self.kinds[kind]["rate"] for kind in self.gated]
        deleted = min(self.deletion["rate"], self.dropping["rate"])
        return self.mean_of_gated >= MEAN_FLOOR and min(rates) >= KIND_FLOOR and deleted >= DELETION_FLOOR


def rate_of(outcomes: Bool[np.ndarray, " pair"]) -> Rate:
    """Share of successes with its Wilson interval; ``nan`` without pairs."""
    n, z = len(outcomes), 1.96
    if n == 0:
        return {"n": 0, "rate": float("nan"), "low": float("nan"), "high": float("nan")}
    share = float(outcomes.mean())
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)) ** 0.5
    return {"n": n, "rate": round(share, 4), "low": round(middle - half, 4), "high": round(middle + half, 4)}


class Embedder:
    """Embeddings of coded statements and rendered images, in batches."""

    def __init__(self, model: CLIPModel) -> None:
        self.model = model.float().eval()

    @torch.inference_mode()
    def texts(self, statements: Statements) -> Float[np.ndarray, "text dim"]:
        input_ids, attention_mask = (torch.from_numpy(array) for array in pack(slots(statements)))
        parts = zip(input_ids.split(4 * _BATCH), attention_mask.split(4 * _BATCH), strict=True)
        return np.concatenate([embed_texts(self.model, *part).numpy() for part in parts])

    @torch.inference_mode()
    def images(self, pixels: np.ndarray, keep: Bool[np.ndarray, "image patch"] | None = None) -> Float[np.ndarray, "image dim"]:
        """With ``keep``, all other patches are set to the normalised zero."""
        results = []
        for start in range(0, len(pixels), _BATCH):
            values = normalise(torch.from_numpy(pixels[start : start + _BATCH]))
            if keep is not None:
                values = zero_patches(values, torch.from_numpy(keep[start : start + _BATCH]))
            results.append(embed_images(self.model, values).numpy())
        return np.concatenate(results)

    @torch.inference_mode()
    def kept_patches(self, pixels: np.ndarray, keep: Bool[np.ndarray, "image patch"]) -> Float[np.ndarray, "image dim"]:
        """From the patches in ``keep`` alone; images that keep the same number go together."""
        values, counts = normalise(torch.from_numpy(pixels)), keep.sum(1)
        results = np.empty((len(pixels), self.model.visual_projection.out_features), dtype=np.float32)
        for count in np.unique(counts):
            rows = np.flatnonzero(counts == count)
            results[rows] = embed_images(self.model, values[rows], torch.from_numpy(keep[rows])).numpy()
        return results


def _diagonal(images: np.ndarray, texts: np.ndarray) -> np.ndarray:
    return (images * texts).sum(1)


def caption_preferences(data: GeneratedSet, embedder: Embedder, pairs: int) -> tuple[dict[str, Rate], dict[str, Rate]]:
    """Preference for the true caption by kind of edit, and by the shape or finding that was edited away."""
    indices = data.samples("captions", pairs).indices
    preferred: dict[int, list[np.ndarray]] = {kind: [] for kind in range(len(EDITS))}
    by_value: dict[str, list[bool]] = {}
    for start in range(0, len(indices), _BATCH):
        rows = indices[start : start + _BATCH]
        rendered = data.draw(rows)
        statements, _ = data.caption_statements(rendered, rows)
        images = embedder.images(rendered.pixels)
        true = _diagonal(images, embedder.texts(statements))
        for kind, name in enumerate(EDITS):
            draw = uniforms(f"{data.name}/gate/{name}", rows, DRAWS)
            edited, changed = edit(statements, rendered.things, np.full(len(rows), kind), draw)
            false = changed & (np.diag(truth(rendered.things, edited)) == 0)
            won = true > _diagonal(images, embedder.texts(edited))
            preferred[kind].append(won[false])
            if kind == KIND:
                before = statements.attributes[..., KIND]
                clause = (before != edited.attributes[..., KIND]).argmax(1)
                for row in np.flatnonzero(false):
                    by_value.setdefault(ATTRIBUTES[KIND][before[row, clause[row]]], []).append(bool(won[row]))
    names = [*data.attribute_names, *EDITS[len(data.attribute_names) :]]
    rates = {name: rate_of(np.concatenate(preferred[kind])) for kind, name in enumerate(names)}
    values = {word: rate_of(np.array(won)) for word, won in sorted(by_value.items())}
    return {name: rate for name, rate in rates.items() if rate["n"]}, values


@dataclass(frozen=True, slots=True, kw_only=True)
class PhraseBatch:
    """A batch of the phrase view, coded."""

    pixels: np.ndarray  # (image, row, column, 3)
    things: Things
    statements: Statements
    covered: Int[np.ndarray, "image patch"]  # pixels of what the phrase is true of


def phrase_batches(data: GeneratedSet, pairs: int) -> Iterator[PhraseBatch]:
    indices = data.samples("phrases", pairs).indices
    for start in range(0, len(indices), _BATCH):
        rows = indices[start : start + _BATCH]
        rendered = data.draw(rows)
        statements, things = data.phrase_statements(rendered, rows), rendered.things
        true_of = np.stack([matching(*row) for row in zip(things.attributes, statements.attributes[:, 0], strict=True)])
        covered = (patch_areas(rendered.masks) * true_of[:, :, None]).sum(1)
        yield PhraseBatch(pixels=rendered.pixels, things=things, statements=statements, covered=covered)


def deletion(data: GeneratedSet, embedder: Embedder, pairs: int) -> tuple[Rate, Rate, dict[str, float]]:
    """How often deleting the patches that the object touches beats deleting as many others, and mean similarities.

    Twice: with patches set to the normalised zero, and with patches left out of the sequence; the similarities are of the
    first. Objects that touch more than half of the patches are left out: there are not as many others.
    """
    rng = np.random.default_rng(0)
    levels, dropped = [], []
    for batch in phrase_batches(data, pairs):
        own = batch.covered > 0
        n_own = own.sum(1)
        others = np.argsort(np.argsort(rng.random(own.shape) + own, axis=1), axis=1) < n_own[:, None]
        texts = embedder.texts(batch.statements)
        views = (np.ones_like(own), ~own, ~others, own, np.zeros_like(own))
        level = np.stack([_diagonal(embedder.images(batch.pixels, view), texts) for view in views], 1)
        fair = (n_own > 0) & (n_own <= N_PATCHES // 2)
        levels.append(level[fair])
        own_out, others_out = (_diagonal(embedder.kept_patches(batch.pixels, view), texts) for view in (~own, ~others))
        dropped.append((own_out < others_out)[fair])
    levels = np.concatenate(levels)
    names = ("whole", "object_deleted", "others_deleted", "object_only", "nothing")
    means = {name: round(float(mean), 4) for name, mean in zip(names, levels.mean(0), strict=True)}
    return rate_of(levels[:, 1] < levels[:, 2]), rate_of(np.concatenate(dropped)), means


def phrase_auc(data: GeneratedSet, embedder: Embedder, pairs: int) -> float:
    """How well similarity tells images of which a phrase is true from all others; every phrase against every image."""
    batches = list(phrase_batches(data, pairs))
    statements = Statements.concatenate([batch.statements for batch in batches])
    similarity = np.concatenate([embedder.images(batch.pixels) for batch in batches]) @ embedder.texts(statements).T
    return _mean_auc(similarity, np.concatenate([truth(batch.things, statements) for batch in batches]))


def occlusion(data: GeneratedSet, embedder: Embedder, phrases: int) -> dict[str, float]:
    """Zero one patch at a time: whether the largest drop touches the object, and the share of the drops that lies on it."""
    keep = np.concatenate([np.ones((1, N_PATCHES), dtype=bool), ~np.eye(N_PATCHES, dtype=bool)])
    hits, chances, energies = [], [], []
    for batch in phrase_batches(data, phrases):
        texts, share = embedder.texts(batch.statements), batch.covered / PATCH**2
        for row in range(len(texts)):
            similarity = embedder.images(np.repeat(batch.pixels[row : row + 1], len(keep), 0), keep) @ texts[row]
            drop = similarity[0] - similarity[1:]
            hits.append(batch.covered[row, drop.argmax()] > 0)
            chances.append((batch.covered[row] > 0).mean())
            rise = np.clip(drop, 0, None)
            energies.append((rise * share[row]).sum() / max(rise.sum(), 1e-9))
    means = {"pointing": hits, "chance": chances, "energy": energies}
    return {"n": len(hits)} | {name: round(float(np.mean(values)), 4) for name, values in means.items()}


def _mean_auc(similarity: Float[np.ndarray, "image text"], labels: Int[np.ndarray, "image text"]) -> float:
    """Area under the ROC curve of present against absent, per text, averaged over texts that have both."""
    areas = []
    for column in range(labels.shape[1]):
        present, absent = similarity[labels[:, column] == 1, column], similarity[labels[:, column] == 0, column]
        if len(present) and len(absent):
            absent = np.sort(absent)
            areas.append(np.searchsorted(absent, present).mean() / len(absent))
    return round(float(np.mean(areas)), 4)


def evaluate(model: CLIPModel, data: GeneratedSet, pairs: int) -> Gate:
    """All figures of one set."""
    embedder = Embedder(model)
    kinds, by_value = caption_preferences(data, embedder, pairs)
    deleted, dropped, similarity = deletion(data, embedder, pairs)
    gated = [name for name, rests in zip(data.attribute_names, data.gated, strict=True) if rests]
    return Gate(
        kinds=kinds,
        gated=gated,
        mean_of_gated=round(float(np.mean([kinds[kind]["rate"] for kind in gated])), 4),
        deletion=deleted,
        dropping=dropped,
        similarity=similarity,
        phrase_auc=phrase_auc(data, embedder, pairs),
        occlusion=occlusion(data, embedder, min(pairs, _N_OCCLUDED)),
        by_value=by_value,
    )


def report(model: CLIPModel, pairs: int) -> dict[str, object]:
    """The figures of both sets as plain data."""
    sets: Sequence[GeneratedSet] = (Scenes(), Phantoms())
    result: dict[str, object] = {"pairs": pairs, "floors": {"mean": MEAN_FLOOR, "kind": KIND_FLOOR, "deletion": DELETION_FLOOR}}
    for data in sets:
        gate = evaluate(model, data, pairs)
        result[data.name] = {"version": data.version, "passed": gate.passed, **asdict(gate)}
    return result


@click.command(help=__doc__)
@click.option("--model", "folder", type=click.Path(path_type=Path, exists=True), default=FOLDER, help="folder of the encoder")
@click.option("--pairs", default=1000, show_default=True, help="held-out images per set")
def main(folder: Path, pairs: int) -> None:
    text = json.dumps(report(CLIPModel.from_pretrained(folder), pairs), indent=2)
    (folder / "gates.json").write_text(text + "\n")
    click.echo(text)


if __name__ == "__main__":
    main()
