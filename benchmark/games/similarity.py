"""The similarity game: players are patches, then content tokens; the value of a coalition is the pair's similarity.

The towers never interact, so a masked image is encoded once and a masked text once, whatever they are paired with:
``value = scale * <image, text> + bias``, and the values of all pairs are one matrix product.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped
from shapiq import Game
from torch import Tensor

from benchmark.encoders.precision import Precision, checked, computing
from benchmark.errors import InvalidInput
from benchmark.games.removal import IMAGE_REMOVALS, TEXT_REMOVALS, Embed
from benchmark.types import Registry

if TYPE_CHECKING:
    from benchmark.encoders.base import DualEncoder, Pair

VALUES: Registry[str] = Registry("value function")
VALUES.add("cosine", "cosine of the two embeddings")
VALUES.add("logit", "cosine times the encoder's logit scale, plus its bias")

MEMORY_PER_BATCH = 256e6
"""Bytes that the widest hidden states of one batch may take."""


class Cache:
    """Embeddings of one side's coalitions, each computed once.

    A call sends its new coalitions to the device batch by batch and fetches their embeddings together: on a GPU nothing in
    between waits for it.
    """

    def __init__(self, embed: Embed, device: torch.device, batch_size: int, precision: Precision = "float32") -> None:
        self.embed, self.device, self.batch_size = embed, device, batch_size
        self.precision: Precision = precision
        self.rows: dict[bytes, int] = {}
        self.embeddings = np.zeros((0, 0), dtype=np.float32)  # with room to grow; rows beyond len(self.rows) are unset

    def look_up(self, coalitions: Bool[np.ndarray, "coalition player"]) -> Float[np.ndarray, "coalition dim"]:
        """Return one unit embedding per coalition, encoding those never seen."""
        keys = keys_of(coalitions)
        new = self.missing(keys)
        if new:
            self.keep(new, self._encode(coalitions[list(new.values())]))
        return self.embeddings[[self.rows[key] for key in keys]]

    def missing(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """Return the keys of coalitions never seen, with one place of each."""
        return {key: i for i, key in enumerate(keys) if key not in self.rows}

    def keep(self, new: Iterable[bytes], fresh: Float[np.ndarray, "coalition dim"]) -> None:
        """Remember one embedding for each key."""
        start, end = len(self.rows), len(self.rows) + len(fresh)
        if end > len(self.embeddings):
            grown = np.empty((max(end, 2 * start), fresh.shape[1]), dtype=np.float32)
            if start:
                grown[:start] = self.embeddings[:start]
            self.embeddings = grown
        self.embeddings[start:end] = fresh
        self.rows |= {key: start + i for i, key in enumerate(new)}

    @torch.no_grad()
    def _encode(self, coalitions: Bool[np.ndarray, "coalition player"]) -> Float[np.ndarray, "coalition dim"]:
        """Encode in batches, coalitions of one size together; a batch that does not fit the memory is halved."""
        order = np.argsort(coalitions.sum(axis=1), kind="stable")
        wanted = torch.from_numpy(coalitions[order])
        if self.device.type == "cuda":
            wanted = wanted.pin_memory()
        parts: list[torch.Tensor] = []
        done = 0
        with computing(self.precision, self.device):
            while done < len(wanted):
                part = self._attempt(wanted[done : done + self.batch_size])
                if part is not None:
                    parts.append(part.float())
                    done += len(part)
                elif self.batch_size > 1:
                    self.batch_size //= 2
                    if self.device.type == "cuda":
                        torch.cuda.empty_cache()
        embeddings = torch.cat(parts).cpu().numpy()
        in_order = np.empty_like(embeddings)
        in_order[order] = embeddings
        return in_order

    def _attempt(self, coalitions: Bool[Tensor, "coalition player"]) -> Tensor | None:
        """Return the embeddings, or ``None`` if the memory did not suffice and a smaller batch is worth a try."""
        try:
            return self.embed(coalitions)
        except (RuntimeError, MemoryError) as error:
            if self.batch_size == 1 or not is_out_of_memory(error):
                raise
            return None


def keys_of(coalitions: Bool[np.ndarray, "coalition player"]) -> list[bytes]:
    """Return what each coalition is remembered by."""
    return [row.tobytes() for row in np.packbits(coalitions, axis=1)]


def is_out_of_memory(error: Exception) -> bool:
    """Tell whether memory ran out; torch has an error class for it on accelerators, and only a message on a CPU."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "not enough memory" in str(error)


