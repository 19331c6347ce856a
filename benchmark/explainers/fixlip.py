"""FIxLIP: weighted Banzhaf (any p) or Shapley interactions of patches and tokens by least squares.

Image and text coalitions are sampled apart and every one is encoded once; the regression over all their pairs is solved
from the two small sides (``benchmark.games.regression``). The joint estimator samples coalitions of all players instead,
which is what the Shapley kernel needs.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from math import ceil
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

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
    coalition_condition,
    fit_efficient,
    fit_joint,
    fit_product,
    fit_selected,
)
from benchmark.games.sampling import Coalitions, Kernel, sample_coalitions, split_budget

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair

type PairSet = Literal["auto", "all", "cross", "clique", "strongest"]
CHOICES: dict[str, tuple[object, ...]] = {
    "index": ("banzhaf", "shapley"),
    "order": (1, 2),
    "estimator": ("cross", "joint", "proxyshap"),
    "pairs": ("auto", "all", "cross", "clique", "strongest"),
}
MARGIN = 1.25  # coalitions per coefficient from which ``auto`` trusts a fit; at one it interpolates its own noise
PROXY_BUDGET = 2**14  # values that the trees are fitted to by default; a larger design is better solved by ``cross``
IMAGE_SIDES = ImageSides()  # kept between pairs: a second caption of an image encodes no image coalition
LARGEST = 6000  # coefficients of one side up to which ``auto`` fits its pairs; the system takes 300 MB there
LARGE_GRID = 256  # patches above which default budgets follow the conditioning; up to there they suffice, and stay as they were
BOUND = 10.0  # condition number that default budgets on a large grid meet: no error is over 2.1 times an orthogonal design's
ILL = 100.0  # condition number above which a warning is due: under 3 coalitions for 2 unknowns, errors up to 5 times and more
PER_UNKNOWN = 4.5  # coalitions per unknown that a large grid starts with; random ones come to a condition number of 8
STEP, MOST_STEPS = 1.25, 6  # by which a budget grows while it misses ``BOUND``, and how often at most


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
    ``cross`` never fits them. Pairs that ``auto`` tried and left out are said in a warning; coalitions of a side that do
    not tell its players apart raise ``InvalidInput``.
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
    if order == 2:
        _check_sides(fitted, (image, text), wanted, refuse=pairs == "all")
    return fitted.empty, fitted.main, fitted.pairs


@dataclass(frozen=True, kw_only=True)
class Fixlip(Explainer, name="fixlip", version=1):
    """FIxLIP, a second-order surrogate of the masking game (or a first-order one, fitted directly, at ``order=1``).

    ``budget`` is the number of game values: split between the sides as published under ``estimator="cross"``, the number
    of joint coalitions under ``"joint"``. ``image_budget`` and ``text_budget`` set the sides themselves. By default
    within-image pairs come in on grids of up to 90 patches. On any grid, ``pairs="strongest"`` fits all patch-token pairs
    and the within-image pairs of the strongest patches; ``pairs="clique"`` fits the pairs of the strongest players and, as
    published, no other pair. Both take ``clique`` players.

    On grids of more than 256 patches, default budgets follow the conditioning: the coalitions of a side grow until the
    condition number of its small system (weighted, centred, scaled to unit diagonal) is at most 10. The notes give both
    condition numbers and ``condition_met`` for every product design; a given budget is kept as it is, with a warning where a
    condition number exceeds 100. Coalitions that do not identify a side's main effects are refused. Within-image or
    within-text pairs that are not identified are refused if asked for, and else left out, zero, with a warning.

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
        "Interactions}, author={Baniecki, Hubert and Muschalik, Maximilian and Fumagalli, Fabian and "
        'Hammer, Barbara and H{\\"u}llermeier, Eyke and Biecek, Przemyslaw}, booktitle={NeurIPS}, year={2025}, '
        "eprint={2508.05430}}"
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
        "reads trees at p of 0.5 whatever p was drawn; here they are read at p. Above 256 patches default budgets grow until "
        "both systems are well conditioned (docs/large_grids.md). Surrogates are in cosine similarity and include the value "
        "of the empty coalition."
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
        grows = self._grows(game.n_patches)[0]
        design = (image, n_images, grows, self.index, self.p, self.legacy_weights, self.image_seed)
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
        """Return how many image and text forward passes a pair takes, at most but for budgets that have to grow."""
        images, texts = self._budgets(n_patches, n_tokens)
        return images + texts + (4 if self.estimator == "proxyshap" else 2)

    def _budgets(self, n_patches: int, n_tokens: int) -> tuple[int, int]:
        """Return the numbers of image and of text coalitions to encode, before deduplication and before any growth."""
        if self.estimator == "joint":
            budget = self._joint_budget(n_patches, n_tokens)
            return min(budget, 2**n_patches), min(budget, 2**n_tokens)
        sides = self.image_budget or self.text_budget
        budget = PROXY_BUDGET if self.estimator == "proxyshap" and self.budget is None and not sides else self.budget
        if budget is not None:
            return split_budget(budget, n_patches, n_tokens)
        images = self.image_budget or self._default_image_budget(n_patches, n_tokens)
        texts = self.text_budget or max(64, min(256, 2 * _n_coefficients(n_tokens)), 3 * (n_tokens + 1))
        image_grows, text_grows = self._grows(n_patches)
        images = max(images, ceil(PER_UNKNOWN * (n_patches + 1)) if image_grows else 0)
        texts = max(texts, ceil(PER_UNKNOWN * (n_tokens + 1)) if text_grows else 0)
        return min(images, 2**n_patches), min(texts, 2**n_tokens)

    def _grows(self, n_patches: int) -> tuple[bool, bool]:
        """Return whether the image and the text budget are chosen from the conditioning, not given."""
        free = self.estimator == "cross" and self.budget is None and n_patches > LARGE_GRID
        return free and self.image_budget is None, free and self.text_budget is None

    def _default_image_budget(self, n_patches: int, n_tokens: int) -> int:
        wanted = _n_coefficients(n_patches)
        if self.pairs in ("clique", "strongest"):
            among = max(self.clique - self._clique_tokens(n_patches, n_tokens), 0)
            wanted = 1 + n_patches + among * (among - 1) // 2
        reachable = wanted <= 4096 or self.pairs in ("all", "clique", "strongest")
        return max(2048, wanted * 3 // 2 if reachable and self.order == 2 and self.pairs != "cross" else 0, 3 * (n_patches + 1))

    def _joint_budget(self, n_patches: int, n_tokens: int) -> int:
        n = n_patches + n_tokens
        wanted = 1 + n + (n_patches * n_tokens if self.order == 2 else 0)
        if self.order == 2 and self.pairs == "all":
            wanted = _n_coefficients(n)
        return min(self.budget or max(4096, wanted * 3 // 2), 2**n)

    def _sample(self, n_players: int, budget: int, seed: int) -> Coalitions:
        return sample_coalitions(n_players, budget, kernel=self.index, p=self.p, seed=seed, legacy_weights=self.legacy_weights)

    def _sample_side(self, n_players: int, budget: int, seed: int, *, grows: bool) -> Coalitions:
        """Draw one side of a product design; the same seed draws on, so that a grown one starts with the same coalitions."""
        drawn = self._sample(n_players, budget, seed)
        for _ in range(MOST_STEPS if grows else 0):
            if budget >= 2**n_players or coalition_condition(drawn.kept, drawn.weights) <= BOUND:
                break
            budget = min(ceil(STEP * budget), 2**n_players)
            drawn = self._sample(n_players, budget, seed)
        return drawn

    def _image_side(self, game: FactorisedGame, seed: int) -> ImageSide:
        """Draw the image coalitions of a product design and encode them, with what else a fit asks for."""
        budget, grows = self._side_budgets(game)[0], self._grows(game.n_patches)[0]
        images = self._sample_side(game.n_patches, budget, seed, grows=grows)
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
        images, budget, grows = side.coalitions, self._side_budgets(game)[1], self._grows(game.n_patches)[1]
        texts = self._sample_side(game.n_tokens, budget, int(rng.integers(0, 2**32)), grows=grows)
        embedded = side.embeddings.astype(np.float64), game.embed_texts(texts.kept).astype(np.float64)
        if self.estimator == "proxyshap":
            values = (game.scale * embedded[0] @ embedded[1].T + game.bias).ravel()
            nothing = _value(game, side.ends[1], kept=False)
            return self._fit_trees(images, texts, values, nothing, int(rng.integers(0, 2**31)))
        image = FactorDesign(images.kept, images.weights, "image")
        text = FactorDesign(texts.kept, texts.weights, "text")
        response = EmbeddingTable(*embedded, game.scale, game.bias)
        fitted = self._solve_sides(image, text, response)
        notes = fitted.notes | {"image_enumerated": images.n_enumerated, "text_enumerated": texts.n_enumerated}
        return replace(fitted, notes=notes | _conditioning(image, text))

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
        if self.pairs in ("clique", "strongest"):
            first = fit_product(image, text, response, order=1)
            chosen = self._strongest(first.main, image.n_players, text.n_players)
            if self.pairs == "clique":
                return fit_selected(image, text, response, chosen)
            return self._solve_strongest(image, text, response, chosen[chosen < image.n_players])
        wanted = {
            "auto": (_affordable(image.n_coalitions, image.n_players), _affordable(text.n_coalitions, text.n_players)),
            "all": (True, True),
            "cross": (False, False),
        }[self.pairs]
        fitted = fit_product(image, text, response, pairs=wanted)
        _check_sides(fitted, (image, text), wanted, refuse=self.pairs == "all")
        return fitted

    def _solve_strongest(
        self, image: FactorDesign, text: FactorDesign, response: Response, patches: Int[np.ndarray, " chosen"]
    ) -> Fit:
        """Fit all patch-token pairs, those within the text where affordable, and those among the chosen patches."""
        first, second = (patches[index] for index in np.triu_indices(len(patches), 1))
        within_text = _affordable(text.n_coalitions, text.n_players)
        fitted = fit_product(image, text, response, pairs=((first, second), within_text))
        players, n_coefficients = f"{len(patches)} out of {image.n_players} patches", 1 + image.n_players + len(first)
        _check_pairs(fitted, image, players, n_coefficients, refuse=True)
        _check_sides(fitted, (text,), (within_text,), refuse=False)
        return replace(fitted, notes=fitted.notes | {"patches_with_pairs": len(patches)})

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


def _check_sides(fitted: Fit, sides: Sequence[FactorDesign], wanted: Sequence[bool], *, refuse: bool) -> None:
    """Check the pairs of each side whose pairs were all wanted."""
    for side, pairs in zip(sides, wanted, strict=True):
        if pairs:
            _check_pairs(fitted, side, f"{side.n_players} {side.name} players", _n_coefficients(side.n_players), refuse=refuse)


def _check_pairs(fitted: Fit, side: FactorDesign, players: str, n_coefficients: int, *, refuse: bool) -> None:
    """Warn of pairs that were left out or that the coalitions hardly identify; with ``refuse``, raise for the former."""
    found, ample = fitted.notes[f"{side.name}_pairs"], side.n_coalitions >= MARGIN * n_coefficients
    if found and (ample or side.n_coalitions == 2**side.n_players):
        return
    sentence = (
        f"{side.n_coalitions} {side.name} coalitions {'hardly' if found else 'do not'} identify the pairs of {players} "
        f"({n_coefficients} coefficients)"
    )
    if refuse and not found:
        raise InvalidInput(f"{sentence}; give more of them, or pairs='cross'")
    outcome = "these may be mostly noise" if found else "these are left out (zero)"
    warnings.warn(f"{sentence}: {outcome}; give more coalitions", stacklevel=2)


def _conditioning(image: FactorDesign, text: FactorDesign) -> dict[str, Any]:
    """Return the condition numbers of both sides, for the notes, and warn of those at which noise takes over."""
    for side in (image, text):
        if side.condition > ILL:
            enough = min(ceil(PER_UNKNOWN * (side.n_players + 1)), 2**side.n_players)
            warnings.warn(
                f"{side.n_coalitions} coalitions of {side.n_players} {side.name} players have a condition number of "
                f"{side.condition:.3g}, so effects may be mostly noise; {side.name}_budget={enough} brings it under {BOUND:g}",
                stacklevel=2,
            )
    return {
        "image_condition": image.condition,
        "text_condition": text.condition,
        "condition_bound": BOUND,
        "condition_met": max(image.condition, text.condition) <= BOUND,
    }
