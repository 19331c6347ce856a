"""How explanations become scores: where the truth is (localisation), and what the encoder itself says when players leave."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float

from benchmark.data.base import Phrase
from benchmark.errors import UnknownName
from benchmark.explanations import Explanation, Players
from benchmark.games.similarity import SimilarityGame
from benchmark.metrics import interaction, localisation, perturbation, policy
from benchmark.metrics.base import METRICS, Score
from benchmark.metrics.perturbation import KeepSets, Variant
from benchmark.tasks.base import TASKS, Evaluation, Protocol

Heat = Float[np.ndarray, "row column"]
LOCALISATION: dict[str, Callable[[Heat, Heat], Score]] = {
    "average_precision": localisation.average_precision,  # the headline: no threshold, no luck of a single patch
    "pointing_energy": localisation.pointing_energy,
    "pointing_hit": localisation.pointing_hit,
}
JOINT: tuple[Variant, ...] = ("joint", "joint_greedy")
ONE_PATCH = 1.0 - 1e-9  # patches, up to round-off
CURVES = ("area", "insertion", "deletion")


@dataclass(frozen=True, kw_only=True)
class Localisation(Protocol):
    """How far the map is where the phrase's object is, on the patch grid with soft coverage; a text's phrases are averaged.

    ``read="image"`` takes the image map: the text is the phrase itself. ``read="span"`` sums the patch-token scores over
    the phrase's tokens in a longer caption; a method without them is scored on its one image map for every phrase
    (flag ``token_blind``). Phrases less visible than ``min_visible`` (resize and crop), covering under one patch, or over
    ``max_area`` of the frame are left out; a sample without any other is excluded.
    """

    uses_truth: ClassVar[bool] = True

    read: Literal["image", "span"] = "image"
    min_visible: float = 0.5
    max_area: float = 0.75

    @property
    def metrics(self) -> tuple[str, ...]:
        return tuple(LOCALISATION)

    def excluded(self, evaluation: Evaluation) -> str | None:
        phrases = evaluation.sample.phrases
        if not phrases:
            return "no phrase of this text has a region"
        if not self._usable(evaluation):
            return f"none of {len(phrases)} phrases has a region that this encoder sees well enough to score"
        return None

    def score(self, explanation: Explanation, evaluation: Evaluation) -> dict[str, Score | str]:
        if explanation.image is None and explanation.cross is None:
            return dict.fromkeys(self.metrics, "this explanation has no map over the image")
        if reason := self.excluded(evaluation):
            return dict.fromkeys(self.metrics, reason)
        phrases = self._usable(evaluation)
        heats = [self._heat(explanation, evaluation, phrase) for phrase, _ in phrases]
        blind = float(self.read == "span" and explanation.cross is None)
        return {
            name: _mean([metric(heat, cover) for heat, (_, cover) in zip(heats, phrases, strict=True)], token_blind=blind)
            for name, metric in LOCALISATION.items()
        }

    def chance(self, evaluation: Evaluation) -> dict[str, float]:
        covers = [cover for _, cover in self._usable(evaluation)]
        return {
            name: float(np.mean([metric(np.ones_like(c), c).value for c in covers])) for name, metric in LOCALISATION.items()
        }

    def _usable(self, evaluation: Evaluation) -> list[tuple[Phrase, Heat]]:
        key = (type(self).__name__, self.read, self.min_visible, self.max_area)
        if key not in evaluation.shared:
            evaluation.shared[key] = list(self._covered(evaluation))
        return evaluation.shared[key]

    def _covered(self, evaluation: Evaluation) -> Iterable[tuple[Phrase, Heat]]:
        pair = evaluation.pair
        for phrase in evaluation.sample.phrases:
            if self.read == "span" and not pair.tokens_of(phrase.span):
                continue
            cover = pair.coverage(phrase.region)
            visible = pair.geometry.visible_fraction(phrase.region) if pair.geometry is not None else 1.0
            if visible >= self.min_visible and cover.sum() >= ONE_PATCH and cover.mean() <= self.max_area:
                yield phrase, cover

    def _heat(self, explanation: Explanation, evaluation: Evaluation, phrase: Phrase) -> Heat:
        if explanation.cross is not None and (self.read == "span" or explanation.image is None):
            tokens = evaluation.pair.tokens_of(phrase.span) if self.read == "span" else range(evaluation.pair.n_tokens)
            return explanation.cross[:, :, list(tokens)].sum(axis=2)
        assert explanation.image is not None  # score() refuses explanations with neither
        return explanation.image


@dataclass(frozen=True, kw_only=True)
class Perturbation(Protocol):
    """What happens to the similarity as players leave in the order of the explanation, for each of ``variants``.

    Image and text variants keep the other side whole. The joint variant ranks patches and tokens together: on the method's own
    scale where it has one, else by quantile within each side (flag ``joint_scale`` 0). ``joint_greedy`` looks for the best
    and worst subsets of every size by main effects and pairs; without pairs that is the joint ranking.
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
        return perturbation.curve_scores(mif, lif, variant=variant, chance=chance, flags=flags)

    def _sets(
        self, variant: Variant, explanation: Explanation, rng: np.random.Generator
    ) -> tuple[KeepSets | None, dict[str, float]]:
        image = None if explanation.image is None else explanation.image.ravel()
        if variant == "image" or variant == "text":
            scores = image if variant == "image" else explanation.text
            return (None if scores is None else perturbation.first_order_sets(scores, rng, self.permutations)), {}
        own_scale = {"joint_scale": float(explanation.players is not None)}
        if variant == "joint_greedy" and (surrogate := _with_pairs(explanation)) is not None:
            assert surrogate.pairs is not None
            return perturbation.greedy_sets(surrogate.main, surrogate.pairs, rng), {"joint_scale": 1.0}
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
            rng = evaluation.rng(f"held-out-{self.p}")
            drawn = rng.random((2 * self.n_coalitions, game.n_players)) < self.p
            _, first = np.unique(drawn, axis=0, return_index=True)
            coalitions = drawn[np.sort(first)[: self.n_coalitions]]
            evaluation.shared[key] = (coalitions, game.values(coalitions))
        return evaluation.shared[key]


def _mean(scores: Sequence[Score], **flags: float) -> Score:
    """Average the phrases of one sample; degenerate only if every one of them is."""
    return Score(
        value=float(np.mean([score.value for score in scores])),
        chance=float(np.mean([score.chance for score in scores if score.chance is not None])),
        degenerate=all(score.degenerate for score in scores),
        flags={**scores[0].flags, **flags, "phrases": float(len(scores))},
    )


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


PROTOCOLS: tuple[Protocol, ...] = (Localisation(), Perturbation(), InteractionFaithfulness())


def protocols_for(metrics: Iterable[str]) -> tuple[Protocol, ...]:
    """Return protocols that measure these metrics, the standard ones before those of registered tasks.

    An unknown metric is answered with the nearest name.
    """
    wanted = dict.fromkeys(metrics)
    for name in wanted:
        if name not in METRICS:
            raise UnknownName("metric", name, METRICS)
    found: list[Protocol] = []
    for protocol in (*PROTOCOLS, *(task.protocol for task in TASKS.values())):
        if any(name in wanted for name in protocol.metrics):
            found.append(protocol)
            for name in protocol.metrics:
                wanted.pop(name, None)
    return tuple(found)
