"""Insertion, deletion and the area between them: what happens to the similarity as players leave in order of importance.

This module turns scores into coalitions (``KeepSets``) and the game's values of these coalitions into scores; it never
calls a model. Every curve runs from everything kept (step 0) to nothing kept (step n), over the fraction removed, 0 to 1.
Most important first (MIF) is the deletion curve; least important first (LIF), read from the right, is the insertion curve.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata

from benchmark.errors import InvalidInput
from benchmark.metrics import policy
from benchmark.metrics.base import Metric, Score, Track

Variant = Literal["image", "text", "joint", "joint_greedy", "joint_nested"]

_VARIANTS: dict[Variant, tuple[Track, str]] = {
    "image": ("image faithfulness", "patches; the text stays whole"),
    "text": ("text faithfulness", "content tokens; the image stays whole"),
    "joint": ("joint faithfulness", "patches and content tokens on one scale"),
    "joint_greedy": ("joint faithfulness", "best and worst subsets of every size by main effects and pairs"),
    "joint_nested": ("joint faithfulness", "best and worst chain of nested subsets by main effects and pairs"),
}
_FAILURES = "masked inputs are out of distribution; favours methods that query the same game; depends on the removal operator"
_GREEDY_FAILURES = "; subsets of successive sizes need not be nested"

for _variant, (_track, _players) in _VARIANTS.items():
    _greedy_search = _variant in ("joint_greedy", "joint_nested")
    _source = "FIxLIP (2508.05430), greedy cliques" if _greedy_search else "RISE (1806.07421); FIxLIP (2508.05430)"
    _known_failures = _FAILURES + (_GREEDY_FAILURES if _variant == "joint_greedy" else "")
    Metric(
        name=f"insertion_{_variant}",
        unit="cosine similarity",
        better="higher",
        low=-1.0,
        high=1.0,
        track=_track,
        summary=f"Area under the similarity as the most important are added first: {_players}.",
        source=_source,
        chance="mean area of the same sample under random orders",
        known_failures=_known_failures,
    )
    Metric(
        name=f"deletion_{_variant}",
        unit="cosine similarity",
        better="lower",
        low=-1.0,
        high=1.0,
        track=_track,
        summary=f"Area under the similarity as the most important are removed first: {_players}.",
        source=_source,
        chance="mean area of the same sample under random orders",
        known_failures=_known_failures,
    )
    Metric(
        name=f"area_{_variant}",
        unit="cosine similarity",
        better="higher",
        low=-2.0,
        high=2.0,
        track=_track,
        summary=f"Insertion minus deletion with one and the same removal: {_players}.",
        source=_source,
        chance="0, a random order",
        known_failures=_known_failures,
    )


@dataclass(frozen=True, slots=True)
class KeepSets:
    """The players kept at every step, most important first (``mif``) and least important first (``lif``).

    ``order`` runs over the ways in which ties fall. Row ``step`` keeps ``n - step`` players. ``degenerate`` marks scores
    that order nothing: their metrics are at chance and need no forward pass (``chance_scores``).
    """

    mif: Bool[np.ndarray, "order step player"]
    lif: Bool[np.ndarray, "order step player"]
    tie_fraction: float = 0.0
    degenerate: bool = False

    @property
    def coalitions(self) -> Bool[np.ndarray, "coalition player"]:
        """All rows to evaluate, MIF before LIF; many repeat (the ends always do), so evaluate each once."""
        return np.concatenate([self.mif, self.lif]).reshape(-1, self.mif.shape[-1])

    def curves(
        self, values: Float[np.ndarray, " coalition"]
    ) -> tuple[Float[np.ndarray, "order step"], Float[np.ndarray, "order step"]]:
        """Split the game's values of ``coalitions`` into the MIF and the LIF curves."""
        mif, lif = np.asarray(values).reshape(2, *self.mif.shape[:2])
        return mif, lif


def removal_orders(
    scores: Float[np.ndarray, " player"], rng: np.random.Generator, permutations: int = 3
) -> Int[np.ndarray, "order player"]:
    """Return players by descending score: one row without ties, else one per seeded permutation and one per its reverse.

    The reverse undoes the luck of its permutation exactly: over a constant map the orders come in mirrored pairs.
    """
    scores = policy.require_finite("scores", scores)
    if policy.tie_fraction(scores) == 0:
        return np.argsort(-scores)[None]
    orders: list[np.ndarray] = []
    for _ in range(permutations):
        shuffled = rng.permutation(len(scores))
        orders += [visit[np.argsort(-scores[visit], kind="stable")] for visit in (shuffled, shuffled[::-1])]
    return np.stack(orders)


