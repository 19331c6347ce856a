"""Coalitions for weighted least squares: FIxLIP's sampler, row for row, with its released and its corrected weights."""

from bisect import bisect_right
from dataclasses import dataclass
from itertools import combinations
from math import ceil, comb, exp, log, sqrt
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

from benchmark.errors import InvalidInput

Kernel = Literal["banzhaf", "shapley"]
FORCED_WEIGHT = 1e7  # of the empty and the full coalition under the Shapley kernel (the released code's ``10e6``)


@dataclass(frozen=True, slots=True)
class Coalitions:
    """Distinct coalitions and their regression weights; the first ``n_enumerated`` belong to fully enumerated sizes."""

    kept: Bool[np.ndarray, "coalition player"]
    weights: Float[np.ndarray, " coalition"]
    n_enumerated: int
    n_draws: int

    def __len__(self) -> int:
        return len(self.kept)


def sample_coalitions(
    n_players: int,
    budget: int,
    *,
    kernel: Kernel = "banzhaf",
    p: float = 0.5,
    seed: int | np.random.Generator = 0,
    legacy_weights: bool = False,
) -> Coalitions:
    """Draw at most ``budget`` distinct coalitions of ``n_players`` from a kernel; all of them where the budget allows.

    Sizes that the budget would cover in expectation are enumerated, the rest is drawn size first, then members. With a
    fresh seed the rows are those of the released FIxLIP sampler. Weights estimate each coalition's probability under the
    kernel: enumerated rows carry it exactly, drawn rows share the remaining mass by how often they came up. With
    ``legacy_weights`` drawn rows share a mass of one whatever was enumerated, as released. Under ``shapley`` the empty
    and the full coalition come first, with weight ``FORCED_WEIGHT``; ``p`` plays no part.

    Near ``2 ** n_players``, or with ``p`` close to 0 or 1, the last rows may be too rare to turn up: drawing then stops
    with fewer rows, whose weights are right all the same.
    """
    _check(n_players, budget, kernel, p)
    n, rng = n_players, np.random.default_rng(seed)
    sizes = list(range(n + 1)) if kernel == "banzhaf" else list(range(1, n))
    mass = _size_masses(n, sizes, kernel, p)
    forced = [0, n] if kernel == "shapley" else []
    remaining = min(budget, 2**n) - len(forced)
    enumerated, sizes, remaining = _enumerable_sizes(n, sizes, mass, remaining, everything=budget >= 2**n)
    fixed = sorted(forced + enumerated, key=lambda size: (-abs(size - n / 2), size))
    members = [chosen for size in fixed for chosen in combinations(range(n), size)]
    weights = [FORCED_WEIGHT if size in forced else mass[size] / comb(n, size) for size in fixed for _ in range(comb(n, size))]
    drawn, counts, n_draws = _draw(n, sizes, [mass[size] for size in sizes], remaining, rng)

    kept = np.zeros((len(members) + len(drawn), n), dtype=bool)
    for row, chosen in enumerate(members):
        kept[row, list(chosen)] = True
    if drawn:
        kept[len(members) :] = np.frombuffer(b"".join(drawn), dtype=bool).reshape(-1, n)
    left = 1.0 if legacy_weights else sum(mass[size] for size in sizes)
    shares = left * np.asarray(counts, dtype=np.float64) / max(n_draws, 1)
    return Coalitions(kept, np.concatenate([np.asarray(weights, dtype=np.float64), shares]), len(members), n_draws)


def split_budget(budget: int, n_patches: int, n_tokens: int) -> tuple[int, int]:
    """Split a total of game values into image and text coalitions as published; capped at all there are."""
    small, large = min(n_patches, n_tokens), max(n_patches, n_tokens)
    few = min(2**small, ceil(max(4.0, sqrt(budget) * small / large)))
    many = min(2**large, budget // few)
    return (many, few) if n_tokens <= n_patches else (few, many)


def _check(n: int, budget: int, kernel: str, p: float) -> None:
    if n < 1:
        raise InvalidInput("a coalition needs at least one player; this side of the pair has none")
    if kernel not in ("banzhaf", "shapley"):
        raise InvalidInput(f"no kernel is called {kernel!r}. Known: banzhaf, shapley")
    if kernel == "banzhaf" and not 0.0 < p < 1.0:
        raise InvalidInput(f"p is a probability strictly between 0 and 1, not {p}")
    if budget < 2:
        raise InvalidInput(f"a design needs at least 2 coalitions, not {budget}")


def _size_masses(n: int, sizes: list[int], kernel: Kernel, p: float) -> dict[int, float]:
    """Return the kernel's probability of each size, summing to one."""
    if kernel == "banzhaf":
        # Past 500 players a binomial coefficient may not fit a float; below, the released arithmetic keeps every bit.
        raw = {size: comb(n, size) * p**size * (1 - p) ** (n - size) for size in sizes if n <= 500}
        raw |= {size: exp(log(comb(n, size)) + size * log(p) + (n - size) * log(1 - p)) for size in sizes if n > 500}
    else:
        raw = {size: 1 / (size * (n - size)) for size in sizes}
    total = sum(raw.values())
    return {size: value / total for size, value in raw.items()}


def _enumerable_sizes(
    n: int, sizes: list[int], mass: dict[int, float], budget: int, *, everything: bool
) -> tuple[list[int], list[int], int]:
    """Return the sizes to enumerate, those left to draw from, and the rows left for drawing (the border trick)."""
    if everything:
        return sizes, [], 0
    taken: list[int] = []
    while sizes:
        total = sum(mass[size] for size in sizes)
        covered = [size for size in sizes if budget * (mass[size] / total) >= comb(n, size)]
        if not covered:
            break
        taken += covered
        budget -= sum(comb(n, size) for size in covered)
        sizes = [size for size in sizes if size not in covered]
    return taken, sizes, budget


def _draw(
    n: int, sizes: list[int], masses: list[float], n_rows: int, rng: np.random.Generator
) -> tuple[list[bytes], list[int], int]:
    """Draw until ``n_rows`` different coalitions were seen; return them in order of first sight, with their counts."""
    if n_rows <= 0 or not sizes:
        return [], [], 0
    # What ``rng.choice(sizes, p=...)`` computes, without its checks: one uniform number, looked up in the running sum.
    running = np.cumsum(np.asarray(masses) / sum(masses))
    thresholds: list[float] = (running / running[-1]).tolist()
    counts: dict[bytes, int] = {}
    n_draws, limit = 0, 20 * n_rows + 2000
    row = np.zeros(n, dtype=bool)
    while len(counts) < n_rows and n_draws < limit:
        size = sizes[bisect_right(thresholds, rng.random())]
        members = rng.choice(n, size=size, replace=False)
        row[members] = True
        key = row.tobytes()
        row[members] = False
        counts[key] = counts.get(key, 0) + 1
        n_draws += 1
    return list(counts), list(counts.values()), n_draws
