"""ImageNet-Segmentation: photographs of one class each, with a mask of its foreground."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmark.data.base import LazySamples, Phrase, Region, Sample, read_image
from benchmark.data.coco import object_area
from benchmark.data.local import LocalSet, photo_of
from benchmark.data.tables import find_image, image_size, locate, read_table
from benchmark.errors import DataError

SUFFIXES = (".png", ".jpg", ".jpeg", ".JPEG")


@dataclass(frozen=True, slots=True)
class Case:
    """One photograph: its place in the file, or the paths of image and mask, and the name of its class."""

    id: str
    words: str
    place: int | tuple[Path, Path]


class ImageNetSegmentation(LocalSet):
    """``gtsegs_ijcv.mat`` (an HDF5 file; needs ``pip install h5py``), or the same exported to a folder.

    The file has ``/value/img`` (axes reversed), ``/value/gt`` (a reference to a reference to the mask) and ``/value/target``
    (the WordNet id as character codes). An exported folder has ``images/``, ``masks/`` with the same names as PNG, anything
    but black being foreground, and ``classes.csv`` with the columns ``image`` and ``class`` (words or a WordNet id).

    ``phrases`` and ``captions``: "a photo of a goldfish", the phrase being the class. The mask is the region.
    """

    name = "imagenet_segmentation"
    version = "1"
    summary = "photographs of one class each with a mask of the foreground"
    licence = "research; images: ImageNet's terms, no redistribution"
    views = ("captions", "phrases")
    shows_images = False

    def find_files(self) -> Sequence[Path]:
        """Return the HDF5 file or the exported table."""
        what = "ImageNet-Segmentation: gtsegs_ijcv.mat, or classes.csv with images/ and masks/"
        return (locate(self.require_folder(), "gtsegs_ijcv.mat", "*.mat", "classes.csv", what=what),)

    @cached_property
    def _digest(self) -> str:
        (path,) = self.files
        return super()._digest if path.suffix == ".csv" else f"mat-{path.stat().st_size}"

    def listed(self, view: str) -> Sequence[Sample]:
        """Return samples in the file's order; pixels are read when a sample is."""
        return LazySamples(self._sample, self._cases)

    @cached_property
    def _cases(self) -> list[Case]:
        (path,) = self.files
        if path.suffix != ".csv":
            return [Case(f"{number:04d}", class_words(wnid), number) for number, wnid in enumerate(_targets(path))]
        folder, cases = self.require_folder(), dict[str, Case]()
        for row in read_table(path, ("image", "class")):
            stem = Path(row["image"]).stem
            image, mask = (_exported(folder, place, row["image"]) for place in ("images", "masks"))
            if image is None or mask is None or image_size(image) is None:
                what = "mask" if image is not None and image_size(image) is not None else "image"
                self.problems.append(f"{row['image']}: its {what} is not there or cannot be opened; left out")
            elif image_size(image) != image_size(mask):
                self.problems.append(f"{row['image']}: image and mask have different sizes; left out")
            elif stem in cases:
                self.problems.append(f"{row['image']} is listed twice; the first is kept")
            else:
                cases[stem] = Case(stem, class_words(row["class"].strip()), (image, mask))
        return list(cases.values())

    def _sample(self, case: Case) -> Sample:
        if isinstance(case.place, int):
            image, mask = _read_case(self.files[0], case.place)
        else:
            image, mask = read_image(case.place[0]), np.asarray(read_image(case.place[1]).convert("L")) > 0
        start = photo_of(case.words)
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [[columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]] if len(rows) else []
        region = Region(boxes=np.array(box, dtype=np.float64).reshape(-1, 4), mask=mask)
        return Sample(
            id=f"{self.name}/{case.id}",
            image=image,
            text=start + case.words,
            cluster=f"{self.name}/{case.id}",
            phrases=(Phrase(span=(len(start), len(start) + len(case.words)), region=region, label=case.words),),
            strata={"object_area": object_area(region)},
        )


def _exported(folder: Path, place: str, name: str) -> Path | None:
    names = [name] if place == "images" else [Path(name).with_suffix(suffix).name for suffix in SUFFIXES[:1]]
    return next((path for item in names if (path := find_image(folder, item, (place,))) is not None), None)


def class_words(name: str) -> str:
    """Return the words for a WordNet id, as zero-shot classifiers use them; anything else is words already."""
    return _words_by_id().get(name, name) if name[:1] == "n" and name[1:].isdigit() else name


@cache
def _words_by_id() -> Mapping[str, str]:
    from open_clip.zero_shot_metadata import IMAGENET_CLASSNAMES
    from timm.data.imagenet_info import ImageNetInfo

    rare = ImageNetInfo("imagenet21k")
    lemmas = {wnid: rare.label_name_to_description(wnid).partition(",")[0] for wnid in rare.label_names()}
    return {**lemmas, **dict(zip(ImageNetInfo().label_names(), IMAGENET_CLASSNAMES, strict=True))}


def _open(path: Path) -> Any:
    try:
        h5py: Any = import_module("h5py")
    except ImportError:
        raise DataError(
            f"reading {path.name} needs h5py: pip install h5py, or export it to images/, masks/ and classes.csv (docs/data.md)"
        ) from None
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} cannot be read as HDF5 ({error}); is the download complete?") from error


def _targets(path: Path) -> list[str]:
    """Return the WordNet id of every image, in order."""
    with _open(path) as file:
        missing = [key for key in ("value/img", "value/gt", "value/target") if key not in file]
        if missing:
            raise DataError(f"{path} has no {', '.join(missing)}; its groups are {', '.join(map(repr, file)) or 'none'}")
        references = np.asarray(file["value/target"]).ravel()
        return ["".join(map(chr, np.asarray(file[reference]).ravel())) for reference in references]


def _read_case(path: Path, number: int) -> tuple[Image.Image, np.ndarray]:
    """Return one image and its foreground; MATLAB stores both transposed."""
    with _open(path) as file:
        image = np.asarray(file[np.asarray(file["value/img"]).ravel()[number]])
        held = file[np.asarray(file["value/gt"]).ravel()[number]]
        mask = np.asarray(file[np.asarray(held).ravel()[0]] if held.dtype == object else held)
    pixels = image.transpose(2, 1, 0) if image.ndim == 3 else np.repeat(image.T[..., None], 3, axis=2)
    return Image.fromarray(np.ascontiguousarray(pixels, dtype=np.uint8)), np.ascontiguousarray(mask.T > 0)
