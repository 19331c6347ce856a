"""A dual encoder: two towers, a tokenizer and an image processor behind one interface, and pairs of their inputs."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from benchmark.data.base import Region, read_image
from benchmark.encoders.geometry import Geometry
from benchmark.encoders.precision import Precision
from benchmark.encoders.tokens import Offsets, align, tokens_of_span
from benchmark.encoders.tower import Costs, Layer, Site, State, Tower, Trace
from benchmark.errors import BenchmarkError, InvalidInput, UnsupportedEncoder
from benchmark.types import Side

AGREEMENT = {torch.float16: 1e-2, torch.bfloat16: 5e-2}
"""How far unit embeddings in half precision may be from the library's own; any other type must agree to ``SINGLE``."""
SINGLE = 1e-4


@dataclass(frozen=True, kw_only=True, eq=False)
class Pair:
    """One preprocessed image and one tokenised text, a batch of one each.

    ``token_positions`` are the content tokens (players) in ``input_ids``; ``tokens`` their strings; ``offsets`` their
    characters in ``text``. ``frame`` is the image as the encoder sees it, for display; it and ``geometry`` are ``None``
    for a pair made from tensors.
    """

    pixel_values: Float[Tensor, "1 3 height width"]
    input_ids: Int[Tensor, "1 position"]
    token_positions: tuple[int, ...]
    tokens: tuple[str, ...]
    text: str = ""
    offsets: Offsets = ()
    geometry: Geometry | None = None
    frame: Image.Image | None = None

    @property
    def n_tokens(self) -> int:
        return len(self.token_positions)

    def tokens_of(self, span: tuple[int, int]) -> tuple[int, ...]:
        """Return which content tokens a stretch of characters of the caption became; empty if none could be placed."""
        return tokens_of_span(self.offsets, span)

    def coverage(self, region: Region) -> Float[np.ndarray, "row column"]:
        """Return the share of every patch inside a region of the original image."""
        if self.geometry is None:
            raise InvalidInput("a pair made from tensors does not know the original image; regions cannot be placed on it")
        return self.geometry.coverage(region)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """A tokenised text: ids with specials and padding, content positions, and their strings without markers."""

    ids: list[int]
    positions: tuple[int, ...]
    pieces: tuple[str, ...]
    offsets: Offsets | None = None
    overflow: int = 0


