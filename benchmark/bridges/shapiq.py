"""Any approximator of shapiq, or any function that plays the similarity game, as an explainer; and saved interaction values."""

import copy
import inspect
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from benchmark.bridges.base import kind_of, made, name_of
from benchmark.errors import InvalidExplanation, InvalidInput
from benchmark.explainers.base import Explainer, Yields
from benchmark.explanations import Explanation
from benchmark.games.similarity import SimilarityGame
from benchmark.types import Removal, TextRemoval

if TYPE_CHECKING:
    from shapiq import InteractionValues

    from benchmark.encoders.base import DualEncoder, Pair

type Play = Callable[..., "InteractionValues"]
"""``play(game, budget, rng, **options)`` evaluates at most ``budget`` coalitions and returns values of orders 0 to 2."""

SURROGATES = ("SV", "k-SII", "STII", "FSII", "FBII", "kADD-SHAP")
"""Indices whose sums over the players of a coalition stand for its value; others only rank."""


@dataclass(frozen=True, kw_only=True)
class ShapiqExplainer(Explainer):
    """Interaction values of the similarity game, in cosine similarity; a subclass says in ``play`` how they are found.

    Indices that stand for the value of a coalition (``SURROGATES``) give a surrogate; others only rank. A player's score is
    its own value and half of its pairs.
    """

    yields: ClassVar[tuple[Yields, ...]] = ("image", "text", "surrogate")
    deterministic = False
    paper = "Muschalik et al. 2024, shapiq: Shapley Interactions for Machine Learning, NeurIPS, arXiv 2410.01649"
    bibtex = """@inproceedings{muschalik2024shapiq,
  title={shapiq: {Shapley} Interactions for Machine Learning},
  author={Muschalik, Maximilian and Baniecki, Hubert and Fumagalli, Fabian and Kolpaczki, Patrick and others},
  booktitle={Advances in Neural Information Processing Systems},
  year={2024}
}"""
    published: ClassVar[Mapping[str, str]] = {"budget": "shapiq leaves it open"}

    budget: int = 1024
    removal: Removal = "mask_pixels"
    text_removal: TextRemoval = "attention_mask"

    def __post_init__(self) -> None:
        if self.budget < 1:
            raise InvalidInput(f"{self.name}: the budget is at least one coalition; got {self.budget}")

    @abstractmethod
    def play(self, game: SimilarityGame, rng: np.random.Generator) -> "InteractionValues":
        """Return values of orders 0 to 2; players are patches row-major, then content tokens."""

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        game = SimilarityGame(encoder, pair, removal=self.removal, text_removal=self.text_removal)
        values = self.play(game, rng)
        if values.n_players != game.n_players:
            raise InvalidExplanation(f"these values have {values.n_players} players; the pair has {game.n_players}")
        full = float(game.values(np.ones((1, game.n_players), dtype=bool))[0])
        return replace(from_interaction_values(values, encoder.patch_grid), similarity=full)


@dataclass(frozen=True, kw_only=True)
class _Played(ShapiqExplainer):
    """Interaction values of the similarity game, as an approximator or a function finds them."""

    approximator: ClassVar[Any] = None

    def play(self, game: SimilarityGame, rng: np.random.Generator) -> "InteractionValues":
        from shapiq.approximator.base import Approximator

        own = _Played.__dataclass_fields__
        options = {name: value for name, value in self.parameters.items() if name not in own}
        approximator: Any = type(self).approximator
        if not issubclass(kind_of(approximator), Approximator):
            return approximator(game, self.budget, rng, **options)
        if isinstance(approximator, Approximator):
            if approximator.n != game.n_players:
                raise InvalidInput(
                    f"{self.name}: this approximator is for {approximator.n} players, the pair has {game.n_players}; "
                    "pass its class, and it is made for each pair"
                )
            return copy.deepcopy(approximator).approximate(budget=self.budget, game=game)
        chosen = approximator(n=game.n_players, random_state=int(rng.integers(2**31)), **options)
        return chosen.approximate(budget=self.budget, game=game)


def shapiq_explainer(approximator: "type[Any] | Play", *, name: str | None = None, **options: Any) -> ShapiqExplainer:
    """Return an explainer of an approximator of shapiq, a class or an instance, or of a function ``(game, budget, rng)``.

    ``options`` are ``budget``, ``removal`` and ``text_removal``; the others go to the approximator's class (``index``,
    ``max_order``) or to the function. To run it by name, derive from ``ShapiqExplainer``.
    """
    if not callable(approximator):
        raise InvalidInput(f"{approximator!r} is no approximator of shapiq, nor a function of (game, budget, rng)")
    attributes = {"approximator": staticmethod(approximator) if inspect.isfunction(approximator) else approximator}
    return made(_Played, name or name_of(approximator, "shapiq"), shapiq_explainer, approximator, options, **attributes)


def from_interaction_values(values: "InteractionValues", grid: tuple[int, int]) -> Explanation:
    """Return interaction values of orders 0 to 2 as an explanation; only indices in ``SURROGATES`` keep their surrogate."""
    if values.n_players < grid[0] * grid[1]:
        raise InvalidExplanation(f"{values.n_players} players are fewer than the {grid[0]} x {grid[1]} patches of this grid")
    found = Explanation.from_shapiq(values, grid)
    if values.index not in SURROGATES or found.players is None:
        return replace(found, players=None)
    if () not in values.dict_values:
        return replace(found, players=replace(found.players, empty=float(values.baseline_value)))
    return found


def load_interaction_values(path: Path | str, grid: tuple[int, int]) -> Explanation:
    """Read a file that ``InteractionValues.save`` wrote, which is JSON; nothing in it is run."""
    from shapiq import InteractionValues

    try:
        return from_interaction_values(InteractionValues.load(Path(path)), grid)
    except FileNotFoundError:
        raise InvalidInput(f"there is no file {path}") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InvalidInput(f"{path} holds no interaction values of shapiq as JSON: {error}") from error
