"""FIxLIP: weighted Banzhaf (any p) or Shapley interactions of patches and tokens by least squares.

Image and text coalitions are sampled apart and every one is encoded once; the regression over all their pairs is solved
from the two small sides (``benchmark.games.regression``). The joint estimator samples coalitions of all players instead,
which is what the Shapley kernel needs.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from math import ceil
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np
from jaxtyping import Bool, Float, Int

from benchmark.errors import InvalidInput
from benchmark.explainers.base import Explainer, Yields
from benchmark.explainers.image_sides import ImageSide, ImageSides, image_digest
from benchmark.explanations import Explanation, Players
from benchmark.games.boosting import fit_trees, leaf_interactions
from benchmark.games.regression import (
    EmbeddingTable,
    FactorDesign,
    Fit,
    Indices,
    Response,
    ValueTable,
    fit_efficient,
    fit_joint,
    fit_product,
    fit_selected,
)
from benchmark.games.sampling import Coalitions, Kernel, sample_coalitions, split_budget

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair

type PairSet = Literal["auto", "all", "cross", "clique"]
CHOICES: dict[str, tuple[object, ...]] = {
    "index": ("banzhaf", "shapley"),
    "order": (1, 2),
    "estimator": ("cross", "joint", "proxyshap"),
    "pairs": ("auto", "all", "cross", "clique"),
}
MARGIN = 1.25  # coalitions per coefficient from which ``auto`` trusts a fit; at one it interpolates its own noise
PROXY_BUDGET = 2**14  # values that the trees are fitted to by default; a larger design is better solved by ``cross``
IMAGE_SIDES = ImageSides()  # kept between pairs: a second caption of an image encodes no image coalition
LARGEST = 6000  # coefficients of one side up to which ``auto`` fits its pairs; the system takes 300 MB there


class FactorisedGame(Protocol):
    """What FIxLIP asks of a game: ``benchmark.games.similarity.SimilarityGame``, or a planted one in a test."""

    n_patches: int
    n_tokens: int
    patch_grid: tuple[int, int]
    scale: float
    bias: float

    def embed_images(self, coalitions: Bool[np.ndarray, "coalition patch"]) -> Float[np.ndarray, "coalition dim"]: ...
    def embed_texts(self, coalitions: Bool[np.ndarray, "coalition token"]) -> Float[np.ndarray, "coalition dim"]: ...
    def values(self, coalitions: Bool[np.ndarray, "coalition player"]) -> Float[np.ndarray, " coalition"]: ...


def fit(
    image_coalitions: Bool[np.ndarray, "image_coalition patch"],
    text_coalitions: Bool[np.ndarray, "text_coalition token"],
    values: Float[np.ndarray, "image_coalition text_coalition"],
    image_weights: Float[np.ndarray, " image_coalition"],
    text_weights: Float[np.ndarray, " text_coalition"],
    *,
    order: Literal[1, 2] = 2,
    pairs: Literal["auto", "all", "cross"] = "auto",
) -> tuple[float, Float[np.ndarray, " player"], Float[np.ndarray, "player player"] | None]:
    """Fit values of all image-text coalition pairs with weights ``outer(image_weights, text_weights)``.

    Returns the intercept, main effects (patches, then tokens) and pairs, symmetric with a zero diagonal; pairs are
    ``None`` at ``order`` 1. Patch-token pairs are always in the model. Pairs within the image or within the text need
    more coalitions than that side has players and pairs: ``auto`` leaves them out (zero) where the coalitions do not
    identify them or a side has over a hundred players, ``all`` raises ``InvalidInput`` unless they are identified,
    ``cross`` never fits them.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.shape != (len(image_coalitions), len(text_coalitions)):
        raise InvalidInput(
            f"values have shape {table.shape}; {len(image_coalitions)} image and {len(text_coalitions)} text coalitions need "
            f"({len(image_coalitions)}, {len(text_coalitions)})"
        )
    image = FactorDesign(image_coalitions, image_weights, "image")
    text = FactorDesign(text_coalitions, text_weights, "text")
    wanted = [pairs == "all" or (pairs == "auto" and _n_coefficients(side.n_players) <= LARGEST) for side in (image, text)]
    fitted = fit_product(image, text, ValueTable(table), order=order, pairs=(wanted[0], wanted[1]))
    if pairs == "all" and order == 2:
        _require_pairs(fitted, image, text)
    return fitted.empty, fitted.main, fitted.pairs


