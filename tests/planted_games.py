"""Games of patches and tokens whose values are written down: additive, bilinear, one pair, and two small networks."""

import numpy as np


class BilinearGame:
    """value = empty + patches . a + tokens . b + patches . matrix . tokens, and no pairs within a modality."""

    def __init__(self, grid=(2, 3), n_tokens=4, seed=0):
        rng = np.random.default_rng(seed)
        self.patch_grid, self.n_patches, self.n_tokens = grid, grid[0] * grid[1], n_tokens
        self.scale, self.bias, self.empty = 2.0, 0.3, 0.7
        self.main = rng.normal(size=self.n_patches + n_tokens)
        self.matrix = rng.normal(size=(self.n_patches, n_tokens))

    @property
    def n_players(self):
        return self.n_patches + self.n_tokens

    def embed_images(self, kept):
        ones = np.ones((len(kept), 1))
        return np.hstack([kept @ self.main[: self.n_patches, None], ones, kept @ self.matrix])

    def embed_texts(self, kept):
        ones = np.ones((len(kept), 1))
        rest = self.empty - self.bias + kept @ self.main[self.n_patches :, None]
        return np.hstack([ones, rest, kept]) / self.scale

    def values(self, kept):
        images, texts = self.embed_images(kept[:, : self.n_patches]), self.embed_texts(kept[:, self.n_patches :])
        return self.scale * (images * texts).sum(axis=1) + self.bias


def additive_game(grid=(2, 3), n_tokens=4, seed=0):
    game = BilinearGame(grid, n_tokens, seed)
    game.matrix[:] = 0
    return game


def pair_game(grid=(2, 3), n_tokens=4):
    """The second patch and the third token are worth 0.9 together and nothing apart."""
    game = BilinearGame(grid, n_tokens)
    game.main[:], game.matrix[:], game.empty = 0, 0, 0
    game.matrix[1, 2] = 0.9
    return game


class NetworkGame(BilinearGame):
    """Cosine of two small random networks: interactions of every order, within and across modalities."""

    def __init__(self, grid=(2, 3), n_tokens=4, seed=0, bend=1.0):
        super().__init__(grid, n_tokens, seed)
        rng = np.random.default_rng(100 + seed)
        self.scale, self.bias = 1.0, 0.0
        self.layers = [
            (bend * rng.normal(size=(n, 16)) / np.sqrt(n), rng.normal(size=16), rng.normal(size=(16, 8)))
            for n in (self.n_patches, n_tokens)
        ]

    def _embed(self, kept, layer):
        inner, shift, outer = layer
        out = np.tanh(kept @ inner + shift) @ outer
        return out / np.linalg.norm(out, axis=1, keepdims=True)

    def embed_images(self, kept):
        return self._embed(kept, self.layers[0])

    def embed_texts(self, kept):
        return self._embed(kept, self.layers[1])
