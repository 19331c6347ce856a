"""The common form of an explanation: frozen arrays in one layout, on disk and as ``shapiq.InteractionValues``."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from benchmark.errors import InvalidExplanation

if TYPE_CHECKING:
    from shapiq import InteractionValues


@dataclass(frozen=True, slots=True)
class Players:
    """An additive or pairwise surrogate over patches (row-major) then content tokens, in cosine similarity.

    ``main[i]`` is the effect of player ``i`` alone, ``pairs[i, j]`` (symmetric, zero diagonal) that of a pair, ``empty``
    the value of the empty coalition as the surrogate sees it.
    """

    main: Float[np.ndarray, " player"]
    pairs: Float[np.ndarray, "player player"] | None = None
    empty: float = 0.0

    def predict(self, coalitions: Bool[np.ndarray, "coalition player"]) -> Float[np.ndarray, " coalition"]:
        """Return the surrogate's value of each coalition: empty + main effects + pairs inside it."""
        kept = np.asarray(coalitions, dtype=np.float64)
        values = self.empty + kept @ self.main
        if self.pairs is not None:
            values = values + 0.5 * np.einsum("ci,ci->c", kept @ self.pairs, kept)
        return values

    def first_order(self, p: float = 0.5) -> Float[np.ndarray, " player"]:
        """Fold pairs into their players, ``main[i] + p * sum_j pairs[i, j]`` (exact for the p-Banzhaf index)."""
        return self.main if self.pairs is None else self.main + p * self.pairs.sum(axis=1)


