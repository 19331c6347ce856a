"""CheXlocalize: CheXpert films with radiologists' outlines of ten pathologies."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
from scipy import ndimage

from benchmark.data.annotations import Instance, decode_runs
from benchmark.data.base import Region
from benchmark.data.findings import GroundedSet, Statement, Study, spoken
from benchmark.data.tables import locate, read_json, slug
from benchmark.errors import DataError

PATTERN = "gt_segmentations_{}.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlined(Statement):
    """A statement with its outline, as lengths of a column-major run-length code, background first."""

    runs: tuple[int, ...]

    @property
    def placed(self) -> bool:
        return any(self.runs[1::2])


class CheXlocalize(GroundedSet):
    """CheXlocalize's outlines, as "chest x-ray showing pleural effusion"; images stay where they are.

    Reads ``gt_segmentations_test.json`` where it is there, else ``gt_segmentations_val.json``: for every image
    (``patient64741_study1_view1_frontal``) and pathology a compressed run-length code of the original size, empty where
    nothing was outlined. Instances are the connected pieces of an outline. Images are those of CheXpert at full size,
    ``CheXpert/test/patient64741/study1/view1_frontal.jpg``.
    """

    name = "chexlocalize"
    version = "1"
    summary = "chest films with radiologists' outlines of ten pathologies (CheXpert)"
    licence = "Stanford AIMI dataset research use agreement: non-commercial, no redistribution"
    shows_images: ClassVar[bool] = False

    def find_files(self) -> Sequence[Path]:
        """Return the annotation files."""
        names = [PATTERN.format(split) for split in ("test", "val")]
        patterns = [pattern for name in names for pattern in (name, f"*/{name}")]
        return (locate(self.require_folder(), *patterns, what="file of outlines"),)

    def read(self, problems: list[str]) -> Iterator[Study]:
        file = self.files[0]
        split = file.stem.rpartition("_")[2]
        data = read_json(file)
        if not isinstance(data, dict):
            raise DataError(f"{file} holds a {type(data).__name__}; an object of images is expected")
        for image, codes in cast(dict[str, Any], data).items():
            who = f"{file.name}: {image}"
            if not isinstance(codes, dict):
                problems.append(f"{who} is not an object of pathologies; left out")
                continue
            size, statements = _statements(cast(dict[str, Any], codes), who, problems)
            if not statements:
                continue  # nothing was outlined, or all that was is already a problem
            relative = "/".join(image.split("_", 2)) + ".jpg"
            places = [place for top in ("CheXpert", "images", ".") for place in (f"{top}/{split}", top)]
            if path := self.find(relative, who, problems, places):
                strata = {"modality": "x-ray", "view": image.rpartition("_")[2]}
                yield Study(
                    id=image,
                    path=path,
                    size=size,
                    statements=tuple(statements),
                    start="chest x-ray showing ",
                    split=split,
                    strata=strata,
                )

    def region(self, study: Study, statement: Statement) -> Region:
        """Return the outline, and a box around each of its connected pieces (diagonal neighbours are connected)."""
        assert isinstance(statement, Outlined)  # read() makes no others
        nowhere = (0.0, 0.0, 0.0, 0.0)
        mask = Instance(None, 0, statement.label, nowhere, runs=statement.runs).mask(*study.size)
        label: Any = ndimage.label  # scipy's types leave out what it returns
        pieces: Any = ndimage.find_objects(label(mask, structure=np.ones((3, 3)))[0])
        boxes = [(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in pieces]
        return Region(boxes=np.array(boxes, dtype=np.float64), mask=mask)


def _statements(codes: Mapping[str, Any], who: str, problems: list[str]) -> tuple[tuple[int, int], list[Outlined]]:
    """Return the size that the image's codes agree on (the first one's), and what is outlined."""
    size: tuple[int, int] | None = None
    found: list[Outlined] = []
    for pathology, code in codes.items():
        read = _read_code(code)
        if read is None:
            problems.append(f"{who}, {pathology}: the outline is not a run-length code of its size; left out")
            continue
        (width, height), runs = read
        if size is not None and size != (width, height):
            problems.append(f"{who}, {pathology}: the outline is not of the others' {size[0]} x {size[1]} pixels; left out")
            continue
        size = (width, height)
        found.append(Outlined(key=slug(pathology), words=spoken(pathology), label=pathology, runs=runs))
    return size or (0, 0), [statement for statement in found if statement.placed]


def _read_code(code: Any) -> tuple[tuple[int, int], tuple[int, ...]] | None:
    """Return width, height and run lengths of ``{"size": [height, width], "counts": string}``."""
    if not isinstance(code, dict):
        return None
    size, counts = cast(dict[str, Any], code).get("size"), cast(dict[str, Any], code).get("counts")
    if not isinstance(size, list) or not isinstance(counts, str):
        return None
    sides = cast(list[Any], size)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        return None
    height, width = cast(list[int], sides)
    runs = tuple(decode_runs(counts))
    if any(run < 0 for run in runs) or sum(runs) != height * width:
        return None
    return (width, height), runs
