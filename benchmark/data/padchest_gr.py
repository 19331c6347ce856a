"""PadChest-GR: chest film reports as finding sentences, with boxes."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, cast

from benchmark.data.dicom import radiograph_size
from benchmark.data.findings import GroundedSet, Statement, Study, add_box, sentence
from benchmark.data.tables import Box, locate, numbers, read_json, read_table
from benchmark.errors import DataError


class PadChestGr(GroundedSet):
    """PadChest-GR's reports and their boxes; sentences and images stay where they are.

    Reads ``grounded_reports_*.json``, a list of studies with ``ImageID`` and ``findings``: ``sentence_en`` (or ``sentence_es``
    with ``language="es"``), ``abnormal``, ``labels`` and ``boxes``, ``[x0, y0, x1, y1]`` as fractions of the image;
    ``extra_boxes`` are a second reader's and are not used, but stratum ``readers`` counts them. Splits are those of
    ``master_table.csv`` where it is there. Negative sentences have no boxes: they stand in ``captions`` only. A sentence
    stands without its final stop; in ``captions`` the sentences of an image are joined by stops.
    """

    name = "padchest"
    version = "1"
    summary = "sentences of chest film reports and their boxes (PadChest-GR)"
    licence = "BIMCV-PadChest-GR research use agreement: no redistribution"
    shows_images: ClassVar[bool] = False
    between = (". ", ". ")
    places = ("Padchest_GR_files/PadChest_GR", "PadChest_GR", "Padchest_GR_files", "images", ".")

    def __init__(self, data_dir: Path | None = None, language: Literal["en", "es"] = "en") -> None:
        super().__init__(data_dir)
        self.language = language

    def find_files(self) -> Sequence[Path]:
        """Return the annotation files."""
        folder = self.require_folder()
        reports = locate(folder, "grounded_reports*.json", "*/grounded_reports*.json", what="file of grounded reports")
        table = reports.with_name("master_table.csv")
        return (reports, table) if table.is_file() else (reports,)

    def read(self, problems: list[str]) -> Iterator[Study]:
        file = self.files[0]
        data = read_json(file)
        if not isinstance(data, list):
            raise DataError(f"{file} holds a {type(data).__name__}; a list of studies is expected")
        splits = self._splits()
        seen: set[str] = set()
        for position, item in enumerate(cast(list[Any], data)):
            entry = cast(dict[str, Any], item) if isinstance(item, dict) else {}
            image, findings = entry.get("ImageID"), entry.get("findings")
            if not isinstance(image, str) or not isinstance(findings, list):
                problems.append(f"{file.name}: study {position} has no 'ImageID' or no list 'findings'; left out")
            elif image in seen:
                problems.append(f"{file.name}: {image} is given twice; the first is kept")
            else:
                seen.add(image)
                split = splits.get(str(entry.get("StudyID")), "")
                if study := self._study(f"{file.name}: {image}", image, cast(list[Any], findings), split, problems):
                    yield study

    def _splits(self) -> Mapping[str, str]:
        _, *tables = self.files
        rows = read_table(tables[0], ("StudyID", "split")) if tables else []
        return {row["StudyID"]: row["split"] for row in rows}

    def _study(self, who: str, image: str, findings: Sequence[Any], split: str, problems: list[str]) -> Study | None:
        path = self.find(image, who, problems)
        if path is None:
            return None
        size = radiograph_size(path)
        if size is None:
            problems.append(f"{who}: the header of {path.name} cannot be read; left out")
            return None
        statements: list[Statement] = []
        for position, item in enumerate(findings, start=1):
            finding = cast(dict[str, Any], item) if isinstance(item, dict) else {}
            text = finding.get(f"sentence_{self.language}")
            if not isinstance(text, str) or not (words := sentence(text)):
                problems.append(f"{who}: finding {position} has no 'sentence_{self.language}'; left out")
                continue
            boxes = _boxes(finding.get("boxes"), size, f"{who}, finding {position}", problems)
            readers = "2" if finding.get("extra_boxes") else "1"
            statements.append(
                Statement(
                    key=str(position),
                    words=words,
                    label=_label(finding.get("labels")),
                    boxes=boxes,
                    strata={"readers": readers} if boxes else {},
                )
            )
        if not statements:
            problems.append(f"{who} has no usable finding; left out")
            return None
        strata = {"modality": "x-ray"}
        return Study(id=Path(image).stem, path=path, size=size, statements=tuple(statements), split=split, strata=strata)


def _boxes(boxes: Any, size: tuple[int, int], who: str, problems: list[str]) -> tuple[Box, ...]:
    """Turn fractions of the image into pixels."""
    width, height = size
    found: list[Box] = []
    for box in cast(list[Any], boxes) if isinstance(boxes, list) else []:
        cells = cast(list[Any], box) if isinstance(box, list) else [box]
        values = numbers(cells)
        if values is None or len(values) != 4 or max(values) > 1.01 or min(values) < -0.01:
            problems.append(f"{who} has a box that is not four fractions of the image ({box!r:.80}); left out")
            continue
        x0, y0, x1, y1 = values
        add_box(found, (x0 * width, y0 * height, x1 * width, y1 * height), "corners", size, who, problems)
    return tuple(found)


def _label(labels: Any) -> str:
    names = [str(label) for label in cast(list[Any], labels)] if isinstance(labels, list) else []
    return " + ".join(names) or "unlabelled"
