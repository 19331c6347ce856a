"""What every page is handed."""

from dataclasses import dataclass
from pathlib import Path

from benchmark.site.access import Store
from benchmark.site.catalogue import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The store that is shown, the cards of what is in it, and whether the reader's theme is dark.

    ``data_dir`` is the folder of a data set that is not generated; without it only generated images are shown.
    """

    store: Store
    catalogue: Catalogue
    dark: bool = False
    data_dir: Path | None = None
