"""What the two generated sets share: rendered batches, and samples that are drawn when they are asked for."""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Literal, overload

import numpy as np
from jaxtyping import Bool, Int, UInt8
from PIL import Image

from benchmark.data.base import DataSet, Phrase, Region, Sample
from benchmark.data.captions import DRAWS, write_captions
from benchmark.data.draws import uniforms
from benchmark.data.grammar import (
    ABSENT,
    ABSENT_BELOW,
    ATTRIBUTES,
    KIND,
    Statements,
    Things,
    clause_span,
    matching,
    phrases_of,
    slots,
    write,
)  # fmt: skip
from benchmark.data.selections import selected
from benchmark.errors import InvalidInput

HELD_OUT = 1 << 40  # training draws indices below, evaluation from here on
DEFAULT_SIZE = 1000
VIEWS = ("captions", "phrases")
_BATCH = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Rendered:
    """A batch of images with their truth."""

    pixels: UInt8[np.ndarray, "image row column 3"]
    masks: Bool[np.ndarray, "image thing row column"]  # visible pixels of each thing
    things: Things


def region_of(mask: Bool[np.ndarray, "row column"], parts: Bool[np.ndarray, "thing row column"]) -> Region:
    """A mask with one box around each of the things that make it up."""
    boxes = []
    for part in parts:
        rows, columns = np.flatnonzero(part.any(1)), np.flatnonzero(part.any(0))
        if len(rows):
            boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    return Region(boxes=np.array(boxes, dtype=np.float64).reshape(-1, 4), mask=mask)


class GeneratedSet(DataSet):
    """A data set whose samples are functions of their number; subclasses draw the images and choose what phrases name."""

    synthetic = True
    licence = "generated; CC0"
    attribute_names: ClassVar[tuple[str, str, str, str]]
    gated: ClassVar[tuple[bool, bool, bool, bool]]  # kinds of attribute on which ground truth may rest, in the order above

    @staticmethod
    @abstractmethod
    def draw(indices: Int[np.ndarray, " image"]) -> Rendered:
        """Generate the images of these indices."""

    @abstractmethod
    def phrase_indices(self, count: int) -> Int[np.ndarray, " image"]:
        """The first held-out indices whose images suit the view ``phrases``."""

    @abstractmethod
    def phrase_target(self, things: Things) -> Int[np.ndarray, " image"]:
        """The thing that each image's phrase is about: one with a distractor in its image."""

    @abstractmethod
    def strata(self, rendered: Rendered, row: int, about: Sequence[int]) -> Mapping[str, str]:
        """Groups a sample belongs to, for breaking results down."""

    @overload
    def samples(self, view: Literal["captions", "phrases"], limit: int | None = None) -> "GeneratedSamples": ...
    @overload
    def samples(self, view: str, limit: int | None = None) -> Sequence[Sample]: ...
    def samples(self, view: str, limit: int | None = None) -> Sequence[Sample]:
        """``captions``: a caption of one to three things. ``phrases``: one short phrase with a distractor in the image.

        ``captions:deciles`` and the like are frozen lists of these (``data.selections``).
        """
        if ":" in view:
            return selected(self, view, limit)
        if view not in VIEWS:
            raise InvalidInput(f"{self.name} has no view {view!r}; its views are {', '.join(VIEWS)}")
        count = DEFAULT_SIZE if limit is None else limit
        indices = HELD_OUT + np.arange(count) if view == "captions" else self.phrase_indices(count)
        return GeneratedSamples(self, view, indices)

    def caption_statements(self, rendered: Rendered, indices: Int[np.ndarray, " image"]) -> tuple[Statements, np.ndarray]:
        """The captions of the view ``captions``, coded, and which thing each clause is about."""
        return write_captions(rendered.things, uniforms(f"{self.name}/{self.version}/captions", indices, DRAWS))

    def phrase_statements(self, rendered: Rendered, indices: Int[np.ndarray, " image"]) -> Statements:
        """The phrases of the view ``phrases``, coded: a kind in nine of ten, other gated attributes in about half."""
        target = self.phrase_target(rendered.things)
        own = rendered.things.attributes[np.arange(len(indices)), target]
        draw = uniforms(f"{self.name}/{self.version}/phrases", indices, 4)
        kept = (draw < [0.9, 0.6, 0.45, 0.3]) & np.array(self.gated)
        said = np.where(kept, own, ABSENT)
        said[np.isin(said, ATTRIBUTES[3].index("medium")) & (np.arange(4) == 3)] = ABSENT
        silent = (said == ABSENT).all(1)
        said[silent, KIND] = own[silent, KIND]
        return phrases_of(said, film=bool(rendered.things.film.any()))

    def batch(self, view: str, indices: Int[np.ndarray, " image"]) -> list[Sample]:
        """The samples of these indices."""
        rendered = self.draw(indices)
        if view == "captions":
            statements, about = self.caption_statements(rendered, indices)
        else:
            statements, about = self.phrase_statements(rendered, indices), self.phrase_target(rendered.things)[:, None]
        return [self._sample(view, rendered, statements, about, row, int(index)) for row, index in enumerate(indices)]

    def _sample(self, view: str, rendered: Rendered, statements: Statements, about: np.ndarray, row: int, index: int) -> Sample:
        text, offsets = write(slots(statements.take(np.array([row])))[0])
        named = range(int(statements.n_clauses[row]))
        phrases = [
            self._phrase(rendered, row, statements.attributes[row, clause], clause_span(offsets, clause)) for clause in named
        ]
        cluster = f"{self.name}/{index - HELD_OUT}"
        return Sample(
            id=cluster if view == "captions" else f"{cluster}/phrase",
            image=Image.fromarray(rendered.pixels[row]),
            text=text,
            cluster=cluster,
            phrases=tuple(phrase for phrase in phrases if phrase is not None),
            strata=self.strata(rendered, row, [int(about[row, clause]) for clause in named]),
        )

    def _phrase(self, rendered: Rendered, row: int, said: np.ndarray, span: tuple[int, int]) -> Phrase | None:
        """A clause's phrase and the union of everything it is true of; ``None`` if it mentions a kind that is not gated."""
        if ((said != ABSENT) & ~np.array(self.gated)).any():
            return None
        things = rendered.things
        true_of = matching(things.attributes[row], said) & (things.visible[row] >= ABSENT_BELOW)
        parts = rendered.masks[row, true_of]
        label = ATTRIBUTES[KIND][said[KIND]] if said[KIND] != ABSENT else ""
        return Phrase(span=span, region=region_of(parts.any(0), parts), label=label)


class GeneratedSamples(Sequence[Sample]):
    """Samples drawn in batches when they are asked for; a few batches are kept."""

    def __init__(self, data: GeneratedSet, view: str, indices: Int[np.ndarray, " image"]) -> None:
        self.data, self.view, self.indices = data, view, indices
        self._batch = lru_cache(maxsize=4)(self._draw)

    def _draw(self, number: int) -> list[Sample]:
        return self.data.batch(self.view, self.indices[number * _BATCH : (number + 1) * _BATCH])

    def __len__(self) -> int:
        return len(self.indices)

    def take(self, positions: Sequence[int]) -> "GeneratedSamples":
        """Return the samples at these positions, in this order."""
        return GeneratedSamples(self.data, self.view, self.indices[np.asarray(positions, dtype=np.int64)])

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | Sequence[Sample]:
        if isinstance(index, slice):
            return GeneratedSamples(self.data, self.view, self.indices[index])
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        number, place = divmod(index % len(self), _BATCH)
        return self._batch(number)[place]
