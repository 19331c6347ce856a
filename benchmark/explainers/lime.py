"""LIME: a ridge regression of the similarity on coalitions, those closest to the full one weighing most."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import solve

from benchmark.errors import InvalidInput
from benchmark.explainers.base import Explainer
from benchmark.explanations import Explanation, Players
from benchmark.games.similarity import SimilarityGame

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair
    from benchmark.explainers.fixlip import FactorisedGame


@dataclass(frozen=True, kw_only=True)
class Lime(Explainer, name="lime", version=1):
    """One joint LIME over patches and tokens: coefficients of a local linear surrogate, shrunk by its ridge penalty.

    Players are kept by coin tosses, the first of ``n_samples`` rows keeps all. A row weighs ``sqrt(exp(-d^2 / width^2))``
    with ``d = 1 - sqrt(kept / players)``, its cosine distance from the full coalition. With some 60 players nearly all
    rows lie at ``d`` of 0.29, so that LIME is close to a shrunken Banzhaf value.
    """

    yields = ("image", "text", "surrogate")
    deterministic = False
    paper = "Ribeiro et al., Why Should I Trust You? Explaining the Predictions of Any Classifier, KDD 2016, arXiv 1602.04938"
    bibtex = """@inproceedings{ribeiro2016lime,
  title={"Why Should {I} Trust You?": Explaining the Predictions of Any Classifier},
  author={Ribeiro, Marco Tulio and Singh, Sameer and Guestrin, Carlos},
  booktitle={ACM SIGKDD International Conference on Knowledge Discovery and Data Mining},
  year={2016}
}"""
    published: ClassVar[Mapping[str, str]] = {
        "n_samples": "1000 for images, 5000 for texts in the released code",
        "kernel_width": "0.25 for images; 25 on distances times 100 for texts, the same",
        "alpha": "1, with an intercept",
    }
    differs = (
        "the released code explains superpixels painted in their mean colour, or words, apart; here patches and tokens are one "
        "game of the suite's removal operators, texts drawn as images are, and no features are selected"
    )

    n_samples: int = 1000
    kernel_width: float = 0.25
    alpha: float = 1.0
    removal: str = "mask_pixels"
    text_removal: str = "attention_mask"

    def __post_init__(self) -> None:
        if self.n_samples < 2 or not self.kernel_width > 0 or not self.alpha > 0:
            raise InvalidInput(
                "lime needs n_samples of at least 2, and kernel_width and alpha above 0; "
                f"got n_samples={self.n_samples}, kernel_width={self.kernel_width}, alpha={self.alpha}"
            )

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        game = SimilarityGame(encoder, pair, removal=self.removal, text_removal=self.text_removal)
        return self.explain_game(game, rng)

    def explain_game(self, game: "FactorisedGame", rng: np.random.Generator) -> Explanation:
        """Explain any game of patches and tokens."""
        n = game.n_patches + game.n_tokens
        kept = rng.random((self.n_samples, n)) < 0.5
        kept[0] = True
        values = game.values(kept).astype(np.float64)
        main, empty = ridge(kept, values, self.weights(kept.sum(axis=1), n), self.alpha)
        return Explanation.from_players(Players(main, empty=empty), game.patch_grid, index="LIME", similarity=float(values[0]))

    def weights(self, sizes: Int[np.ndarray, " coalition"], n: int) -> Float[np.ndarray, " coalition"]:
        """Return the kernel of coalitions that keep ``sizes`` of ``n`` players."""
        distance = 1 - np.sqrt(sizes / n)
        return np.exp(-(distance**2) / (2 * self.kernel_width**2))


def ridge(
    kept: Bool[np.ndarray, "coalition player"],
    values: Float[np.ndarray, " coalition"],
    weights: Float[np.ndarray, " coalition"],
    alpha: float,
) -> tuple[Float[np.ndarray, " player"], float]:
    """Return slopes and intercept that minimise ``sum w (y - y')^2 + alpha |slopes|^2``; the intercept is not penalised."""
    share = weights / weights.sum()
    means, mean = share @ kept, float(share @ values)
    centred = kept - means
    weighted = centred.T * weights
    slopes = solve(weighted @ centred + alpha * np.eye(kept.shape[1]), weighted @ (values - mean), assume_a="pos")
    return slopes, mean - float(means @ slopes)
