"""SLAKE: CT, MRI and X-ray images with boxes and masks of organs and lesions."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image

from benchmark.data.base import Region
from benchmark.data.dicom import radiograph_size
from benchmark.data.findings import GroundedSet, Statement, Study, add_box, spoken
from benchmark.data.tables import Box, digest, find_image, locate, read_json, slug
from benchmark.errors import DataError

SPLIT_FILES = {"test": ("test.json",), "validate": ("validation.json", "validate.json"), "train": ("train.json",)}
LEGEND = re.compile(r"\s*(\d+)\s*:\s*(\S.*?)\s*")
LESION = re.compile(
    r"cancer|tumou?r|oedema|edema|mass|nodule|effusion|pneumonia|pneumothorax|atelectasis|infiltrat|cardiomegaly|lesion|enhancing",
    re.IGNORECASE,
)
AGREEMENT = 0.5  # least overlap (intersection over union) of a mask's bounding box with the annotated boxes


class Slake(GroundedSet):
    """SLAKE's images with its words for organs and lesions, as "abdomen CT showing liver".

    Reads the images that ``train.json``, ``validation.json`` and ``test.json`` ask about, each with its
    ``imgs/xmlab*/source.jpg`` and ``detection.json`` (a list of objects ``{word: [x, y, width, height]}`` in pixels). The
    questions themselves are not used. ``mask.png`` gives the exact region where ``mask.txt`` (lines ``value:word``)
    names the word, the mask has the image's size, and it lies where the boxes are; else the boxes count alone.

    Strata: also ``modality``, ``location`` and ``kind`` (``organ`` or ``lesion``, by the word).
    """

    name = "slake"
    version = "1"
    summary = "CT, MRI and X-ray images with boxes and masks of organs and lesions"
    licence = "CC BY 4.0"

    @cached_property
    def _root(self) -> Path:
        folder = self.require_folder()
        imgs = locate(folder, "imgs", "*/imgs", what="folder of images (unpack imgs.zip)")
        return imgs.parent

    @cached_property
    def _splits(self) -> Mapping[str, Path]:
        found = {
            split: path
            for split, names in SPLIT_FILES.items()
            if (path := next((self._root / name for name in names if (self._root / name).is_file()), None))
        }
        if not found:
            names = ", ".join(name for names in SPLIT_FILES.values() for name in names)
            raise DataError(f"{self._root} has no file of questions: looked for {names}")
        return found

    def find_files(self) -> Sequence[Path]:
        """Return the annotation files."""
        legend = self._root / "mask.txt"
        return *self._splits.values(), *((legend,) if legend.is_file() else ())

    @cached_property
    def _digest(self) -> str:
        """A hash of the lists, and of each image's boxes and mask."""
        return digest(
            [*self.files, *sorted(self._root.glob("imgs/*/detection.json")), *sorted(self._root.glob("imgs/*/mask.png"))]
        )

    def read(self, problems: list[str]) -> Iterator[Study]:
        seen: dict[str, str] = {}
        for split, file in self._splits.items():
            for image, entry in _images(file, problems).items():
                if image in seen:
                    problems.append(f"{file.name}: image {image} is in {seen[image]} too; the first is kept")
                    continue
                seen[image] = file.name
                if study := self._study(file.name, image, entry, split, problems):
                    yield study

    def _study(self, file: str, image: str, entry: Mapping[str, Any], split: str, problems: list[str]) -> Study | None:
        who = f"{file}: {image}"
        path = find_image(self._root / "imgs", image, (".",))
        size = None if path is None else radiograph_size(path)
        if path is None or size is None:
            problems.append(f"{who} is missing in {self._root / 'imgs'} or is no image; left out")
            return None
        modality, location = str(entry.get("modality", "image")), str(entry.get("location", ""))
        words = _boxes(path.with_name("detection.json"), f"{who}, detection.json", size, problems)
        statements: list[Statement] = []
        for word, boxes in words.items():
            kind = "lesion" if LESION.search(word) else "organ"
            statements.append(
                Statement(key=slug(word), words=spoken(word), label=word, boxes=tuple(boxes), strata={"kind": kind})
            )
        if not statements:
            return None
        start = " ".join(part for part in (spoken(location), modality) if part) + " showing "
        return Study(
            id=path.parent.name,
            path=path,
            size=size,
            statements=tuple(statements),
            start=start,
            split=split,
            strata={"modality": modality} | ({"location": location} if location else {}),
        )

    @cached_property
    def _legend(self) -> Mapping[int, str]:
        """Mask values and their words, in lower case; empty without a legend."""
        path = self._root / "mask.txt"
        if not path.is_file():
            return {}
        lines = [line for line in path.read_text(encoding="utf-8-sig").splitlines() if line.strip()]
        matches = [LEGEND.fullmatch(line) for line in lines]
        if bad := next((line for line, match in zip(lines, matches, strict=True) if match is None), None):
            raise DataError(f"{path} has a line {bad!r:.60}; each is expected to be 'value:word'")
        return {int(match[1]): match[2].lower() for match in matches if match}

    def region(self, study: Study, statement: Statement) -> Region:
        """Return the boxes and, if they lie there, the mask's pixels with the word's value."""
        boxes = super().region(study, statement).boxes
        values = [value for value, word in self._legend.items() if word == statement.label.lower()]
        mask = _mask(study.path.with_name("mask.png"), values) if values else None
        width, height = study.size
        if mask is None or mask.shape != (height, width) or not mask.any():
            return Region(boxes=boxes)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        around = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], dtype=np.float64)
        return Region(boxes=boxes, mask=mask if _overlap(around, _hull(boxes)) >= AGREEMENT else None)


