"""Whether a map lies on the region the text names: pointing game, its energy form and average precision on the patch grid.

Then the variants under which papers report the pointing game, which differ in what counts as inside.

``coverage`` is the share of every patch inside the region, 0 to 1. With it, the scores on the patch grid equal those of
the nearest-upsampled map on pixels, without upsampling anything. The same functions score a token vector against a span.
"""

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

from benchmark.errors import InvalidInput
from benchmark.metrics import policy
from benchmark.metrics.base import Metric, Score

Metric(
    name="pointing_hit",
    unit="hits per sample",
    better="higher",
    low=0.0,
    high=1.0,
    track="localisation",
    summary="Does the highest-scoring patch lie in the region? Equal maxima share the hit.",
    source="Zhang et al. 2016 (1608.00507); fractional hits after Q-GroundCAM (2404.19128)",
    chance="share of the image inside the region",
    known_failures="blind to the rest of the map; saturates on large regions; favours maps that point at the centre",
)
Metric(
    name="pointing_energy",
    unit="share of positive mass",
    better="higher",
    low=0.0,
    high=1.0,
    track="localisation",
    summary="Share of the map's positive mass inside the region.",
    source="Wang et al. 2020 (Score-CAM, 1910.01279); exCLIP (2408.14153) for phrases",
    chance="share of the image inside the region",
    known_failures="background energy of min-max scaled maps costs what a ranking would not see; negative scores do not count",
)
Metric(
    name="average_precision",
    unit="average precision",
    better="higher",
    low=0.0,
    high=1.0,
    track="localisation",
    summary="Average precision of the patch ranking against the region, over all thresholds.",
    source="protocols.md 1.7; tied scores form one group and nothing is interpolated, as in scikit-learn",
    chance="expected value under a random order of the patches; above the region's share on a small grid",
    known_failures="a region that cuts through patches keeps even a perfect map below 1: flag `ceiling`",
)

Metric(
    name="pointing_disc",
    unit="hits per sample",
    better="higher",
    low=0.0,
    high=1.0,
    track="localisation",
    summary="Does the region reach within 15 original pixels of the map's maximum? Equal maxima share the hit.",
    source="TorchRay's pointing game (Fong et al. 2019, 1910.08485), after Zhang et al. 2016 (1608.00507)",
    chance="share of patches whose centre is within the tolerance of the region",
    known_failures="on small images the tolerance is large: chance rises far above the region's share",
)
Metric(
    name="rank_accuracy",
    unit="share of the region",
    better="higher",
    low=0.0,
    high=1.0,
    track="localisation",
    summary="Share of the region among the highest-ranked patches, as many as the region is large.",
    source="Arras et al. 2022 (2003.07258), relevance rank accuracy",
    chance="share of the image inside the region",
    known_failures="a region that cuts through patches keeps even a perfect map below 1: flag `ceiling`",
)
Metric(
    name="pga_argmax",
    unit="hits per phrase",
    better="higher",
    low=0.0,
    high=1.0,
    track="localisation",
    summary="Does the highest-scoring patch belong to the region, all or nothing? Equal maxima share the hit.",
    source="exCLIP (2408.14153), point-game accuracy; which of two readings it is, the paper leaves open",
    chance="share of patches that belong to the region",
    known_failures="as for `pointing_hit`; a patch belongs to the region if half of it does",
)
Metric(
    name="pga_majority",
    unit="hits per phrase",
    better="higher",
    low=0.0,
    high=1.0,
    track="localisation",
    summary="Does more than half of the map's positive mass lie in the region?",
    source="exCLIP (2408.14153), point-game accuracy; which of two readings it is, the paper leaves open",
    chance="probability under independent normal scores",
    known_failures="in small regions almost no map has its majority, in large ones almost every map",
)


def pointing_hit(heat: Float[np.ndarray, "*grid"], coverage: Float[np.ndarray, "*grid"]) -> Score:
    """Expected hit of a point drawn from the highest-scoring patches, 0 to 1; higher is better.

    A patch half inside the region is half a hit; ``k`` equal maxima count ``1/k`` each. The map may be negative. A constant
    map scores chance, the region's share of the image. Flags: ``tied_maxima`` (how many patches share the maximum).

    >>> pointing_hit(np.array([[3.0, 1.0], [3.0, 0.0]]), np.array([[1.0, 1.0], [0.0, 0.0]])).value
    0.5
    """
    heat, coverage = _checked(heat, coverage)
    chance, flags = float(coverage.mean()), _flags(heat)
    if policy.is_constant(heat):
        return policy.at_chance(chance, **flags)
    maxima = heat == heat.max()
    flags["tied_maxima"] = float(maxima.sum())
    return Score(value=float(coverage[maxima].mean()), chance=chance, flags=flags)


