"""What a submission's process may ask of the encoder that stays with us, and what we take from it as an explanation.

The encoder counts the passes here. Every number is checked before a model sees it: some models, once handed an impossible
token, take the whole process with them.
"""

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from benchmark.errors import InvalidExplanation, InvalidInput
from benchmark.explanations import Explanation, Players
from benchmark.runner.execute import Failure, attempt
from benchmark.sandbox.limits import ProtocolError
from benchmark.sandbox.watch import harmless
from benchmark.sandbox.wire import Message

if TYPE_CHECKING:
    from torch import Tensor

    from benchmark.encoders.base import DualEncoder, Pair
    from benchmark.games.removal import Embed

BATCH = 64
MOST_COALITIONS = 4096
"""In one question."""
MOST_PAIRS = 64
"""That a submission may make of other images and texts for one unit."""
MOST_NOTES = 16384
"""Characters of an explanation's notes as JSON."""
ARRAYS = ("image", "text", "cross", "main", "pairs", "empty")


class Desk:
    """Answers one unit's questions; ``pairs[0]`` is the pair to explain."""

    def __init__(self, encoder: "DualEncoder", pair: "Pair") -> None:
        self.encoder = encoder
        self.pairs = [pair]
        self._operators: dict[tuple[str, str, int], Embed] = {}

    def answer(self, message: Message) -> Message:
        """Return the answer to a question, or why it cannot be answered, for the submission to see as an exception."""
        import torch

        questions = {
            "embed_images": self._embed_images,
            "embed_texts": self._embed_texts,
            "embed_coalitions": self._embed_coalitions,
            "pair": self._pair,
        }
        if message.kind not in questions:
            raise ProtocolError(f"the submission's process sent {harmless(message.kind)[:40]!r}, which has no meaning here")
        with torch.no_grad():
            answer = attempt(lambda: questions[message.kind](message))
        if isinstance(answer, Failure):
            return Message("error", {"class": answer.error_class, "reason": answer.reason[:1000]})
        return answer

    def _embed_images(self, message: Message) -> Message:
        own = self.pairs[0].pixel_values
        pixels = _array(message, "pixel_values", "f")
        if pixels.shape[1:] != tuple(own.shape[1:]) or not np.isfinite(pixels).all():
            raise InvalidInput(f"pixel_values need finite images of shape {tuple(own.shape[1:])}; got {pixels.shape}")
        parts = (self._tensor(pixels[i : i + BATCH]).to(own.dtype) for i in range(0, len(pixels), BATCH))
        return self._embeddings([self.encoder.embed_images(part) for part in parts])

    def _embed_texts(self, message: Message) -> Message:
        ids = _array(message, "input_ids", "i")
        keep = _array(message, "keep", "b") if "keep" in message.arrays else None
        length, most = self.pairs[0].input_ids.shape[1], self._vocabulary()
        if ids.ndim != 2 or ids.shape[1] > length or (keep is not None and keep.shape != ids.shape):
            raise InvalidInput(f"input_ids and keep need one row of at most {length} positions a text; got {ids.shape}")
        if len(ids) > MOST_COALITIONS or ids.size == 0 or ids.min() < 0 or ids.max() >= most:
            raise InvalidInput(f"input_ids need 1 to {MOST_COALITIONS} texts of ids from 0 to {most - 1}")
        parts: list[Tensor] = []
        for i in range(0, len(ids), BATCH):
            kept = None if keep is None else self._tensor(keep[i : i + BATCH])
            parts.append(self.encoder.embed_texts(self._tensor(ids[i : i + BATCH].astype(np.int64)), kept))
        return self._embeddings(parts)

    def _embed_coalitions(self, message: Message) -> Message:
        from benchmark.games.removal import IMAGE_REMOVALS, TEXT_REMOVALS

        side, removal, number = (message.fields.get(name) for name in ("side", "removal", "pair"))
        if side not in ("image", "text") or not isinstance(removal, str) or type(number) is not int:
            raise InvalidInput("a question about coalitions names a side, a removal operator and a pair")
        if not 0 <= number < len(self.pairs):
            raise InvalidInput(f"there is no pair {number}")
        pair = self.pairs[number]
        coalitions = _array(message, "coalitions", "b")
        n = self.encoder.n_patches if side == "image" else pair.n_tokens
        if coalitions.ndim != 2 or coalitions.shape[1] != n or not 0 < len(coalitions) <= MOST_COALITIONS:
            raise InvalidInput(f"1 to {MOST_COALITIONS} coalitions of {n} players are taken at once; got {coalitions.shape}")
        key = (side, removal, number)
        if key not in self._operators:
            operators = IMAGE_REMOVALS if side == "image" else TEXT_REMOVALS
            self._operators[key] = operators[removal](self.encoder, pair)
        batch = self.encoder.batch_size or BATCH
        embed = self._operators[key]
        return self._embeddings([embed(self._tensor(coalitions[i : i + batch])) for i in range(0, len(coalitions), batch)])

    def _pair(self, message: Message) -> Message:
        from PIL import Image

        image, text = _array(message, "image", "u"), message.fields.get("text")
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not isinstance(text, str) or not image.size:
            raise InvalidInput("a pair is made of an RGB image of bytes and a text")
        if len(self.pairs) >= MOST_PAIRS or len(text) > 10_000:
            raise InvalidInput(f"a unit may make {MOST_PAIRS - 1} further pairs, with texts of at most 10000 characters")
        pair = self.encoder.pair(Image.fromarray(image), text, truncate=bool(message.fields.get("truncate")))
        self.pairs.append(pair)
        fields, arrays = pair_message(pair)
        return Message("pair", {**fields, "number": len(self.pairs) - 1}, arrays)

    def _tensor(self, array: np.ndarray) -> "Tensor":
        import torch

        return torch.from_numpy(array.copy()).to(self.encoder.device)

    def _embeddings(self, parts: "list[Tensor]") -> Message:
        import torch

        return Message("embeddings", {}, {"embeddings": torch.cat(parts).detach().float().cpu().numpy()})

    def _vocabulary(self) -> int:
        """Return how many token ids there are: the rows of the largest table, or else up to the largest id in use."""
        from torch import nn

        model: Any = getattr(self.encoder, "model", None)
        tables = (
            [part.num_embeddings for part in model.modules() if isinstance(part, nn.Embedding)] if model is not None else []
        )
        return max(tables, default=max(int(pair.input_ids.max()) for pair in self.pairs) + 1)


