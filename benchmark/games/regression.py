"""Weighted least squares of order two on products of coalitions, solved from the two small factor systems.

The design of an image-text fit has a row for every image coalition with every text coalition and, per row, the weight
``u_a w_b``. Each column is an image monomial times a text monomial, so neither the design nor its Gram matrix is ever
formed: the full second-order model falls apart into three small problems (Frisch-Waugh and a Kronecker regression), any
other set of interactions needs the moments of the two sides. Everything is in float64 with players centred at their
weighted means, which leaves pair coefficients alone; main effects and intercept are carried back at the end.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import get_lapack_funcs

from benchmark.errors import InvalidInput

RCOND = 1e-11  # reciprocal condition number below which a system, scaled to unit diagonal, counts as rank deficient
FLAT = 1e-18  # variance below which a column is constant: real ones exceed 1e-12, rounding leaves 1e-32

POTRF, POCON, POTRS = get_lapack_funcs(("potrf", "pocon", "potrs"), dtype=np.float64)

type Matrix = Float[np.ndarray, "row column"]
type Vector = Float[np.ndarray, " row"]
type Indices = tuple[Int[np.ndarray, " pair"], Int[np.ndarray, " pair"]]


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted surrogate: intercept, main effects, and pairs (symmetric, zero where not in the model) or ``None``."""

    empty: float
    main: Float[np.ndarray, " player"]
    pairs: Float[np.ndarray, "player player"] | None
    notes: dict[str, Any] = field(default_factory=dict[str, Any])


class Response(Protocol):
    """The values of all pairs of an image and a text coalition, as far as a fit looks at them."""

    def reduce(self, left: Matrix, right: Matrix) -> Matrix:
        """Return ``left @ values @ right.T``."""
        ...

    def over_texts(self, weights: Vector) -> Vector:
        """Return ``values @ weights``, one number per image coalition."""
        ...

    def over_images(self, weights: Vector) -> Vector:
        """Return ``weights @ values``, one number per text coalition."""
        ...


@dataclass(frozen=True, slots=True)
class ValueTable:
    """Values written out, image coalitions by text coalitions."""

    values: Float[np.ndarray, "image_coalition text_coalition"]

    def reduce(self, left: Matrix, right: Matrix) -> Matrix:
        return left @ (self.values @ right.T)

    def over_texts(self, weights: Vector) -> Vector:
        return self.values @ weights

    def over_images(self, weights: Vector) -> Vector:
        return weights @ self.values


@dataclass(frozen=True, slots=True)
class EmbeddingTable:
    """Values as ``scale * images @ texts.T + bias``; the table itself is never needed."""

    images: Float[np.ndarray, "image_coalition dim"]
    texts: Float[np.ndarray, "text_coalition dim"]
    scale: float = 1.0
    bias: float = 0.0

    def reduce(self, left: Matrix, right: Matrix) -> Matrix:
        shift = self.bias * np.outer(left.sum(axis=1), right.sum(axis=1))
        return self.scale * (left @ self.images) @ (right @ self.texts).T + shift

    def over_texts(self, weights: Vector) -> Vector:
        return self.scale * self.images @ (weights @ self.texts) + self.bias * weights.sum()

    def over_images(self, weights: Vector) -> Vector:
        return self.scale * self.texts @ (weights @ self.images) + self.bias * weights.sum()


class System:
    """A symmetric positive definite system, scaled to unit diagonal and factored once; ``None`` where it is singular."""

    def __init__(self, factor: Matrix, scale: Vector, condition: float) -> None:
        self._factor, self._scale, self.condition = factor, scale, condition

    @classmethod
    def create(cls, gram: Matrix) -> "System | None":
        diagonal = gram.diagonal()
        if not diagonal.size:
            return cls(gram, diagonal, 1.0)
        if not diagonal.min() > FLAT:
            return None
        scale = 1 / np.sqrt(diagonal)
        scaled = gram * scale * scale[:, None]
        norm = float(np.abs(scaled).sum(axis=0).max())
        factor, failed = POTRF(scaled, lower=1, clean=0)
        if failed:
            return None
        rcond, _ = POCON(factor, norm, uplo="L")
        return cls(factor, scale, 1 / float(rcond)) if rcond > RCOND else None

    def solve(self, right: Float[np.ndarray, "row *column"]) -> Float[np.ndarray, "row *column"]:
        if not right.size:
            return right
        scale = self._scale.reshape(-1, *[1] * (right.ndim - 1))
        solution, _ = POTRS(self._factor, scale * right, lower=1)
        return scale * solution.reshape(right.shape)