def pointing_energy(heat: Float[np.ndarray, "*grid"], coverage: Float[np.ndarray, "*grid"]) -> Score:
    """Share of the positive mass of the raw map that lies in the region, 0 to 1; higher is better.

    Negative scores count as 0 and no minimum is subtracted. A constant map, or one with no positive score, scores chance,
    the region's share of the image. Flags: ``lift`` (value / chance) and ``centred`` ((value - chance) / (1 - chance):
    chance 0, best 1; 0 for a region that is the whole image).

    >>> pointing_energy(np.array([[3.0, 1.0], [0.0, -9.0]]), np.array([[1.0, 0.0], [0.0, 0.0]])).value
    0.75
    """
    heat, coverage = _checked(heat, coverage)
    chance, flags = float(coverage.mean()), _flags(heat)
    top = float(heat.max())
    if top <= 0 or policy.is_constant(heat):
        return policy.at_chance(chance, **flags, lift=1.0, centred=0.0)
    mass = np.clip(heat / top, 0.0, None)
    value = float((mass * coverage).sum() / mass.sum())
    flags["lift"] = value / chance
    flags["centred"] = (value - chance) / (1 - chance) if chance < 1 else 0.0
    return Score(value=value, chance=chance, flags=flags)


def average_precision(heat: Float[np.ndarray, "*grid"], coverage: Float[np.ndarray, "*grid"]) -> Score:
    """Average precision of the ranking, 0 to 1; higher is better, no threshold and no interpolation.

    A patch holds ``coverage`` positives and ``1 - coverage`` negatives. Tied patches form one group: the sum runs over
    groups of recall gained times precision reached. A constant map scores chance, not the region's share. Flags:
    ``ceiling``, what a map equal to ``coverage`` would reach.

    >>> round(average_precision(np.array([4.0, 3.0, 2.0, 1.0]), np.array([1.0, 0.0, 1.0, 0.0])).value, 4)
    0.8333
    """
    heat, coverage = _checked(heat, coverage)
    chance, flags = average_precision_by_chance(coverage), _flags(heat)
    flags["ceiling"] = _average_precision(coverage, coverage)
    if policy.is_constant(heat):
        return policy.at_chance(chance, **flags)
    return Score(value=_average_precision(heat, coverage), chance=chance, flags=flags)


def pointing_disc(heat: Float[np.ndarray, "*grid"], distance: Float[np.ndarray, "*grid"], *, radius: float = 15.0) -> Score:
    """Expected hit of the highest-scoring patch's centre, which may miss the region by ``radius``, 0 to 1; higher is better.

    ``distance`` is that of every patch's centre from the region, 0 inside it, in the unit of ``radius``: original pixels. A
    constant map scores chance, the share of patches that would hit. Flags as for ``pointing_hit``.

    >>> pointing_disc(np.array([0.0, 1.0]), np.array([0.0, 12.0])).value
    1.0
    """
    distance = policy.require_finite("distances from the region", distance)
    if distance.min() < 0 or radius < 0:
        raise InvalidInput(f"distances are 0 or more; got {distance.min():g}, with a radius of {radius:g}")
    near = (distance <= radius).astype(np.float64)
    if not near.any():  # a map cannot be right
        heat = policy.require_finite("map", heat)
        return Score(value=0.0, chance=0.0, degenerate=policy.is_constant(heat), flags=_flags(heat))
    return pointing_hit(heat, near)


def rank_accuracy(heat: Float[np.ndarray, "*grid"], coverage: Float[np.ndarray, "*grid"]) -> Score:
    """Share of the region that the highest-ranked patches hold, as many patches as it would fill, 0 to 1; higher is better.

    The last patch may count in part; tied patches are taken in equal shares. A constant map scores chance, the region's share
    of the image. Flags: ``ceiling``, what a map equal to ``coverage`` would reach.

    >>> rank_accuracy(np.array([4.0, 3.0, 2.0, 1.0]), np.array([1.0, 0.0, 1.0, 0.0])).value
    0.5
    """
    heat, coverage = _checked(heat, coverage)
    chance, flags = float(coverage.mean()), _flags(heat)
    flags["ceiling"] = _rank_accuracy(coverage, coverage)
    if policy.is_constant(heat):
        return policy.at_chance(chance, **flags)
    return Score(value=_rank_accuracy(heat, coverage), chance=chance, flags=flags)


