"""Conceptual Captions as far as its links still live: a frozen list of image files and their alt texts."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from benchmark.data.base import Sample
from benchmark.data.local import LocalSet
from benchmark.data.tables import digest, find_image, locate, read_table
from benchmark.errors import DataError


class ConceptualCaptions(LocalSet):
    """A list ``captions.tsv`` or ``.csv`` with the columns ``image`` and ``caption``, or pairs NAME.jpg, NAME.txt.

    Results depend on which links survived, so the list is the revision: two people who want the same numbers need the same
    list. Images that it names and nobody could fetch are counted in ``problems``.
    """

    name = "conceptual_captions"
    version = "1"
    summary = "web images with their alt texts; no regions"
    licence = "captions: Google's terms, any use; images: their owners'"
    views = ("captions",)
    shows_images = False

    def find_files(self) -> Sequence[Path]:
        """Return the list, or else every text file beside an image."""
        folder = self.require_folder()
        tables = sorted([*folder.glob("captions.[ct]sv"), *folder.glob("*.tsv"), *folder.glob("*.csv")])
        texts = sorted(folder.rglob("*.txt")) if not tables else []
        if not tables and not texts:
            locate(folder, "captions.tsv", "captions.csv", "**/*.txt", what="list of images and captions")
        return tables[:1] or texts

    @cached_property
    def _digest(self) -> str:
        names = [path.name for path in self.files]
        return digest(self.files, *names)

    def listed(self, view: str) -> Sequence[Sample]:
        """Return the list in its own order."""
        return self._samples

    @cached_property
    def _samples(self) -> list[Sample]:
        samples: dict[str, Sample] = {}
        for name, image, caption in self._pairs():
            if image is None:
                self.problems.append(f"{name}: the image is not there (a dead link); left out")
            elif not caption:
                self.problems.append(f"{name}: the caption is empty; left out")
            elif name in samples:
                self.problems.append(f"{name} is listed twice; the first is kept")
            else:
                cluster = f"{self.name}/{name}"
                samples[name] = Sample(id=cluster, image=image, text=caption, cluster=cluster)
        return list(samples.values())

    def _pairs(self) -> list[tuple[str, Path | None, str]]:
        folder = self.require_folder()
        if self.files[0].suffix != ".txt":
            rows = read_table(self.files[0], ("image", "caption"))
            return [(row["image"], find_image(folder, row["image"]), row["caption"].strip()) for row in rows]
        return [(path.stem, _beside(path), _text(path)) for path in self.files]


def _beside(path: Path) -> Path | None:
    found = (path.with_suffix(suffix) for suffix in (".jpg", ".jpeg", ".png", ".webp"))
    return next((image for image in found if image.is_file()), None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error}); is the download complete?") from error
