"""Frozen leaderboards: per-sample scores with every table made of them, citable and checkable. Reading one needs no torch."""

from benchmark.snapshots.manifest import Manifest, SnapshotError, read_manifest
from benchmark.snapshots.reader import is_snapshot, open_snapshot

__all__ = ["Manifest", "SnapshotError", "is_snapshot", "open_snapshot", "read_manifest"]