@dataclass(frozen=True, kw_only=True)
class Fixlip(Explainer, name="fixlip", version=1):
    """FIxLIP, a second-order surrogate of the masking game (or a first-order one, fitted directly, at ``order=1``).

    ``budget`` is the number of game values: split between the sides as published under ``estimator="cross"``, the number
    of joint coalitions under ``"joint"``. ``image_budget`` and ``text_budget`` set the sides themselves. By default
    within-image pairs come in on grids of up to 90 patches; ``pairs="clique"`` fits them among the ``clique`` strongest
    players of any grid.

    ``estimator="proxyshap"`` fits ``n_trees`` boosted trees to the values of a product design, without weights, and reads
    the interactions of ``index="banzhaf"`` from them exactly, for any ``p``; it needs the ``boost`` extra.

    The image coalitions of a product design follow from the image's pixels and ``image_seed``, not from the pair's
    generator, so that all captions of an image share them; one caption after another encodes them once. How much they
    alone move a result shows over several values of ``image_seed``.
    """

    yields: ClassVar[tuple[Yields, ...]] = ("image", "text", "cross", "surrogate")
    deterministic: ClassVar[bool] = False
    paper: ClassVar[str] = (
        "Explaining Similarity in Vision-Language Encoders with Weighted Banzhaf Interactions, arXiv 2508.05430"
    )
    bibtex: ClassVar[str] = (
        "@inproceedings{fixlip2025, title={Explaining Similarity in Vision-Language Encoders with Weighted Banzhaf "
        "Interactions}, author={Baniecki, Hubert and others}, booktitle={NeurIPS}, year={2025}, eprint={2508.05430}}"
    )
    published: ClassVar[Mapping[str, str]] = {
        "p": "0.3, 0.5, 0.7",
        "budget": "MS COCO: 2^21 cross-modal, Shapley joint 2^17; pointing game: 2^20 cross-modal, joint 2^19; notebook: 2^19",
        "text_budget": "pointing game: min(64, 2^tokens)",
        "pairs": "all at 49 patches; pointing game at 196: cross; MS COCO at 196: clique of 72",
        "legacy_weights": "True",
        "n_trees": "2000 of depth 3, learning rate 0.05, lambda 5, in the newer code's ProxySHAP (arXiv 2605.22738)",
    }
    differs: ClassVar[str] = (
        "Sampled coalitions weigh what they represent; the released code lets them sum to one whatever was enumerated "
        "(legacy_weights=True). Every coalition is encoded once, the fit is solved from two small systems, and a design of "
        "too low a rank is refused or its pairs left out, where the released code returns arbitrary values. Its ProxySHAP "
        "reads trees at p of 0.5 whatever p was drawn; here they are read at p. Surrogates are in cosine similarity and "
        "include the value of the empty coalition."
    )

    index: Kernel = "banzhaf"
    p: float = 0.5
    order: Literal[1, 2] = 2
    estimator: Literal["cross", "joint", "proxyshap"] = "cross"
    budget: int | None = None
    image_budget: int | None = None
    text_budget: int | None = None
    pairs: PairSet = "auto"
    clique: int = 72
    n_trees: int = 2000
    legacy_weights: bool = False
    image_seed: int = 0
    removal: str = "mask_pixels"
    text_removal: str = "attention_mask"

    def __post_init__(self) -> None:
        for name, known in CHOICES.items():
            if getattr(self, name) not in known:
                listed = ", ".join(str(choice) for choice in known)
                raise InvalidInput(f"fixlip has no {name} {getattr(self, name)!r}. Known: {listed}")
        if not 0.0 < self.p < 1.0:
            raise InvalidInput(f"fixlip's p is a probability strictly between 0 and 1, not {self.p}")
        if self.index == "shapley" and self.p != 0.5:
            raise InvalidInput("p belongs to the Banzhaf index; under index='shapley' leave it out")
        if self.estimator == "proxyshap" and (self.index == "shapley" or self.pairs != "auto" or self.n_trees < 1):
            raise InvalidInput("proxyshap reads all pairs of index='banzhaf' from at least one tree; leave pairs and index out")
        if self.index == "shapley" and self.estimator == "cross":
            raise InvalidInput("the Shapley kernel is no product of an image and a text kernel: set estimator='joint'")
        if self.image_seed and self.estimator == "joint":
            raise InvalidInput(
                "image_seed is for product designs; estimator='joint' draws patches and tokens together: leave it out"
            )
        sides = [side for side in (self.image_budget, self.text_budget) if side is not None]
        if sides and (self.budget is not None or self.estimator == "joint"):
            raise InvalidInput("give either budget, or image_budget and text_budget with estimator='cross'; not both")
        if any(given < 2 for given in (*sides, *([] if self.budget is None else [self.budget]))) or self.clique < 2:
            raise InvalidInput("fixlip's budgets and clique must be at least 2")

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        from benchmark.games.similarity import SimilarityGame

        game = SimilarityGame(encoder, pair, removal=self.removal, text_removal=self.text_removal)
        if self.estimator == "joint":
            return self.explain_game(game, rng)
        image, n_images = image_digest(pair.pixel_values), self._budgets(game.n_patches, game.n_tokens)[0]
        design = (image, n_images, self.index, self.p, self.legacy_weights, self.image_seed)
        seed = int.from_bytes(sha256(f"{image} {self.image_seed}".encode()).digest()[:4])
        side = IMAGE_SIDES.find(encoder, (*design, self.estimator, self.removal), lambda: self._image_side(game, seed))
        return self.explain_game(game, rng, side)

    def explain_game(self, game: FactorisedGame, rng: np.random.Generator, side: ImageSide | None = None) -> Explanation:
        """Explain any game whose values factorise into an image and a text embedding.

        Without a ``side`` the image coalitions of a product design are drawn from ``rng`` too, before those of the text.
        """
        if game.n_tokens < 1:
            raise InvalidInput("the caption has no content tokens; FIxLIP needs at least one")
        if self.estimator == "joint":
            fitted, everything = self._fit_joint(game, rng), np.ones((1, game.n_patches + game.n_tokens), dtype=bool)
            similarity = float(game.values(everything)[0])
        else:
            side = side or self._image_side(game, int(rng.integers(0, 2**32)))
            fitted, similarity = self._fit_sides(game, rng, side), _value(game, side.ends[0], kept=True)
        return Explanation.from_players(
            Players(fitted.main, fitted.pairs, fitted.empty),
            game.patch_grid,
            p=self.p,
            index="FWBII" if self.index == "banzhaf" else "FSII",
            similarity=similarity,
            notes=fitted.notes,
        )

    def estimate_forwards(self, n_patches: int, n_tokens: int) -> int:
        """Return how many image and text forward passes a pair takes, at most."""
        images, texts = self._budgets(n_patches, n_tokens)
        return images + texts + (4 if self.estimator == "proxyshap" else 2)

    def _budgets(self, n_patches: int, n_tokens: int) -> tuple[int, int]:
        """Return the numbers of image and of text coalitions to encode, before deduplication."""
        if self.estimator == "joint":
            budget = self._joint_budget(n_patches, n_tokens)
            return min(budget, 2**n_patches), min(budget, 2**n_tokens)
        sides = self.image_budget or self.text_budget
        budget = PROXY_BUDGET if self.estimator == "proxyshap" and self.budget is None and not sides else self.budget
        if budget is not None:
            return split_budget(budget, n_patches, n_tokens)
        images = self.image_budget or self._default_image_budget(n_patches, n_tokens)
        texts = self.text_budget or max(64, min(256, 2 * _n_coefficients(n_tokens)), 3 * (n_tokens + 1))
        return min(images, 2**n_patches), min(texts, 2**n_tokens)

    def _default_image_budget(self, n_patches: int, n_tokens: int) -> int:
        wanted = _n_coefficients(n_patches)
        if self.pairs == "clique":
            among = max(self.clique - self._clique_tokens(n_patches, n_tokens), 0)
            wanted = 1 + n_patches + among * (among - 1) // 2
        reachable = wanted <= 4096 or self.pairs in ("all", "clique")
        return max(2048, wanted * 3 // 2 if reachable and self.order == 2 and self.pairs != "cross" else 0, 3 * (n_patches + 1))

    def _joint_budget(self, n_patches: int, n_tokens: int) -> int:
        n = n_patches + n_tokens
        wanted = 1 + n + (n_patches * n_tokens if self.order == 2 else 0)
        if self.order == 2 and self.pairs == "all":
            wanted = _n_coefficients(n)
        return min(self.budget or max(4096, wanted * 3 // 2), 2**n)

    def _sample(self, n_players: int, budget: int, seed: int) -> Coalitions:
        return sample_coalitions(n_players, budget, kernel=self.index, p=self.p, seed=seed, legacy_weights=self.legacy_weights)

    def _image_side(self, game: FactorisedGame, seed: int) -> ImageSide:
        """Draw the image coalitions of a product design and encode them, with what else a fit asks for."""
        images = self._sample(game.n_patches, self._side_budgets(game)[0], seed)
        ends = [[True] * game.n_patches, [False] * game.n_patches]
        wanted = ends if self.estimator == "proxyshap" else ends[:1]
        embedded = game.embed_images(np.vstack([images.kept, wanted]))
        return ImageSide(images, embedded[: len(images)], embedded[len(images) :])

    def _side_budgets(self, game: FactorisedGame) -> tuple[int, int]:
        """Return the numbers of image and of text coalitions, refusing those that no fit could be made of."""
        budgets = self._budgets(game.n_patches, game.n_tokens)
        for given, n, side in zip(budgets, (game.n_patches, game.n_tokens), ("image", "text"), strict=True):
            if given < n + 1:
                raise InvalidInput(f"{given} {side} coalitions are too few for {n} {side} players; give at least {n + 1}")
        return budgets

    def _fit_sides(self, game: FactorisedGame, rng: np.random.Generator, side: ImageSide) -> Fit:
        images, texts = side.coalitions, self._sample(game.n_tokens, self._side_budgets(game)[1], int(rng.integers(0, 2**32)))
        embedded = side.embeddings.astype(np.float64), game.embed_texts(texts.kept).astype(np.float64)
        if self.estimator == "proxyshap":
            values = (game.scale * embedded[0] @ embedded[1].T + game.bias).ravel()
            nothing = _value(game, side.ends[1], kept=False)
            return self._fit_trees(images, texts, values, nothing, int(rng.integers(0, 2**31)))
        image = FactorDesign(images.kept, images.weights, "image")
        text = FactorDesign(texts.kept, texts.weights, "text")
        response = EmbeddingTable(*embedded, game.scale, game.bias)
        fitted = self._solve_sides(image, text, response)
        return replace(
            fitted, notes=fitted.notes | {"image_enumerated": images.n_enumerated, "text_enumerated": texts.n_enumerated}
        )

    def _fit_trees(
        self, images: Coalitions, texts: Coalitions, values: Float[np.ndarray, " coalition"], nothing: float, seed: int
    ) -> Fit:
        """Fit trees to every image coalition with every text coalition, and read their coefficients."""
        kept = np.hstack([np.repeat(images.kept, len(texts), axis=0), np.tile(texts.kept, (len(images), 1))])
        found = fit_trees(kept, values - nothing, n_trees=self.n_trees, seed=seed)
        fitted = leaf_interactions(found, kept.shape[1], self.p, order=self.order)
        notes = fitted.notes | {"image_coalitions": len(images), "text_coalitions": len(texts)}
        return replace(fitted, empty=fitted.empty + nothing, notes=notes)

    def _solve_sides(self, image: FactorDesign, text: FactorDesign, response: Response) -> Fit:
        if self.order == 1:
            return fit_product(image, text, response, order=1)
        if self.pairs == "clique":
            first = fit_product(image, text, response, order=1)
            return fit_selected(image, text, response, self._strongest(first.main, image.n_players, text.n_players))
        wanted = {
            "auto": (_affordable(image.n_coalitions, image.n_players), _affordable(text.n_coalitions, text.n_players)),
            "all": (True, True),
            "cross": (False, False),
        }[self.pairs]
        fitted = fit_product(image, text, response, pairs=wanted)
        if self.pairs == "all":
            _require_pairs(fitted, image, text)
        return fitted

    def _fit_joint(self, game: FactorisedGame, rng: np.random.Generator) -> Fit:
        n_patches, n = game.n_patches, game.n_patches + game.n_tokens
        budget = self._joint_budget(n_patches, game.n_tokens)
        if budget < n + 2 and budget < 2**n:
            raise InvalidInput(f"{budget} joint coalitions are too few for {n} players; give at least {n + 2}")
        design = self._sample(n, budget, int(rng.integers(0, 2**32)))
        values = game.values(design.kept).astype(np.float64)
        pairs = self._joint_pairs(design, values, n_patches, game.n_tokens)
        fitted = self._solve_joint(design, values, pairs)
        notes = fitted.notes | {"enumerated": design.n_enumerated, "pairs": 0 if pairs is None else len(pairs[0])}
        return replace(fitted, notes=notes)

    def _joint_pairs(
        self, design: Coalitions, values: Float[np.ndarray, " coalition"], n_patches: int, n_tokens: int
    ) -> Indices | None:
        """Return the pairs of a joint fit; ``auto`` takes all, or else patch-token pairs, as far as rows allow."""
        if self.order == 1:
            return None
        n = n_patches + n_tokens
        if self.pairs == "clique":
            chosen = self._strongest(self._solve_joint(design, values, None).main, n_patches, n_tokens)
            first, second = np.triu_indices(len(chosen), 1)
            return chosen[first], chosen[second]
        if self.pairs == "all" or (self.pairs == "auto" and _affordable(len(design), n)):
            first, second = np.triu_indices(n, 1)
            return first, second
        first, second = np.divmod(np.arange(n_patches * n_tokens), n_tokens)
        return first, second + n_patches

    def _solve_joint(self, design: Coalitions, values: Float[np.ndarray, " coalition"], pairs: Indices | None) -> Fit:
        if self.index == "shapley":
            return fit_efficient(design.kept, design.weights, values, pairs)
        return fit_joint(FactorDesign(design.kept, design.weights, "joint"), values, pairs)

    def _clique_tokens(self, n_patches: int, n_tokens: int) -> int:
        """Return the share of the clique that is tokens, as published; at least one patch stays."""
        share = max(5, ceil(self.clique * n_tokens / (n_patches + n_tokens)))
        return min(n_tokens, share, self.clique - 1)

    def _strongest(self, main: Float[np.ndarray, " player"], n_patches: int, n_tokens: int) -> Int[np.ndarray, " chosen"]:
        """Return the players of largest absolute first-order effect, in ascending order; ties go to the first."""
        n_chosen = self._clique_tokens(n_patches, n_tokens)
        patches = np.argsort(-np.abs(main[:n_patches]), kind="stable")[: self.clique - n_chosen]
        tokens = np.argsort(-np.abs(main[n_patches:]), kind="stable")[:n_chosen] + n_patches
        return np.sort(np.concatenate([patches, tokens]))


def _value(game: FactorisedGame, image: Float[np.ndarray, " dim"], *, kept: bool) -> float:
    """Return the value of an image embedding with the whole text, or with none of its content tokens."""
    text = game.embed_texts(np.full((1, game.n_tokens), kept))[0]
    return float(game.scale * image.astype(np.float64) @ text.astype(np.float64) + game.bias)


def _n_coefficients(n: int) -> int:
    return 1 + n + n * (n - 1) // 2


def _affordable(n_coalitions: int, n: int) -> bool:
    """Whether ``auto`` fits pairs: comfortably more coalitions than coefficients, or all there are; and a system in reach."""
    wanted = _n_coefficients(n)
    return wanted <= LARGEST and (n_coalitions >= MARGIN * wanted or n_coalitions == 2**n)


def _require_pairs(fitted: Fit, image: FactorDesign, text: FactorDesign) -> None:
    for side in (image, text):
        if not fitted.notes[f"{side.name}_pairs"]:
            raise InvalidInput(
                f"{side.n_coalitions} {side.name} coalitions do not identify the pairs of {side.n_players} {side.name} players "
                f"({_n_coefficients(side.n_players)} coefficients); give more of them, or pairs='cross'"
            )
