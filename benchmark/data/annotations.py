"""COCO annotation files: found, read and checked; entries that cannot be right are left out and say why."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, cast

import numpy as np
from jaxtyping import Bool
from pycocotools import mask as rle

from benchmark.data.base import Region
from benchmark.data.tables import read_json
from benchmark.errors import DataError

Entry = Mapping[str, Any]
Box = tuple[float, float, float, float]

SPLITS = ("val2017", "val2014", "train2017", "train2014")


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """An entry of ``images``; ``licence`` is the id in the file's own list of licences."""

    id: int
    file_name: str
    width: int
    height: int
    licence: str


@dataclass(frozen=True, slots=True)
class Caption:
    """One caption; ``text`` is stripped, ``shift`` is how many characters the file has before it."""

    id: int
    image_id: int
    text: str
    shift: int = 0


@dataclass(frozen=True, slots=True)
class Instance:
    """One object, or a crowd of them: ``[x0, y0, x1, y1)`` inside the image and, if usable, its exact outline.

    ``polygons`` are flat x, y lists; ``runs`` are lengths of a column-major run-length code, background first.
    """

    id: int | None
    image_id: int
    category: str
    box: Box
    crowd: bool = False
    polygons: tuple[tuple[float, ...], ...] = ()
    runs: tuple[int, ...] = ()

    def mask(self, width: int, height: int) -> Bool[np.ndarray, "height width"] | None:
        """Return the exact mask as pycocotools rasterises it, or ``None`` where the file gives no usable outline."""
        runs = self.runs
        if self.polygons:
            polygons: Any = [list(polygon) for polygon in self.polygons]  # a form that pycocotools' types leave out
            code: Any = rle.merge(rle.frPyObjects(polygons, height, width))
            runs = decode_runs(code["counts"].decode())  # its own decode step warns under numpy 2
        if runs:
            return np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(width, height).T
        return None


@dataclass(frozen=True, slots=True)
class Mention:
    """Characters ``start`` to ``end`` of a caption's stripped text, and the instances they speak of."""

    start: int
    end: int
    label: str
    instances: tuple[Instance, ...]


@dataclass(slots=True)
class Annotations:
    """What the files of one split say; ``mentions`` is ``None`` without a phrases file. ``problems`` are sentences."""

    images: dict[int, ImageRecord]
    captions: dict[int, list[Caption]]
    instances: dict[int, list[Instance]]
    categories: tuple[str, ...]
    mentions: dict[int, list[Mention]] | None = None
    problems: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True)
class Files:
    """The annotation files of one split; ``split`` is empty for the layout without split names."""

    split: str
    captions: Path
    instances: Path
    phrases: Path | None


def region(instances: Sequence[Instance], width: int, height: int) -> Region:
    """Join instances: all boxes, and the union of the masks if every instance has one that covers a pixel."""
    masks = [instance.mask(width, height) for instance in instances]
    exact = [mask for mask in masks if mask is not None and mask.any()]
    union = np.logical_or.reduce(exact) if len(exact) == len(masks) else None
    return Region(boxes=np.array([instance.box for instance in instances], dtype=np.float64).reshape(-1, 4), mask=union)


def find_files(folder: Path, split: str | None = None) -> Files:
    """Choose one split: the named one, else one whose image folder is there, validation before training, 2017 before 2014."""
    complete, seen = _splits(folder)
    if split is not None:
        if split not in complete:
            known = ", ".join(repr(name) for name in complete) or "none"
            raise DataError(f"{folder} has no captions and instances of split {split!r}; splits with both: {known}")
        return complete[split]
    if not complete:
        found = f"; found only {', '.join(seen)}" if seen else ""
        raise DataError(
            f"{folder} is not a COCO folder: it needs annotations/captions_SPLIT.json with annotations/instances_SPLIT.json "
            f"of the same split, or captions.json with instances.json{found}"
        )
    order = {name: rank for rank, name in enumerate(("", *SPLITS))}
    names = sorted(complete, key=lambda name: (name != "" and not (folder / name).is_dir(), order.get(name, len(order)), name))
    return complete[names[0]]


def _splits(folder: Path) -> tuple[dict[str, Files], list[str]]:
    complete: dict[str, Files] = {}
    seen: list[str] = []
    for place in (folder, folder / "annotations"):
        for kind in ("captions", "instances"):
            seen += [path.relative_to(folder).as_posix() for path in _named(place, kind)]
        for captions in _named(place, "captions"):
            instances = captions.with_name("instances" + captions.name.removeprefix("captions"))
            split = captions.stem.removeprefix("captions").removeprefix("_")
            if instances.is_file() and split not in complete:
                complete[split] = Files(split, captions, instances, _phrases_file(folder, split))
    return complete, seen