def _images(path: Path, problems: list[str]) -> dict[str, Mapping[str, Any]]:
    """Return the first question about each image, in order of the file."""
    data = read_json(path)
    if not isinstance(data, list):
        raise DataError(f"{path} holds a {type(data).__name__}; a SLAKE file is a list of questions")
    found: dict[str, Mapping[str, Any]] = {}
    for position, item in enumerate(cast(list[Any], data)):
        entry = cast(dict[str, Any], item) if isinstance(item, dict) else {}
        image = entry.get("img_name")
        if not isinstance(image, str):
            problems.append(f"{path.name}: entry {position} has no 'img_name'; left out")
        elif image not in found:
            found[image] = entry
    return found


def _boxes(path: Path, who: str, size: tuple[int, int], problems: list[str]) -> dict[str, list[Box]]:
    """Return the words of one image with their boxes; a word may stand in several places."""
    if not path.is_file():
        problems.append(f"{who} is missing; left out")
        return {}
    data = read_json(path)
    if not isinstance(data, list):
        raise DataError(f"{path} holds a {type(data).__name__}; a list of objects {{word: [x, y, width, height]}} is expected")
    found: dict[str, list[Box]] = {}
    for item in cast(list[Any], data):
        pairs = cast(dict[str, Any], item) if isinstance(item, dict) else {}
        if not pairs:
            problems.append(f"{who} has an entry {item!r:.60} that is not {{word: [x, y, width, height]}}; left out")
        for word, cells in pairs.items():
            listed = cast(list[object], cells) if isinstance(cells, list) else [cells]
            add_box(found.setdefault(word.strip(), []), listed, "width and height", size, f"{who}, {word}", problems)
    return {word: boxes for word, boxes in found.items() if word and boxes}


def _mask(path: Path, values: Sequence[int]) -> Bool[np.ndarray, "height width"] | None:
    """Return where a mask file has one of these values; ``None`` for a file that is missing, damaged or in colour."""
    try:
        with Image.open(path) as image:
            pixels = np.asarray(image)
    except (OSError, SyntaxError, Image.DecompressionBombError):
        return None
    if pixels.ndim == 3:
        if not (pixels[..., :3] == pixels[..., :1]).all():
            return None
        pixels = pixels[..., 0]
    return np.isin(pixels, values)


def _hull(boxes: Float[np.ndarray, "box 4"]) -> Float[np.ndarray, "4"]:
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _overlap(a: Float[np.ndarray, "4"], b: Float[np.ndarray, "4"]) -> float:
    """Return the intersection over union of two boxes."""
    common = np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0.0, None))
    return float(common / (np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common))
