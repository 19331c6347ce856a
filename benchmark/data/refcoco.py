"""RefCOCO, RefCOCO+ and RefCOCOg: expressions that single out one object of a COCO photograph."""

import io
import pickle
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from PIL import Image

from benchmark.data.annotations import Instance, region
from benchmark.data.base import LazySamples, Phrase, Sample
from benchmark.data.coco import object_area
from benchmark.data.hub import load_hub, load_parquet, pinned
from benchmark.data.local import LocalSet
from benchmark.data.tables import Box, boxes_region, find_image, image_size, locate, numbers, read_json, slug
from benchmark.errors import DataError, InvalidInput

if TYPE_CHECKING:
    from datasets import Dataset

FIELDS = ("answer", "bbox", "segmentation", "file_name")
IMAGES = ("images", "train2014", "images/train2014", ".")
_COCO_NAME = re.compile(r"COCO_\w+?2014_\d{12}")  # the references' file names have a number of their own behind it


@dataclass(frozen=True, slots=True)
class Row:
    """One target: the expressions for it, ``[x, y, width, height]``, its outline as found, and the image or its row number."""

    expressions: tuple[str, ...]
    bbox: Any
    outline: Any
    file_name: str
    image: Path | int | None


@dataclass(frozen=True, slots=True)
class Referral:
    """One expression for one target, checked."""

    id: str
    cluster: str
    text: str
    image: Path | int
    size: tuple[int, int]
    target: Instance


