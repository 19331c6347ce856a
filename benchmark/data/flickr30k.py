"""Flickr30k Entities: photographs with five captions each, and boxes for the phrases in them."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.etree import ElementTree

from benchmark.data.base import Phrase, Sample
from benchmark.data.local import LocalSet, phrase_samples, region_strata
from benchmark.data.tables import Box, boxes_region, find_image, locate, numbers
from benchmark.errors import DataError

IMAGES = ("flickr30k_images", "flickr30k-images", "images", ".")
_PHRASE = re.compile(r"\[/EN#(?P<chain>\d+)(?P<kinds>(?:/[^\s/\]]+)*)\s(?P<words>[^\]]*)\]")
_SPACE_BEFORE = re.compile(r"\s+(?=[.,;:!?](?:\s|$))")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A caption as plain text, and its phrases: character offsets, number of the coreference chain, first kind."""

    text: str
    phrases: tuple[tuple[int, int, str, str], ...]


@dataclass(frozen=True, slots=True)
class Boxes:
    """An image's size and the boxes of each chain, ``[x0, y0, x1, y1)``; ``unboxed`` chains are known to have none."""

    width: int
    height: int
    boxes: Mapping[str, tuple[Box, ...]]
    unboxed: frozenset[str]


class Flickr30kEntities(LocalSet):
    """``Sentences/``, ``Annotations/`` and ``test.txt`` from the annotations' repository, beside a folder of images.

    Chains that are a whole scene, not visible or without a box have no region; chain 0 is of words that stand for nothing
    visible. The blank before a full stop or comma is taken out of the captions. The XML counts pixels from 1 and includes the
    last: ``xmin, xmax`` is ``[xmin - 1, xmax)`` here. The suite reads the images of ``<split>.txt``, or without it all.

    ``captions``: the first caption of an image. ``grounding``: every caption with a box. ``phrases``: each boxed phrase of an
    image once, as "a photo of two young guys".
    """

    name = "flickr30k"
    version = "1"
    summary = "photographs with captions whose phrases are boxed by people"
    licence = "annotations: research; images: Flickr's terms, non-commercial research and education"
    views = ("captions", "phrases", "grounding")
    shows_images = False

    def __init__(self, data_dir: Path | None = None, split: str = "test") -> None:
        super().__init__(data_dir)
        self.split = split

    def find_files(self) -> Sequence[Path]:
        """Return the sentences and boxes of each image of the split."""
        folder = self.require_folder()
        sentences = locate(folder, "Sentences", "*/Sentences", what="folder Sentences of Flickr30k Entities")
        boxes = locate(folder, "Annotations", "*/Annotations", what="folder Annotations of Flickr30k Entities")
        lists = [place / f"{self.split}.txt" for place in (folder, sentences.parent) if (place / f"{self.split}.txt").is_file()]
        known = {path.stem: path for path in sorted(sentences.glob("*.txt"))}
        wanted = lists[0].read_text(encoding="utf-8").split() if lists else list(known)
        present = [name for name in wanted if name in known]
        if not present:
            raise DataError(f"{sentences} has no sentences of the {len(wanted)} images of the split {self.split!r}")
        return [path for name in present for path in (known[name], boxes / f"{name}.xml") if path.is_file()]

    def listed(self, view: str) -> Sequence[Sample]:
        """Return samples in the order of the split's list."""
        if view == "captions":
            return list({sample.cluster: sample for sample in reversed(self._captions)}.values())[::-1]
        grounded = [sample for sample in self._captions if sample.phrases]
        return grounded if view == "grounding" else phrase_samples(grounded, lambda _: "a photo of ")

    @cached_property
    def _captions(self) -> list[Sample]:
        samples: list[Sample] = []
        folder = self.require_folder()
        boxes = {path.stem: path for path in self.files if path.suffix == ".xml"}
        for path in self.files:
            if path.suffix == ".xml":
                continue
            image = find_image(folder, f"{path.stem}.jpg", IMAGES)
            if image is None:
                self.problems.append(f"{path.stem}.jpg is in none of the folders {', '.join(IMAGES)}; left out")
            elif path.stem not in boxes:
                self.problems.append(f"Annotations/{path.stem}.xml is not there; the image is left out")
            else:
                samples += self._captions_of(image, read_sentences(path), read_boxes(boxes[path.stem]))
        return samples

    def _captions_of(self, image: Path, sentences: Sequence[Sentence], boxes: Boxes) -> list[Sample]:
        samples: list[Sample] = []
        for number, sentence in enumerate(sentences):
            phrases: list[Phrase] = []
            for start, end, chain, kind in sentence.phrases:
                if chain == "0" or chain in boxes.unboxed:
                    continue
                region = boxes_region(boxes.boxes.get(chain, ()), boxes.width, boxes.height)
                if region is None:
                    words = sentence.text[start:end]
                    what = "no box inside the image" if chain in boxes.boxes else "no entry in the XML"
                    self.problems.append(f"{image.stem}#{number}: {words!r} (chain {chain}) has {what}; the phrase is left out")
                else:
                    phrases.append(Phrase(span=(start, end), region=region, label=kind))
            cluster = f"{self.name}/{image.stem}"
            samples.append(
                Sample(
                    id=f"{cluster}#{number}",
                    image=image,
                    text=sentence.text,
                    cluster=cluster,
                    phrases=tuple(phrases),
                    strata=region_strata(phrases),
                )
            )
        return samples


def read_sentences(path: Path) -> list[Sentence]:
    """Read one image's captions; a bracket that does not close means a file that is cut off."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); is the download complete?") from error
    return [_sentence(path, number, line) for number, line in enumerate(lines, start=1) if line.strip()]


def _sentence(path: Path, number: int, line: str) -> Sentence:
    text, last = "", 0
    phrases: list[tuple[int, int, str, str]] = []
    for match in _PHRASE.finditer(line):
        text += _SPACE_BEFORE.sub("", line[last : match.start()])
        words = match["words"].strip()
        phrases.append((len(text), len(text) + len(words), match["chain"], match["kinds"].lstrip("/").partition("/")[0]))
        text += words
        last = match.end()
    rest = line[last:].rstrip()
    if "[/EN#" in rest:
        raise DataError(f"{path}: a bracket in line {number} does not close ({rest[:60]!r}); is the file complete?")
    return Sentence(text + _SPACE_BEFORE.sub("", rest), tuple(phrase for phrase in phrases if phrase[0] < phrase[1]))


def read_boxes(path: Path) -> Boxes:
    """Read one image's boxes by chain; an object may name several chains."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise DataError(f"{path} is not valid XML ({error}); is the download complete?") from error
    size = numbers([root.findtext("size/width"), root.findtext("size/height")])
    if size is None:
        raise DataError(f"{path} gives no image size")
    boxes: dict[str, list[Box]] = {}
    unboxed: set[str] = set()
    for item in root.iter("object"):
        chains = [name.text.strip() for name in item.iter("name") if name.text]
        corners = numbers([item.findtext(f"bndbox/{corner}") for corner in ("xmin", "ymin", "xmax", "ymax")])
        if item.find("bndbox") is None:
            unboxed.update(chains)
        elif corners is not None:
            x0, y0, x1, y1 = corners
            for chain in chains:
                boxes.setdefault(chain, []).append((x0 - 1, y0 - 1, x1, y1))
    found = {chain: tuple(places) for chain, places in boxes.items()}
    return Boxes(int(size[0]), int(size[1]), found, frozenset(unboxed - set(found)))
