"""What a snapshot says of itself: ``manifest.json``."""

import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from benchmark.errors import BenchmarkError
from benchmark.types import Better

FORMAT = 1
"""Of the folder: which files there are and what their columns mean. A newer one is refused by name."""

MANIFEST = "manifest.json"


class SnapshotError(BenchmarkError):
    """A folder that is no snapshot, or one that cannot be made or read; the message says what to do."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Code(_Part):
    """The code that made the tables. ``dirty`` says that files differed from the commit."""

    version: str
    commit: str | None
    dirty: bool | None


class FrozenTask(_Part):
    """``hash`` covers everything that defines the task's numbers; ``headline`` is the metric that counts in its track."""

    id: str
    version: int
    hash: str
    data: str
    headline: str
    n_samples: int


class FrozenMetric(_Part):
    """What a number means. ``tolerance``, absolute, is how far a value may be off on another machine.

    It is ``None`` where a value is measured (seconds) and cannot be made again.
    """

    name: str
    better: Better
    unit: str
    track: str
    tolerance: float | None


class FrozenEncoder(_Part):
    name: str
    revision: str


class FrozenData(_Part):
    """``shows_texts`` is false where the licence lets scores be published, but no texts."""

    name: str
    version: str
    licence: str
    synthetic: bool
    shows_texts: bool
    bibtex: str


class FrozenMethod(_Part):
    label: str
    name: str
    version: int
    parameters: Mapping[str, Any]
    seeds: tuple[int, ...]
    bibtex: str


class FrozenRun(_Part):
    """One command that made scores, where, and with which code. Names no host, no user and no folder."""

    run_id: str
    command: str
    status: str
    started: datetime
    commit: str | None
    dirty: bool | None
    device: str
    seeds: tuple[int, ...]
    versions: Mapping[str, str]
    hardware: Mapping[str, Any]


class Counts(_Part):
    """Rows of the frozen tables, and of the leaderboard. ``partial`` rows have samples missing, so they have no rank."""

    explanations: int
    failed: int
    unsupported: int
    scores: int
    samples: int
    boards: int
    rows: int
    partial: int


class Manifest(_Part):
    """Everything that the numbers of a snapshot depend on."""

    format: int
    suite: str
    version: str
    created: datetime
    note: str
    schema_version: int
    code: Code
    counts: Counts
    tasks: tuple[FrozenTask, ...]
    metrics: tuple[FrozenMetric, ...]
    encoders: tuple[FrozenEncoder, ...]
    data: tuple[FrozenData, ...]
    methods: tuple[FrozenMethod, ...]
    runs: tuple[FrozenRun, ...]

    def to_json(self) -> str:
        """Return the one text of this manifest."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n"


def read_manifest(folder: Path) -> Manifest:
    """Read a snapshot's manifest; what is none, or is of a newer format, raises ``SnapshotError``."""
    path = folder / MANIFEST
    if not path.is_file():
        raise SnapshotError(f"{folder} is no snapshot: it has no {MANIFEST}. `benchmark snapshot create` makes one")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found = content.get("format") if isinstance(content, dict) else None
        if isinstance(found, int) and found > FORMAT:
            raise SnapshotError(
                f"{folder} has the format {found} of a newer version of the benchmark; this one knows {FORMAT}. "
                "Update with `pip install --upgrade xlip-bench`"
            )
        return Manifest.model_validate(content)
    except (ValueError, ValidationError, OSError) as error:
        first = " ".join(str(error).splitlines()[:3])
        raise SnapshotError(f"{path} cannot be read: {first}. Restore it from where the snapshot was published") from error