class Referring(LocalSet):
    """Expressions with one target each, from the first of these that is there.

    - Parquet of the hub (``*testA*.parquet``), images inside; without a folder it is loaded at the pinned commit.
    - JSON with the same columns (``*testA*.json``), a list of objects, images beside.
    - The authors' ``refs(...).p`` with ``instances.json``, images beside. The pickle is read without running anything in it.

    ``bbox`` is x, y, width, height. The region is the box and, from polygons or run lengths, its exact mask.

    ``captions``: the first expression for the first target of an image. ``phrases``: every expression as it is, without a
    template, true of its one target; nearly always another object of the same category is in the image.
    """

    repo: ClassVar[str]
    hub_revision: ClassVar[str | None]
    splits: ClassVar[tuple[str, ...]]
    licence = "expressions: research; images: COCO, each with a Flickr licence of its own"
    shows_images = False  # the photographs' licences are not in these files

    def __init__(self, data_dir: Path | None = None, revision: str | None = None) -> None:
        super().__init__(data_dir)
        self._commit = revision or self.hub_revision

    @property
    def revision(self) -> str:
        """The version, and the hub's commit or a hash of the local files."""
        return f"{self.version}+{pinned(self.repo, self._commit)[:12]}" if self.data_dir is None else super().revision

    def find_files(self) -> Sequence[Path]:
        """Return the files read, one or more for each split, in order."""
        folder = self.require_folder()
        for suffix in ("parquet", "json"):
            found = [path for split in self.splits for path in sorted(folder.rglob(f"*{split}*.{suffix}"))]
            if found:
                return found
        what = f"{self.name}: {' or '.join(self.splits)} as Parquet or JSON, or refs(...).p with instances.json"
        return [locate(folder, pattern, what=what) for pattern in ("refs*.p", "instances.json")]

    @cached_property
    def table(self) -> "Dataset | None":
        """The Parquet rows, images included, or ``None`` where the files are JSON or pickles."""
        columns = (*FIELDS, "image")
        if self.data_dir is None:
            from datasets import concatenate_datasets

            return concatenate_datasets([load_hub(self.repo, self._commit, split, columns) for split in self.splits])
        return load_parquet(self.files, columns) if self.files[0].suffix == ".parquet" else None

    def listed(self, view: str) -> Sequence[Sample]:
        """Return samples in the order of the files."""
        chosen = self._referrals
        if view == "captions":
            chosen = list({referral.cluster: referral for referral in reversed(chosen)}.values())[::-1]
        return LazySamples(self._sample, chosen)

    @cached_property
    def _referrals(self) -> list[Referral]:
        found: dict[str, Referral] = {}
        targets: dict[str, dict[Box, int]] = {}
        for row in self._rows():
            stem = Path(row.file_name).stem
            match = _COCO_NAME.match(stem)
            name = match.group() if match else stem
            image = row.image if row.image is not None else find_image(self.require_folder(), f"{name}.jpg", IMAGES)
            size = self._size(image)
            target = self._target(row, size)
            if image is None or size is None or target is None:
                continue
            number = targets.setdefault(name, {}).setdefault(target.box, len(targets[name]))
            cluster = f"{self.name}/{name}"
            for text in row.expressions:
                id_ = f"{cluster}#{number}-{slug(text)}"
                if id_ in found:
                    self.problems.append(f"{row.file_name}: {text!r} is given twice for one target; the first is kept")
                found.setdefault(id_, Referral(id_, cluster, text, image, size, target))
        return list(found.values())

    def _rows(self) -> Iterator[Row]:
        if self.table is not None:
            entries: Any = self.table.select_columns(list(FIELDS))
            for number, entry in enumerate(entries):
                yield _row(cast(Mapping[str, Any], entry), number)
        elif self.files[0].suffix == ".json":
            for path in self.files:
                yield from self._json_rows(path)
        else:
            yield from self._reference_rows(*self.files)

    def _json_rows(self, path: Path) -> Iterator[Row]:
        entries = read_json(path)
        if not isinstance(entries, list):
            raise DataError(f"{path} holds a {type(entries).__name__}; it must be a list of objects with {', '.join(FIELDS)}")
        items = cast(list[Any], entries)
        needed = {"answer", "bbox", "file_name"}
        usable = [isinstance(entry, dict) and needed <= set(cast(dict[str, Any], entry)) for entry in items]
        if not any(usable):
            first = repr(items[0])[:200] if items else "missing"
            raise DataError(f"{path}: no entry has answer, bbox and file_name; the first is {first}")
        for number, entry in enumerate(items):
            if usable[number]:
                yield _row(cast(dict[str, Any], entry), None)
            else:
                self.problems.append(f"{path.name}: entry {number} lacks answer, bbox or file_name; left out")

    def _reference_rows(self, references: Path, instances: Path) -> Iterator[Row]:
        content = read_json(instances)
        try:
            targets = {entry["id"]: entry for entry in content["annotations"]}
            for reference in _read_pickle(references):
                if reference["split"] not in self.splits:
                    continue
                target = targets.get(reference["ann_id"])
                if target is None:
                    missing = f"annotation {reference['ann_id']} is not in {instances.name}"
                    self.problems.append(f"{references.name}: {missing}; left out")
                    continue
                sentences = tuple(str(sentence["sent"]) for sentence in reference["sentences"])
                yield Row(sentences, target["bbox"], target.get("segmentation"), str(reference["file_name"]), None)
        except (KeyError, TypeError) as error:
            raise DataError(f"{references} and {instances} are not RefCOCO's references and instances ({error!r})") from error

    def _target(self, row: Row, size: tuple[int, int] | None) -> Instance | None:
        if size is None:
            self.problems.append(f"{row.file_name}: the image is not there or cannot be opened; left out")
            return None
        sides = numbers(row.bbox) if isinstance(row.bbox, list) else None
        corners = (sides[0], sides[1], sides[0] + sides[2], sides[1] + sides[3]) if sides and len(sides) == 4 else None
        inside = None if corners is None else boxes_region([corners], *size)
        if inside is None or not row.expressions:
            what = f"a box {row.bbox!r:.60} that is not inside the {size[0]} x {size[1]} image" if inside is None else "no text"
            self.problems.append(f"{row.file_name} has {what}; left out")
            return None
        x0, y0, x1, y1 = inside.boxes[0].tolist()
        polygons, runs = _outline(row.outline, size)
        return Instance(None, 0, "", (x0, y0, x1, y1), polygons=polygons, runs=runs)

    def _size(self, image: Path | int | None) -> tuple[int, int] | None:
        if isinstance(image, int):
            return image_size(io.BytesIO(self._bytes(image)))
        return None if image is None else image_size(image)

    @cached_property
    def _undecoded(self) -> Any:
        """The column of images as files, so that a size can be read without decoding."""
        from datasets import Image as ImageFeature

        assert self.table is not None
        return self.table.select_columns(["image"]).cast_column("image", ImageFeature(decode=False))

    def _bytes(self, number: int) -> bytes:
        return self._undecoded[number]["image"]["bytes"] or b""

    def _sample(self, referral: Referral) -> Sample:
        image = referral.image
        if isinstance(image, int):
            try:
                image = Image.open(io.BytesIO(self._bytes(image))).convert("RGB")
            except (OSError, SyntaxError) as error:
                raise InvalidInput(f"the image of {referral.id} cannot be read ({error})") from error
        where = region([referral.target], *referral.size)
        return Sample(
            id=referral.id,
            image=image,
            text=referral.text,
            cluster=referral.cluster,
            phrases=(Phrase(span=(0, len(referral.text)), region=where),),
            strata={"object_area": object_area(where), "words": _words(referral.text)},
        )


