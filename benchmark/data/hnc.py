"""HNC: captions made by rule from scene graphs, true and false in one detail, with the boxes of what they name."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from benchmark.data.base import Phrase, Sample
from benchmark.data.coco import plurals
from benchmark.data.local import LocalSet, photo_of, phrase_samples, region_strata
from benchmark.data.tables import Box, boxes_region, find_image, image_size, locate, numbers, read_json
from benchmark.errors import DataError


class Hnc(LocalSet):
    """The test file of Hard Negative Captions beside a folder of GQA images.

    The file is an object with one entry per image: ``captions``, an object of ``caption``, ``label`` (1 true, 0 false),
    ``type`` and ``bboxes``, which has for each object named its ``name`` and ``bbox`` (``x, y, w, h``). Only true captions
    have phrases: each object's name or its plural where it stands in the caption as whole words, exactly once.

    ``captions``: the first true caption of an image. ``grounding``: every true caption with a box. ``phrases``: each named
    object of an image once, as "a photo of a sink". ``negatives``: the false captions, without regions.
    """

    name = "hnc"
    version = "1"
    summary = "rule-made captions, true and false in one detail, with boxes of what they name"
    licence = "captions: MIT; images: GQA, from Visual Genome"
    views = ("captions", "phrases", "grounding", "negatives")

    def find_files(self) -> Sequence[Path]:
        """Return the one JSON file that is read: a test file before any other."""
        return (locate(self.require_folder(), "*test*.json", "*hnc*.json", "*HNC*.json", "*.json", what="HNC captions"),)

    def listed(self, view: str) -> Sequence[Sample]:
        """Return samples in the file's order."""
        if view == "negatives":
            return [sample for sample in self._captions if sample.strata["label"] == "0"]
        true = [sample for sample in self._captions if sample.strata["label"] == "1"]
        if view == "captions":
            return list({sample.cluster: sample for sample in reversed(true)}.values())[::-1]
        grounded = [sample for sample in true if sample.phrases]
        return grounded if view == "grounding" else phrase_samples(grounded, photo_of)

    @cached_property
    def _captions(self) -> list[Sample]:
        (path,) = self.files
        content = read_json(path)
        if not isinstance(content, dict):
            raise DataError(f"{path} holds a {type(content).__name__}; an HNC file is an object with one entry per image")
        return [sample for key, entry in cast(dict[str, Any], content).items() for sample in self._image(path, key, entry)]

    def _image(self, path: Path, key: str, entry: Any) -> Iterator[Sample]:
        name = key if Path(key).suffix else f"{key}.jpg"
        image = find_image(self.require_folder(), name)
        size = None if image is None else image_size(image)
        captions = cast(dict[str, Any], entry).get("captions", entry) if isinstance(entry, dict) else None
        if not isinstance(captions, dict):
            self.problems.append(f"{path.name}: the entry of image {key} is no object of captions; left out")
        elif image is None or size is None:
            self.problems.append(f"{path.name}: the image {name} is not there or cannot be opened; left out")
        else:
            for number, item in cast(dict[str, Any], captions).items():
                who = f"{path.name}: caption {number} of image {key}"
                sample = self._caption(image, size, number, item, who)
                if isinstance(sample, str):
                    self.problems.append(sample)
                else:
                    yield sample

    def _caption(self, image: Path, size: tuple[int, int], number: str, item: Any, who: str) -> Sample | str:
        fields = cast(dict[str, Any], item) if isinstance(item, dict) else {}
        text, label = fields.get("caption"), fields.get("label")
        if not isinstance(text, str) or not text.strip() or label not in (0, 1):
            keys = ", ".join(map(repr, fields)) or "none"
            return f"{who} has no caption with a label 0 or 1 (its keys are {keys}); left out"
        phrases = self._phrases(text.strip(), fields.get("bboxes"), size, who) if label == 1 else ()
        cluster = f"{self.name}/{image.stem}"
        return Sample(
            id=f"{cluster}#{number}",
            image=image,
            text=text.strip(),
            cluster=cluster,
            phrases=phrases,
            strata={"label": str(int(label)), "type": str(fields.get("type")), **region_strata(phrases)},
        )

    def _phrases(self, text: str, bboxes: Any, size: tuple[int, int], who: str) -> tuple[Phrase, ...]:
        found: dict[str, list[Box]] = {}
        for entry in cast(dict[str, Any], bboxes).values() if isinstance(bboxes, dict) else ():
            name = cast(dict[str, Any], entry).get("name") if isinstance(entry, dict) else None
            box = None if name is None else _corners(cast(dict[str, Any], entry).get("bbox"))
            if box is None or boxes_region([box], *size) is None:
                self.problems.append(f"{who}: the box of {name!r} is not one inside the {size[0]} x {size[1]} image; left out")
            else:
                found.setdefault(str(name), []).append(box)
        phrases: list[Phrase] = []
        for name, boxes in found.items():
            span, region = _named_once(name, text), boxes_region(boxes, *size)
            if span is not None and region is not None:
                phrases.append(Phrase(span=span, region=region, label=name))
        return tuple(sorted(phrases, key=lambda phrase: phrase.span))


def _corners(box: Any) -> Box | None:
    """Turn ``{"x", "y", "w", "h"}``, or a list in that order, into corners."""
    if isinstance(box, Mapping):
        named = cast(Mapping[str, Any], box)
        box = [named.get(side) for side in ("x", "y", "w", "h")]
    found = numbers(cast(Sequence[Any], box)) if isinstance(box, list) else None
    return (found[0], found[1], found[0] + found[2], found[1] + found[3]) if found is not None and len(found) == 4 else None


def _named_once(name: str, text: str) -> tuple[int, int] | None:
    """Return where a name or its plural stands as whole words, ``None`` unless exactly once."""
    forms = sorted((name, *plurals(name)), key=len, reverse=True)
    matches = list(re.finditer(rf"(?<![\w-])(?:{'|'.join(map(re.escape, forms))})(?![\w-])", text, re.IGNORECASE))
    return matches[0].span() if len(matches) == 1 else None