def condition_number(gram: Matrix) -> float:
    """Return the spectral condition number of a Gram matrix scaled to unit diagonal; 1 at best, ``inf`` where singular.

    With ``m`` random coalitions of ``n`` players it comes to ``((1 + r) / (1 - r)) ** 2`` with ``r = sqrt(n / m)``, whatever
    the probability of a player (Marchenko and Pastur's law). A constant column beside centred ones does not change it.
    """
    diagonal = gram.diagonal()
    if not diagonal.size:
        return 1.0
    if not diagonal.min() > FLAT:
        return float("inf")
    scale = 1 / np.sqrt(diagonal)
    smallest, largest = np.linalg.eigvalsh(gram * scale * scale[:, None])[[0, -1]]
    return float(largest / smallest) if smallest > RCOND * largest else float("inf")


def coalition_condition(coalitions: Bool[np.ndarray, "coalition player"], weights: Float[np.ndarray, " coalition"]) -> float:
    """Return the condition number of the main effects of weighted coalitions, which decides before any is encoded."""
    kept, share = np.asarray(coalitions, dtype=np.float64), np.asarray(weights, dtype=np.float64) / np.sum(weights)
    centred = kept - share @ kept
    return condition_number((centred.T * share) @ centred)


class FactorDesign:
    """Coalitions of one modality with weights summing to one, and the system of its main effects, factored.

    ``pairs()`` adds the system of given products of two players, where the coalitions identify them. Coalitions that do not
    tell all players apart raise ``InvalidInput``, which names players that never change or always change together.
    """

    def __init__(
        self, coalitions: Bool[np.ndarray, "coalition player"], weights: Float[np.ndarray, " coalition"], name: str
    ) -> None:
        kept, weights = np.asarray(coalitions, dtype=np.float64), np.asarray(weights, dtype=np.float64)
        if kept.ndim != 2 or weights.shape != kept.shape[:1]:
            raise InvalidInput(f"{name} coalitions {kept.shape} need one weight per row, not weights of shape {weights.shape}")
        if not np.isfinite(weights).all() or (weights < 0).any() or not weights.sum() > 0:
            raise InvalidInput(f"{name} weights must be finite, not negative and not all zero")
        self.name = name
        self.n_coalitions, self.n_players = kept.shape
        self.weights = weights / weights.sum()
        self.means = self.weights @ kept
        self.centred = (kept - self.means).T.copy()  # player by coalition, so that products of players are contiguous
        self.weighted = self.centred * self.weights
        self.gram = self.weighted @ self.centred.T
        system = System.create(self.gram)
        if system is None:
            raise InvalidInput(
                f"{self.n_coalitions} {name} coalitions do not tell the {self.n_players} {name} players apart"
                f"{self._culprits()}; a fit needs at least {self.n_players + 1} different ones in which every player comes and "
                f"goes: raise the {name} budget"
            )
        self.system = system

    def _culprits(self) -> str:
        """Return which players make the system singular, as far as one or two of them do it alone."""
        diagonal = self.gram.diagonal()
        flat = np.flatnonzero(diagonal <= FLAT)
        if flat.size:
            return f" (player {flat[0]} is kept in all of them or in none)"
        scaled = np.abs(self.gram) / np.sqrt(np.outer(diagonal, diagonal))
        first, second = np.nonzero(np.triu(scaled > 1 - RCOND, 1))
        return f" (players {first[0]} and {second[0]} always change together)" if first.size else ""

    @cached_property
    def condition(self) -> float:
        """Spectral condition number of the system of the main effects and the intercept, scaled to unit diagonal."""
        return condition_number(self.gram)

    @property
    def basis(self) -> Matrix:
        """The constant and the centred players, one row each."""
        return np.vstack([np.ones((1, self.n_coalitions)), self.centred])

    @property
    def weighted_basis(self) -> Matrix:
        """``basis`` times the weights of the coalitions."""
        return np.vstack([self.weights, self.weighted])

    def regression(self, moments: Float[np.ndarray, "basis *column"]) -> Float[np.ndarray, "basis *column"]:
        """Turn a response's moments, ``weighted_basis @ response``, into its regression on ``basis``: mean, then slopes."""
        return np.concatenate([moments[:1], self.system.solve(moments[1:])])

    def pairs(self, indices: Indices | None = None) -> "PairDesign | None":
        """Return the pair system, of all pairs unless ``indices`` names some; ``None`` if it is not identified."""
        first, second = np.triu_indices(self.n_players, 1) if indices is None else indices
        if self.n_coalitions < 1 + self.n_players + len(first):
            return None
        products = self.centred[first]
        products *= self.centred[second]
        means = products @ self.weights
        slopes = self.system.solve(self.weighted @ products.T)
        products -= means[:, None]
        products -= slopes.T @ self.centred
        products *= np.sqrt(self.weights)
        system = System.create(products @ products.T)
        if system is None:
            return None
        return PairDesign((first, second), products, np.vstack([means, slopes]), system)