class RefCoco(Referring):
    """RefCOCO: short expressions from a two-player game, places such as "left" allowed."""

    name = "refcoco"
    version = "1"
    summary = "expressions that single out one object of a photograph, with box and mask"
    repo = "lmms-lab/RefCOCO"
    hub_revision = "e15256ece129a21d62e216f95f98ba2e808f96a0"
    splits = ("testA", "testB")


class RefCocoPlus(Referring):
    """RefCOCO+: the same game with words of place forbidden."""

    name = "refcoco_plus"
    version = "1"
    summary = "expressions without words of place that single out one object, with box and mask"
    repo = "lmms-lab/RefCOCOplus"
    hub_revision = "6ff10a221309bc4791d1ff7d57f8bbcb509b9e9d"
    splits = ("testA", "testB")


class RefCocoG(Referring):
    """RefCOCOg: longer expressions, written outside a game."""

    name = "refcocog"
    version = "1"
    summary = "whole-sentence expressions that single out one object, with box and mask"
    repo = "lmms-lab/RefCOCOg"
    hub_revision = "b63a1c8cd7f3c72417eaacd336bf32e6ee65ab47"
    splits = ("val",)


def _row(entry: Mapping[str, Any], number: int | None) -> Row:
    answer = entry["answer"]
    texts = cast(list[Any], answer) if isinstance(answer, list) else [answer]
    expressions = tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())
    return Row(expressions, entry["bbox"], entry.get("segmentation"), str(entry["file_name"]), number)


def _words(text: str) -> str:
    count = len(text.split())
    return "1" if count == 1 else "2-3" if count <= 3 else "4+"


def _outline(outline: Any, size: tuple[int, int]) -> tuple[tuple[tuple[float, ...], ...], tuple[int, ...]]:
    """Return polygons or run lengths; a flat list is one polygon, and what is neither is left out, so that the box counts."""
    if isinstance(outline, dict):
        code = cast(dict[str, Any], outline)
        runs = numbers(code["counts"]) if isinstance(code.get("counts"), list) else None
        if runs is not None and code.get("size") == [size[1], size[0]] and sum(runs) == size[0] * size[1]:
            return (), tuple(int(run) for run in runs)
    if not isinstance(outline, list) or not outline:
        return (), ()
    parts = cast(list[Any], outline)
    found = [numbers(cast(list[Any], part)) for part in (parts if isinstance(parts[0], list) else [parts])]
    polygons = tuple(polygon for polygon in found if polygon is not None and len(polygon) >= 6 and len(polygon) % 2 == 0)
    return (polygons if len(polygons) == len(found) else ()), ()


class _PlainUnpickler(pickle.Unpickler):
    """Reads lists, dictionaries, texts and numbers; anything that names code is refused."""

    def find_class(self, module_name: str, global_name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module_name}.{global_name}, and only plain data is read")


def _read_pickle(path: Path) -> list[Any]:
    try:
        with path.open("rb") as file:
            content = _PlainUnpickler(file, encoding="latin1").load()
    except (OSError, EOFError, ValueError, IndexError, KeyError, pickle.UnpicklingError) as error:
        raise DataError(f"{path} cannot be read as a plain pickle ({error}); is the download complete?") from error
    if not isinstance(content, list):
        raise DataError(f"{path} holds a {type(content).__name__}; RefCOCO's references are a list")
    return cast(list[Any], content)
