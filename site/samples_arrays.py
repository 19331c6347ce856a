"""What is computed from one sample's explanations: colours, what a selection means, a surrogate's parts, sentences."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from zipfile import BadZipFile
from zlib import error as ZlibError

import numpy as np
from jaxtyping import Bool, Float

from benchmark.errors import InvalidExplanation
from benchmark.explanations import Explanation, Players
from benchmark.metrics import perturbation
from benchmark.metrics.perturbation import Variant

PARTS = ("empty", "image", "text", "image pairs", "text pairs", "cross pairs")


@dataclass(frozen=True, slots=True)
class Layout:
    """The players of a pair: patches in rows and columns, then content tokens."""

    rows: int
    columns: int
    n_tokens: int

    @property
    def n_patches(self) -> int:
        return self.rows * self.columns

    @property
    def n_players(self) -> int:
        return self.n_patches + self.n_tokens


@dataclass(frozen=True, slots=True)
class Chosen:
    """Patches (row-major) and tokens that a reader picked, each ascending and without repetition."""

    patches: tuple[int, ...] = ()
    tokens: tuple[int, ...] = ()

    def within(self, layout: Layout) -> "Chosen":
        """Return the part of the selection that a pair of this layout has."""
        return Chosen(
            tuple(index for index in self.patches if index < layout.n_patches),
            tuple(index for index in self.tokens if index < layout.n_tokens),
        )

    def coalition(self, layout: Layout) -> Bool[np.ndarray, " player"]:
        kept = np.zeros(layout.n_players, dtype=bool)
        kept[list(self.patches)] = True
        kept[[layout.n_patches + index for index in self.tokens]] = True
        return kept


def read_payload(payload: bytes) -> Explanation | str:
    """Return a stored explanation, or a sentence that says why it cannot be read."""
    try:
        return Explanation.from_bytes(payload)
    except (InvalidExplanation, BadZipFile, ZlibError, ValueError, LookupError, TypeError, OSError, MemoryError) as error:
        return f"the stored explanation cannot be read: {error}"


def layout_of(explanation: Explanation) -> Layout | None:
    """Return the players that an explanation speaks of, or ``None`` where it has no patch scores to tell rows from columns."""
    grid = explanation.image if explanation.image is not None else explanation.cross
    if grid is None:
        return None
    rows, columns = grid.shape[:2]
    if explanation.players is not None:
        return Layout(rows, columns, len(explanation.players.main) - rows * columns)
    tokens = explanation.text if explanation.text is not None else explanation.cross
    return Layout(rows, columns, 0 if tokens is None else tokens.shape[-1])


def read_ranges(text: str, count: int) -> tuple[tuple[int, ...], bool]:
    """Read indices below ``count`` as the address has them ("0-3.7"), and say whether anything had to be left out."""
    found, clean = set[int](), True
    for part in text.split(".") if text else ():
        match = re.fullmatch(r"(\d{1,6})(?:-(\d{1,6}))?", part)
        start, end = (int(match[1]), int(match[2] or match[1])) if match else (count, count)
        clean &= start <= end < count
        found |= set(range(start, min(end, count - 1) + 1))
    return tuple(sorted(found)), clean


def write_ranges(indices: Iterable[int]) -> str:
    """Write indices for the address; runs are shortened.

    >>> write_ranges([7, 0, 1, 2, 3])
    '0-3.7'
    """
    runs: list[list[int]] = []
    for index in sorted(set(indices)):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    return ".".join(str(low) if low == high else f"{low}-{high}" for low, high in runs)


def map_of(explanation: Explanation, tokens: Sequence[int]) -> Float[np.ndarray, "row column"] | None:
    """Return the patches' scores, or with ``tokens`` those tokens' interactions with each patch, summed."""
    if tokens and explanation.cross is not None:
        return explanation.cross[:, :, list(tokens)].sum(axis=2)
    return explanation.image


def strip_of(explanation: Explanation, patches: Sequence[int]) -> Float[np.ndarray, " token"] | None:
    """Return the tokens' scores, or with ``patches`` those patches' interactions with each token, summed."""
    if patches and explanation.cross is not None:
        return explanation.cross.reshape(-1, explanation.cross.shape[2])[list(patches)].sum(axis=0)
    return explanation.text


def limits(maps: Mapping[str, np.ndarray | None], units: Mapping[str, str], own: bool = False) -> dict[str, float]:
    """Return the magnitude at which each map's colour is full: the ends of its scale are plus and minus this.

    Maps of one unit share the largest of their magnitudes, so that equal colours are equal values; with ``own`` each map
    has its own. A map that is zero everywhere has 1.
    """
    sizes = {name: 0.0 if array is None else float(np.abs(array).max(initial=0.0)) for name, array in maps.items()}
    shared = {unit: max(size for name, size in sizes.items() if units[name] == unit) for unit in set(units.values())}
    return {name: (size if own else shared[units[name]]) or 1.0 for name, size in sizes.items()}


def parts(players: Players, coalition: Bool[np.ndarray, " player"], n_patches: int) -> dict[str, float]:
    """Return what a surrogate's value of a coalition is made of, by the names of ``PARTS``; their sum is the value."""
    kept = np.asarray(coalition, dtype=np.float64)
    image, text = kept.copy(), kept.copy()
    image[n_patches:], text[:n_patches] = 0.0, 0.0
    pairs = np.zeros((len(kept), len(kept))) if players.pairs is None else players.pairs
    values = (
        players.empty,
        image @ players.main,
        text @ players.main,
        0.5 * image @ pairs @ image,
        0.5 * text @ pairs @ text,
        image @ pairs @ text,
    )
    return {name: float(value) for name, value in zip(PARTS, values, strict=True)}


