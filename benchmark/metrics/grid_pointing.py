"""The grid pointing game: an image of several cells, one object in each, and whether every label's map keeps to its own cell.

Maps are signed: a positive score speaks for its patch, a negative one against. Three facts about the mass ratio, for any map:

- The same non-negative map for every label reaches at most 1/k with k labels, and exactly 1/4 at k = 4.
- The same signed map for every label scores (P + 3Q) / (4 (P + Q)) at k = 4, P and Q its positive and negative mass.
- Random scores reach .50 if signed and .25 if non-negative.

So the flag ``cap`` says what the explanation could reach at best, and chance depends on whether it has negative scores.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

from benchmark.errors import InvalidInput
from benchmark.metrics import policy
from benchmark.metrics.base import Metric, Score

_CHANCE = "1 / number of cells for maps without negative scores, 1/2 for signed ones"
_BLIND = "with all labels in one text, a map that is the same for every label is capped: at 1/k if non-negative (flag `cap`)"
_SOURCE = "FIxLIP (2508.05430), grid pointing game; METAGAME (2605.06295) without the token's own score"
Metric(
    name="pgr_joint",
    unit="share of mass",
    better="higher",
    low=0.0,
    high=1.0,
    track="recognition",
    summary="Share of the mass on the right side: positive in the label's cell, negative elsewhere; all labels in one text.",
    source=_SOURCE,
    chance=_CHANCE,
    known_failures=_BLIND,
)
Metric(
    name="pgr_conditional",
    unit="share of mass",
    better="higher",
    low=0.0,
    high=1.0,
    track="recognition",
    summary="The same with a text, and so a map, of its own for every label.",
    source="protocols.md 1.4, so that methods with one map per text are not capped",
    chance=_CHANCE,
    known_failures="signed maps have a head start: mass against the other three cells counts as right",
)
Metric(
    name="pgr_sign",
    unit="share of patches",
    better="higher",
    low=0.0,
    high=1.0,
    track="recognition",
    summary="Share of patches with the right sign: above 0 in the label's cell, below 0 elsewhere; mean over labels.",
    source=_SOURCE,
    chance=_CHANCE,
    known_failures="a score of exactly 0 counts as wrong, which sparse maps pay for; blind to how large scores are",
)
Metric(
    name="grid_localisation",
    unit="share of positive mass",
    better="higher",
    low=0.0,
    high=1.0,
    track="recognition",
    summary="Share of the positive mass of a label's map that lies in its cell; mean over labels.",
    source="Rao et al. 2022 (2205.10435), grid pointing game; Böhle et al. 2021",
    chance="1 / number of cells",
    known_failures="a map that does not know the label scores 1 / number of cells over all of an image's labels, however sharp",
)


def grid_cells(grid: tuple[int, int], n: int = 2) -> Bool[np.ndarray, "cell row column"]:
    """Return the patches of each cell of an n x n mosaic, cells row-major from the top left.

    Cells are equal, the outer ones in the corners. Where ``n`` does not divide the grid, the patches between them, which hold
    parts of several images, belong to none: a 7 x 7 grid has four cells of 3 x 3.

    >>> grid_cells((7, 7)).sum(axis=(1, 2))
    array([9, 9, 9, 9])
    """
    if n < 2 or min(grid) < n:
        raise InvalidInput(f"a grid of {grid[0]} x {grid[1]} patches has no {n} x {n} cells")
    bands = [_bands(length, n) for length in grid]
    return (bands[0][:, None, :, None] & bands[1][None, :, None, :]).reshape(n * n, *grid)


def mass_ratio_correct(
    maps: Float[np.ndarray, "label row column"],
    own: Int[np.ndarray, " label"],
    cells: Bool[np.ndarray, "cell row column"],
    *,
    token_scores: Float[np.ndarray, " label"] | None = None,
) -> Score:
    """Share of the mass on the right side, 0 to 1; higher is better.

    Right is positive mass in a label's ``own`` cell and negative mass in all other cells, whether or not these hold a label of
    the text; masses are summed over labels. ``token_scores`` are counted on both sides for every label, as FIxLIP does for
    first-order methods. Maps that are constant on the cells score chance, degenerate. Flags: ``cap``, ``balance`` (what the
    sign balance alone would reach with labels put into cells at random), ``neg_fraction``, ``labels``, ``token_blind``.

    >>> cells = grid_cells((2, 2))
    >>> mass_ratio_correct(np.array([[[3.0, 1.0], [-2.0, 0.0]]]), np.array([0]), cells).value
    0.8333333333333334
    """
    scores, inside = _on_cells(maps, own, cells)
    flags, chance = _flags(scores, own, len(cells)), _chance(scores, len(cells))
    if _says_nothing(scores):
        return policy.at_chance(chance, **flags)
    right = np.where(inside, scores, -scores) / np.abs(scores).max()
    both = 0.0
    if token_scores is not None:
        tokens = policy.require_finite("token scores", token_scores)
        if tokens.shape != own.shape:
            raise InvalidInput(f"{len(own)} labels need as many token scores, not {tokens.shape}")
        both = float(np.abs(tokens / np.abs(scores).max()).sum())
    correct, wrong = float(right[right > 0].sum()) + both, float(-right[right < 0].sum()) + both
    return Score(value=correct / (correct + wrong), chance=chance, flags=flags)


def sign_ratio_correct(
    maps: Float[np.ndarray, "label row column"], own: Int[np.ndarray, " label"], cells: Bool[np.ndarray, "cell row column"]
) -> Score:
    """Share of patches above 0 in the label's own cell and below 0 in the others, 0 to 1; higher is better, 0 is wrong.

    Maps that are constant on the cells score chance, degenerate. Flags as for ``mass_ratio_correct``.
    """
    scores, inside = _on_cells(maps, own, cells)
    flags, chance = _flags(scores, own, len(cells)), _chance(scores, len(cells))
    if _says_nothing(scores):
        return policy.at_chance(chance, **flags)
    return Score(value=float((np.where(inside, scores, -scores) > 0).mean()), chance=chance, flags=flags)


def grid_localisation(
    maps: Float[np.ndarray, "label row column"], own: Int[np.ndarray, " label"], cells: Bool[np.ndarray, "cell row column"]
) -> Score:
    """Share of each label's positive mass that lies in its cell, mean over labels, 0 to 1; higher is better.

    Every label needs a map of its own. A label whose map is constant on the cells, or has no positive mass there, scores
    chance, 1 / number of cells; the score is degenerate if all do.
    """
    scores, inside = _on_cells(maps, own, cells)
    flags, chance = _flags(scores, own, len(cells)), 1 / len(cells)
    values: list[float] = []
    for score, mine in zip(scores, inside, strict=True):
        if score.max() > 0 and not policy.is_constant(score):
            mass = np.clip(score / score.max(), 0, None)
            values.append(float(mass[mine].sum() / mass.sum()))
    if not values:
        return policy.at_chance(chance, **flags)
    unread = len(scores) - len(values)
    return Score(value=(sum(values) + unread * chance) / len(scores), chance=chance, flags=flags)


def _bands(length: int, n: int) -> Bool[np.ndarray, "band position"]:
    side = length // n
    starts = np.round(np.arange(n) * (length - side) / (n - 1)).astype(int)
    place = np.arange(length)
    return (place >= starts[:, None]) & (place < starts[:, None] + side)


def _on_cells(
    maps: Float[np.ndarray, "label row column"], own: Int[np.ndarray, " label"], cells: Bool[np.ndarray, "cell row column"]
) -> tuple[Float[np.ndarray, "label patch"], Bool[np.ndarray, "label patch"]]:
    """Return the scores of the patches that belong to a cell, and which of them lie in each label's own."""
    maps = policy.require_finite("maps", maps)
    if maps.shape[1:] != cells.shape[1:] or len(maps) != len(own):
        raise InvalidInput(f"maps of shape {maps.shape} cannot be scored on {len(own)} labels in cells of {cells.shape[1:]}")
    if not ((own >= 0) & (own < len(cells))).all() or len(set(own.tolist())) != len(own):
        raise InvalidInput(f"labels lie in different cells out of {len(cells)}, not in {own.tolist()}")
    anywhere = cells.any(axis=0)
    return maps[:, anywhere], cells[own][:, anywhere]


def _says_nothing(scores: Float[np.ndarray, "label patch"]) -> bool:
    return all(policy.is_constant(row) for row in scores)


def _chance(scores: Float[np.ndarray, "label patch"], n_cells: int) -> float:
    return 0.5 if (scores < 0).any() else 1 / n_cells


def _flags(scores: Float[np.ndarray, "label patch"], own: Int[np.ndarray, " label"], n_cells: int) -> dict[str, float]:
    negative = policy.negative_fraction(scores)
    elsewhere = (n_cells - 1) / n_cells
    blind = len(own) > 1 and bool((scores == scores[0]).all())
    cap = 1.0
    if blind and negative == 0:
        cap = 1 / len(own)
    elif blind and len(own) == n_cells:
        cap = elsewhere  # every patch speaks for one label and against all others
    return {
        "cap": cap,
        "balance": (1 - negative) / n_cells + negative * elsewhere,
        "neg_fraction": negative,
        "labels": float(len(own)),
        "token_blind": float(blind),
    }
