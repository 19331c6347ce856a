"""Where an export is written: names that are safe for files, and a folder that is put in its place once it is full."""

import json
import os
import re
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

from benchmark.errors import BenchmarkError

MARKER = "export.json"
"""Says that a folder is an export, and lists its files; a later export replaces exactly such folders."""

MADE_BY = "benchmark site --export"
LONGEST = 60
_SAFE = re.compile(r"[^a-z0-9_]+")
_TAKEN = re.compile(r"con|prn|aux|nul|(com|lpt)\d|.*-[0-9a-f]{8}")  # devices of Windows, and what looks like a hashed name


class ExportError(BenchmarkError):
    """A folder that an export may not or cannot be written to; the message says what to do."""


class Files:
    """The files of an export below one folder; their sizes by path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sizes: dict[str, int] = {}

    def write(self, path: str, content: str | bytes) -> str:
        """Write one file and return its path, relative to the folder; one outside of it is refused."""
        place = Path(os.path.normpath(self.folder / path))
        if not place.is_relative_to(self.folder) or place == self.folder:
            raise ExportError(f"{path!r} is outside the folder of the export")
        data = content.encode() if isinstance(content, str) else content
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(data)
        except OSError as error:
            raise ExportError(f"{path} cannot be written to the export: {error.strerror}") from error
        self.sizes[path] = len(data)
        return path

    def finish(self, source: str) -> None:
        """Write the marker."""
        self.write(MARKER, json.dumps({"made_by": MADE_BY, "source": source, "files": sorted(self.sizes)}, indent=1) + "\n")


def slug(name: str) -> str:
    """Return a name for files and addresses: small letters, digits, ``_`` and single ``-``. Different names stay different.

    A name that is changed gets eight digits of its hash, also because some file systems do not tell ``A`` from ``a``.

    >>> slug("grad_eclip"), slug("../etc/passwd")
    ('grad_eclip', 'etc-passwd-d5fda55e')
    """
    plain = _SAFE.sub("-", name.lower()).strip("-_")[:LONGEST].strip("-_")
    if plain and plain == name and not _TAKEN.fullmatch(plain):
        return plain
    return f"{plain or 'x'}-{sha256(name.encode()).hexdigest()[:8]}"


def joined(*names: str) -> str:
    """Return one slug of several names; ``--`` between them, which no slug has inside.

    >>> joined("scenes-pointing", "embedded")
    'scenes-pointing--embedded'
    """
    return "--".join(slug(name) for name in names)


@contextmanager
def replacing(folder: Path) -> Generator[Files]:
    """Lend an empty folder beside ``folder``, and put it in its place once all is written; else leave all as it was.

    What stands at the top of an earlier export without being of it (``CNAME``, ``.git``) stays.
    """
    place = folder.resolve()
    known = _require_free(folder, place)
    part = place.with_name(f".{place.name}.{os.getpid()}.part")
    old = place.with_name(f".{place.name}.{os.getpid()}.old")
    try:
        part.mkdir(parents=True)
    except OSError as error:
        raise ExportError(f"the export cannot be written to {folder}: {error.strerror}") from error
    try:
        yield Files(part)
        if place.exists():
            place.rename(old)
        part.rename(place)
        if old.exists():
            for entry in old.iterdir():
                if entry.name not in known and not (place / entry.name).exists():
                    entry.rename(place / entry.name)
            shutil.rmtree(old)
    except OSError as error:
        raise ExportError(f"the export cannot be put in the place of {folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _require_free(folder: Path, place: Path) -> set[str]:
    """Return the top names of the earlier export in a folder; raise where something else is there."""
    if not place.exists():
        return set()
    if not place.is_dir():
        raise ExportError(f"{folder} is a file; name a folder that is new, empty or an earlier export")
    if not any(place.iterdir()):
        return set()
    files = _listed(place / MARKER)
    if files is None:
        raise ExportError(f"{folder} is not empty and no earlier export; name a folder that is new, empty or an earlier export")
    return {path.partition("/")[0] for path in files} | {MARKER}


def _listed(marker: Path) -> Sequence[str] | None:
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(found, dict) or found.get("made_by") != MADE_BY or not isinstance(found.get("files"), list):
        return None
    return [str(path) for path in found["files"]]