def pga_argmax(heat: Float[np.ndarray, "*grid"], coverage: Float[np.ndarray, "*grid"]) -> Score:
    """Expected hit where a patch belongs to the region or does not, 0 to 1; higher is better.

    It belongs if the region covers half of it or, where no patch is so covered, if none is covered more. A constant map
    scores chance.

    >>> pga_argmax(np.array([3.0, 1.0, 0.0]), np.array([0.5, 1.0, 0.0])).value
    1.0
    """
    heat, coverage = _checked(heat, coverage)
    return pointing_hit(heat, (coverage >= min(0.5, float(coverage.max()))).astype(np.float64))


def pga_majority(heat: Float[np.ndarray, "*grid"], coverage: Float[np.ndarray, "*grid"]) -> Score:
    """1 if the region holds more than half of the map's positive mass, else 0; higher is better.

    A constant map, or one with no positive score, scores chance: the probability that independent normal scores pass, to the
    accuracy of the central limit theorem. Flags: ``energy``, the share that was compared with one half.

    >>> pga_majority(np.array([3.0, 2.0, -9.0]), np.array([1.0, 0.0, 0.0])).value
    1.0
    """
    energy = pointing_energy(heat, coverage)
    excess = np.asarray(coverage, dtype=np.float64) - 0.5
    mean, deviation = 1 / np.sqrt(2 * np.pi), np.sqrt(0.5 - 1 / (2 * np.pi))  # of a normal score's positive part
    # Were every patch half covered, every map would hold exactly half: no majority.
    spread = float(deviation * np.sqrt((excess**2).sum()))
    chance = float(norm.cdf(mean * excess.sum() / spread)) if spread > 0 else 0.0
    flags = {"neg_fraction": energy.flags["neg_fraction"], "energy": energy.value}
    if energy.degenerate:
        return policy.at_chance(chance, **flags)
    return Score(value=float(energy.value > 0.5), chance=chance, flags=flags)


def average_precision_by_chance(coverage: Float[np.ndarray, "*grid"]) -> float:
    """Return the exact expected average precision of a random order without ties.

    Patch k of the order adds ``c_k (c_1 + ... + c_k) / (k C)`` with ``C = sum c``; its expectation over orders is
    ``(E[c^2] + (k - 1) E[c c']) / (k C)``. For m whole patches of n this is ``H_n / n + (m - 1) / (n - 1) (1 - H_n / n)``.

    >>> round(average_precision_by_chance(np.repeat([1.0, 0.0], [4, 45])), 3)
    0.148
    """
    n, total, squares = coverage.size, float(coverage.sum()), float((coverage**2).sum())
    if n == 1:
        return total
    harmonic = float((1 / np.arange(1, n + 1)).sum())
    products = (total**2 - squares) / (n * (n - 1))
    return (squares / n * harmonic + products * (n - harmonic)) / total


def _average_precision(heat: Float[np.ndarray, "*grid"], coverage: Float[np.ndarray, "*grid"]) -> float:
    """Return average precision with tied scores as one group; also of a constant map, where it is the prevalence."""
    order = np.argsort(-heat, axis=None, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(heat.ravel()[order]) != 0, True))  # the last patch of every tied group
    found = np.cumsum(coverage.ravel()[order])[ends]
    gained = np.diff(found, prepend=0.0)
    return float((gained * found / (ends + 1)).sum() / found[-1])


def _rank_accuracy(heat: Float[np.ndarray, "*grid"], coverage: Float[np.ndarray, "*grid"]) -> float:
    """Return the region's share in the top patches, tied ones in equal shares; also of a constant map, where it is the area."""
    wanted = float(coverage.sum())
    order = np.argsort(-heat, axis=None, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(heat.ravel()[order]) != 0))  # the first patch of every tied group
    sizes = np.diff(np.append(starts, heat.size))
    taken = np.clip((wanted - starts) / sizes, 0.0, 1.0)  # of each group
    return float(taken @ np.add.reduceat(coverage.ravel()[order], starts) / wanted)


def _flags(heat: Float[np.ndarray, "*grid"]) -> dict[str, float]:
    return {"neg_fraction": policy.negative_fraction(heat), "tie_fraction": policy.tie_fraction(heat)}


def _checked(
    heat: Float[np.ndarray, "..."], coverage: Float[np.ndarray, "..."]
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Return both in float64 or raise ``InvalidInput``: shapes that differ, shares outside 0 to 1, an empty region."""
    heat, coverage = policy.require_finite("map", heat), policy.require_finite("region", coverage)
    if heat.shape != coverage.shape:
        raise InvalidInput(f"a map of shape {heat.shape} cannot be scored on a region of shape {coverage.shape}")
    if coverage.min() < 0 or coverage.max() > 1 + policy.ROUND_OFF:
        raise InvalidInput(f"a region's shares of patches lie in 0 to 1, not in {coverage.min():g} to {coverage.max():g}")
    if not coverage.any():
        raise InvalidInput("the region covers no patch; exclude the sample and count it")
    return heat, coverage