def keep_sets(orders: Int[np.ndarray, "order player"]) -> Bool[np.ndarray, "order step player"]:
    """Return what is kept as each order's players leave one by one, from everything to nothing.

    >>> keep_sets(np.array([[1, 0]])).astype(int).tolist()
    [[[1, 1], [1, 0], [0, 0]]]
    """
    leaves = np.argsort(orders, axis=1)
    return leaves[:, None, :] >= np.arange(orders.shape[1] + 1)[None, :, None]


def first_order_sets(scores: Float[np.ndarray, " player"], rng: np.random.Generator, permutations: int = 3) -> KeepSets:
    """Return the keep-sets of signed scores; LIF is the exact reverse of MIF, ties fall as in ``removal_orders``."""
    scores = policy.require_finite("scores", scores)
    orders = removal_orders(scores, rng, permutations)
    ties = policy.tie_fraction(scores)
    return KeepSets(keep_sets(orders), keep_sets(orders[:, ::-1]), ties, policy.is_constant(scores))


def random_keep_sets(n_players: int, rng: np.random.Generator, permutations: int = 3) -> Bool[np.ndarray, "order step player"]:
    """Return the keep-sets of random orders and their reverses; the mean of their ``curve_area`` is the chance value."""
    shuffled = np.stack([rng.permutation(n_players) for _ in range(permutations)])
    return keep_sets(np.stack([shuffled, shuffled[:, ::-1]], axis=1).reshape(-1, n_players))


def interleave(image: Float[np.ndarray, " patch"], text: Float[np.ndarray, " token"]) -> Float[np.ndarray, " player"]:
    """Return one ranking of patches then tokens for a method whose two sides share no scale.

    A player's score is its quantile within its own side, (rank - 1/2) / n with tied ranks averaged, so that both sides are
    spent at the same rate. A patch and a token at the same quantile are tied, and fall like any tie.

    >>> interleave(np.array([0.1, 0.4, 0.2, 0.3]), np.array([7.0, 9.0])).tolist()
    [0.125, 0.875, 0.375, 0.625, 0.25, 0.75]
    """
    sides = (policy.require_finite("image scores", image), policy.require_finite("text scores", text))
    return np.concatenate([(rankdata(side) - 0.5) / len(side) for side in sides])


def greedy_sets(
    main: Float[np.ndarray, " player"], pairs: Float[np.ndarray, "player player"], rng: np.random.Generator | None = None
) -> KeepSets:
    """Return the best (``lif``) and worst (``mif``) subset of every size by main effects plus the pairs inside it.

    From every player one set is grown by the largest gain, ``main[v] + sum_u pairs[u, v]`` over its members ``u``, and one
    by the smallest; per size the first best over all starts wins. Sets of successive sizes need not be nested. ``pairs`` is
    symmetric with a zero diagonal; without pairs this is sorting. Equal gains go to the lowest index, or with ``rng`` to
    the first of a random permutation. Source: FIxLIP, src/clique.py (methods.md 4.7).
    """
    return _greedy(main, pairs, rng, nested=False)


def greedy_chain(
    main: Float[np.ndarray, " player"], pairs: Float[np.ndarray, "player player"], rng: np.random.Generator | None = None
) -> KeepSets:
    """Return the nested form of ``greedy_sets``: the one chain whose sets have the best (worst) mean value over sizes."""
    return _greedy(main, pairs, rng, nested=True)


def curve_area(values: Float[np.ndarray, "*order step"]) -> Float[np.ndarray, "*order"]:
    """Area under each curve over the fraction removed, 0 to 1, by trapezoids, in the unit of the values.

    >>> curve_area(np.array([[1.0, 0.5, 0.0]])).tolist()
    [0.5]
    """
    values = policy.require_finite("curve", values)
    steps = values.shape[-1] - 1
    if steps < 1:
        raise InvalidInput("a curve of one point has no area; an explanation needs at least one player")
    return np.asarray((values.sum(axis=-1) - (values[..., 0] + values[..., -1]) / 2) / steps)


def normalised_curve(
    values: Float[np.ndarray, "*order step"], minimum_range: float = 0.01
) -> tuple[Float[np.ndarray, "*order step"], float]:
    """Scale curves so that nothing kept is 0 and everything kept is 1, and winsorise them to [-1, 2].

    A range below ``minimum_range``, negative ones included, is raised to it: dividing by it would explode or flip the sign.
    The second result is the share of points that were winsorised.
    """
    empty, full = values[..., -1:], values[..., :1]
    scaled = (values - empty) / np.maximum(full - empty, minimum_range)
    clipped = np.clip(scaled, -1.0, 2.0)
    return clipped, float((clipped != scaled).mean())