@dataclass(frozen=True, slots=True)
class PairDesign:
    """Products of two players of one modality, less their regression on main effects, times root weights."""

    indices: Indices
    residuals: Float[np.ndarray, "pair coalition"]
    projection: Float[np.ndarray, "basis pair"]
    system: System

    def fit(self, response: Vector, weights: Vector) -> tuple[Vector, Vector]:
        """Return the pair coefficients of a response, and what they take from intercept and main effects."""
        pairs = self.system.solve(self.residuals @ (np.sqrt(weights) * response))
        return pairs, self.projection @ pairs


def fit_product(
    image: FactorDesign,
    text: FactorDesign,
    response: Response,
    *,
    order: int = 2,
    pairs: tuple[bool | Indices, bool | Indices] = (True, True),
) -> Fit:
    """Fit main effects and, at order 2, all patch-token pairs; ``pairs`` adds those within images and within texts.

    ``True`` adds all pairs of a modality, indices add these alone, and only where its coalitions identify them; the notes
    say whether they were. The patch-token block is the same with and without them.
    """
    n_image, n = image.n_players, image.n_players + text.n_players
    notes: dict[str, Any] = {"image_coalitions": image.n_coalitions, "text_coalitions": text.n_coalitions}
    if order == 1:
        over_texts, over_images = response.over_texts(text.weights), response.over_images(image.weights)
        sides = ((image, over_texts), (text, over_images))
        main = np.concatenate([side.regression(side.weighted_basis @ over_other)[1:] for side, over_other in sides])
        return _uncentre(float(image.weights @ over_texts), main, None, np.concatenate([image.means, text.means]), notes)
    moments = response.reduce(image.weighted_basis, text.weighted_basis)
    joint = text.regression(image.regression(moments).T).T
    empty, main = float(joint[0, 0]), np.concatenate([joint[1:, 0], joint[0, 1:]])
    matrix = np.zeros((n, n))
    matrix[:n_image, n_image:] = joint[1:, 1:]
    sides = (
        (image, 0, slice(0, n_image), response.over_texts, text),
        (text, n_image, slice(n_image, n), response.over_images, image),
    )
    for (side, offset, players, over_other, other), wanted in zip(sides, pairs, strict=True):
        design = None if wanted is False else side.pairs(None if wanted is True else wanted)
        notes[f"{side.name}_pairs"] = design is not None
        if design is None:
            continue
        notes[f"{side.name}_pairs_condition"] = design.system.condition
        coefficients, absorbed = design.fit(over_other(other.weights), side.weights)
        first, second = design.indices
        matrix[first + offset, second + offset] = coefficients
        empty -= float(absorbed[0])
        main[players] -= absorbed[1:]
    return _uncentre(empty, main, matrix + matrix.T, np.concatenate([image.means, text.means]), notes)


def fit_selected(image: FactorDesign, text: FactorDesign, response: Response, players: Int[np.ndarray, " player"]) -> Fit:
    """Fit all main effects and the pairs among ``players`` (patches, then tokens), from the moments of the two sides."""
    n_image, n = image.n_players, image.n_players + text.n_players
    first, second = (players[index] for index in np.triu_indices(len(players), 1))
    first, second = np.minimum(first, second), np.maximum(first, second)
    within_image, within_text = second < n_image, first >= n_image
    phi = _monomials(image, (first[within_image], second[within_image]))
    psi = _monomials(text, (first[within_text] - n_image, second[within_text] - n_image))

    # Column r of the joint design is phi[alpha[r]] * psi[beta[r]]: constant, players, then pairs in the order of `first`.
    alpha, beta = np.zeros(1 + n + len(first), dtype=np.intp), np.zeros(1 + n + len(first), dtype=np.intp)
    alpha[1 : 1 + n_image] = np.arange(1, 1 + n_image)
    beta[1 + n_image : 1 + n] = np.arange(1, 1 + text.n_players)
    pair_alpha, pair_beta = alpha[1 + n :], beta[1 + n :]
    pair_alpha[within_image] = 1 + n_image + np.arange(within_image.sum())
    pair_beta[within_text] = 1 + text.n_players + np.arange(within_text.sum())
    across = ~(within_image | within_text)
    pair_alpha[across], pair_beta[across] = 1 + first[across], 1 + second[across] - n_image

    weighted_phi, weighted_psi = phi * image.weights, psi * text.weights
    gram = (weighted_phi @ phi.T)[np.ix_(alpha, alpha)]
    gram *= (weighted_psi @ psi.T)[np.ix_(beta, beta)]
    system = System.create(gram)
    if system is None:
        raise InvalidInput(
            f"{image.n_coalitions} image and {text.n_coalitions} text coalitions do not identify {len(first)} pairs of "
            f"{len(players)} players; raise the budgets, or restrict the fit to fewer players"
        )
    solution = system.solve(response.reduce(weighted_phi, weighted_psi)[alpha, beta])
    matrix = np.zeros((n, n))
    matrix[first, second] = solution[1 + n :]
    notes: dict[str, Any] = {
        "image_coalitions": image.n_coalitions,
        "text_coalitions": text.n_coalitions,
        "condition": system.condition,
        "players_with_pairs": len(players),
    }
    means = np.concatenate([image.means, text.means])
    return _uncentre(float(solution[0]), solution[1 : 1 + n], matrix + matrix.T, means, notes)


