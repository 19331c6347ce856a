"""First-order (weighted) Banzhaf values of the similarity game."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import numpy as np

from benchmark.errors import InvalidInput
from benchmark.explainers.base import Explainer
from benchmark.explainers.shapley import PAIRED, Arguments, approximate, first_order
from benchmark.explanations import Explanation, Players
from benchmark.games.regression import FactorDesign, fit_joint
from benchmark.games.sampling import Coalitions, sample_coalitions
from benchmark.games.similarity import SimilarityGame

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair
    from benchmark.explainers.fixlip import FactorisedGame

type Estimator = Literal["regression", "means", "svarm", "fbii"]

SHAPIQ: Mapping[str, tuple[str, Arguments]] = {
    "svarm": ("SVARM", {"index": "BV"} | PAIRED),
    "fbii": ("RegressionFBII", {"max_order": 1} | PAIRED),
}


@dataclass(frozen=True, kw_only=True)
class Banzhaf(Explainer, name="banzhaf", version=1):
    """Mean effect of a player when every other one is kept with probability ``p``, for patches and tokens in one joint game.

    ``estimator="regression"`` fits main effects to ``budget`` coalitions drawn with ``p`` (the same as ``fixlip`` with
    ``order=1, estimator="joint"``); ``"means"`` takes, from the same coalitions, the mean value with a player less the mean
    without. ``"svarm"`` and ``"fbii"`` are shapiq's, for ``p`` of 0.5 alone. ``empty`` is the least-squares intercept,
    except under ``"svarm"``, which returns the value of the empty coalition.
    """

    yields = ("image", "text", "surrogate")
    deterministic = False
    paper = "Wang and Jia, Data Banzhaf, AISTATS 2023, arXiv 2205.15466 (means); regression as in FIxLIP, arXiv 2508.05430"
    bibtex = """@inproceedings{wang2023banzhaf,
  title={Data {Banzhaf}: A Robust Data Valuation Framework for Machine Learning},
  author={Wang, Jiachen T. and Jia, Ruoxi},
  booktitle={International Conference on Artificial Intelligence and Statistics},
  year={2023}
}"""
    published: ClassVar[Mapping[str, str]] = {
        "p": "0.5; FIxLIP weighs 0.3, 0.5 and 0.7",
        "budget": "none; FIxLIP's order-1 comparison on MS COCO takes 2^21 values of its product design",
    }
    differs = "coalitions are drawn without repetition and sizes that the budget covers are enumerated, as in FIxLIP's sampler"

    estimator: Estimator = "regression"
    p: float = 0.5
    budget: int = 2048
    removal: str = "mask_pixels"
    text_removal: str = "attention_mask"

    def __post_init__(self) -> None:
        known = get_args(Estimator.__value__)
        if self.estimator not in known:
            raise InvalidInput(f"banzhaf has no estimator {self.estimator!r}. Known: {', '.join(known)}")
        if not 0.0 < self.p < 1.0:
            raise InvalidInput(f"banzhaf's p is a probability strictly between 0 and 1, not {self.p}")
        if self.estimator in SHAPIQ and self.p != 0.5:
            raise InvalidInput(
                f"shapiq's {self.estimator} knows p=0.5 only; for {self.p} take estimator='regression' or 'means'"
            )

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        game = SimilarityGame(encoder, pair, removal=self.removal, text_removal=self.text_removal)
        return self.explain_game(game, rng)

    def explain_game(self, game: "FactorisedGame", rng: np.random.Generator) -> Explanation:
        """Explain any game of patches and tokens."""
        n = game.n_patches + game.n_tokens
        if self.estimator in SHAPIQ:
            estimated, full = approximate(*SHAPIQ[self.estimator], game, self.budget, rng)
            players = first_order(estimated)
        else:
            if self.budget < n + 2:
                raise InvalidInput(f"a budget of {self.budget} coalitions is too small for {n} players; give at least {n + 2}")
            design = sample_coalitions(n, self.budget, p=self.p, seed=int(rng.integers(0, 2**32)))
            players = self._players(design, game)
            full = float(game.values(np.ones((1, n), dtype=bool))[0])
        index = "BV" if self.p == 0.5 else "WBV"
        return Explanation.from_players(players, game.patch_grid, p=self.p, index=index, similarity=full)

    def _players(self, design: Coalitions, game: "FactorisedGame") -> Players:
        values = game.values(design.kept).astype(np.float64)
        if self.estimator == "regression":
            fitted = fit_joint(FactorDesign(design.kept, design.weights, "joint"), values, None)
            return Players(fitted.main, empty=fitted.empty)
        weights = design.weights / design.weights.sum()
        shown = weights @ design.kept
        if not ((shown > 0) & (shown < 1)).all():
            raise InvalidInput(f"{len(design)} coalitions leave a player always in or always out; raise the budget")
        total, inside = float(weights @ values), (weights * values) @ design.kept
        main = inside / shown - (total - inside) / (1 - shown)
        return Players(main, empty=total - self.p * float(main.sum()))
