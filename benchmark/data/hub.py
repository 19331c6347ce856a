"""Data sets of the Hugging Face hub, at one pinned commit, and the Parquet files that people download from there."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.data.tables import columns_present
from benchmark.errors import DataError

if TYPE_CHECKING:
    from datasets import Dataset

_COMMIT = re.compile(r"[0-9a-f]{40}")


def revision_variable(repo: str) -> str:
    """Return the environment variable that pins a repository.

    >>> revision_variable("lmms-lab/RefCOCO")
    'XLIP_REVISION_REFCOCO'
    """
    return "XLIP_REVISION_" + re.sub(r"\W+", "_", repo.rpartition("/")[2]).upper()


def pinned(repo: str, revision: str | None) -> str:
    """Return the commit to read: the given one, else the environment's; a branch or nothing would not be repeatable."""
    variable = revision_variable(repo)
    commit = revision or os.environ.get(variable, "")
    if not _COMMIT.fullmatch(commit):
        given = f"{commit!r} is not a commit" if commit else "no commit is known here"
        raise DataError(
            f"{repo} is read at one pinned commit, and {given}: set {variable}=<40 hexadecimal digits> (or the argument "
            f"revision=), or say with --data-dir where a downloaded copy lies"
        )
    return commit


def load_hub(repo: str, revision: str | None, split: str, columns: Sequence[str]) -> "Dataset":
    """Load one split at a pinned commit and keep these columns; from the cache of ``datasets`` where it is there."""
    commit = pinned(repo, revision)
    from datasets import load_dataset

    loaded = _loaded(f"{repo}@{commit}, split {split!r},", lambda: load_dataset(repo, revision=commit, split=split))
    return _kept(f"{repo}@{commit}", loaded, columns)


def load_parquet(paths: Sequence[Path], columns: Sequence[str]) -> "Dataset":
    """Open Parquet files on disk as one table and keep these columns; images stay on disk until they are read."""
    from datasets import load_dataset

    names = ", ".join(path.name for path in paths)
    files = [str(path) for path in paths]
    return _kept(names, _loaded(names, lambda: load_dataset("parquet", data_files=files, split="train")), columns)


def _loaded(what: str, load: Any) -> "Dataset":
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import HfHubHTTPError

    try:
        return load()
    except (OSError, ValueError, DatasetsError, HfHubHTTPError) as error:
        reason = " ".join(str(error).split())
        raise DataError(
            f"{what} cannot be loaded ({reason[:300]}). Without a network, run the same command once with one, or copy the "
            f"files here and say where they are with --data-dir FOLDER"
        ) from error


def _kept(where: str, loaded: "Dataset", columns: Sequence[str]) -> "Dataset":
    columns_present(where, list(loaded.column_names), columns)
    return loaded.select_columns(list(columns))
