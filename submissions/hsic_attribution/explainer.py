"""HSIC attribution: how strongly the similarity depends on whether a patch or a token is there."""

from dataclasses import dataclass

import numpy as np

from benchmark.errors import InvalidInput
from benchmark.explainers.base import Explainer
from benchmark.explanations import Explanation
from benchmark.games.similarity import SimilarityGame


@dataclass(frozen=True, kw_only=True)
class HsicAttribution(Explainer, name="hsic_attribution", version=1):
    """Hilbert-Schmidt independence criterion between a player's presence and the similarity, over random coalitions.

    With ``signed`` a score bears the sign of the covariance of presence and similarity; without, it is never negative.
    """

    yields = ("image", "text")
    deterministic = False

    n_masks: int = 500
    signed: bool = True

    def __post_init__(self):
        if self.n_masks < 4:
            raise InvalidInput(f"hsic_attribution: n_masks is at least 4; got {self.n_masks}")

    def explain(self, encoder, pair, rng):
        game = SimilarityGame(encoder, pair)
        kept = _balanced(self.n_masks, game.n_patches, rng)
        shown = game.cross_values(kept, np.ones((1, pair.n_tokens), dtype=bool))[:, 0]
        read = _balanced(self.n_masks, pair.n_tokens, rng)  # texts repeat soon, and are encoded once each
        told = game.cross_values(np.ones((1, game.n_patches), dtype=bool), read)[0]
        image, text = self._scores(kept, shown), self._scores(read, told)
        return Explanation(image=image.reshape(encoder.patch_grid), text=text, similarity=encoder.similarity(pair))

    def _scores(self, kept, values):
        """Return one score for each player; ``kept`` is (mask, player), ``values`` (mask,)."""
        centred = _centred(_kernel(values))
        # Presence has the kernel 1[m = m'] - 1/2, which is 2 (m - 1/2)(m' - 1/2): the trace is a quadratic form
        presence = kept - 0.5
        scores = 2.0 * np.einsum("mp,mn,np->p", presence, centred, presence, optimize=True) / (len(kept) - 1) ** 2
        return scores * np.sign((presence - presence.mean(axis=0)).T @ (values - values.mean())) if self.signed else scores


def _balanced(n_masks, n_players, rng):
    """Draw masks in which every player is kept in half of them: a Latin hypercube of two levels."""
    halves = np.arange(n_masks) < n_masks / 2
    return np.stack([rng.permutation(halves) for _ in range(n_players)], axis=1)


def _kernel(values):
    """Return the Gaussian kernel of the values, its width the median distance of two that differ."""
    distances = np.abs(values[:, None] - values[None, :])
    apart = distances[distances > 0]
    if not len(apart):
        return np.ones_like(distances)  # nothing changes the similarity, and every score is zero
    return np.exp(-0.5 * (distances / np.median(apart)) ** 2)


def _centred(kernel):
    """Return H K H, where H takes the mean away."""
    rows = kernel - kernel.mean(axis=0)
    return rows - rows.mean(axis=1, keepdims=True)
