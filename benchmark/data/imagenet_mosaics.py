"""Four ImageNet photographs in one square, for asking which cell an explanation gives each label."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from benchmark.data.base import LazySamples, Phrase, Region, Sample, read_image
from benchmark.data.local import LocalSet
from benchmark.data.tables import digest, read_table
from benchmark.errors import DataError

CELL = 224
CORNERS = ((0, 0), (CELL, 0), (0, CELL), (CELL, CELL))  # top left, top right, bottom left, bottom right
PER_CLASS = 50  # the validation images of a class
SUFFIXES = (".jpeg", ".jpg", ".png", ".webp")
SPLITS = ("", "val", "validation", "ILSVRC2012_img_val", "ILSVRC/Data/CLS-LOC/val")
LISTS = ("val.txt", "LOC_val_solution.csv", "ILSVRC/LOC_val_solution.csv")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One question: mosaic ``image`` of game ``game``, and the first ``k`` labels or (``cell``) one of them."""

    game: int
    image: int
    k: int = 1
    cell: int | None = None


class ImageNetMosaics(LocalSet):
    """Ten games of four labels each; mosaic i of a game has the i-th image of each label's class in its cells.

    Images come from any ImageNet folder: one folder per class, named by WordNet id, class number or label (at the top or
    under ``val/``), or flat with ``val.txt`` ("FILE CLASS-NUMBER" per line) or ``LOC_val_solution.csv``. They are taken in the
    order of their names, squashed to 224 x 224 (bilinear), pasted top left, top right, bottom left, bottom right, and passed
    once through JPEG, as the published mosaics were.

    ``captions``: the first k labels joined by blanks, k from 1 to 4 (stratum ``k``), a phrase for each with its cell.
    ``labels``: one label of a mosaic and its cell. Order: by image, then game, then k or cell, so that a limit is balanced.
    """

    name = "imagenet_mosaics"
    version = "1"
    summary = "2 x 2 mosaics of ImageNet photographs; labels that are one token each"
    licence = "ImageNet's terms: non-commercial research, no redistribution"
    views = ("captions", "labels")
    shows_images = False
    # The label "fish" is goldfish here; which fish its authors took is not stated where the labels are.
    classes: ClassVar[Mapping[str, tuple[int, str]]] = {
        "fish": (1, "n01443537"),
        "koala": (105, "n01882714"),
        "plane": (404, "n02690373"),
        "balloon": (417, "n02782093"),
        "church": (497, "n03028079"),
        "jeep": (609, "n03594945"),
        "laptop": (620, "n03642806"),
        "lemon": (951, "n07749582"),
        "pizza": (963, "n07873807"),
        "acorn": (988, "n12267677"),
    }
    games: ClassVar[tuple[str, ...]] = (
        "fish koala balloon laptop",
        "koala plane church lemon",
        "plane balloon jeep pizza",
        "balloon church laptop acorn",
        "church jeep lemon fish",
        "jeep laptop pizza koala",
        "laptop lemon acorn plane",
        "lemon pizza fish balloon",
        "pizza acorn koala church",
        "acorn fish plane jeep",
    )

    def find_files(self) -> Sequence[Path]:
        """Return the photographs used, by label."""
        return [path for paths in self.photographs.values() for path in paths]

    @cached_property
    def _digest(self) -> str:
        return digest((), *(f"{path.name} {path.stat().st_size}" for path in self.files))

    @cached_property
    def photographs(self) -> Mapping[str, Sequence[Path]]:
        """Return the first 50 images of each label's class; a class without any is an error."""
        folder = self.require_folder()
        listed = _listed(folder)
        found = {label: _of_class(folder, listed, label, *numbers)[:PER_CLASS] for label, numbers in self.classes.items()}
        missing = [f"{label} ({number}, {wnid})" for label, (number, wnid) in self.classes.items() if not found[label]]
        if missing:
            raise DataError(
                f"{folder} has no images of {', '.join(missing)}: it needs a folder per class, named by WordNet id, number "
                f"or label, at the top or under val/; or the images with {' or '.join(LISTS[:2])}"
            )
        short = [f"{label}: {len(paths)} of {PER_CLASS} images" for label, paths in found.items() if len(paths) < PER_CLASS]
        self.problems.extend(f"{line}; the mosaics that need more are left out" for line in short)
        return found

    def listed(self, view: str) -> Sequence[Sample]:
        """Return scenarios by image, then game; each mosaic is made when its sample is read."""
        cells = range(4)
        scenarios = [
            Scenario(game, image, cell + 1) if view == "captions" else Scenario(game, image, cell=cell)
            for image, game, cell in product(range(PER_CLASS), range(len(self.games)), cells)
            if all(image < len(self.photographs[label]) for label in self.games[game].split())
        ]
        return LazySamples(self._sample, scenarios)

    def mosaic(self, game: int, image: int) -> Image.Image:
        """Return the 448 x 448 mosaic of one game."""
        canvas = Image.new("RGB", (2 * CELL, 2 * CELL))
        for label, corner in zip(self.games[game].split(), CORNERS, strict=True):
            photograph = read_image(self.photographs[label][image])
            canvas.paste(photograph.resize((CELL, CELL), Image.Resampling.BILINEAR), corner)
        stored = io.BytesIO()
        canvas.save(stored, "JPEG")
        return Image.open(stored).convert("RGB")

    def _sample(self, scenario: Scenario) -> Sample:
        labels = self.games[scenario.game].split()
        chosen = range(scenario.k) if scenario.cell is None else (scenario.cell,)
        text = " ".join(labels[cell] for cell in chosen)
        cluster = f"{self.name}/{'-'.join(labels)}/{scenario.image:02d}"
        phrases: list[Phrase] = []
        start = 0
        for cell in chosen:
            x, y = CORNERS[cell]
            region = Region(boxes=np.array([[x, y, x + CELL, y + CELL]], dtype=np.float64))
            phrases.append(Phrase(span=(start, start + len(labels[cell])), region=region, label=labels[cell]))
            start += len(labels[cell]) + 1
        return Sample(
            id=f"{cluster}#{f'k{scenario.k}' if scenario.cell is None else labels[scenario.cell]}",
            image=self.mosaic(scenario.game, scenario.image),
            text=text,
            cluster=cluster,
            phrases=tuple(phrases),
            strata={"k": str(scenario.k)} if scenario.cell is None else {"cell": str(scenario.cell)},
        )


