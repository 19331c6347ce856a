"""The best and the worst subset of every size of a tiny game, by going through all of them: what greedy search aims at."""

import numpy as np
from jaxtyping import Float

from benchmark.errors import InvalidInput
from benchmark.metrics import policy
from benchmark.metrics.perturbation import KeepSets

LARGEST = 14


def best_subsets(values: Float[np.ndarray, " coalition"]) -> KeepSets:
    """Return the most (``lif``) and least (``mif``) valuable subset of every size, given the value of every coalition.

    Row ``r`` of ``values`` keeps player ``i`` if bit ``i`` of ``r`` is set: 2 ** n rows, the empty coalition first, for at
    most 14 players. Values of a surrogate give the best that ``greedy_sets`` could find; the game's own give the largest area
    that any explanation can have. Subsets of successive sizes need not be nested; the first of equal subsets wins.

    >>> best_subsets(np.array([0.0, 1.0, 2.0, 2.5])).lif[0].astype(int).tolist()
    [[1, 1], [0, 1], [0, 0]]
    """
    values = policy.require_finite("values", values)
    n = len(values).bit_length() - 1
    if len(values) != 2**n or not 1 <= n <= LARGEST:
        raise InvalidInput(f"values of all coalitions of 1 to {LARGEST} players are needed, a power of 2; given {len(values)}")
    kept = (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool)
    sizes = kept.sum(axis=1)
    most, least = np.empty((n + 1, n), dtype=bool), np.empty((n + 1, n), dtype=bool)
    for step, size in enumerate(range(n, -1, -1)):
        rows = np.flatnonzero(sizes == size)
        most[step], least[step] = kept[rows[values[rows].argmax()]], kept[rows[values[rows].argmin()]]
    alike = all(policy.is_constant(values[sizes == size]) for size in range(n + 1))
    return KeepSets(least[None], most[None], degenerate=alike)