def _array(message: Message, name: str, kinds: str) -> np.ndarray:
    array = message.arrays.get(name)
    if array is None or array.dtype.kind not in kinds or not array.ndim:
        raise InvalidInput(f"{name} is missing or of the wrong type")
    return array


def encoder_fields(encoder: "DualEncoder") -> dict[str, Any]:
    """Return what an explainer may know of an encoder without looking into it."""
    return {
        "name": encoder.name,
        "revision": encoder.revision,
        "family": encoder.family,
        "patch_grid": list(encoder.patch_grid),
        "logit_scale": float(encoder.logit_scale),
        "logit_bias": float(encoder.logit_bias),
        "batch_size": encoder.batch_size,
        "frame_size": list(encoder.frame_size),
        "mask_token_id": encoder.mask_token_id,
        "towers": [side for side in ("image", "text") if encoder.has_tower(side)],
    }


def pair_message(pair: "Pair") -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return a pair as plain values and arrays; ``offsets`` and ``geometry`` hold numbers only."""
    geometry = pair.geometry
    fields: dict[str, Any] = {
        "token_positions": list(pair.token_positions),
        "tokens": list(pair.tokens),
        "text": pair.text,
        "offsets": [None if offset is None else list(offset) for offset in pair.offsets],
        "geometry": None
        if geometry is None
        else {name: getattr(geometry, name) for name in ("original_size", "frame_size", "scale", "offset", "patch_size")},
    }
    arrays = {"pixel_values": pair.pixel_values.detach().float().cpu().numpy(), "input_ids": pair.input_ids.cpu().numpy()}
    return fields, arrays if pair.frame is None else {**arrays, "frame": np.asarray(pair.frame)}


def read_explanation(message: Message, grid: tuple[int, int], n_tokens: int) -> Explanation:
    """Read and check what a submission hands back; anything that cannot be an explanation raises ``InvalidExplanation``."""
    unknown = sorted(set(message.arrays) - set(ARRAYS))
    if unknown:
        raise InvalidExplanation(f"an explanation has no {harmless(unknown[0])[:40]}; it has: {', '.join(ARRAYS)}")
    arrays = {name: np.array(array) for name, array in message.arrays.items()}
    players = None
    if "main" in arrays:
        empty = arrays.pop("empty", np.zeros(()))
        if empty.size != 1:
            raise InvalidExplanation(f"the empty coalition has one value, not {empty.size}")
        players = Players(arrays.pop("main"), arrays.pop("pairs", None), float(empty.reshape(())))
    elif {"pairs", "empty"} & arrays.keys():
        raise InvalidExplanation("a surrogate needs main effects")
    explanation = Explanation(players=players, **arrays, **_described(message.fields))
    explanation.check(grid, n_tokens)
    return explanation


def _described(fields: Mapping[str, Any]) -> dict[str, Any]:
    index, similarity, notes = (fields.get(name) for name in ("index", "similarity", "notes"))
    if index is not None and (not isinstance(index, str) or len(index) > 32 or not index.isprintable()):
        raise InvalidExplanation("the index of an explanation is a short word such as SV or FBII")
    if similarity is not None and (not isinstance(similarity, int | float) or not math.isfinite(similarity)):
        raise InvalidExplanation("the similarity that was explained is a finite number")
    if not isinstance(notes, dict) or len(json.dumps(notes)) > MOST_NOTES:
        raise InvalidExplanation(f"the notes of an explanation are a mapping of at most {MOST_NOTES} characters")
    return {"index": index, "similarity": similarity, "notes": _harmless(cast("dict[str, Any]", notes))}


def _harmless(value: Any) -> Any:
    match value:
        case str():
            return harmless(value)
        case list():
            return [_harmless(item) for item in cast("list[Any]", value)]
        case dict():
            return {harmless(str(name)): _harmless(item) for name, item in cast("dict[Any, Any]", value).items()}
        case _:
            return value
