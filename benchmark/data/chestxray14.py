"""ChestX-ray14: the frontal chest films that radiologists drew boxes on."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmark.data.findings import GroundedSet, Statement, Study, add_box, spoken
from benchmark.data.tables import Box, locate, read_table, slug

SIZE = (1024, 1024)  # of every image as released
COORDINATES = ("Bbox [x", "y", "w", "h]")  # the published header splits its own "Bbox [x,y,w,h]" at the commas


class ChestXray14(GroundedSet):
    """The box subset of ChestX-ray14: an image and each finding boxed on it, as "chest x-ray showing atelectasis".

    Reads ``BBox_List_2017.csv``, images in ``images*/`` or ``images*/images/``, and the view from
    ``Data_Entry_2017*.csv`` where that is there. Boxes are in pixels of the 1024 x 1024 images.
    """

    name = "chestxray14"
    version = "1"
    summary = "chest films with boxes for eight findings (NIH)"
    licence = "NIH Clinical Center: no restriction on use, with attribution and a link to the source"

    def find_files(self) -> Sequence[Path]:
        """Return the annotation files."""
        folder = self.require_folder()
        boxes = locate(folder, "BBox_List_2017.csv", "*/BBox_List_2017.csv", what="list of boxes")
        return boxes, *sorted(folder.glob("Data_Entry_2017*.csv"))[:1]

    def read(self, problems: list[str]) -> Iterator[Study]:
        folder, file = self.require_folder(), self.files[0]
        tops = sorted(path.name for path in folder.glob("images*") if path.is_dir())
        places = [place for top in tops for place in (top, f"{top}/images")] or ["."]
        views = self._views()
        found: dict[str, dict[str, list[Box]]] = {}
        for row in read_table(file, ("Image Index", "Finding Label", *COORDINATES)):
            image, finding = row["Image Index"], row["Finding Label"]
            boxes = found.setdefault(image, {}).setdefault(finding, [])
            add_box(
                boxes,
                [row[name] for name in COORDINATES],
                "width and height",
                SIZE,
                f"{file.name}: {image}, {finding}",
                problems,
            )
        for image, findings in found.items():
            statements = tuple(
                Statement(key=slug(finding), words=spoken(finding), label=finding, boxes=tuple(boxes))
                for finding, boxes in findings.items()
                if boxes
            )
            if statements and (path := self.find(image, f"{file.name}: {image}", problems, places)):
                view = {"view": views[image]} if image in views else {}
                yield Study(
                    id=Path(image).stem,
                    path=path,
                    size=SIZE,
                    statements=statements,
                    start="chest x-ray showing ",
                    strata={"modality": "x-ray", **view},
                )

    def _views(self) -> dict[str, str]:
        _, *entries = self.files
        rows = read_table(entries[0], ("Image Index", "View Position")) if entries else []
        return {row["Image Index"]: row["View Position"] for row in rows}
