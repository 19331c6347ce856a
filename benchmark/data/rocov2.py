"""ROCOv2: figures of radiology articles with their captions."""

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from benchmark.data.base import LazySamples, Sample
from benchmark.data.hub import load_hub, load_parquet, pinned
from benchmark.data.local import LocalSet
from benchmark.data.tables import find_image, locate, read_table
from benchmark.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

REPO = "eltorio/ROCOv2-radiology"
COLUMNS = ("image", "image_id", "caption", "cui")
MODALITIES = {  # concepts that ROCOv2 assigns to whole images
    "C0040405": "CT",
    "C0024485": "MRI",
    "C1306645": "x-ray",
    "C0041618": "ultrasound",
    "C0032743": "PET",
    "C0002978": "angiography",
}


class Figure(NamedTuple):
    """One figure: its row in the hub's table, or its file."""

    id: str
    caption: str
    concepts: tuple[str, ...]
    source: int | Path


class RocoV2(LocalSet):
    """ROCOv2's figures with their captions and no regions: for insertion, deletion and interactions.

    Without ``--data-dir``, the hub's table at a pinned commit. With it, that table as ``*test*.parquet``, or the files of
    the original release: ``test_captions.csv`` (columns ``ID`` and ``Caption``), ``test_concepts.csv`` where it is there, and
    images in ``test_images/test/``, ``test_images/`` or ``test/``. Stratum: ``modality``, by the figure's concepts.
    """

    name = "rocov2"
    version = "1"
    summary = "figures of radiology articles with captions; no regions"
    licence = "CC BY-NC-SA 4.0; each figure has the licence of its article"
    views = ("captions",)

    def __init__(self, data_dir: Path | None = None, split: str = "test", revision: str | None = None) -> None:
        super().__init__(data_dir)
        self.split = split
        self._commit = revision

    @property
    def revision(self) -> str:
        """The version, with the hub's commit or a hash of the local files."""
        return super().revision if self.data_dir is not None else f"{self.version}+{pinned(REPO, self._commit)[:12]}"

    def find_files(self) -> Sequence[Path]:
        """Return the local files: Parquet, or captions and, if there, concepts."""
        folder = self.require_folder()
        if parquet := sorted([*folder.glob(f"*{self.split}*.parquet"), *folder.glob(f"data/*{self.split}*.parquet")]):
            return parquet
        captions = locate(folder, f"{self.split}_captions.csv", what="captions (or Parquet files)")
        concepts = captions.with_name(f"{self.split}_concepts.csv")
        return (captions, concepts) if concepts.is_file() else (captions,)

    def listed(self, view: str) -> Sequence[Sample]:
        """Return figures in the order of the table."""
        return LazySamples(self._sample, self._figures)

    @cached_property
    def _table(self) -> "Dataset | None":
        if self.data_dir is None:
            return load_hub(REPO, self._commit, self.split, COLUMNS)
        return load_parquet(self.files, COLUMNS) if self.files[0].suffix == ".parquet" else None

    @cached_property
    def _figures(self) -> list[Figure]:
        found: dict[str, Figure] = {}
        for figure in self._from_files() if self._table is None else _from_table(self._table):
            if not figure.caption:
                self.problems.append(f"{figure.id}: the caption is empty; left out")
            elif figure.id in found:
                self.problems.append(f"{figure.id} is listed twice; the first is kept")
            else:
                found[figure.id] = figure
        return list(found.values())

    def _from_files(self) -> Iterator[Figure]:
        folder = self.require_folder()
        captions, *tables = self.files
        rows = read_table(tables[0], ("ID", "CUIs")) if tables else []
        concepts = {row["ID"]: tuple(row["CUIs"].split(";")) for row in rows}
        places = (f"{self.split}_images/{self.split}", f"{self.split}_images", self.split, "images", ".")
        for row in read_table(captions, ("ID", "Caption")):
            id_ = row["ID"]
            if path := find_image(folder, f"{id_}.jpg", places) or find_image(folder, f"{id_}.png", places):
                yield Figure(id_, " ".join(row["Caption"].split()), concepts.get(id_, ()), path)
            else:
                self.problems.append(f"{id_}: there is no image {id_}.jpg in {folder}; left out")

    def _sample(self, figure: Figure) -> Sample:
        if isinstance(figure.source, Path):
            image = figure.source
        else:
            assert self._table is not None  # a row number comes from a table
            image = self._table[figure.source]["image"].convert("RGB")
        cluster = f"{self.name}/{figure.id}"
        strata = {"modality": _modality(figure.concepts), "split": self.split}
        return Sample(id=f"{cluster}#caption", image=image, text=figure.caption, cluster=cluster, strata=strata)


def _from_table(table: "Dataset") -> Iterator[Figure]:
    texts = table.select_columns(["image_id", "caption", "cui"])  # images are not decoded here
    for position, row in enumerate(cast(Iterable[dict[str, Any]], texts)):
        id_, caption, concepts = row["image_id"], row["caption"], row["cui"]
        if not isinstance(id_, str) or not isinstance(caption, str):
            raise DataError(f"{REPO}: row {position} has image_id {id_!r:.40} and caption {caption!r:.40}; texts are expected")
        listed = concepts.split(";") if isinstance(concepts, str) else concepts or ()
        yield Figure(id_, " ".join(caption.split()), tuple(listed), position)


def _modality(concepts: Iterable[str]) -> str:
    found = {MODALITIES[concept] for concept in concepts if concept in MODALITIES}
    return found.pop() if len(found) == 1 else "mixed" if found else "unknown"
