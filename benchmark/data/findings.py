"""What the medical sets share: images with findings or sentences, and where those are."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
from jaxtyping import Float

from benchmark.data.base import LazySamples, Phrase, Region, Sample
from benchmark.data.coco import one_stratum
from benchmark.data.dicom import Radiograph, find_radiograph, is_dicom, require_pydicom
from benchmark.data.local import LocalSet
from benchmark.data.tables import Box, boxes_region, numbers

SPLITS = ("test", "validate", "validation", "valid", "val", "dev", "train")  # what a limited run sees first
AREAS = ((0.05, "under 5 %"), (0.25, "5 to 25 %"), (0.75, "25 to 75 %"))
OVER = "over 75 %"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """Words about one image and, as boxes in its pixels, where they are true; without boxes they only stand in the text.

    ``key`` names the statement within its image; where texts may not be published, it says nothing of them.
    """

    key: str
    words: str
    label: str
    boxes: tuple[Box, ...] = ()
    strata: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def placed(self) -> bool:
        """Whether the image has a region for these words."""
        return bool(self.boxes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One image, its width and height, and its statements; ``start`` are the words that each of its texts begins with."""

    id: str
    path: Path
    size: tuple[int, int]
    statements: tuple[Statement, ...]
    start: str = ""
    split: str = ""
    strata: Mapping[str, str] = field(default_factory=dict[str, str])


class GroundedSet(LocalSet):
    """A local folder of images with statements about them.

    Views: ``phrases``, each statement that has a place, on its own; ``captions``, each image with all its statements in
    one text; ``grounding``, those captions that have a statement with a place. Images come by split, the test split
    first, then by id.

    Strata: ``finding``, ``n_instances`` (``1`` or ``2+`` boxes), ``area`` (fraction of the frame that the region covers),
    ``region`` (``box`` or ``mask``) and what the set itself knows, each ``mixed`` where the statements of a sample differ.

    Entries that cannot be right and images that are missing are left out, with a sentence in ``problems``. An image whose
    pixels cannot be decoded, or whose size is not that of its annotation, stays in the list: its ``load_image`` raises
    ``InvalidInput``.
    """

    views = ("captions", "phrases", "grounding")
    between: ClassVar[tuple[str, str]] = (", ", " and ")  # between statements, and before the last one
    places: ClassVar[tuple[str, ...]] = ("images", ".")

    @abstractmethod
    def read(self, problems: list[str]) -> Iterable[Study]:
        """Yield the usable studies in any order, and add a sentence to ``problems`` for each entry left out."""

    def region(self, study: Study, statement: Statement) -> Region:
        """Return where a placed statement is true."""
        del study
        return Region(boxes=np.array(statement.boxes, dtype=np.float64).reshape(-1, 4))

    @cached_property
    def _studies(self) -> tuple[Study, ...]:
        rank = {split: position for position, split in enumerate(SPLITS)}
        studies = sorted(self.read(self.problems), key=lambda study: (rank.get(study.split, len(rank)), study.id))
        if dicom := next((study.path for study in studies if is_dicom(study.path)), None):
            require_pydicom(dicom)
        return tuple(studies)

    def listed(self, view: str) -> Sequence[Sample]:
        """Return samples by split and image id; regions are drawn when a sample is read."""
        if view == "phrases":
            return LazySamples(self._phrase_sample, list(self._placed(self._studies)))
        chosen = [study for study in self._studies if view == "captions" or any(part.placed for part in study.statements)]
        return LazySamples(self._caption_sample, chosen)

    def _placed(self, studies: Iterable[Study]) -> Iterator[tuple[Study, Statement]]:
        return ((study, part) for study in studies for part in study.statements if part.placed)

    def _phrase_sample(self, key: tuple[Study, Statement]) -> Sample:
        study, statement = key
        return self._sample(study, (statement,), statement.key)

    def _caption_sample(self, study: Study) -> Sample:
        return self._sample(study, study.statements, "caption")

    def _sample(self, study: Study, statements: Sequence[Statement], key: str) -> Sample:
        text, spans = self._compose(study, statements)
        phrases = tuple(
            Phrase(span=span, region=self.region(study, statement), label=statement.label)
            for statement, span in zip(statements, spans, strict=True)
            if statement.placed
        )
        cluster = f"{self.name}/{study.id}"
        strata = dict(study.strata) | ({"split": study.split} if study.split else {})
        for name in dict.fromkeys(name for part in statements for name in part.strata):
            strata[name] = one_stratum(part.strata[name] for part in statements if name in part.strata)
        if phrases:
            strata["finding"] = one_stratum(phrase.label for phrase in phrases)
            strata["n_instances"] = one_stratum("1" if len(phrase.region.boxes) == 1 else "2+" for phrase in phrases)
            strata["region"] = one_stratum("box" if phrase.region.mask is None else "mask" for phrase in phrases)
            strata["area"] = one_stratum(area_stratum(phrase.region, study.size) for phrase in phrases)
        return Radiograph(
            id=f"{cluster}#{key}",
            image=study.path,
            text=text,
            cluster=cluster,
            phrases=phrases,
            strata=strata,
            size=study.size,
        )

    def _compose(self, study: Study, statements: Sequence[Statement]) -> tuple[str, list[tuple[int, int]]]:
        """Return one text of these statements, and which characters each of them is."""
        text, spans = study.start, list[tuple[int, int]]()
        for position, statement in enumerate(statements):
            if position:
                text += self.between[position == len(statements) - 1]
            spans.append((len(text), len(text) + len(statement.words)))
            text += statement.words
        return text, spans

    def find(self, name: str, who: str, problems: list[str], places: Sequence[str] | None = None) -> Path | None:
        """Return where an image lies; a missing one is ``None`` and a problem."""
        folder = self.require_folder()
        path = find_radiograph(folder, name, self.places if places is None else places)
        if path is None:
            problems.append(f"{who}: there is no image {name} in {folder}; left out")
        return path