def curve_scores(
    mif: Float[np.ndarray, "order step"],
    lif: Float[np.ndarray, "order step"],
    *,
    variant: Variant,
    chance: float,
    flags: Mapping[str, float] | None = None,
    minimum_range: float = 0.01,
) -> dict[str, Score]:
    """Return insertion (higher is better), deletion (lower) and area (higher) of one variant, by metric name.

    Each is the mean over the tie-breaking orders, in the unit of the values. ``chance`` is the mean ``curve_area`` of random
    orders of the same sample. A sample with one player has area 0 whatever the explanation. Flags of the area: ``range``
    (everything kept minus nothing kept), ``small_range`` (it is under ``minimum_range``: 0.01 suits a cosine, 1 a logit),
    ``normalised`` (the area of ``normalised_curve``) and ``winsorised``.
    """
    mif, lif = policy.require_finite("MIF curve", mif), policy.require_finite("LIF curve", lif)
    if mif.shape != lif.shape:
        raise InvalidInput(f"MIF curves of shape {mif.shape} do not pair with LIF curves of shape {lif.shape}")
    insertion, deletion = curve_area(lif), curve_area(mif)
    (mif_scaled, mif_clipped), (lif_scaled, lif_clipped) = (normalised_curve(c, minimum_range) for c in (mif, lif))
    size = float((mif[:, 0] - mif[:, -1]).mean())
    shared = {**(flags or {}), "orders": float(len(mif))}
    area_flags = {
        "range": size,
        "small_range": float(size < minimum_range),
        "normalised": float((curve_area(lif_scaled) - curve_area(mif_scaled)).mean()),
        "winsorised": (mif_clipped + lif_clipped) / 2,
    }
    return {
        f"insertion_{variant}": Score(value=float(insertion.mean()), chance=chance, flags=shared),
        f"deletion_{variant}": Score(value=float(deletion.mean()), chance=chance, flags=shared),
        f"area_{variant}": Score(value=float((insertion - deletion).mean()), chance=0.0, flags={**shared, **area_flags}),
    }


def chance_scores(*, variant: Variant, chance: float, flags: Mapping[str, float] | None = None) -> dict[str, Score]:
    """Return the scores of an explanation that orders nothing: ``chance``, ``chance`` and an area of 0, degenerate."""
    values = {"insertion": chance, "deletion": chance, "area": 0.0}
    return {f"{name}_{variant}": policy.at_chance(value, **(flags or {})) for name, value in values.items()}


def _greedy(
    main: Float[np.ndarray, " player"],
    pairs: Float[np.ndarray, "player player"],
    rng: np.random.Generator | None,
    *,
    nested: bool,
) -> KeepSets:
    main, pairs = policy.require_finite("main effects", main), policy.require_finite("pairs", pairs)
    n = len(main)
    round_off = 1e-6 * float(np.abs(pairs).max())
    if pairs.shape != (n, n) or pairs.diagonal().any() or np.abs(pairs - pairs.T).max() > round_off:
        raise InvalidInput(f"pairs of {n} players need shape ({n}, {n}), symmetric with a zero diagonal; given {pairs.shape}")
    pairs = (pairs + pairs.T) / 2
    visit = np.arange(n) if rng is None else rng.permutation(n)
    places = np.argsort(visit)
    visited_main, visited_pairs = main[visit], pairs[np.ix_(visit, visit)]
    least, most = (_grow(sign * visited_main, sign * visited_pairs, nested)[:, places] for sign in (-1.0, 1.0))
    off_diagonal = pairs[~np.eye(n, dtype=bool)]
    degenerate = policy.is_constant(main) and (n == 1 or policy.is_constant(off_diagonal))
    return KeepSets(least[None], most[None], policy.tie_fraction(main + 0.5 * pairs.sum(axis=1)), degenerate)


def _grow(
    main: Float[np.ndarray, " player"], pairs: Float[np.ndarray, "player player"], nested: bool
) -> Bool[np.ndarray, "step player"]:
    """Grow one set per start by the largest gain, all starts at once; return the best set per size, largest first."""
    n = len(main)
    starts = np.arange(n)
    gains = main + pairs  # gains[start, v]: what v would add to the start's set
    gains[starts, starts] = -np.inf  # members cannot join again; stays -inf under finite additions
    added, values = np.empty((n, n), dtype=np.intp), np.empty((n, n))
    added[0], values[0] = starts, main
    for size in range(1, n):
        joins = gains.argmax(axis=1)
        added[size] = joins
        values[size] = values[size - 1] + gains[starts, joins]
        gains += pairs[joins]
        gains[starts, joins] = -np.inf
    best = np.full(n, values.mean(axis=0).argmax()) if nested else values.argmax(axis=1)
    joined = np.argsort(added, axis=0).T  # joined[start, v]: the size at which v joined, less one
    sizes = np.arange(n, 0, -1)
    kept = joined[best[sizes - 1]] < sizes[:, None]
    return np.concatenate([kept, np.zeros((1, n), dtype=bool)])
