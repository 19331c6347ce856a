"""Exact Shapley and Banzhaf values and interactions of small games, from all of their coalitions."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import comb
from typing import TYPE_CHECKING, ClassVar, Literal, get_args

import numpy as np
from jaxtyping import Bool, Float

from benchmark.errors import InvalidInput
from benchmark.explainers.base import Explainer, Yields
from benchmark.explanations import Explanation, Players
from benchmark.games.regression import fit_efficient
from benchmark.games.similarity import SimilarityGame

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair
    from benchmark.explainers.fixlip import FactorisedGame

type Index = Literal["SV", "BV", "FSII", "FBII"]
LARGEST = 14


@dataclass(frozen=True, kw_only=True)
class Exact(Explainer, name="exact", version=1):
    """The index itself, not an estimate, for games of at most 14 players: what every estimator is checked against.

    ``SV`` and ``BV`` are the Shapley and Banzhaf values, ``FSII`` and ``FBII`` the faithful interactions of order two.
    ``p`` is the probability with which the weighted ``BV`` and ``FBII`` keep players. A masked image is encoded once for
    each subset of patches and a masked text once for each subset of tokens.
    """

    yields: ClassVar[tuple[Yields, ...]] = ("image", "text", "cross", "surrogate")
    paper = "Shapley 1953; Banzhaf 1965; faithful interactions: Tsai et al., Faith-Shap, JMLR 2023, arXiv 2203.00870"
    bibtex = """@article{tsai2023faith,
  title={Faith-{Shap}: The Faithful {Shapley} Interaction Index},
  author={Tsai, Che-Ping and Yeh, Chih-Kuan and Ravikumar, Pradeep},
  journal={Journal of Machine Learning Research},
  year={2023}
}"""
    published: ClassVar[Mapping[str, str]] = {"index": "none is preferred", "p": "0.5; FIxLIP weighs 0.3, 0.5 and 0.7"}
    needs = ("at most 14 patches and tokens together",)

    index: Index = "FBII"
    p: float = 0.5
    removal: str = "mask_pixels"
    text_removal: str = "attention_mask"

    def __post_init__(self) -> None:
        known = get_args(Index.__value__)
        if self.index not in known:
            raise InvalidInput(f"exact has no index {self.index!r}. Known: {', '.join(known)}")
        if not 0.0 < self.p < 1.0:
            raise InvalidInput(f"exact's p is a probability strictly between 0 and 1, not {self.p}")
        if self.index in ("SV", "FSII") and self.p != 0.5:
            raise InvalidInput(f"p belongs to BV and FBII; under index={self.index!r} leave it out")

    def unsupported(self, encoder: "DualEncoder") -> str | None:
        if encoder.n_patches >= LARGEST:
            known = f"exact goes through all coalitions of at most {LARGEST} players"
            return f"{known}; this encoder has {encoder.n_patches} patches"
        return None

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        game = SimilarityGame(encoder, pair, removal=self.removal, text_removal=self.text_removal)
        return self.explain_game(game, rng)

    def explain_game(self, game: "FactorisedGame", rng: np.random.Generator) -> Explanation:
        """Explain any game whose values factorise into an image and a text embedding."""
        del rng
        n = game.n_patches + game.n_tokens
        if n > LARGEST:
            raise InvalidInput(
                f"exact goes through all coalitions of at most {LARGEST} players; this pair has {game.n_patches} patches and "
                f"{game.n_tokens} tokens: estimate with shapley, banzhaf or fixlip"
            )
        patches, tokens = coalitions(game.n_patches), coalitions(game.n_tokens)
        images, texts = (rows.astype(np.float64) for rows in (game.embed_images(patches), game.embed_texts(tokens)))
        values = (game.scale * images @ texts.T + game.bias).ravel()
        kept = np.hstack([np.repeat(patches, len(tokens), axis=0), np.tile(tokens, (len(patches), 1))])
        if self.index in ("SV", "FSII"):
            players = (shapley if self.index == "SV" else faithful_shapley)(kept, values)
        else:
            players = banzhaf(kept, values, self.p, order=1 if self.index == "BV" else 2)
        weighted = "W" if self.p != 0.5 else ""
        index = {"BV": f"{weighted}BV", "FBII": f"F{weighted}BII"}.get(self.index, self.index)
        return Explanation.from_players(players, game.patch_grid, p=self.p, index=index, similarity=float(values[-1]))


def coalitions(n: int) -> Bool[np.ndarray, "coalition player"]:
    """Return every subset of ``n`` players; the empty one first, the full one last."""
    return (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(bool)


def shapley(kept: Bool[np.ndarray, "coalition player"], values: Float[np.ndarray, " coalition"]) -> Players:
    """Return the Shapley values, given every coalition's value; ``empty`` is the empty one's."""
    n, sizes = kept.shape[1], kept.sum(axis=1)
    joining = np.array([1 / (n * comb(n - 1, size)) for size in range(n)])  # weight of coalitions that a player joins
    weights = np.where(kept, joining[sizes - 1, None], -joining[np.minimum(sizes, n - 1), None])
    return Players(weights.T @ values, empty=float(values[sizes == 0][0]))


def faithful_shapley(kept: Bool[np.ndarray, "coalition player"], values: Float[np.ndarray, " coalition"]) -> Players:
    """Return the faithful Shapley interactions of order two, given every coalition's value."""
    n, sizes = kept.shape[1], kept.sum(axis=1)
    kernel = np.array([0.0, *(1 / comb(n - 2, size - 1) for size in range(1, n)), 0.0])  # the ends are constraints
    first, second = np.triu_indices(n, 1)
    fitted = fit_efficient(kept, kernel[sizes], values, (first, second))
    return Players(fitted.main, fitted.pairs, fitted.empty)


def banzhaf(
    kept: Bool[np.ndarray, "coalition player"], values: Float[np.ndarray, " coalition"], p: float, order: Literal[1, 2]
) -> Players:
    """Return the p-Banzhaf values, or the faithful interactions of order two, given every coalition's value.

    With ``D`` the discrete derivatives and means over coalitions that keep players with probability ``p``: ``phi_ij =
    E[D_ij v]``, ``phi_i = E[D_i v] - p sum_j phi_ij``, and the intercept that keeps the mean.
    """
    share = np.prod(np.where(kept, p, 1 - p), axis=1)
    sign = np.where(kept, 1 / p, -1 / (1 - p))  # E[v sign_i] = E[D_i v]
    mean, first = float(share @ values), sign.T @ (share * values)
    if order == 1:
        return Players(first, empty=mean - p * float(first.sum()))
    pairs = sign.T @ (sign * (share * values)[:, None])
    np.fill_diagonal(pairs, 0.0)
    empty = mean - p * float(first.sum()) + p**2 * float(pairs.sum()) / 2
    return Players(first - p * pairs.sum(axis=1), pairs, empty)