def _named(place: Path, kind: str) -> list[Path]:
    """Return ``kind.json`` and ``kind_*.json`` of a folder that may not exist."""
    return sorted([*place.glob(f"{kind}.json"), *place.glob(f"{kind}_*.json")])


def _phrases_file(folder: Path, split: str) -> Path | None:
    """Return this split's phrases file, else ``phrases.json``, else the only one that names no other split."""
    paths = [path for place in (folder, folder / "annotations") for path in _named(place, "phrases")]
    for name in (f"phrases_{split}.json", "phrases.json"):
        for path in paths:
            if path.name == name:
                return path
    others = [path for path in paths if path.stem.removeprefix("phrases_") not in SPLITS]
    if len(others) > 1:
        names = ", ".join(path.relative_to(folder).as_posix() for path in others)
        raise DataError(f"{folder} has several phrases files ({names}); name the one to use phrases.json")
    return others[0] if others else None


def read_annotations(files: Files) -> Annotations:
    """Read and check the files of one split.

    A file that is missing, not JSON or without its lists, a list without one usable entry, and an image id given twice
    raise ``DataError``. Any other entry that cannot be right is left out, with a sentence in ``problems``.
    """
    problems: list[str] = []
    captions_data = _read_lists(files.captions, ("images", "annotations"))
    instances_data = _read_lists(files.instances, ("images", "annotations", "categories"))
    images = _read_images(files.instances, instances_data["images"], problems)
    for id_, record in _read_images(files.captions, captions_data["images"], problems).items():
        images.setdefault(id_, record)
    captions = _read_captions(files.captions, captions_data["annotations"], images, problems)
    categories = {
        entry["id"]: str(entry["name"])
        for entry in _entries(files.instances, "categories", instances_data["categories"], {"id": int, "name": str}, problems)
    }
    instances = _read_instances(files.instances, instances_data["annotations"], images, categories, problems)
    read = Annotations(images, captions, instances, tuple(categories.values()), problems=problems)
    if files.phrases is not None:
        read.mentions = _read_phrases(files.phrases, read)
    return read


def _read_lists(path: Path, keys: Iterable[str]) -> dict[str, list[Any]]:
    data = read_json(path)
    if not isinstance(data, dict):
        raise DataError(f"{path} holds a {type(data).__name__}; a COCO file is an object with {', '.join(keys)}")
    entries = cast(dict[str, Any], data)
    for key in keys:
        if not isinstance(entries.get(key), list):
            raise DataError(f"{path} has no list {key!r}; its keys are {', '.join(map(repr, entries)) or 'none'}")
    return entries


def _entries(path: Path, name: str, items: Sequence[Any], fields: Mapping[str, type], problems: list[str]) -> Iterator[Entry]:
    """Yield the entries that have every field with its type; raise if there are entries and none has."""
    usable, first = 0, ""
    for position, item in enumerate(items):
        reason = _unusable(item, fields)
        if reason is None:
            usable += 1
            yield cast(Entry, item)
        else:
            first = first or reason
            problems.append(f"{path.name}: entry {position} of {name} {reason}; left out")
    if items and not usable:
        raise DataError(f"{path}: no entry of {name} is usable; the first {first}")


def _unusable(item: Any, fields: Mapping[str, type]) -> str | None:
    if not isinstance(item, dict):
        return f"is not an object but {item!r:.60}"
    entry = cast(dict[str, Any], item)
    for name, kind in fields.items():
        if name not in entry:
            return f"has no {name!r} (its keys are {', '.join(map(repr, entry)) or 'none'})"
        if not isinstance(entry[name], kind) or isinstance(entry[name], bool):
            return f"has {name!r} = {entry[name]!r:.60}, which is not of type {kind.__name__}"
    return None