def agreement(maps: Mapping[str, np.ndarray | None]) -> Float[np.ndarray, "map map"]:
    """Return Spearman's rank correlation of each two maps; not a number where a map is constant, absent or of another size."""
    found = np.full((len(maps), len(maps)), np.nan)
    ranks = [None if array is None else _ranks(array.ravel()) for array in maps.values()]
    for i, first in enumerate(ranks):
        for j, second in enumerate(ranks):
            if first is not None and second is not None and first.shape == second.shape and first.std() and second.std():
                found[i, j] = np.corrcoef(first, second)[0, 1]
    return found


def _ranks(values: Float[np.ndarray, " player"]) -> Float[np.ndarray, " player"]:
    """Return ranks from 0; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return ((ends - counts + ends - 1) / 2)[inverse]


def predicted_curves(explanation: Explanation, variant: Variant) -> dict[str, Float[np.ndarray, " step"]] | None:
    """Return the surrogate's own values as players leave in its own order, 0 to 100 percent of them: insertion and deletion.

    Variants as the insertion tasks have them; the side that is not ranked stays whole. ``None`` without a surrogate.
    """
    layout, players = layout_of(explanation), explanation.players
    if layout is None or players is None or layout.n_players != len(players.main):
        return None
    rng = np.random.default_rng(0)
    if variant == "joint_greedy" and players.pairs is not None:
        sets = perturbation.greedy_sets(players.main, players.pairs, rng)
        whole = slice(None)
    else:
        first = np.concatenate([scores.ravel() for scores in (explanation.image, explanation.text) if scores is not None])
        whole = {"image": slice(layout.n_patches), "text": slice(layout.n_patches, None)}.get(variant, slice(None))
        if len(first) != layout.n_players or not len(first[whole]):
            return None
        sets = perturbation.first_order_sets(first[whole], rng)
    coalitions = np.ones((len(sets.coalitions), layout.n_players), dtype=bool)
    coalitions[:, whole] = sets.coalitions
    deletion, insertion = sets.curves(players.predict(coalitions))
    return {"insertion": insertion.mean(axis=0), "deletion": deletion.mean(axis=0)}


def stored_curve(flags: Mapping[str, float]) -> tuple[Float[np.ndarray, " point"], Float[np.ndarray, " point"]] | None:
    """Return percent removed and the encoder's similarity there, as an insertion or deletion score keeps them in its flags."""
    points = sorted((int(name[8:]), value) for name, value in flags.items() if re.fullmatch(r"removed_\d{3}", name))
    if len(points) < 2:
        return None
    percent, values = zip(*points, strict=True)
    return np.array(percent, dtype=np.float64), np.array(values, dtype=np.float64)


def describe(
    name: str,
    image: Float[np.ndarray, "row column"] | None,
    text: Float[np.ndarray, " token"] | None,
    tokens: Sequence[str],
    about: str = "",
) -> str:
    """Return a sentence that stands for a map where it cannot be seen: its strongest patches (from 1) and tokens."""
    said: list[str] = []
    if image is None:
        said.append("no patch scores")
    elif not np.ptp(image):
        said.append(f"every patch {float(image.flat[0]):+.3g}")
    else:
        order = np.argsort(-np.abs(image), axis=None, kind="stable")[:3]
        places = [divmod(int(place), image.shape[1]) for place in order if image.flat[place]]
        said.append(
            "strongest patches "
            + ", ".join(f"row {row + 1} column {column + 1} ({image[row, column]:+.3g})" for row, column in places)
        )
    if text is None:
        said.append("no token scores")
    elif text.any():
        best = [index for index in np.argsort(-np.abs(text), kind="stable")[:2] if text[index]]
        said.append("strongest tokens " + ", ".join(f"“{tokens[index]}” ({text[index]:+.3g})" for index in best))
    return f"{name}{f' {about}' if about else ''}: {'; '.join(said)}."
