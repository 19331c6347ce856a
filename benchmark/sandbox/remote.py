"""The encoder and the pair as a black-box submission sees them: the encoder itself stays with the harness, which counts.

Nothing here imports torch until a tensor is asked for, so that a submission without it starts in a fraction of a second.
"""

import socket
import sys
from collections.abc import Mapping, Sequence
from functools import cached_property
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.errors import BenchmarkError, InvalidExplanation, InvalidInput, UnsupportedEncoder
from benchmark.sandbox.wire import Message, receive, send
from benchmark.types import Registry, Side

if TYPE_CHECKING:
    import torch
    from PIL import Image
    from torch import Tensor

    from benchmark.encoders.geometry import Geometry
    from benchmark.encoders.tokens import Offsets

MOST_BYTES = 2**34
"""Of an answer; the harness is to be trusted."""
ERRORS: Mapping[str, type[BenchmarkError]] = {
    kind.__name__: kind for kind in (InvalidExplanation, InvalidInput, UnsupportedEncoder)
}
_OPERATORS = "benchmark.games.removal"


class RemotePair:
    """One image and one text, with the attributes of ``benchmark.Pair``; tensors are made when they are asked for."""

    def __init__(self, message: Message) -> None:
        fields, self.arrays = message.fields, message.arrays
        self.number: int = fields.get("number", 0)
        self.token_positions: tuple[int, ...] = tuple(fields["token_positions"])
        self.tokens: tuple[str, ...] = tuple(fields["tokens"])
        self.text: str = fields["text"]
        self.offsets: Offsets = tuple(None if offset is None else (offset[0], offset[1]) for offset in fields["offsets"])
        self._geometry: Mapping[str, Any] | None = fields["geometry"]

    @cached_property
    def pixel_values(self) -> "Tensor":
        return _tensor(self.arrays["pixel_values"])

    @cached_property
    def input_ids(self) -> "Tensor":
        return _tensor(self.arrays["input_ids"])

    @cached_property
    def geometry(self) -> "Geometry | None":
        from benchmark.encoders.geometry import Geometry

        if self._geometry is None:
            return None
        return Geometry(
            original_size=tuple(self._geometry["original_size"]),
            frame_size=tuple(self._geometry["frame_size"]),
            scale=tuple(self._geometry["scale"]),
            offset=tuple(self._geometry["offset"]),
            patch_size=self._geometry["patch_size"],
        )

    @cached_property
    def frame(self) -> "Image.Image | None":
        from PIL import Image

        return Image.fromarray(self.arrays["frame"]) if "frame" in self.arrays else None

    @property
    def n_tokens(self) -> int:
        return len(self.token_positions)

    def tokens_of(self, span: tuple[int, int]) -> tuple[int, ...]:
        """Return which content tokens a stretch of characters of the caption became."""
        from benchmark.encoders.tokens import tokens_of_span

        return tokens_of_span(self.offsets, span)


