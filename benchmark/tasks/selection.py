"""Which samples a task takes: as many of every decile of similarity, or FIxLIP's own choice of the most similar.

Pairs of the highest similarity need explanations least; taking only them is kept as a replication of what was published.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Literal

import numpy as np

from benchmark.data.base import DATASETS, DataSet, Sample
from benchmark.data.selections import HASH_DIGITS, PACKAGED, Choice, Selection
from benchmark.errors import InvalidInput
from benchmark.records import text_hash
from benchmark.tasks.base import TIERS, Protocol, Task
from benchmark.tasks.protocols import InteractionFaithfulness, Perturbation

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder

By = Literal["deciles", "top"]
N_DECILES = 10


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sample of a view with the encoder's cosine of it."""

    position: int
    sample: str
    cluster: str
    text_hash: str
    similarity: float


def select(
    data: DataSet,
    view: str,
    encoder: "DualEncoder",
    *,
    by: By = "deciles",
    n: int = 200,
    candidates: int | None = 1000,
    seen: Callable[[int], None] = lambda n: None,
) -> Selection:
    """Choose ``n`` samples among the first ``candidates`` of a view; the same arguments give the same list.

    ``deciles``: as many of every decile of the candidates' similarity, in an order of which every prefix is balanced.
    ``top``: of every image the text with the largest logit, images by descending logit (FIxLIP). Samples that the encoder
    cannot take are no candidates.
    """
    found = list(similarities(data.samples(view, candidates), encoder, seen))
    if by == "top":
        chosen = top(found)[:n]
    else:
        if n % N_DECILES:
            raise InvalidInput(f"{n} samples cannot be taken from {N_DECILES} deciles alike; take a multiple of {N_DECILES}")
        chosen = stratified(found, n, f"{data.name}@{data.revision}/{view}/{by}")
    if len(chosen) < n:
        raise InvalidInput(f"{data.name} has {len(chosen)} samples to choose as {by}, not {n}; ask for fewer with --n")
    decile = {item.position: number for number, group in enumerate(deciles(found)) for item in group}
    choices = tuple(
        Choice(
            sample=item.sample,
            position=item.position,
            text_hash=item.text_hash,
            similarity=round(item.similarity, 6),
            decile=decile[item.position],
        )
        for item in chosen
    )
    return Selection(
        data=data.name,
        revision=str(data.revision),
        view=view,
        by=by,
        model="@".join(part for part in (encoder.name, encoder.revision) if part),
        candidates=len(found),
        choices=choices,
    )


def similarities(samples: Sequence[Sample], encoder: "DualEncoder", seen: Callable[[int], None]) -> Iterator[Candidate]:
    """Yield every sample that the encoder can take, with its cosine."""
    for position, sample in enumerate(samples):
        seen(position + 1)
        try:
            pair = encoder.pair(sample.load_image(), sample.text)
        except InvalidInput:
            continue
        yield Candidate(position, sample.id, sample.cluster, text_hash(sample.text), float(encoder.similarity(pair)))


def deciles(candidates: Sequence[Candidate]) -> list[list[Candidate]]:
    """Return candidates in ten groups of equal size (up to one), lowest similarity first; ties go by position."""
    ranked = sorted(candidates, key=lambda item: (item.similarity, item.position))
    groups: list[list[Candidate]] = [[] for _ in range(N_DECILES)]
    for rank, item in enumerate(ranked):
        groups[rank * N_DECILES // len(ranked)].append(item)
    return groups


def stratified(candidates: Sequence[Candidate], n: int, name: str) -> list[Candidate]:
    """Return ``n`` candidates in rounds of one from every decile, deciles and candidates in an order that ``name`` fixes.

    Of any prefix no two deciles differ by more than one.
    """
    rng = np.random.default_rng(int.from_bytes(sha256(name.encode()).digest()[:8], "little"))
    shuffled = [[group[i] for i in rng.permutation(len(group))] for group in deciles(candidates)]
    rounds = min(n // N_DECILES, *map(len, shuffled))
    return [shuffled[decile][turn] for turn in range(rounds) for decile in rng.permutation(N_DECILES)]


def top(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Return every image's most similar text, most similar images first; ties go by position."""
    best: dict[str, Candidate] = {}
    for item in candidates:
        if item.cluster not in best or item.similarity > best[item.cluster].similarity:
            best[item.cluster] = item
    return sorted(best.values(), key=lambda item: (-item.similarity, item.position))


def _declare(data: str) -> Iterator[Task]:
    """Register ``<data>-interactions-deciles``, ``-insertion-deciles`` and ``-insertion-top``."""
    protocols: tuple[tuple[str, By, Protocol, str], ...] = (
        ("interactions", "deciles", InteractionFaithfulness(), "How well explanations predict held-out coalitions"),
        ("insertion", "deciles", Perturbation(), "Insertion, deletion and the area between"),
        ("insertion", "top", Perturbation(), "Insertion, deletion and the area between"),
    )
    whose = {"deciles": "as many pairs of every decile of similarity", "top": "the most similar pairs alone, as FIxLIP chose"}
    for kind, by, protocol, what in protocols:
        base = "all_captions" if by == "top" and "all_captions" in DATASETS[data].views else "captions"
        path = PACKAGED / f"{data}-{base}-{by}.csv"
        fixed = Selection.read(path) if path.is_file() else None
        if fixed is None and DATASETS[data].synthetic:
            continue  # while the list is being made
        tiers = dict(TIERS) if fixed is None else {name: min(size, len(fixed.choices)) for name, size in TIERS.items()}
        yield Task(
            id=f"{data}-{kind}-{by}",
            version=1,
            data=data,
            view=f"{base}:{by}" + ("" if fixed is None else f"@{fixed.digest[:HASH_DIGITS]}"),
            protocol=protocol,
            summary=f"{what}, on a frozen list: {whose[by]}.",
            tiers=tiers,
        )


TASKS = tuple(task for data in ("scenes", "phantoms", "coco") for task in _declare(data))
