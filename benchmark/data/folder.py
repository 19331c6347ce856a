"""Images and texts of one's own: a table with a column of image files and a column of texts, or COCO files."""

from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.annotations import Files, find_files
from benchmark.data.base import Phrase, Sample
from benchmark.data.coco import Coco
from benchmark.data.local import phrase_samples, region_strata
from benchmark.data.tables import Box, boxes_region, digest, find_image, image_size, numbers, read_table, slug
from benchmark.errors import DataError, UnknownName

NAMES = ("samples.csv", "samples.tsv")
CORNERS = ("x0", "y0", "x1", "y1")


class Folder(Coco):
    """A folder anybody can make, without code.

    ``samples.csv`` (or the only ``.csv`` or ``.tsv`` there) has the columns ``image`` (a file under ``images/`` or the folder)
    and ``text``, and may have ``x0``, ``y0``, ``x1``, ``y1`` (pixels, half-open) or ``bbox`` ("x,y,width,height"), ``phrase``
    (words of the text that the box is of; without it the box is of the whole text) and ``id``. Rows of one image and
    text are one caption with several boxes. A phrase that occurs more than once in the text means its first occurrence.

    ``captions``: every image and text. ``grounding``: those with a box. ``phrases``: each boxed phrase of an image once, as its
    own words, without a template. A folder without a table is read as COCO files, see ``Coco``.
    """

    name = "folder"
    version = "1"
    summary = "your own images and texts, with or without boxes, from a CSV or COCO files"
    licence = "yours"
    shows_images = False

    @cached_property
    def table(self) -> Path | None:
        """The table, or ``None`` where there are COCO files instead."""
        folder = self.require_folder()
        named = [folder / name for name in NAMES if (folder / name).is_file()]
        found = named[:1] or sorted([*folder.glob("*.csv"), *folder.glob("*.tsv")])
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise DataError(f"{folder} has several tables ({names}); name the one to use {NAMES[0]}")
        return found[0] if found else None

    @cached_property
    def files(self) -> Files:
        """The COCO annotation files."""
        folder = self.require_folder()
        try:
            return find_files(folder, self.split)
        except DataError as error:
            raise DataError(
                f"{folder} has no table: put a {NAMES[0]} there, with columns image and text (docs/data.md). As COCO: {error}"
            ) from error

    @property
    def revision(self) -> str:
        """The version and a hash of the table, or of the COCO files; images are taken to be those that they name."""
        return super().revision if self.table is None else f"{self.version}+{digest((self.table,))}"

    @property
    def problems(self) -> Sequence[str]:
        """One sentence for each row or entry that was left out or mended."""
        return super().problems if self.table is None else tuple(self._rows[1])

    def samples(self, view: str, limit: int | None = None) -> Sequence[Sample]:
        """Return samples in the order of the table's rows."""
        if self.table is None:
            return super().samples(view, limit)
        if view not in self.views:
            raise UnknownName(f"view of {self.name}", view, self.views)
        captions, problems = self._rows
        boxed = [sample for sample in captions if sample.phrases]
        found = {"captions": captions, "grounding": boxed}.get(view)
        found = phrase_samples(boxed, lambda _: "") if found is None else found
        if not found:
            reason = problems[0] if problems else "no row gives a box" if captions else "it has no rows"
            raise DataError(f"{self.table} has no sample of the view {view!r}: {reason}")
        return found[:limit]

    @cached_property
    def _rows(self) -> tuple[list[Sample], list[str]]:
        """The table's captions, and one sentence for each row that was left out."""
        assert self.table is not None
        folder, problems = self.require_folder(), list[str]()
        gathered: dict[tuple[Path, str], tuple[str, dict[tuple[int, int], list[Box]]]] = {}
        owners: dict[str, tuple[Path, str]] = {}
        for number, row in enumerate(read_table(self.table, ("image", "text")), start=1):
            who = f"{self.table.name}: row {number} ({row['image']})"
            text, image = row["text"].strip(), find_image(folder, row["image"])
            if not text:
                problems.append(f"{who} has an empty text; left out")
            elif image is None:
                problems.append(f"{who}: there is no such image in {folder}; left out")
            elif (size := image_size(image)) is None:
                problems.append(f"{who} is not an image that can be opened; left out")
            else:
                id_ = row.get("id", "").strip() or f"{slug(row['image'])}#{sha256(text.encode()).hexdigest()[:8]}"
                if owners.setdefault(id_, (image, text)) != (image, text):
                    problems.append(f"{who} has id {id_!r}, which another image or text has; left out")
                    continue
                _, boxes = gathered.setdefault((image, text), (id_, {}))
                found = _span_and_box(row, text, size, who)
                if isinstance(found, str):
                    problems.append(found)
                elif found is not None:
                    boxes.setdefault(found[0], []).append(found[1])
        return [self._caption(*key, *value) for key, value in gathered.items()], problems

    def _caption(self, image: Path, text: str, id_: str, boxes: dict[tuple[int, int], list[Box]]) -> Sample:
        phrases = tuple(
            Phrase(span=span, region=region, label=text[slice(*span)].lower())
            for span, found in sorted(boxes.items())
            if (region := boxes_region(found, np.inf, np.inf)) is not None
        )
        cluster = f"{self.name}/{image.relative_to(self.require_folder()).as_posix()}"
        return Sample(
            id=f"{self.name}/{id_}", image=image, text=text, cluster=cluster, phrases=phrases, strata=region_strata(phrases)
        )


def _span_and_box(row: dict[str, str], text: str, size: tuple[int, int], who: str) -> tuple[tuple[int, int], Box] | str | None:
    """Return what a row's box is of and the box inside the image, a sentence if it cannot be right, or ``None`` without one."""
    cells: Sequence[Any] = [row.get(name, "").strip() for name in CORNERS]
    if any(cells):
        box = numbers(cells)
    elif bbox := row.get("bbox", "").strip(" []()"):
        box = numbers(bbox.replace(";", ",").split(","))
        if box is not None and len(box) == 4:
            box = (box[0], box[1], box[0] + box[2], box[1] + box[3])
    else:
        return None
    if box is None or len(box) != 4:
        return f"{who} has a box that is not four numbers; the box is left out"
    region = boxes_region([box], *size)
    if region is None:
        shown = ", ".join(f"{value:g}" for value in box)
        return f"{who} has a box [{shown}] without area inside the {size[0]} x {size[1]} image; the box is left out"
    phrase = row.get("phrase", "").strip()
    start = text.lower().find(phrase.lower()) if phrase else 0
    if start < 0:
        return f"{who} has the phrase {phrase!r}, which is not in its text; the box is left out"
    x0, y0, x1, y1 = region.boxes[0].tolist()
    return (start, start + len(phrase or text)), (x0, y0, x1, y1)
