"""Occlusion: how far the similarity falls when one player is taken away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from jaxtyping import Bool, Float

from benchmark.errors import InvalidInput
from benchmark.explainers.base import Explainer
from benchmark.explanations import Explanation, Players
from benchmark.games.similarity import SimilarityGame
from benchmark.games.together import encode_together
from benchmark.types import Removal, TextRemoval

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair


@dataclass(frozen=True, kw_only=True)
class Occlusion(Explainer, name="occlusion", version=1):
    """Leave-one-out differences in cosine similarity, for patches and for tokens.

    The surrogate is the first-order expansion at the full coalition: exact there and wherever one player is missing.
    With ``window > 1``, squares of that many patches a side are taken away at stride 1; a patch gets the mean drop over
    the windows that hold it, divided by their size, so that it stays the effect of one patch.
    """

    yields = ("image", "text", "surrogate")
    paper = "Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks, arXiv 1311.2901"
    bibtex = """@inproceedings{zeiler2014visualizing,
  title={Visualizing and Understanding Convolutional Networks},
  author={Zeiler, Matthew D. and Fergus, Rob},
  booktitle={European Conference on Computer Vision},
  year={2014}
}"""
    published: ClassVar[Mapping[str, str]] = {
        "window": "the paper slides a grey square over the pixels; one patch is the smallest square here",
        "removal": "the suite's default: the patch's pixels set to the normalised zero, as in FIxLIP",
        "text_removal": "extension to texts: the token is no longer attended to, as in FIxLIP",
    }
    differs = "the paper has no text and no surrogate; its square moves by pixels, here by patches"

    shares_passes: ClassVar[bool] = True

    window: int = 1
    removal: Removal = "mask_pixels"
    text_removal: TextRemoval = "attention_mask"

    def __post_init__(self) -> None:
        if self.window < 1:
            raise InvalidInput(f"occlusion: window is at least 1 patch; got {self.window}")

    def explain(self, encoder: "DualEncoder", pair: "Pair", rng: np.random.Generator) -> Explanation:
        return self.explain_pairs(encoder, [pair], [rng])[0]

    def explain_pairs(
        self, encoder: "DualEncoder", pairs: Sequence["Pair"], rngs: Sequence[np.random.Generator]
    ) -> list[Explanation]:
        """Explain pairs whose games share batches: one game is too small to fill a GPU."""
        del rngs
        windows = self._windows(encoder.patch_grid)
        games = [SimilarityGame(encoder, pair, removal=self.removal, text_removal=self.text_removal) for pair in pairs]
        kept = [_all_but(windows, game.n_tokens) for game in games]
        if len(games) > 1:
            encode_together(games, kept)
        return [self._explained(game, windows, game.values(rows)) for game, rows in zip(games, kept, strict=True)]

    def _explained(
        self, game: SimilarityGame, windows: Bool[np.ndarray, "window patch"], values: Float[np.ndarray, " coalition"]
    ) -> Explanation:
        full, drops = float(values[0]), values[0] - values[1:]
        image = drops[: len(windows)] @ windows / windows.sum(axis=0) / self.window**2
        main = np.concatenate([image, drops[len(windows) :]])
        players = Players(main, empty=full - float(main.sum()))
        return Explanation.from_players(players, game.patch_grid, index="LOO", similarity=full)

    def _windows(self, grid: tuple[int, int]) -> Bool[np.ndarray, "window patch"]:
        """Return every square of ``window`` patches a side that fits the grid."""
        rows, columns = grid[0] - self.window + 1, grid[1] - self.window + 1
        if rows < 1 or columns < 1:
            raise InvalidInput(f"occlusion: a window of {self.window} patches does not fit a grid of {grid[0]} x {grid[1]}")
        windows = np.zeros((rows, columns, *grid), dtype=bool)
        for row in range(rows):
            for column in range(columns):
                windows[row, column, row : row + self.window, column : column + self.window] = True
        return windows.reshape(rows * columns, -1)


def _all_but(windows: Bool[np.ndarray, "window patch"], n_tokens: int) -> Bool[np.ndarray, "coalition player"]:
    """Return the full coalition, those without one window, and those without one token."""
    n_patches = windows.shape[1]
    removed = np.zeros((1 + len(windows) + n_tokens, n_patches + n_tokens), dtype=bool)
    removed[1 : 1 + len(windows), :n_patches] = windows
    removed[1 + len(windows) :, n_patches:] = np.eye(n_tokens, dtype=bool)
    return ~removed
