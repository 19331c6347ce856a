"""MS-CXR: sentences about chest films and the boxes that they speak of."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, cast

from benchmark.data.findings import GroundedSet, Statement, Study, add_box, sentence
from benchmark.data.tables import Box, locate, numbers, read_json, read_table
from benchmark.errors import DataError

COLUMNS = ("category_name", "label_text", "path", "x", "y", "w", "h", "image_width", "image_height", "dicom_id")


class Row(NamedTuple):
    """One box of one sentence, whichever file it is from."""

    image: str
    path: str
    size: tuple[int, int] | None
    finding: str
    text: str
    box: Sequence[object]
    split: str


class MsCxr(GroundedSet):
    """MS-CXR's sentences with their boxes; sentences and images stay where they are.

    Reads ``MS_CXR_Local_Alignment_v*.csv``, or the ``.json`` of the same content; images are those of MIMIC-CXR-JPG, found
    by the path that the file gives (``files/p10/...``), in the folder itself, ``mimic-cxr-jpg/`` or ``images/`` (links are
    followed). Boxes are in pixels of the full-size JPEG. A sentence's several boxes are one region. A sentence stands
    without its final stop; in ``captions`` the sentences of an image are joined by stops.
    """

    name = "mscxr"
    version = "1"
    summary = "sentences about chest films and their boxes (MIMIC-CXR)"
    licence = "PhysioNet Credentialed Health Data License 1.5.0, with a signed data use agreement"
    shows_images: ClassVar[bool] = False
    between = (". ", ". ")
    places = (".", "mimic-cxr-jpg", "images")

    def find_files(self) -> Sequence[Path]:
        """Return the annotation files."""
        names = ("MS_CXR_Local_Alignment_v*.csv", "MS_CXR_Local_Alignment_v*.json")
        patterns = [pattern for name in names for pattern in (name, f"*/{name}")]
        return (locate(self.require_folder(), *patterns, what="file of sentences and boxes"),)

    def read(self, problems: list[str]) -> Iterator[Study]:
        file = self.files[0]
        rows = _from_csv(file) if file.suffix == ".csv" else _from_json(file, problems)
        images: dict[str, list[Row]] = {}
        for row in rows:
            images.setdefault(row.image, []).append(row)
        for image, found in images.items():
            if study := self._study(f"{file.name}: {image}", image, found, problems):
                yield study

    def _study(self, who: str, image: str, rows: Sequence[Row], problems: list[str]) -> Study | None:
        size = rows[0].size
        if size is None or any((row.size, row.path) != (size, rows[0].path) for row in rows):
            problems.append(f"{who} has no size, or several sizes or paths; left out")
            return None
        boxes: dict[tuple[str, str], list[Box]] = {}
        for row in rows:
            text = sentence(row.text)
            if not text:
                problems.append(f"{who} has a box without a sentence; left out")
                continue
            add_box(boxes.setdefault((row.finding, text), []), row.box, "width and height", size, who, problems)
        statements = tuple(
            Statement(key=str(position), words=text, label=finding, boxes=tuple(found))
            for position, ((finding, text), found) in enumerate(boxes.items(), start=1)
            if found
        )
        if not statements or (path := self.find(rows[0].path, who, problems)) is None:
            return None
        strata = {"modality": "x-ray"}
        return Study(id=image, path=path, size=size, statements=statements, split=rows[0].split, strata=strata)


def _from_csv(path: Path) -> Iterator[Row]:
    for row in read_table(path, COLUMNS):
        yield Row(
            image=row["dicom_id"],
            path=row["path"],
            size=_size(row["image_width"], row["image_height"]),
            finding=row["category_name"],
            text=row["label_text"],
            box=[row[name] for name in "xywh"],
            split=row.get("split", ""),
        )


def _from_json(path: Path, problems: list[str]) -> Iterator[Row]:
    data = read_json(path)
    lists = cast(dict[str, Any], data) if isinstance(data, dict) else {}
    for name in ("images", "annotations", "categories"):
        if not isinstance(lists.get(name), list):
            raise DataError(f"{path} has no list {name!r}; images, annotations and categories are expected")
    try:
        images = {entry["id"]: entry for entry in cast(list[Mapping[str, Any]], lists["images"])}
        categories = {entry["id"]: str(entry["name"]) for entry in cast(list[Mapping[str, Any]], lists["categories"])}
        sizes = {id_: _size(entry["width"], entry["height"]) for id_, entry in images.items()}
        paths = {id_: str(entry["path"]) for id_, entry in images.items()}
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} has an image or category without {error}") from error
    if len(images) < len(lists["images"]):
        raise DataError(f"{path} gives an image id twice; ids must be unique")
    for position, item in enumerate(cast(list[Any], lists["annotations"])):
        entry = cast(dict[str, Any], item) if isinstance(item, dict) else {}
        image, box, text = entry.get("image_id"), entry.get("bbox"), entry.get("label_text")
        if image not in images or entry.get("category_id") not in categories:
            problems.append(f"{path.name}: annotation {position} is of an image or category that is not known; left out")
        elif not isinstance(box, list) or not isinstance(text, str):
            problems.append(f"{path.name}: annotation {position} has no 'bbox' or no 'label_text'; left out")
        else:
            yield Row(
                image=Path(paths[image]).stem,
                path=paths[image],
                size=sizes[image],
                finding=categories[entry["category_id"]],
                text=text,
                box=cast(list[object], box),
                split=str(entry.get("split", "")),
            )


def _size(width: object, height: object) -> tuple[int, int] | None:
    sides = numbers((width, height))
    return (int(sides[0]), int(sides[1])) if sides is not None and min(sides) > 0 else None