class DualEncoder(ABC):
    """An image tower and a text tower that meet in one embedding space.

    A subclass fills in the towers and reads the library's tokenizer and processor; everything else is common. ``image``
    or ``text`` may be ``None`` for a tower that no transformer loop describes (ResNet): black-box methods still work.
    """

    family: str = "custom"

    def __init__(
        self,
        name: str,
        *,
        image: Tower | None,
        text: Tower | None,
        patch_grid: tuple[int, int],
        logit_scale: float = 1.0,
        logit_bias: float = 0.0,
        revision: str | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.name, self.revision = name, revision
        self._image, self._text = image, text
        self.patch_grid = patch_grid
        self.logit_scale, self.logit_bias = logit_scale, logit_bias
        self.device = torch.device(device)
        self.batch_size: int | None = None  # of games; None fits the memory
        self.precision: Precision = "float32"  # of games; what takes gradients computes in the type of the weights
        self.costs = Costs()
        for tower in (image, text):
            if tower is not None:
                tower.costs = self.costs

    # -- what a library's adapter supplies ----------------------------------------------------------------------------

    @abstractmethod
    def library_image_embeddings(self, pixel_values: Tensor) -> Float[Tensor, "image dim"]:
        """Run the library's own image forward pass; not normalised."""

    @abstractmethod
    def library_text_embeddings(self, input_ids: Tensor) -> Float[Tensor, "text dim"]:
        """Run the library's own text forward pass; not normalised."""

    @abstractmethod
    def image_tokens(self, pixel_values: Tensor) -> Float[Tensor, "image patch dim"]:
        """Embed patches, before positions and class token; row-major."""

    @abstractmethod
    def text_tokens(self, input_ids: Tensor) -> Float[Tensor, "text position dim"]:
        """Look up token embeddings, before positions."""

    @abstractmethod
    def tokenize(self, text: str) -> Tokens:
        """Tokenise one text the way the library does, padded as the encoder expects."""

    @abstractmethod
    def preprocess(self, image: Image.Image) -> tuple[Float[Tensor, "1 3 height width"], Geometry]:
        """Resize, crop and normalise one RGB image the way the library does, and say where its pixels went."""

    @abstractmethod
    def content_positions(self, input_ids: Tensor) -> tuple[int, ...]:
        """Return the positions of content tokens in one row of ids: no BOS, EOS, class token or padding."""

    @abstractmethod
    def read_positions(self, input_ids: Tensor) -> Int[Tensor, " text"] | None:
        """Return where the text's pooling reads, or ``None`` when it reads no single token."""

    @property
    @abstractmethod
    def frame_size(self) -> tuple[int, int]:
        """Height and width of ``pixel_values``."""

    @abstractmethod
    def probe_ids(self) -> Int[Tensor, "1 position"]:
        """Return token ids of a short text, as ``tokenize`` would pad them, for the check at load."""

    def attended(self, input_ids: Tensor) -> Bool[Tensor, "text position"] | None:
        """Return which positions the text tower attends to by default; ``None`` is all of them."""
        del input_ids
        return None

    @property
    def mask_token_id(self) -> int | None:
        """The id that ``replace_token`` writes over a removed token, or ``None`` if the vocabulary has no neutral one."""
        return None

    def special_token_string(self, token_id: int) -> str:
        """Return a token as a string for display."""
        return str(token_id)

    # -- towers -------------------------------------------------------------------------------------------------------

    @property
    def image(self) -> Tower:
        return self._tower("image", self._image)

    @property
    def text(self) -> Tower:
        return self._tower("text", self._text)

    def has_tower(self, side: Side) -> bool:
        return (self._image if side == "image" else self._text) is not None

    def _tower(self, side: Side, tower: Tower | None) -> Tower:
        if tower is None:
            raise UnsupportedEncoder(
                f"the {side} tower of {self.name} is no plain transformer; only black-box methods can read it"
            )
        return tower

    @property
    def n_patches(self) -> int:
        return self.patch_grid[0] * self.patch_grid[1]

    # -- states and embeddings ----------------------------------------------------------------------------------------

    def image_state(self, pixel_values: Tensor) -> State:
        """Return the first image block's input."""
        return State(hidden=self.image.embed(self.image_tokens(pixel_values), None))

    def text_state(self, input_ids: Tensor, keep: Bool[Tensor, "text position"] | None = None) -> State:
        """Return the first text block's input; ``keep`` says which positions may be attended to, by default the model's."""
        mask = self.attended(input_ids)
        if keep is not None:
            mask = keep if mask is None else keep & mask
        hidden = self.text.embed(self.text_tokens(input_ids), None)
        return State(hidden=hidden, keep=mask, read=self.read_positions(input_ids))

    def embed_images(self, pixel_values: Float[Tensor, "image 3 height width"]) -> Float[Tensor, "image dim"]:
        """Return unit-length embeddings; a row does not depend on the rest of the batch."""
        if self._image is None:
            embeddings = self.library_image_embeddings(pixel_values)
            self.costs.add("image", len(pixel_values), embeddings)
            return F.normalize(embeddings, dim=-1)
        return F.normalize(self.image.encode(self.image_state(pixel_values)), dim=-1)

    def embed_texts(
        self, input_ids: Int[Tensor, "text position"], keep: Bool[Tensor, "text position"] | None = None
    ) -> Float[Tensor, "text dim"]:
        """Return unit-length embeddings; positions where ``keep`` is false are not attended to."""
        if self._text is None:
            if keep is not None:
                raise UnsupportedEncoder(
                    f"the text tower of {self.name} takes no attention mask; use text_removal='replace_token'"
                )
            embeddings = self.library_text_embeddings(input_ids)
            self.costs.add("text", len(input_ids), embeddings)
            return F.normalize(embeddings, dim=-1)
        ids = self.trim(input_ids)
        keep = keep[:, : ids.shape[1]] if keep is not None else None
        return F.normalize(self.text.encode(self.text_state(ids, keep)), dim=-1)

    def trim(self, input_ids: Int[Tensor, "text position"]) -> Int[Tensor, "text kept_position"]:
        """Cut padding that cannot matter: behind the reading position of a causal tower, or never attended to."""
        if self._text is not None and self._text.causal and self._text.pooling == "text_token":
            read = self.read_positions(input_ids)
            if read is not None:
                return input_ids[:, : int(read.max()) + 1]
        attended = self.attended(input_ids)
        if attended is not None and self._text is not None and self._text.pooling != "mean":
            last = int(attended.any(dim=0).nonzero().max()) + 1
            return input_ids[:, :last]
        return input_ids

    @torch.no_grad()
    def similarity(self, pair: Pair) -> float:
        """Return the cosine of a pair's two embeddings."""
        return float(self.embed_images(pair.pixel_values)[0] @ self.embed_texts(pair.input_ids)[0])

    @contextmanager
    def trace(self, *sites: Site, change: Mapping[Site, Layer] | None = None) -> Generator[dict[Site, Tensor]]:
        """Capture or change named sites of both towers during a ``with`` block, with gradients."""
        trace = Trace(sites, change or {})
        towers = {
            site.side: self._tower(site.side, self._image if site.side == "image" else self._text) for site in trace.reading
        }
        for site in trace.reading:
            towers[site.side].check(site)
        for tower in towers.values():
            tower.traces.append(trace)
        try:
            yield trace.captured
        finally:
            for tower in towers.values():
                tower.traces.remove(trace)

    # -- pairs --------------------------------------------------------------------------------------------------------

    def pair(self, image: Image.Image | Path | str, text: str, *, truncate: bool = False) -> Pair:
        """Preprocess one image (or its path) and one text.

        An empty text, or one longer than the context unless ``truncate`` is set, raises ``InvalidInput``.
        """
        picture = image if isinstance(image, Image.Image) else read_image(image)
        pixel_values, geometry = self.preprocess(picture.convert("RGB"))
        tokens = self.tokenize(text)
        if not tokens.positions:
            raise InvalidInput(f"the text {text!r} has no content tokens; an explanation needs at least one")
        if tokens.overflow and not truncate:
            raise InvalidInput(
                f"the text has {len(tokens.positions) + tokens.overflow} tokens; {self.name} reads at most "
                f"{len(tokens.positions)}: shorten it, or pass truncate=True to explain its beginning"
            )
        return Pair(
            pixel_values=pixel_values.to(self.device),
            input_ids=torch.tensor([tokens.ids], device=self.device),
            token_positions=tokens.positions,
            tokens=tokens.pieces,
            text=text,
            offsets=tokens.offsets if tokens.offsets is not None else align(text, tokens.pieces),
            geometry=geometry,
            frame=frame_image(picture.convert("RGB"), geometry),
        )

    def pair_from_tensors(self, pixel_values: Float[Tensor, "1 3 height width"], input_ids: Int[Tensor, "1 position"]) -> Pair:
        """Make a pair of an already normalised image and token ids, a batch of one each."""
        if pixel_values.shape[0] != 1 or input_ids.shape[0] != 1:
            raise InvalidInput(f"a pair is one image and one text; got {pixel_values.shape[0]} and {input_ids.shape[0]}")
        positions = self.content_positions(input_ids[0])
        if not positions:
            raise InvalidInput("the token ids hold no content token; an explanation needs at least one")
        return Pair(
            pixel_values=pixel_values.to(self.device),
            input_ids=input_ids.to(self.device),
            token_positions=positions,
            tokens=tuple(self.special_token_string(int(input_ids[0, i])) for i in positions),
        )

    # -- verification -------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def verify(self, pixel_values: Tensor, input_ids: Tensor) -> None:
        """Compare the loop's unit embeddings with the library's own; more than 1e-4 apart in float32 is an error.

        Weights in half precision round differently in another order of operations: 1e-2 is allowed in float16, 5e-2 in
        bfloat16, which tells a wrong description from rounding but not a slightly wrong one. Load in float32 to be sure.
        """
        for side, ours, theirs in (
            ("image", self.embed_images, self.library_image_embeddings),
            ("text", self.embed_texts, self.library_text_embeddings),
        ):
            if not self.has_tower("image" if side == "image" else "text"):
                continue
            probe = pixel_values if side == "image" else input_ids
            own, library = ours(probe), F.normalize(theirs(probe), dim=-1)
            gap, allowed = float((own - library).abs().max()), AGREEMENT.get(own.dtype, SINGLE)
            if not gap <= allowed:
                raise BenchmarkError(
                    f"the {side} tower of {self.name} differs from the library's own forward pass by {gap:.1e} "
                    f"(at most {allowed:.0e} is allowed): this version of the library is not described correctly"
                )
        self.costs = Costs()
        for tower in (self._image, self._text):
            if tower is not None:
                tower.costs = self.costs


def frame_image(image: Image.Image, geometry: Geometry) -> Image.Image:
    """Return the image as the encoder's frame shows it: resized, cropped or padded, in plain RGB."""
    canvas = Image.new("RGB", geometry.frame_size)
    shown: list[tuple[int, int]] = []
    for original, frame, scale, offset in zip(image.size, geometry.frame_size, geometry.scale, geometry.offset, strict=True):
        shown.append((max(round(offset), 0), min(round(original * scale + offset), frame)))
    (left, right), (top, bottom) = shown
    size = (max(right - left, 1), max(bottom - top, 1))
    source: list[float] = []
    for edge_x, edge_y in ((left, top), (left + size[0], top + size[1])):
        source.append(min(max((edge_x - geometry.offset[0]) / geometry.scale[0], 0.0), float(image.width)))
        source.append(min(max((edge_y - geometry.offset[1]) / geometry.scale[1], 0.0), float(image.height)))
    box = (source[0], source[1], source[2], source[3])
    canvas.paste(image.resize(size, Image.Resampling.BICUBIC, box=box), (left, top))
    return canvas
