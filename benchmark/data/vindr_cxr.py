"""VinDr-CXR: chest films with the boxes of several radiologists."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from benchmark.data.dicom import radiograph_size
from benchmark.data.findings import GroundedSet, Statement, Study, add_box, spoken
from benchmark.data.tables import Box, locate, read_table, slug

CORNERS = ("x_min", "y_min", "x_max", "y_max")
NORMAL = "No finding"


class VinDrCxr(GroundedSet):
    """VinDr-CXR's boxes, as "chest x-ray showing pleural effusion"; texts and images stay where they are.

    Reads ``annotations_test.csv`` (the consensus of five readers) where it is there, else ``annotations_train.csv`` or
    the ``train.csv`` of the competition (three readers, column ``rad_id``); images as DICOM, or PNG or JPEG of the same
    name, in ``test/``, ``train/`` or ``images/``. Boxes are in pixels of the original, so converted images must keep
    its size. Boxes of several readers are joined; stratum ``readers`` says how many drew the finding.
    """

    name = "vindr"
    version = "1"
    summary = "chest films with boxes for local findings (VinDr)"
    licence = "PhysioNet Credentialed Health Data License 1.5.0 (training part also under the competition's rules)"
    shows_images: ClassVar[bool] = False
    places = ("test", "train", "images", ".")

    def find_files(self) -> Sequence[Path]:
        """Return the annotation files."""
        names = ("annotations_test.csv", "annotations_train.csv", "train.csv")
        patterns = [pattern for name in names for pattern in (name, f"annotations/{name}")]
        return (locate(self.require_folder(), *patterns, what="table of boxes"),)

    def read(self, problems: list[str]) -> Iterator[Study]:
        file = self.files[0]
        images: dict[str, list[Mapping[str, str]]] = {}
        for row in read_table(file, ("image_id", "class_name", *CORNERS)):
            if row["class_name"] != NORMAL and any(row[name] for name in CORNERS):  # global findings have no box
                images.setdefault(row["image_id"], []).append(row)
        for image, rows in images.items():
            if study := self._study(file, image, rows, problems):
                yield study

    def _study(self, file: Path, image: str, rows: Sequence[Mapping[str, str]], problems: list[str]) -> Study | None:
        who = f"{file.name}: {image}"
        path = self.find(image, who, problems)
        if path is None:
            return None
        size = radiograph_size(path)
        if size is None:
            problems.append(f"{who}: the header of {path.name} cannot be read; left out")
            return None
        boxes: dict[str, list[Box]] = {}
        readers: dict[str, set[str]] = {}
        for row in rows:
            finding = row["class_name"]
            found = boxes.setdefault(finding, [])
            add_box(found, [row[name] for name in CORNERS], "corners", size, f"{who}, {finding}", problems)
            readers.setdefault(finding, set()).add(row.get("rad_id", "consensus"))
        statements = tuple(
            Statement(
                key=slug(finding),
                words=spoken(finding),
                label=finding,
                boxes=tuple(found),
                strata={"readers": "consensus" if readers[finding] == {"consensus"} else str(len(readers[finding]))},
            )
            for finding, found in boxes.items()
            if found
        )
        if not statements:
            return None
        strata = {"modality": "x-ray", "view": "PA"}
        return Study(id=image, path=path, size=size, statements=statements, start="chest x-ray showing ", strata=strata)