class RemoteEncoder:
    """The embedding functions of an encoder that another process holds, under the names of ``benchmark.DualEncoder``."""

    def __init__(self, connection: socket.socket, facts: Mapping[str, Any]) -> None:
        self._connection = connection
        self.name: str = facts["name"]
        self.revision: str | None = facts["revision"]
        self.family: str = facts["family"]
        self.patch_grid: tuple[int, int] = (facts["patch_grid"][0], facts["patch_grid"][1])
        self.frame_size: tuple[int, int] = (facts["frame_size"][0], facts["frame_size"][1])
        self.logit_scale: float = facts["logit_scale"]
        self.logit_bias: float = facts["logit_bias"]
        self.batch_size: int | None = facts["batch_size"]
        self.mask_token_id: int | None = facts["mask_token_id"]
        self._towers: Sequence[str] = facts["towers"]

    @property
    def n_patches(self) -> int:
        return self.patch_grid[0] * self.patch_grid[1]

    @property
    def device(self) -> "torch.device":
        import torch

        return torch.device("cpu")

    @property
    def image(self) -> None:
        raise UnsupportedEncoder(_LOOK_INSIDE)

    @property
    def text(self) -> None:
        raise UnsupportedEncoder(_LOOK_INSIDE)

    def trace(self, *sites: Any, change: Any = None) -> None:
        raise UnsupportedEncoder(_LOOK_INSIDE)

    def has_tower(self, side: Side) -> bool:
        """Whether text can be masked and images repainted by token; the tower itself cannot be read from here."""
        return side in self._towers

    def embed_images(self, pixel_values: "Tensor | np.ndarray") -> Any:
        """Return unit-length embeddings, as a tensor for a tensor and an array for an array."""
        return self._ask("embed_images", {}, {"pixel_values": pixel_values})

    def embed_texts(self, input_ids: "Tensor | np.ndarray", keep: "Tensor | np.ndarray | None" = None) -> Any:
        """Return unit-length embeddings; positions where ``keep`` is false are not attended to."""
        return self._ask(
            "embed_texts", {}, {"input_ids": input_ids} if keep is None else {"input_ids": input_ids, "keep": keep}
        )

    def embed_coalitions(self, side: Side, removal: str, pair: RemotePair, coalitions: "Tensor | np.ndarray") -> Any:
        """Return unit-length embeddings of one side of a pair with only these players kept; what ``SimilarityGame`` plays."""
        fields = {"side": side, "removal": removal, "pair": pair.number}
        return self._ask("embed_coalitions", fields, {"coalitions": coalitions})

    def similarity(self, pair: RemotePair) -> float:
        """Return the cosine of a pair's two embeddings."""
        image = self.embed_images(np.asarray(pair.arrays["pixel_values"]))
        return float(image[0] @ self.embed_texts(np.asarray(pair.arrays["input_ids"]))[0])

    def pair(self, image: "Image.Image | Path | str", text: str, *, truncate: bool = False) -> RemotePair:
        """Preprocess another image and text."""
        from PIL import Image

        picture = image if isinstance(image, Image.Image) else Image.open(image)
        fields = {"text": text, "truncate": truncate}
        return RemotePair(self._exchange(Message("pair", fields, {"image": np.asarray(picture.convert("RGB"))})))

    def _ask(self, kind: str, fields: Mapping[str, Any], given: "Mapping[str, Tensor | np.ndarray]") -> Any:
        arrays = {
            name: value if isinstance(value, np.ndarray) else value.detach().cpu().numpy() for name, value in given.items()
        }
        embeddings = self._exchange(Message(kind, fields, arrays)).arrays["embeddings"]
        return embeddings if all(isinstance(value, np.ndarray) for value in given.values()) else _tensor(embeddings)

    def _exchange(self, message: Message) -> Message:
        send(self._connection, message)
        answer = receive(self._connection, MOST_BYTES)
        if answer.kind != "error":
            return answer
        raise ERRORS.get(answer.fields["class"], RuntimeError)(answer.fields["reason"])


_LOOK_INSIDE = (
    "a submission that declares no needs sees the encoder's embeddings only; to look inside, declare what it needs (attention, "
    "gradients, ...) in its needs: it is then given an encoder of its own"
)


class RemoteGames(MetaPathFinder):
    """Lets ``SimilarityGame`` play over the connection: the removal operators are those of the harness, by name."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if fullname != _OPERATORS:
            return None
        spec = PathFinder.find_spec(fullname, path)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                names = vars(module)
                names["IMAGE_REMOVALS"] = _remote(names["IMAGE_REMOVALS"], "image")
                names["TEXT_REMOVALS"] = _remote(names["TEXT_REMOVALS"], "text")

            spec.loader.exec_module = exec_module
        return spec


def play_remotely() -> None:
    """Let every later import of the removal operators find remote ones."""
    sys.meta_path.insert(0, RemoteGames())


def _remote(operators: Registry[Any], side: Side) -> Registry[Any]:
    found: Registry[Any] = Registry(operators.kind)
    for name in operators:
        found.add(name, _operator(side, name))
    return found


def _operator(side: Side, removal: str) -> Any:
    def prepared(encoder: RemoteEncoder, pair: RemotePair) -> Any:
        return lambda coalitions: encoder.embed_coalitions(side, removal, pair, coalitions)  # pyright: ignore[reportUnknownLambdaType]

    return prepared


def _tensor(array: np.ndarray) -> "Tensor":
    import torch

    return torch.from_numpy(np.array(array))