def add_box(
    boxes: list[Box],
    cells: Sequence[object],
    form: Literal["corners", "width and height"],
    size: tuple[int, int],
    who: str,
    problems: list[str],
) -> None:
    """Add a box, clipped to the image, unless it is malformed, has no area in the image or is there already."""
    width, height = size
    values = numbers(cells)
    if values is None or len(values) != 4:
        shown = ", ".join(map(str, cells))
        problems.append(f"{who} has a box that is not four finite numbers ([{shown:.80}]); left out")
        return
    x0, y0, x1, y1 = values
    if form == "width and height":
        x1, y1 = x0 + x1, y0 + y1
    where = f"[{x0:g}, {y0:g}, {x1:g}, {y1:g}]"
    region = boxes_region([(x0, y0, x1, y1)], width, height)
    if region is None:
        problems.append(f"{who} has a box {where} without area in the {width} x {height} image; left out")
        return
    left, top, right, bottom = (float(value) for value in region.boxes[0])
    if (left, top, right, bottom) in boxes:
        problems.append(f"{who} has the box {where} twice; the first is kept")
        return
    if max(-x0, -y0, x1 - width, y1 - height) > 1:  # rounding may pass the border by a pixel
        problems.append(f"{who} has a box {where} that reaches beyond the {width} x {height} image; clipped")
    boxes.append((left, top, right, bottom))


def spoken(label: str) -> str:
    """Return a label as words of a sentence: lower case but for abbreviations, alternatives with "or".

    >>> spoken("Nodule/Mass"), spoken("ILD"), spoken("Enlarged_Heart")
    ('nodule or mass', 'ILD', 'enlarged heart')
    """
    words = label.replace("_", " ").replace("/", " or ").split()
    return " ".join(word if word.isupper() and len(word) > 1 else word.lower() for word in words)


def sentence(text: str) -> str:
    """Return a sentence in one line and without its final stop, so that several can be joined."""
    return " ".join(text.split()).rstrip(" .")


def area_stratum(region: Region, size: tuple[int, int]) -> str:
    """Return the name of the fraction of the frame that a region covers, by its mask where it has one."""
    width, height = size
    covered = union_area(region.boxes) if region.mask is None else float(np.count_nonzero(region.mask))
    return next((name for limit, name in AREAS if covered < limit * width * height), OVER)


def union_area(boxes: Float[np.ndarray, "box 4"]) -> float:
    """Return the area of a union of boxes, exactly: from the cells between all their edges."""
    xs, ys = np.unique(boxes[:, [0, 2]]), np.unique(boxes[:, [1, 3]])
    covered = np.zeros((len(ys) - 1, len(xs) - 1), dtype=bool)
    for x0, y0, x1, y1 in boxes:
        covered |= ((ys[:-1] >= y0) & (ys[1:] <= y1))[:, None] & ((xs[:-1] >= x0) & (xs[1:] <= x1))
    return float((covered * np.diff(ys)[:, None] * np.diff(xs)).sum())
