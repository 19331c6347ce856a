"""Scoring maps that were made elsewhere: one ``.npz`` file in, scores out; ``docs/own_maps.md`` gives the format."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Float

from benchmark.errors import BenchmarkError, InvalidExplanation, InvalidInput
from benchmark.explainers.base import Explainer
from benchmark.explanations import Explanation
from benchmark.records import RunRecord, UnitResult
from benchmark.runner.encoders import EncoderSource, is_on_cpu
from benchmark.runner.environment import describe_run
from benchmark.runner.execute import run_group
from benchmark.runner.plan import Known, Request, Samples, make_plan
from benchmark.store import StoreWriter
from benchmark.tasks.base import Task

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair

KINDS = ("image", "text", "cross")
TEMPLATE_KINDS = ("tokens", "frame")  # what a template says of each sample; not read back
TEMPLATE = ("samples", "texts", "grid")
PREFIX = "external:"


class MapFile:
    """The arrays of one file by sample; nothing pickled is ever loaded, and an array is read when it is asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise InvalidInput(f"there is no file {path}")
        if not zipfile.is_zipfile(path):
            raise InvalidInput(f"{path} is no .npz file; np.savez makes one, with one array per sample and kind")
        with np.load(path, allow_pickle=False) as archive:
            names = list(archive.files)
        self.kinds: dict[str, list[str]] = {}
        for name in names:
            kind, _, sample = name.partition("/")
            if kind in KINDS and sample:
                self.kinds.setdefault(sample, []).append(kind)
            elif name not in TEMPLATE and kind not in TEMPLATE_KINDS:
                raise InvalidInput(f"{path} holds {name!r}; arrays are named image/<sample id>, text/<id> or cross/<id>")
        if not self.kinds:
            raise InvalidInput(f"{path} holds no map: arrays are named image/<sample id>, text/<id> or cross/<id>")

    def read(self, sample: str) -> dict[str, np.ndarray]:
        """Return a sample's arrays by kind, as they are in the file."""
        with np.load(self.path, allow_pickle=False) as archive:
            try:
                return {kind: np.asarray(archive[f"{kind}/{sample}"]) for kind in self.kinds[sample]}
            except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
                raise InvalidExplanation(f"the arrays of {sample} cannot be read: {error}") from error


@dataclass(frozen=True, kw_only=True)
class GivenMaps(Explainer):
    """One sample's maps, read from a file; not registered, since it knows no other sample."""

    name: ClassVar[str] = "external"
    version: ClassVar[int] = 1
    yields = ()

    file: MapFile
    sample: str

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        """Return the maps on the encoder's patch grid."""
        found = {kind: _numbers(kind, array) for kind, array in self.file.read(self.sample).items()}
        grid = encoder.patch_grid
        maps: dict[str, Any] = {kind: array if kind == "text" else pooled(array, grid) for kind, array in found.items()}
        return Explanation(**maps)


