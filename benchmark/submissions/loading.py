"""A submission as an explainer: its class runs in a sandbox, and here stands what asks it."""

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from benchmark.errors import InvalidInput
from benchmark.explainers.base import Explainer
from benchmark.runner.encoders import EncoderSource
from benchmark.sandbox import Confinement, Limits, sandboxed
from benchmark.submissions.manifest import FILE, Manifest

HOME = Path("submissions")
"""Where submissions are, below the current folder."""


def find(path_or_name: str) -> Path:
    """Return the folder of a submission that is given by its path, or by its name in ``submissions/``."""
    for folder in (Path(path_or_name), HOME / path_or_name):
        if (folder / FILE).is_file():
            return folder
    for folder in (HOME / path_or_name, Path(path_or_name)):
        if folder.is_dir():
            return folder  # reading its manifest says what is missing
    known = ", ".join(sorted(path.parent.name for path in HOME.glob(f"*/{FILE}"))) or "none"
    raise InvalidInput(
        f"there is no submission {path_or_name!r}: no such folder, here or in {HOME}/ (there are: {known}); "
        "`benchmark submission new NAME` writes one"
    )


def load(folder: Path, manifest: Manifest, source: EncoderSource, confinement: Confinement) -> Explainer:
    """Return a submission as an explainer of one encoder; its code is started when it is first asked."""
    return sandboxed(
        folder,
        entry=manifest.entry,
        name=manifest.name,
        version=manifest.version,
        parameters=manifest.values,
        yields=manifest.yields,
        needs=manifest.needs,
        deterministic=manifest.deterministic,
        replicates=manifest.replicates,
        paper=manifest.paper.cited,
        bibtex=manifest.bibtex,
        published={name: f"{item.source}: {item.detail}" for name, item in manifest.parameters.items()},
        differs=manifest.differs,
        encoder_source=source,
        limits=limits_of(manifest),
        confinement=confinement,
    )


def limits_of(manifest: Manifest) -> Limits:
    """Return the limits that a submission asks for."""
    asked = manifest.limits
    return Limits(memory_mb=round(1024 * asked.memory_gb), seconds_per_unit=asked.seconds, processes=asked.processes)


@contextmanager
def copied(folder: Path) -> Generator[Path]:
    """Yield a copy of a submission's folder under its own name, without caches, for files to be added to."""
    with tempfile.TemporaryDirectory(prefix="submission-") as scratch:
        copy = Path(scratch) / folder.resolve().name
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("__pycache__", ".*"), symlinks=True)
        yield copy
