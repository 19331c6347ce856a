"""What the encoder itself says when players leave: curves in the order of an explanation, and unseen coalitions it predicts."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float

from benchmark.explanations import Explanation, Players
from benchmark.games.sampling import sample_coalitions
from benchmark.games.similarity import SimilarityGame
from benchmark.metrics import interaction, perturbation, policy
from benchmark.metrics.base import Score
from benchmark.metrics.perturbation import KeepSets, Variant
from benchmark.tasks.base import Evaluation, Protocol

GREEDY: dict[Variant, Callable[..., KeepSets]] = {
    "joint_greedy": perturbation.greedy_sets,
    "joint_nested": perturbation.greedy_chain,
}
JOINT: tuple[Variant, ...] = ("joint", *GREEDY)
CURVES = ("area", "insertion", "deletion")
REMOVED = tuple(range(0, 101, 10))  # percent of the players, at which a score keeps its curve for the site to draw


@dataclass(frozen=True, kw_only=True)
class Perturbation(Protocol):
    """What happens to the similarity as players leave in the order of the explanation, for each of ``variants``.

    Image and text variants keep the other side whole. The joint variant ranks patches and tokens together: on the method's own
    scale where it has one, else by quantile within each side (flag ``joint_scale`` 0). ``joint_greedy`` looks for the best
    and worst subsets of every size by main effects and pairs, ``joint_nested`` for the best chain of nested ones; without
    pairs both are the joint ranking. Insertion and deletion keep their curve in the flags ``removed_000`` to ``removed_100``:
    the similarity when so many percent of the players are removed, between two steps on the line that joins them.
    """

    variants: tuple[Variant, ...] = ("image", "text", "joint", "joint_greedy")
    removal: str = "mask_pixels"
    text_removal: str = "attention_mask"
    permutations: int = 3

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(f"{name}_{variant}" for variant in self.variants for name in CURVES)

    def score(self, explanation: Explanation, evaluation: Evaluation) -> dict[str, Score | str]:
        scores: dict[str, Score | str] = {}
        for variant in self.variants:
            found = self._variant(variant, explanation, evaluation)
            if isinstance(found, str):
                scores |= {f"{name}_{variant}": found for name in CURVES}
            else:
                scores |= found
        return scores

    def chance(self, evaluation: Evaluation) -> dict[str, float]:
        areas = {variant: self._random_area(variant, evaluation) for variant in self.variants}
        return {f"{name}_{variant}": 0.0 if name == "area" else area for variant, area in areas.items() for name in CURVES}

    def _variant(self, variant: Variant, explanation: Explanation, evaluation: Evaluation) -> dict[str, Score] | str:
        rng = evaluation.rng(f"ties-{variant}")
        sets, flags = self._sets(variant, explanation, rng)
        if sets is None:
            side = variant if variant in ("image", "text") else "image and text"
            return f"this explanation has no scores for {side}"
        chance = self._random_area(variant, evaluation)
        flags = {**flags, "tie_fraction": sets.tie_fraction}
        if sets.degenerate:
            return perturbation.chance_scores(variant=variant, chance=chance, flags=flags)
        mif, lif = sets.curves(self._values(variant, sets.coalitions, evaluation))
        scores = perturbation.curve_scores(mif, lif, variant=variant, chance=chance, flags=flags)
        for name, curve in ((f"insertion_{variant}", lif), (f"deletion_{variant}", mif)):
            scores[name] = replace(scores[name], flags={**scores[name].flags, **_points(curve)})
        return scores

    def _sets(
        self, variant: Variant, explanation: Explanation, rng: np.random.Generator
    ) -> tuple[KeepSets | None, dict[str, float]]:
        image = None if explanation.image is None else explanation.image.ravel()
        if variant == "image" or variant == "text":
            scores = image if variant == "image" else explanation.text
            return (None if scores is None else perturbation.first_order_sets(scores, rng, self.permutations)), {}
        own_scale = {"joint_scale": float(explanation.players is not None)}
        if variant in GREEDY and (surrogate := _with_pairs(explanation)) is not None:
            assert surrogate.pairs is not None
            return GREEDY[variant](surrogate.main, surrogate.pairs, rng), {"joint_scale": 1.0}
        if image is None or explanation.text is None:
            return None, {}
        if explanation.players is not None:
            scores = np.concatenate([image, explanation.text])
        else:
            scores = perturbation.interleave(image, explanation.text)
        return perturbation.first_order_sets(scores, rng, self.permutations), own_scale

    def _values(
        self, variant: Variant, coalitions: Bool[np.ndarray, "coalition player"], evaluation: Evaluation
    ) -> Float[np.ndarray, " coalition"]:
        game = self._game(evaluation)
        if variant == "image":
            return game.cross_values(coalitions, np.ones((1, game.n_tokens), dtype=bool))[:, 0]
        if variant == "text":
            return game.cross_values(np.ones((1, game.n_patches), dtype=bool), coalitions)[0]
        return game.values(coalitions)

    def _random_area(self, variant: Variant, evaluation: Evaluation) -> float:
        """Return the mean area under random orders of this sample, computed once for all methods."""
        kind = "joint" if variant in JOINT else variant
        key = (type(self).__name__, self.removal, self.text_removal, self.permutations, kind)
        if key not in evaluation.shared:
            game = self._game(evaluation)
            n = {"image": game.n_patches, "text": game.n_tokens}.get(kind, game.n_players)
            kept = perturbation.random_keep_sets(n, evaluation.rng(f"random-order-{kind}"), self.permutations)
            values = self._values(variant, kept.reshape(-1, n), evaluation).reshape(kept.shape[:2])
            evaluation.shared[key] = float(perturbation.curve_area(values).mean())
        return evaluation.shared[key]

    def _game(self, evaluation: Evaluation) -> SimilarityGame:
        return evaluation.game(self.removal, self.text_removal)


@dataclass(frozen=True, kw_only=True)
class InteractionFaithfulness(Protocol):
    """How well the explanation, read as a surrogate, predicts coalitions it has not seen.

    ``n_coalitions`` distinct joint coalitions keep every player with probability ``p``; they depend on the sample alone, so
    all methods meet the same ones. First-order explanations predict the sum of the kept scores; where the two sides share
    no scale, each is divided by its absolute sum first, and no plain R2 is given. Constant maps tell no player from
    another: they score chance, degenerate.
    """

    n_coalitions: int = 512
    p: float = 0.5
    removal: str = "mask_pixels"
    text_removal: str = "attention_mask"

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(f"faithfulness_{name}" for name in ("spearman", "pearson", "kendall", "r2", "r2_calibrated"))

    def score(self, explanation: Explanation, evaluation: Evaluation) -> dict[str, Score | str]:
        if explanation.players is None and all(policy.is_constant(array) for array in explanation.arrays().values()):
            return {name: policy.at_chance(0.0) for name in self.metrics}
        coalitions, values = self._held_out(evaluation)
        surrogate = _surrogate(explanation, evaluation.encoder.n_patches, evaluation.pair.n_tokens)
        on_scale = explanation.players is not None
        scores: dict[str, Score | str] = dict.fromkeys(self.metrics, "these scores are not in the similarity's unit")
        found = interaction.interaction_faithfulness(surrogate.predict(coalitions), values, on_scale=on_scale)
        return scores | dict(found)

    def chance(self, evaluation: Evaluation) -> dict[str, float]:
        del evaluation
        return dict.fromkeys(self.metrics, 0.0)

    def _held_out(self, evaluation: Evaluation) -> tuple[Bool[np.ndarray, "coalition player"], Float[np.ndarray, " coalition"]]:
        key = (type(self).__name__, self.n_coalitions, self.p, self.removal, self.text_removal)
        if key not in evaluation.shared:
            game = evaluation.game(self.removal, self.text_removal)
            coalitions = self._draw(game.n_players, evaluation)
            evaluation.shared[key] = (coalitions, game.values(coalitions))
        return evaluation.shared[key]

    def _draw(self, n_players: int, evaluation: Evaluation) -> Bool[np.ndarray, "coalition player"]:
        drawn = evaluation.rng(f"held-out-{self.p}").random((2 * self.n_coalitions, n_players)) < self.p
        _, first = np.unique(drawn, axis=0, return_index=True)
        return drawn[np.sort(first)[: self.n_coalitions]]


@dataclass(frozen=True, kw_only=True)
class ShapleyFaithfulness(InteractionFaithfulness):
    """The same over coalitions of the Shapley kernel: size s of n players has weight 1 / (s (n - s)); ``p`` plays no part.

    Nearly empty and nearly full coalitions are common, and the empty and the full one are always among them. Sizes of which
    ``n_coalitions`` would hold every coalition in expectation are enumerated. The rows come in random order, which the
    calibrated R2 needs.
    """

    def _draw(self, n_players: int, evaluation: Evaluation) -> Bool[np.ndarray, "coalition player"]:
        rng = evaluation.rng("held-out-shapley")
        return rng.permutation(sample_coalitions(n_players, self.n_coalitions, kernel="shapley", seed=rng).kept)


def _points(curve: Float[np.ndarray, "order step"]) -> dict[str, float]:
    """Return the mean curve at ``REMOVED`` percent, under the names that flags have."""
    mean = curve.mean(axis=0)
    values = np.interp(REMOVED, np.linspace(0, 100, len(mean)), mean)
    return {f"removed_{percent:03d}": float(value) for percent, value in zip(REMOVED, values, strict=True)}


def _with_pairs(explanation: Explanation) -> Players | None:
    """Return main effects and pairs: the surrogate's, or patch-token scores alone with main effects of zero."""
    if explanation.players is not None:
        return explanation.players if explanation.players.pairs is not None else None
    if explanation.cross is None:
        return None
    cross = explanation.cross.reshape(-1, explanation.cross.shape[2])
    n_patches, n_tokens = cross.shape
    pairs = np.zeros((n_patches + n_tokens, n_patches + n_tokens))
    pairs[:n_patches, n_patches:] = cross
    pairs[n_patches:, :n_patches] = cross.T
    return Players(np.zeros(n_patches + n_tokens), pairs)


def _surrogate(explanation: Explanation, n_patches: int, n_tokens: int) -> Players:
    """Read any explanation as a surrogate; a side without scores predicts nothing."""
    if explanation.players is not None:
        return explanation.players
    if (pairs := _with_pairs(explanation)) is not None:
        return pairs
    sides = [
        np.zeros(n) if scores is None else _unit_mass(scores.ravel())
        for scores, n in ((explanation.image, n_patches), (explanation.text, n_tokens))
    ]
    return Players(np.concatenate(sides))


def _unit_mass(scores: Float[np.ndarray, " player"]) -> Float[np.ndarray, " player"]:
    total = np.abs(scores).sum()
    return scores / total if total > 0 else scores