def pooled(scores: Float[np.ndarray, "..."], grid: tuple[int, int]) -> Float[np.ndarray, "..."]:
    """Return scores on the patch grid: as they are, or the mean over each patch of scores on the pixels of the input frame.

    Whatever has rows and columns that the grid divides is taken to cover the frame as the encoder sees it, after its resize
    and crop.

    >>> pooled(np.array([[1.0, 3.0, 0.0, 0.0], [1.0, 3.0, 0.0, 4.0]]), (1, 2))
    array([[2., 1.]])
    """
    if scores.ndim < 2 or scores.shape[:2] == grid:
        return scores
    rows, columns = scores.shape[:2]
    if rows % grid[0] or columns % grid[1]:
        raise InvalidExplanation(
            f"a map of {rows} x {columns} fits neither the patch grid of {grid[0]} x {grid[1]} nor pixels that it divides"
        )
    return scores.reshape(grid[0], rows // grid[0], grid[1], columns // grid[1], *scores.shape[2:]).mean(axis=(1, 3))


def _numbers(kind: str, array: np.ndarray) -> Float[np.ndarray, "..."]:
    if array.dtype.kind not in "fiub":
        raise InvalidExplanation(f"{kind} scores must be numbers, not {array.dtype}")
    return array.astype(np.float64)


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What scoring a file came to; ``missing`` are samples of the task that the file has no map of."""

    label: str
    n_samples: int
    missing: tuple[str, ...]
    results: list[UnitResult] = field(default_factory=list[UnitResult])
    stored: bool = False

    @property
    def n_failed(self) -> int:
        return sum(result.failed for result in self.results)

    def table(self, task: Task) -> list[dict[str, Any]]:
        """Return one row per metric: means over the samples that count, failed and degenerate ones at chance."""
        rows: list[dict[str, Any]] = []
        for metric in task.metrics:
            scores = [score for result in self.results for score in result.scores if score.metric == metric.name]
            values = [score.value for score in scores if score.value is not None]
            chances = [score.chance for score in scores if score.chance is not None]
            statuses = [score.status for score in scores]
            reasons = [score.reason for score in scores if score.reason]
            rows.append(
                {
                    "task": task.id,
                    "method": self.label,
                    "metric": metric.name,
                    "better": metric.better,
                    "mean": float(np.mean(values)) if values else None,
                    "chance": float(np.mean(chances)) if chances else None,
                    "n": len(values),
                    "n_samples": self.n_samples,
                    "n_missing": len(self.missing),
                    **{f"n_{status}": statuses.count(status) for status in ("failed", "degenerate", "excluded")},
                    "reason": max(set(reasons), key=reasons.count) if reasons else None,
                }
            )
        return rows


def score_file(
    path: Path,
    task: Task,
    source: EncoderSource,
    *,
    name: str | None = None,
    store: Path | None = None,
    limit: int | None = None,
    tier: str | None = "lite",
    data_dir: Path | None = None,
    command: str = "",
) -> Outcome:
    """Score the maps of a file on a task's first samples, and keep them in ``store`` under the method ``external:<name>``.

    A map that is not finite or does not fit fails alone and counts as chance. A sample that the file has but the task has not
    is an error. Other maps under a name that is taken are refused, since scores of the old ones may be in use.
    """
    given = MapFile(path)
    label = PREFIX + (name or path.stem)
    request = Request(methods=(), tasks=(task,), limit=limit, tier=None if limit else tier, data_dir=data_dir)
    samples = Samples(request)
    ids = [sample.id for _, sample in samples.of(task)]
    for sample in given.kinds:
        if sample not in ids:
            raise _unknown(sample, ids, task)
    encoder = source.load()
    plan = make_plan(replace(request, methods=(_named(label),)), encoder, Known(), samples)
    outcome = Outcome(label=label, n_samples=len(ids), missing=tuple(item for item in ids if item not in given.kinds))
    for group in plan.groups:
        sample = group.record.sample_id
        if sample in given.kinds:
            maps = GivenMaps(file=given, sample=sample)
            units = tuple(replace(unit, explainer=maps) for unit in group.units)
            outcome.results += run_group(encoder, replace(group, units=units))
    if store is not None:
        _keep(outcome, store, describe_run(command, "cpu" if is_on_cpu(encoder) else "cuda", (0,)))
    return outcome


def write_template(
    path: Path,
    task: Task,
    source: EncoderSource,
    *,
    limit: int | None = None,
    tier: str | None = "lite",
    data_dir: Path | None = None,
) -> int:
    """Write what is needed to make maps for a task elsewhere, and return the number of samples.

    ``samples`` and ``texts`` in order, the patch ``grid``, and for each sample ``tokens/<id>`` (the content tokens) and
    ``frame/<id>`` (rows, columns, RGB: the image as the encoder sees it). Maps may be added to these arrays in one file.
    """
    encoder = source.load()
    request = Request(methods=(), tasks=(task,), limit=limit, tier=None if limit else tier, data_dir=data_dir)
    arrays: dict[str, np.ndarray] = {}
    ids: list[str] = []
    texts: list[str] = []
    for _, sample in Samples(request).of(task):
        try:
            pair = encoder.pair(sample.load_image(), sample.text)
        except InvalidInput:
            continue  # excluded for everybody
        ids.append(sample.id)
        texts.append(sample.text)
        arrays[f"tokens/{sample.id}"] = np.array(pair.tokens)
        if pair.frame is not None:
            arrays[f"frame/{sample.id}"] = np.asarray(pair.frame)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        named: dict[str, Any] = {"samples": np.array(ids), "texts": np.array(texts), "grid": np.array(encoder.patch_grid)}
        np.savez_compressed(file, allow_pickle=False, **named, **arrays)
    return len(ids)


def _named(label: str) -> Explainer:
    """Return an explainer that gives units their name and key; every unit then gets the maps of its sample instead."""

    class External(Explainer):
        name = label
        version = 1
        yields = ()

        def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
            raise InvalidInput(f"{label} comes from a file; `benchmark score` reads it")

    return External()


def _unknown(sample: str, ids: Sequence[str], task: Task) -> BenchmarkError:
    near = get_close_matches(sample, ids, n=1, cutoff=0.3)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return InvalidInput(
        f"the first {len(ids)} samples of {task.id} have no {sample!r}.{hint} --limit takes more samples, "
        "--template FILE writes their ids"
    )


def _keep(outcome: Outcome, store: Path, run: RunRecord) -> None:
    with StoreWriter(store) as writer:
        for result in outcome.results:
            stored, made = writer.explanation(result.unit_key), result.explanation
            if stored is not None and made is not None and stored.payload != made.payload:
                raise InvalidInput(
                    f"{store} holds other maps under the name {outcome.label} (of {result.sample.sample_id}, say); "
                    "choose another --name"
                )
        writer.begin(run)
        for result in outcome.results:
            writer.add(result)
        writer.end("done")
    outcome.stored = True