def _read_images(path: Path, items: Sequence[Any], problems: list[str]) -> dict[int, ImageRecord]:
    images: dict[int, ImageRecord] = {}
    for entry in _entries(path, "images", items, {"id": int, "file_name": str, "width": int, "height": int}, problems):
        record = ImageRecord(
            entry["id"], entry["file_name"], entry["width"], entry["height"], str(entry.get("license", "unknown"))
        )
        if record.id in images:
            names = f"{images[record.id].file_name} and {record.file_name}"
            raise DataError(f"{path}: image id {record.id} is given twice ({names}); ids must be unique")
        name = Path(record.file_name)
        if record.width <= 0 or record.height <= 0:
            problems.append(f"{path.name}: image {record.id} has size {record.width} x {record.height}; left out")
        elif name.is_absolute() or ".." in name.parts:
            problems.append(f"{path.name}: image {record.id} lies outside the folder ({record.file_name}); left out")
        else:
            images[record.id] = record
    return images


def _read_captions(
    path: Path, items: Sequence[Any], images: Mapping[int, ImageRecord], problems: list[str]
) -> dict[int, list[Caption]]:
    captions: dict[int, list[Caption]] = {}
    seen: set[int] = set()
    for entry in _entries(path, "annotations", items, {"id": int, "image_id": int, "caption": str}, problems):
        raw: str = entry["caption"]
        text = raw.strip()
        caption = Caption(entry["id"], entry["image_id"], text, raw.index(text))
        if caption.id in seen:
            problems.append(f"{path.name}: caption id {caption.id} is given twice; the first is kept")
        elif caption.image_id not in images:
            problems.append(f"{path.name}: caption {caption.id} is of image {caption.image_id}, which is not known; left out")
        elif not text:
            problems.append(f"{path.name}: caption {caption.id} of image {caption.image_id} is empty; left out")
        else:
            captions.setdefault(caption.image_id, []).append(caption)
        seen.add(caption.id)
    return {image: sorted(captions[image], key=lambda caption: caption.id) for image in sorted(captions)}


def _read_instances(
    path: Path, items: Sequence[Any], images: Mapping[int, ImageRecord], categories: Mapping[int, str], problems: list[str]
) -> dict[int, list[Instance]]:
    instances: dict[int, list[Instance]] = {}
    seen: set[int] = set()
    for entry in _entries(path, "annotations", items, {"id": int, "image_id": int, "category_id": int, "bbox": list}, problems):
        who = f"{path.name}: annotation {entry['id']} of image {entry['image_id']}"
        image = images.get(entry["image_id"])
        if entry["id"] in seen:
            problems.append(f"{who} has an id given before; the first is kept")
        elif image is None:
            problems.append(f"{who}: this image is not known; left out")
        elif entry["category_id"] not in categories:
            problems.append(f"{who} has category {entry['category_id']}, which is not in the file's categories; left out")
        elif (box := _read_box(entry["bbox"], image, who, problems)) is not None:
            polygons, runs = _read_outline(entry.get("segmentation"), image, who, problems)
            crowd = entry.get("iscrowd") == 1
            instance = Instance(entry["id"], image.id, categories[entry["category_id"]], box, crowd, polygons, runs)
            instances.setdefault(image.id, []).append(instance)
        seen.add(entry["id"])
    return {image: sorted(instances[image], key=lambda instance: instance.id or 0) for image in sorted(instances)}


def _read_box(bbox: Sequence[Any], image: ImageRecord, who: str, problems: list[str]) -> Box | None:
    """Turn COCO's [x, y, width, height] into corners inside the image; ``None``, with the reason, if nothing is left."""
    if len(bbox) != 4 or not all(_is_number(value) for value in bbox):
        problems.append(f"{who} has a box that is not four finite numbers ({bbox!r:.80}); left out")
        return None
    x, y, width, height = (float(value) for value in bbox)
    if width <= 0 or height <= 0:
        problems.append(f"{who} has a box {width:g} wide and {height:g} high; left out")
        return None
    x0, y0, x1, y1 = max(x, 0.0), max(y, 0.0), min(x + width, float(image.width)), min(y + height, float(image.height))
    size = f"the {image.width} x {image.height} image"
    if x0 >= x1 or y0 >= y1:
        problems.append(f"{who} has a box [{x:g}, {y:g}, {width:g}, {height:g}] outside {size}; left out")
        return None
    beyond = max(-x, -y, x + width - image.width, y + height - image.height)
    if beyond > 1:  # COCO's own boxes pass the border by rounding
        problems.append(f"{who} has a box that reaches {beyond:g} pixels beyond {size}; clipped")
    return x0, y0, x1, y1