def fit_joint(design: FactorDesign, values: Float[np.ndarray, " coalition"], pairs: Indices | None) -> Fit:
    """Fit coalitions of all players at once with a free intercept: main effects, and the pairs of ``pairs``."""
    slopes = design.regression(design.weighted_basis @ values)
    notes: dict[str, Any] = {"coalitions": design.n_coalitions, "condition": design.system.condition}
    if pairs is None:
        return _uncentre(float(slopes[0]), slopes[1:], None, design.means, notes)
    added = design.pairs(pairs)
    if added is None:
        raise _too_few(design.n_coalitions, 1 + design.n_players + len(pairs[0]))
    coefficients, absorbed = added.fit(values, design.weights)
    slopes = slopes - absorbed
    matrix = _symmetric(design.n_players, pairs, coefficients)
    notes["pairs_condition"] = added.system.condition
    return _uncentre(float(slopes[0]), slopes[1:], matrix, design.means, notes)


def fit_efficient(
    coalitions: Bool[np.ndarray, "coalition player"],
    weights: Float[np.ndarray, " coalition"],
    values: Float[np.ndarray, " coalition"],
    pairs: Indices | None,
) -> Fit:
    """Fit coalitions of all players under the Shapley kernel, exact on the empty and on the full coalition.

    Both must be among the rows; their weights, meant to be infinite, are not used (the released code writes 1e7).
    """
    kept = np.asarray(coalitions, dtype=np.float64)
    sizes, n = kept.sum(axis=1), kept.shape[1]
    nothing, everything = np.flatnonzero(sizes == 0), np.flatnonzero(sizes == n)
    if not nothing.size or not everything.size:
        raise InvalidInput("a fit under the Shapley kernel needs the empty and the full coalition among its rows")
    empty, full = float(values[nothing[0]]), float(values[everything[0]])
    inner = (sizes > 0) & (sizes < n)
    columns = kept[inner].T
    if pairs is not None:
        columns = np.vstack([columns, columns[pairs[0]] * columns[pairs[1]]])
    share = weights[inner] / weights[inner].sum() if inner.any() else weights[inner]
    columns = columns * np.sqrt(share)
    # All coefficients sum to full - empty. Adding a multiple of that constraint's square keeps the solution and makes the
    # Gram matrix definite; a Lagrange multiplier then meets the constraint exactly.
    gram = columns @ columns.T
    gram += max(float(gram.diagonal().mean()), 1e-3)
    system = System.create(gram)
    if system is None:
        raise _too_few(len(kept), 1 + len(gram))
    free = system.solve(columns @ (np.sqrt(share) * (values[inner] - empty)))
    direction = system.solve(np.ones(len(gram)))
    solution = free + direction * (full - empty - free.sum()) / direction.sum()
    matrix = None if pairs is None else _symmetric(n, pairs, solution[n:])
    return Fit(empty, solution[:n], matrix, {"coalitions": len(kept), "condition": system.condition})


def _too_few(n_coalitions: int, n_coefficients: int) -> InvalidInput:
    return InvalidInput(
        f"{n_coalitions} coalitions do not identify {n_coefficients} coefficients; raise the budget or leave pairs out"
    )


def _monomials(side: FactorDesign, indices: Indices) -> Matrix:
    return np.vstack([side.basis, side.centred[indices[0]] * side.centred[indices[1]]])


def _symmetric(n: int, indices: Indices, coefficients: Vector) -> Matrix:
    matrix = np.zeros((n, n))
    matrix[indices] = coefficients
    return matrix + matrix.T


def _uncentre(empty: float, main: Vector, pairs: Matrix | None, means: Vector, notes: dict[str, Any]) -> Fit:
    """Carry coefficients of centred players back to those of players that are 0 or 1."""
    if pairs is None:
        return Fit(empty - float(main @ means), main, None, notes)
    folded = pairs @ means
    return Fit(empty - float(main @ means) + 0.5 * float(means @ folded), main - folded, pairs, notes)
