"""First-order Shapley values of the similarity game, by any of shapiq's estimators."""

import warnings
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from jaxtyping import Bool, Float

from benchmark.errors import InvalidInput
from benchmark.explainers.base import Explainer
from benchmark.explanations import Explanation, Players
from benchmark.games.similarity import SimilarityGame
from benchmark.types import Registry

if TYPE_CHECKING:
    from shapiq import InteractionValues

    from benchmark.encoders.base import DualEncoder, Pair
    from benchmark.explainers.fixlip import FactorisedGame

type Arguments = dict[str, Any]
PAIRED: Arguments = {"pairing_trick": True}

ESTIMATORS: Registry[tuple[str, Arguments]] = Registry("Shapley estimator")
"""Name here, to class in ``shapiq.approximator`` and what it is built with beside the number of players and the seed."""
ESTIMATORS.add("kernelshap", ("KernelSHAP", PAIRED))
ESTIMATORS.add("leverageshap", ("LeverageSHAP", PAIRED))
ESTIMATORS.add("unbiased_kernelshap", ("UnbiasedKernelSHAP", PAIRED))
ESTIMATORS.add("permutation", ("PermutationSamplingSV", {}))
ESTIMATORS.add("svarm", ("SVARM", {"index": "SV"} | PAIRED))
ESTIMATORS.add("stratified", ("StratifiedSamplingSV", {}))
ESTIMATORS.add("owen", ("OwenSamplingSV", {}))
ESTIMATORS.add("kadd", ("kADDSHAP", {"max_order": 2}))


@dataclass(frozen=True, kw_only=True)
class Shapley(Explainer, name="shapley", version=1):
    """Shapley values of patches and tokens in one joint game; ``empty`` is the value of the empty coalition.

    ``estimator`` names one of shapiq's (``kernelshap`` and its relatives draw each coalition with its complement), and
    ``budget`` the joint coalitions that it may evaluate. This is not an image-only Shapley value with a fixed text, which
    is another game.
    """

    yields = ("image", "text", "surrogate")
    deterministic = False
    paper = "Lundberg and Lee, A Unified Approach to Interpreting Model Predictions, NeurIPS 2017, arXiv 1705.07874; by shapiq"
    bibtex = """@inproceedings{lundberg2017unified,
  title={A Unified Approach to Interpreting Model Predictions},
  author={Lundberg, Scott M. and Lee, Su-In},
  booktitle={Advances in Neural Information Processing Systems},
  year={2017}
}"""
    published: ClassVar[Mapping[str, str]] = {
        "estimator": "kernelshap in the paper; without pairing in shapiq unless asked, with it here, as in the shap package",
        "budget": "2 n + 2048 in the shap package; 2^17 for FIxLIP's Shapley comparison on MS COCO",
    }
    differs = "the paper fills removed features from background data; here the suite's removal operators take players away"

    estimator: str = "kernelshap"
    budget: int = 2048
    removal: str = "mask_pixels"
    text_removal: str = "attention_mask"

    def __post_init__(self) -> None:
        ESTIMATORS[self.estimator]

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        game = SimilarityGame(encoder, pair, removal=self.removal, text_removal=self.text_removal)
        return self.explain_game(game, rng)

    def explain_game(self, game: "FactorisedGame", rng: np.random.Generator) -> Explanation:
        """Explain any game of patches and tokens."""
        name, arguments = ESTIMATORS[self.estimator]
        estimated, full = approximate(name, arguments, game, self.budget, rng)
        return Explanation.from_players(first_order(estimated), game.patch_grid, index="SV", similarity=full)


def approximate(
    name: str, arguments: Arguments, game: "FactorisedGame", budget: int, rng: np.random.Generator
) -> "tuple[InteractionValues, float]":
    """Run one of shapiq's approximators on a game; return its estimate, and the value of the full coalition."""
    from shapiq import approximator

    n = game.n_patches + game.n_tokens
    if budget < n + 2:
        raise InvalidInput(f"a budget of {budget} coalitions is too small for {n} players; give at least {n + 2}")
    build: Callable[..., Any] | None = getattr(approximator, name, None)
    if build is None:
        raise InvalidInput(f"this shapiq has no {name}; upgrade it (pip install -U shapiq) or name another estimator")

    def values(kept: Bool[np.ndarray, "*coalition player"]) -> Float[np.ndarray, " coalition"]:
        return game.values(np.atleast_2d(kept))  # some estimators pass a single coalition without its axis

    with _without_advice():
        estimated = build(n=n, random_state=int(rng.integers(0, 2**32)), **arguments).approximate(budget=budget, game=values)
    return estimated, float(game.values(np.ones((1, n), dtype=bool))[0])


def first_order(estimated: "InteractionValues") -> Players:
    """Return the main effects and the value at ``()``, which not every estimator stores with the others."""
    found = estimated.dict_values
    main = np.array([found.get((player,), 0.0) for player in range(estimated.n_players)], dtype=np.float64)
    return Players(main, empty=float(found.get((), estimated.baseline_value)))


@contextmanager
def _without_advice() -> Generator[None]:
    """Silence what shapiq 1.8 says of every small game: that the border trick leaves budget over, or that draws repeat."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Not all budget is required", category=UserWarning)
        warnings.filterwarnings("ignore", message="Sampling might be inefficient", category=UserWarning)
        yield