def _read_outline(
    outline: Any, image: ImageRecord, who: str, problems: list[str]
) -> tuple[tuple[tuple[float, ...], ...], tuple[int, ...]]:
    """Return polygons or run lengths; a malformed outline is both empty, so that only the box counts."""
    if outline is None or outline == []:
        return (), ()
    if isinstance(outline, list):
        polygons = [cast(list[Any], polygon) for polygon in cast(list[Any], outline) if isinstance(polygon, list)]
        usable = tuple(
            tuple(float(value) for value in polygon)
            for polygon in polygons
            if len(polygon) >= 6 and len(polygon) % 2 == 0 and all(_is_number(value) for value in polygon)
        )
        if len(usable) == len(cast(list[Any], outline)):
            return usable, ()
    elif isinstance(outline, dict):
        code = cast(dict[str, Any], outline)
        counts = code.get("counts")
        runs = decode_runs(counts) if isinstance(counts, str) else counts
        if isinstance(runs, list) and all(_is_count(run) for run in cast(list[Any], runs)):
            lengths = tuple(cast(list[int], runs))
            if code.get("size") == [image.height, image.width] and sum(lengths) == image.height * image.width:
                return (), lengths
    problems.append(f"{who} has a segmentation that is neither polygons nor a run-length code of the image; its box is kept")
    return (), ()


def decode_runs(counts: str) -> list[int]:
    """Return the lengths behind COCO's compressed run-length string; pycocotools reads past the end of a broken one."""
    runs: list[int] = []
    value, shift = 0, 0
    for character in counts:
        chunk = ord(character) - 48
        value |= (chunk & 0x1F) << shift
        shift += 5
        if not chunk & 0x20:
            if chunk & 0x10:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value, shift = 0, 0
    return runs


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _read_phrases(path: Path, read: Annotations) -> dict[int, list[Mention]]:
    """Read a phrases file: a list of objects, one per phrase and instance.

    ``caption_id`` and the character offsets ``start`` and ``end`` (of the caption as the file has it) say which words;
    ``annotation_id`` says which instance, or ``bbox`` ([x, y, width, height]) where, if the instance is not in the
    instances file. ``phrase``, if given, must be those words; ``category`` is a label. Objects with the same caption and
    offsets are one phrase in several places.
    """
    items = read_json(path)
    if not isinstance(items, list):
        raise DataError(f"{path} holds a {type(items).__name__}; a phrases file is a list of objects")
    captions = {caption.id: caption for found in read.captions.values() for caption in found}
    known = {instance.id: instance for found in read.instances.values() for instance in found}
    places: dict[tuple[int, int, int], list[Instance]] = {}
    for entry in _entries(
        path, "phrases", cast(list[Any], items), {"caption_id": int, "start": int, "end": int}, read.problems
    ):
        who = f"{path.name}: phrase {entry.get('phrase', '')!r} of caption {entry['caption_id']}"
        caption = captions.get(entry["caption_id"])
        if caption is None:
            read.problems.append(f"{who}: this caption is not known; left out")
            continue
        start, end = entry["start"] - caption.shift, entry["end"] - caption.shift
        words = caption.text[max(start, 0) : max(end, 0)]
        if not 0 <= start < end <= len(caption.text) or entry.get("phrase", words) != words:
            read.problems.append(f"{who}: characters {entry['start']} to {entry['end']} are {words!r}; left out")
            continue
        instance = _phrase_instance(entry, caption, known, read, who)
        if instance is not None:
            found = places.setdefault((caption.id, start, end), [])
            if all(other.box != instance.box for other in found):
                found.append(instance)
    mentions: dict[int, list[Mention]] = {}
    for (caption_id, start, end), found in sorted(places.items()):
        mentions.setdefault(caption_id, []).append(Mention(start, end, found[0].category, tuple(found)))
    return mentions


def _phrase_instance(
    entry: Entry, caption: Caption, known: Mapping[int | None, Instance], read: Annotations, who: str
) -> Instance | None:
    instance = known.get(entry["annotation_id"]) if _is_count(entry.get("annotation_id")) else None
    if instance is not None:
        if instance.image_id == caption.image_id:
            return instance
        read.problems.append(f"{who}: annotation {instance.id} is of image {instance.image_id}; left out")
        return None
    bbox = entry.get("bbox")
    if not isinstance(bbox, list):
        read.problems.append(f"{who} has neither a known annotation_id nor a bbox; left out")
        return None
    box = _read_box(cast(list[Any], bbox), read.images[caption.image_id], who, read.problems)
    label = str(entry.get("category", entry.get("phrase", "")))
    return None if box is None else Instance(None, caption.image_id, label, box)