class OriginalImageNetMosaics(ImageNetMosaics):
    """The first published labels; some are several tokens for some encoders, which drops their scenarios there."""

    name = "imagenet_mosaics_original"
    version = "1"
    summary = "2 x 2 mosaics of ImageNet photographs; the labels first published"
    classes: ClassVar[Mapping[str, tuple[int, str]]] = {
        "goldfish": (1, "n01443537"),
        "husky": (248, "n02109961"),
        "cat": (282, "n02123159"),
        "plane": (404, "n02690373"),
        "church": (497, "n03028079"),
        "ipod": (605, "n03584254"),
        "ball": (805, "n04254680"),
        "tractor": (866, "n04465501"),
        "banana": (954, "n07753592"),
        "pizza": (963, "n07873807"),
    }
    games: ClassVar[tuple[str, ...]] = (
        "goldfish husky pizza tractor",
        "cat goldfish plane pizza",
        "banana cat tractor ball",
        "husky banana plane church",
        "pizza ipod goldfish banana",
        "ipod cat husky plane",
        "tractor ball banana ipod",
        "plane church ball goldfish",
        "church pizza ipod cat",
        "ball husky banana tractor",
    )


def _listed(folder: Path) -> Mapping[str, list[str]]:
    """Return file names by class, a number or a WordNet id, from the list of a flat folder; empty without one."""
    found: dict[str, list[str]] = {}
    path = next((folder / name for name in LISTS if (folder / name).is_file()), None)
    if path is None:
        return found
    if path.suffix == ".csv":
        for row in read_table(path, ("ImageId", "PredictionString")):
            found.setdefault(row["PredictionString"].partition(" ")[0], []).append(f"{row['ImageId']}.JPEG")
        return found
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        parts = line.split()
        if parts and (len(parts) != 2 or not parts[1].isdigit()):
            raise DataError(f"{path}: line {number} is {line!r:.80}, not a file name and a class number from 0 to 999")
        if parts:
            found.setdefault(parts[1], []).append(parts[0])
    return found


def _of_class(folder: Path, listed: Mapping[str, list[str]], label: str, number: int, wnid: str) -> list[Path]:
    places = [place for split in SPLITS if (place := folder / split).is_dir()]
    for place, name in product(places, (wnid, str(number), label)):
        if (place / name).is_dir():
            return sorted(path for path in (place / name).iterdir() if path.suffix.lower() in SUFFIXES)
    names = sorted({*listed.get(wnid, ()), *listed.get(str(number), ())})
    paths = (next((path for place in places if (path := place / name).is_file()), None) for name in names)
    return [path for path in paths if path is not None]
