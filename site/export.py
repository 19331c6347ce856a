"""The site as plain HTML and files, for those who host no server: ``export(store, folder)``. No torch, no streamlit.

| module | what it does |
| --- | --- |
| ``export_files`` | safe names, the folder and its swap |
| ``export_figures`` | bars, maps, SVG |
| ``export_samples`` | what the page of a sample shows |
| ``export_pages`` | one function for each kind of page, over ``export_templates/`` |
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from benchmark.site import boards, catalogue
from benchmark.site.access import Store
from benchmark.site.export_files import ExportError, replacing
from benchmark.site.export_pages import Pages

SAMPLES = 12
"""Samples of each task that get a page of their own."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, its size, and how long that took."""

    n_pages: int
    n_files: int
    n_bytes: int
    seconds: float


def export(
    path: Path,
    folder: Path,
    n_samples: int = SAMPLES,
    tell: Callable[[str], None] = lambda text: None,
    data_dir: Path | None = None,
) -> Exported:
    """Write the site of a store, or of a snapshot, to a folder that is new, empty or an earlier export.

    The folder appears once all is written; the same store gives the same bytes. ``tell`` is told what is being written.
    Nothing is exported of a store that cannot be read or that holds no scores.
    """
    start = monotonic()
    store = Store(path)
    try:
        with replacing(folder) as files:
            with store.reading():  # one state of the store for all pages
                if not boards.listed(store):
                    raise ExportError(f"{path} holds no scores yet; `benchmark run` adds some")
                Pages(store, catalogue.load(), files, n_samples, data_dir).write(tell)
            files.finish(path.name)
    finally:
        store.close()
    pages = sum(name.endswith(".html") for name in files.sizes)
    return Exported(pages, len(files.sizes), sum(files.sizes.values()), monotonic() - start)
