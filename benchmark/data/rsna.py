"""RSNA Pneumonia Detection Challenge: chest films with boxes of lung opacity."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from benchmark.data.findings import GroundedSet, Statement, Study, add_box
from benchmark.data.tables import Box, locate, read_table

SIZE = (1024, 1024)  # of every image as released
COORDINATES = ("x", "y", "width", "height")


class Rsna(GroundedSet):
    """The positive training images of the challenge, as "chest x-ray showing pneumonia"; images stay where they are.

    Reads ``stage_2_train_labels.csv`` (``Target`` 1 with a box, 0 without) and ``stage_2_train_images/``, DICOM or PNG or
    JPEG of the same name. Each image is one statement, so ``captions`` and ``phrases`` have the same texts.
    """

    name = "rsna"
    version = "1"
    summary = "chest films with boxes of pneumonia (RSNA challenge)"
    licence = "rules of the RSNA Pneumonia Detection Challenge: non-commercial research, no redistribution of images"
    shows_images: ClassVar[bool] = False
    views = ("captions", "phrases")
    places = ("stage_2_train_images", "images", ".")

    def find_files(self) -> Sequence[Path]:
        """Return the annotation files."""
        patterns = ("stage_2_train_labels.csv", "*/stage_2_train_labels.csv")
        return (locate(self.require_folder(), *patterns, what="table of boxes"),)

    def read(self, problems: list[str]) -> Iterator[Study]:
        file = self.files[0]
        found: dict[str, list[Box]] = {}
        for row in read_table(file, ("patientId", *COORDINATES, "Target")):
            if row["Target"] not in ("0", "1"):
                problems.append(f"{file.name}: {row['patientId']} has Target {row['Target']!r}, not 0 or 1; left out")
            elif row["Target"] == "1":
                boxes = found.setdefault(row["patientId"], [])
                cells = [row[name] for name in COORDINATES]
                add_box(boxes, cells, "width and height", SIZE, f"{file.name}: {row['patientId']}", problems)
        for image, boxes in found.items():
            if boxes and (path := self.find(image, f"{file.name}: {image}", problems)):
                yield Study(
                    id=image,
                    path=path,
                    size=SIZE,
                    statements=(Statement(key="pneumonia", words="pneumonia", label="Pneumonia", boxes=tuple(boxes)),),
                    start="chest x-ray showing ",
                    strata={"modality": "x-ray"},
                )