def _plain(value: Any) -> Any:
    """Return a NumPy scalar or array as plain numbers, for JSON."""
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise InvalidExplanation(f"notes hold numbers, texts, lists and mappings; {type(value).__name__} is none of them")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What an explainer says about one image-text pair; positive raises the similarity.

    With ``players`` the scores are in cosine similarity and share one scale; without, ``image`` and ``text`` only rank,
    each in its method's own unit. Missing is ``None``, never zeros. ``similarity`` is the cosine the method explained:
    methods that recompute or alter the forward pass report theirs, so that drift shows.
    """

    image: Float[np.ndarray, "row column"] | None = None
    text: Float[np.ndarray, " token"] | None = None
    cross: Float[np.ndarray, "row column token"] | None = None
    players: Players | None = None
    index: str | None = None
    similarity: float | None = None
    notes: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        dimensions = {"image": 2, "text": 1, "cross": 3}
        for name, array in self.arrays().items():
            if not np.isfinite(array).all():
                bad = int((~np.isfinite(array)).sum())
                raise InvalidExplanation(f"{name} scores must be finite; {bad} of {array.size} are not")
            if name in dimensions and array.ndim != dimensions[name]:
                raise InvalidExplanation(f"{name} scores need {dimensions[name]} axes, not shape {array.shape}")
        if not self.arrays():
            raise InvalidExplanation("an explanation needs at least one of image, text, cross and players")

    def arrays(self) -> dict[str, np.ndarray]:
        """Return what is present, by name: image, text, cross, main, pairs, empty."""
        found = {name: getattr(self, name) for name in ("image", "text", "cross")}
        if self.players is not None:
            found |= {"main": self.players.main, "pairs": self.players.pairs}
            found["empty"] = np.asarray(self.players.empty, dtype=np.float64)
        return {name: np.asarray(array) for name, array in found.items() if array is not None}

    def check(self, grid: tuple[int, int], n_tokens: int) -> None:
        """Raise ``InvalidExplanation`` unless every array fits a patch grid and a number of content tokens."""
        n = grid[0] * grid[1] + n_tokens
        expected = {"image": grid, "text": (n_tokens,), "cross": (*grid, n_tokens), "main": (n,), "pairs": (n, n), "empty": ()}
        for name, array in self.arrays().items():
            if array.shape != expected[name]:
                raise InvalidExplanation(f"{name} scores have shape {array.shape}; this pair needs {expected[name]}")

    def predict(self, coalitions: Bool[np.ndarray, "coalition player"]) -> Float[np.ndarray, " coalition"]:
        """Return the surrogate's values; an explanation that only ranks has none and raises."""
        if self.players is None:
            raise InvalidExplanation("this explanation only ranks; it has no surrogate to predict with")
        return self.players.predict(coalitions)

    def to_shapiq(self) -> "InteractionValues":
        """Return the surrogate as ``shapiq.InteractionValues`` (orders 0 to 2)."""
        from shapiq import InteractionValues

        if self.players is None:
            raise InvalidExplanation("this explanation only ranks; shapiq needs main effects or pairs")
        main, pairs = self.players.main, self.players.pairs
        scores: dict[tuple[int, ...], float] = {(): self.players.empty}
        scores |= {(i,): float(value) for i, value in enumerate(main)}
        if pairs is not None:
            rows, columns = np.nonzero(np.triu(pairs, 1))
            scores |= {(int(i), int(j)): float(pairs[i, j]) for i, j in zip(rows, columns, strict=True)}
        return InteractionValues(
            values=np.array(list(scores.values())),
            index=self.index or ("SV" if pairs is None else "FSII"),
            max_order=1 if pairs is None else 2,
            min_order=0,
            n_players=len(main),
            interaction_lookup={key: position for position, key in enumerate(scores)},
            baseline_value=self.players.empty,
        )

    @classmethod
    def from_shapiq(cls, values: "InteractionValues", grid: tuple[int, int], p: float = 0.5) -> "Explanation":
        """Read main effects and pairs; players are patches of ``grid`` row-major, then content tokens."""
        n = values.n_players
        main, pairs, empty = np.zeros(n), np.zeros((n, n)), 0.0
        for key, value in values.dict_values.items():
            if len(key) > 2:
                raise InvalidExplanation(f"interactions of order {len(key)} have no place here; at most pairs do")
            if len(key) == 2:
                pairs[key[0], key[1]] = pairs[key[1], key[0]] = value
            elif len(key) == 1:
                main[key[0]] = value
            else:
                empty = float(value)
        has_pairs = values.max_order >= 2
        players = Players(main, pairs if has_pairs else None, empty)
        return cls.from_players(players, grid, index=values.index, p=p)

    @classmethod
    def from_players(cls, players: Players, grid: tuple[int, int], p: float = 0.5, **fields: Any) -> "Explanation":
        """Lay a surrogate out as maps: first-order image and text scores, and the patch-token block of the pairs."""
        n_patches = grid[0] * grid[1]
        first = players.first_order(p)
        cross = None
        if players.pairs is not None and len(first) > n_patches:
            cross = players.pairs[:n_patches, n_patches:].reshape(*grid, -1)
        text = first[n_patches:] if len(first) > n_patches else None
        return cls(image=first[:n_patches].reshape(grid), text=text, cross=cross, players=players, **fields)

    def to_bytes(self) -> bytes:
        """Return a compressed ``.npz`` of the arrays with index, similarity and notes as JSON inside."""
        buffer = BytesIO()
        meta = json.dumps(
            {"index": self.index, "similarity": self.similarity, "notes": dict(self.notes)}, sort_keys=True, default=_plain
        )
        np.savez_compressed(buffer, allow_pickle=False, meta=np.array(meta), **self.arrays())
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Explanation":
        """Read what ``to_bytes`` wrote; nothing pickled is ever loaded."""
        try:
            with np.load(BytesIO(data), allow_pickle=False) as archive:
                arrays = {name: archive[name] for name in archive.files}
        except (ValueError, OSError, EOFError) as error:
            raise InvalidExplanation(f"not a stored explanation: {error}") from error
        meta = json.loads(str(arrays.pop("meta", np.array("{}"))))
        players = None
        if "main" in arrays:
            players = Players(arrays.pop("main"), arrays.pop("pairs", None), float(arrays.pop("empty", 0.0)))
        return cls(players=players, **arrays, **meta)

    def save(self, path: Path | str) -> None:
        """Write the explanation as one ``.npz`` file."""
        Path(path).write_bytes(self.to_bytes())

    @classmethod
    def load(cls, path: Path | str) -> "Explanation":
        """Read a file written by ``save``."""
        return cls.from_bytes(Path(path).read_bytes())