class SimilarityGame(Game):
    """A cooperative game on one image-text pair, usable by every shapiq approximator.

    ``removal`` and ``text_removal`` name how players are taken away, ``value`` what is measured (``cosine`` or ``logit``).
    Nothing is subtracted: the empty coalition keeps its own value. Coalitions are boolean, True for kept. ``batch_size`` and
    ``precision`` (``float32``, ``tf32``, ``bfloat16``, ``float16``) are the encoder's own unless given.
    """

    def __init__(
        self,
        encoder: "DualEncoder",
        pair: "Pair",
        removal: str = "mask_pixels",
        value: str = "cosine",
        *,
        text_removal: str = "attention_mask",
        batch_size: int | None = None,
        precision: str | None = None,
    ) -> None:
        self.encoder, self.pair = encoder, pair
        asked = precision or getattr(encoder, "precision", "float32")  # the sandbox's stand-in for an encoder has none
        self.precision: Precision = checked(asked, encoder.device)
        self.removal, self.text_removal, self.value = removal, text_removal, value
        VALUES[value]
        self.scale = encoder.logit_scale if value == "logit" else 1.0
        self.bias = encoder.logit_bias if value == "logit" else 0.0
        self.patch_grid = encoder.patch_grid
        self.n_patches, self.n_tokens = encoder.n_patches, pair.n_tokens
        with torch.no_grad(), computing("float32", encoder.device):
            image, text = IMAGE_REMOVALS[removal](encoder, pair), TEXT_REMOVALS[text_removal](encoder, pair)
        self.images, self.texts = (
            Cache(embed, encoder.device, batch_size or encoder.batch_size or self._fitting_batch(side), self.precision)
            for side, embed in (("image", image), ("text", text))
        )
        super().__init__(n_players=self.n_patches + self.n_tokens, normalize=False)

    def _fitting_batch(self, side: str) -> int:
        """Return how many inputs' hidden states fit ``MEMORY_PER_BATCH``, a power of two from 16 up."""
        width = 4 * 768  # of the MLP in a base-sized model; only the order of magnitude matters
        length = self.n_patches + 1 if side == "image" else self.pair.input_ids.shape[1]
        fitting = MEMORY_PER_BATCH / (4 * width * length)
        most = 6 if self.encoder.device.type == "cpu" else 10  # on CPUs what fits the cache is faster than what fits the memory
        return int(2 ** np.clip(np.floor(np.log2(max(fitting, 1))), 4, most))

    def embed_images(self, coalitions: Bool[np.ndarray, "coalition patch"]) -> Float[np.ndarray, "coalition dim"]:
        """Return unit embeddings of the image with only these patches kept."""
        return self.images.look_up(self._checked(coalitions, self.n_patches, "patches"))

    def embed_texts(self, coalitions: Bool[np.ndarray, "coalition token"]) -> Float[np.ndarray, "coalition dim"]:
        """Return unit embeddings of the text with only these content tokens kept."""
        return self.texts.look_up(self._checked(coalitions, self.n_tokens, "content tokens"))

    def values(self, coalitions: Shaped[np.ndarray, "*coalition player"]) -> Float[np.ndarray, " coalition"]:
        """Return the value of each joint coalition, patches first; a single coalition may come without its axis."""
        checked = self._checked(coalitions, self.n_players, "players")
        if not len(checked):
            return np.zeros(0)
        images = self.embed_images(checked[:, : self.n_patches]).astype(np.float64)
        texts = self.embed_texts(checked[:, self.n_patches :]).astype(np.float64)
        return self.scale * np.einsum("cd,cd->c", images, texts) + self.bias

    def cross_values(
        self,
        image_coalitions: Bool[np.ndarray, "image_coalition patch"],
        text_coalitions: Bool[np.ndarray, "text_coalition token"],
    ) -> Float[np.ndarray, "image_coalition text_coalition"]:
        """Return the value of every image coalition with every text coalition."""
        if not len(image_coalitions) or not len(text_coalitions):
            return np.zeros((len(image_coalitions), len(text_coalitions)))
        images = self.embed_images(image_coalitions).astype(np.float64)
        texts = self.embed_texts(text_coalitions).astype(np.float64)
        return self.scale * images @ texts.T + self.bias

    def value_function(self, coalitions: Shaped[np.ndarray, "*coalition player"]) -> Float[np.ndarray, " coalition"]:
        """Return ``values``; the name that shapiq calls."""
        return self.values(coalitions)

    @staticmethod
    def _checked(coalitions: np.ndarray, n: int, what: str) -> Bool[np.ndarray, "coalition player"]:
        kept = np.atleast_2d(np.asarray(coalitions))
        if kept.ndim != 2 or kept.shape[1] != n:
            raise InvalidInput(f"coalitions need one column for each of the {n} {what}; got shape {np.shape(coalitions)}")
        return kept.astype(bool)
