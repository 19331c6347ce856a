"""Open-i: the Indiana University chest films with their reports."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import ClassVar, NamedTuple
from xml.etree import ElementTree

from benchmark.data.base import LazySamples, Sample
from benchmark.data.dicom import Radiograph, find_radiograph
from benchmark.data.local import LocalSet
from benchmark.data.tables import locate, read_table
from benchmark.errors import DataError

PLACES = ("images/images_normalized", "images_normalized", "NLMCXR_png", "images", ".")
FRONTAL = "Frontal"


class Report(NamedTuple):
    """One report: its images as (name, view), frontal ones first."""

    id: str
    findings: str
    impression: str
    images: tuple[tuple[str, str], ...]


class OpenI(LocalSet):
    """Open-i's reports, each with its first frontal image, and no regions: for insertion, deletion and interactions.

    Reads ``indiana_reports.csv`` with ``indiana_projections.csv``, or the original XML files (``ecgen-radiology/*.xml``), which
    do not say which image is frontal: their first one is taken. The text is the findings, or the impression where there
    are none, in one line; de-identified words stand there as ``XXXX``.
    """

    name = "openi"
    version = "1"
    summary = "chest films with their reports (Indiana University); no regions"
    licence = "CC BY-NC-ND 4.0"
    views = ("captions",)
    shows_images: ClassVar[bool] = False  # a heat map over an image would be a derivative

    def find_files(self) -> Sequence[Path]:
        """Return the two tables, or every XML file."""
        folder = self.require_folder()
        if (reports := folder / "indiana_reports.csv").is_file():
            return reports, locate(folder, "indiana_projections.csv", what="table of projections")
        patterns = ("ecgen-radiology/*.xml", "*.xml")
        first = locate(folder, *patterns, what="indiana_reports.csv and no XML report")
        return sorted(first.parent.glob("*.xml"))

    def listed(self, view: str) -> Sequence[Sample]:
        """Return reports by number."""
        return LazySamples(self._sample, self._chosen)

    @cached_property
    def _chosen(self) -> list[tuple[Report, str, Path, str]]:
        """Reports that can be used: with their text, image and view."""
        folder = self.require_folder()
        found: dict[str, tuple[Report, str, Path, str]] = {}
        for report in self._from_tables() if self.files[0].suffix == ".csv" else self._from_xml():
            text = " ".join((report.findings or report.impression).split())
            images = ((find_radiograph(folder, name, PLACES), view) for name, view in report.images)
            path, view = next(((path, view) for path, view in images if path is not None), (None, ""))
            if not text:
                self.problems.append(f"report {report.id} has neither findings nor an impression; left out")
            elif path is None:
                names = ", ".join(name for name, _ in report.images) or "none named"
                self.problems.append(f"report {report.id}: none of its images is in {folder} ({names}); left out")
            elif report.id in found:
                self.problems.append(f"report {report.id} is given twice; the first is kept")
            else:
                found[report.id] = report, text, path, view
        return [found[id_] for id_ in sorted(found, key=lambda id_: (len(id_), id_))]

    def _from_tables(self) -> Iterator[Report]:
        reports, projections = self.files
        images: dict[str, list[tuple[str, str]]] = {}
        for row in read_table(projections, ("uid", "filename", "projection")):
            images.setdefault(row["uid"], []).append((row["filename"], row["projection"]))
        for row in read_table(reports, ("uid", "findings", "impression")):
            views = sorted(images.get(row["uid"], []), key=lambda image: image[1] != FRONTAL)
            yield Report(row["uid"], row["findings"].strip(), row["impression"].strip(), tuple(views))

    def _from_xml(self) -> Iterator[Report]:
        for path in self.files:
            try:
                root = ElementTree.parse(path).getroot()
            except (ElementTree.ParseError, OSError) as error:
                raise DataError(f"{path} is not a whole XML file ({error}); is the download complete?") from error
            texts = {str(part.get("Label", "")).upper(): "".join(part.itertext()).strip() for part in root.iter("AbstractText")}
            images = tuple((str(part.get("id")), "unknown") for part in root.iter("parentImage") if part.get("id"))
            yield Report(path.stem, texts.get("FINDINGS", ""), texts.get("IMPRESSION", ""), images)

    def _sample(self, chosen: tuple[Report, str, Path, str]) -> Sample:
        report, text, path, view = chosen
        cluster = f"{self.name}/{report.id}"
        strata = {"modality": "x-ray", "view": view.lower(), "section": "findings" if report.findings else "impression"}
        return Radiograph(id=f"{cluster}#caption", image=path, text=text, cluster=cluster, strata=strata)
