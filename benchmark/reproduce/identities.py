"""What metrics must give whatever the data, computed on simulated maps through the metrics themselves."""

from collections.abc import Callable, Mapping

import numpy as np

from benchmark.metrics import grid_pointing, interaction, localisation, perturbation

GRID = (14, 14)
DRAWS = 4000  # of average precision and of grid pointing: a standard error of at most .002


def shared_map() -> float:
    """Return the grid pointing ratio of one non-negative map for four labels: 1/4 whatever the map."""
    rng = np.random.default_rng(0)
    cells = grid_pointing.grid_cells(GRID)
    maps = [np.stack([rng.gamma(0.3, size=GRID)] * 4) for _ in range(20)]
    values = [grid_pointing.mass_ratio_correct(heat, np.arange(4), cells).value for heat in maps]
    return float(values[int(np.argmax(np.abs(np.array(values) - 0.25)))])  # the worst of them


def uniform_energy() -> float:
    """Return the energy of an all but uniform map over the area of its region, the worst of many regions."""
    rng = np.random.default_rng(1)
    ratios: list[float] = []
    for _ in range(20):
        region = (rng.random(GRID) < rng.uniform(0.05, 0.9)).astype(np.float64)
        heat = 1 + 1e-9 * rng.random(GRID)
        ratios.append(localisation.pointing_energy(heat, region).value / float(region.mean()))
    return float(ratios[int(np.argmax(np.abs(np.array(ratios) - 1)))])


def random_order(positives: int, patches: int) -> float:
    """Return the mean average precision of random orders."""
    rng = np.random.default_rng(2)
    region = np.repeat([1.0, 0.0], [positives, patches - positives])
    return float(np.mean([localisation.average_precision(rng.random(patches), region).value for _ in range(DRAWS)]))


def constant_area() -> float:
    """Return the area between the curves of a constant map in a game without any symmetry, the worst of several."""
    rng = np.random.default_rng(3)
    areas: list[float] = []
    for _ in range(5):
        weights, pairs = rng.standard_normal(12), rng.standard_normal((12, 12))
        sets = perturbation.first_order_sets(np.ones(12), rng)
        kept = sets.coalitions.astype(np.float64)
        values = np.tanh(kept @ weights + np.einsum("ci,ij,cj->c", kept, pairs, kept))
        scores = perturbation.curve_scores(*sets.curves(values), variant="image", chance=0.0)
        areas.append(scores["area_image"].value)
    return float(areas[int(np.argmax(np.abs(areas)))])


def additive_r2() -> float:
    """Return the R2 of an additive game's own effects as its surrogate."""
    rng = np.random.default_rng(4)
    effects = rng.standard_normal(20)
    kept = (rng.random((256, 20)) < 0.5).astype(np.float64)
    return interaction.interaction_faithfulness(kept @ effects, kept @ effects)["faithfulness_r2"].value


IDENTITIES: Mapping[tuple[str, str], Callable[[], float]] = {
    ("1.4 identities", "any mosaic, k=4"): shared_map,
    ("1.3 identities", "any region"): uniform_energy,
    ("1.7 identities", "4 of 49 patches"): lambda: random_order(4, 49),
    ("1.7 identities", "12 of 49 patches"): lambda: random_order(12, 49),
    ("1.7 identities", "16 of 196 patches"): lambda: random_order(16, 196),
    ("1.8 identities", "any game"): constant_area,
    ("5.2 identities", "additive game"): additive_r2,
}
