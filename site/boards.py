"""Ranked boards, comparisons and tracks of a store, each computed once for every state of it."""

import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import islice
from threading import Lock, Thread

import pandas as pd

from benchmark.metrics import METRICS
from benchmark.ranking import Comparison, Row, Selection, WinTable, compare, leaderboard, win_tables
from benchmark.ranking.tracks import TrackTable, track_tables
from benchmark.site import queries, tables
from benchmark.site.access import Store, Unreadable, Version
from benchmark.site.queries import Board

__all__ = ["Board", "ahead", "board", "comparisons", "everything", "listed", "track", "track_of", "wins"]

KEPT = 256
AHEAD = 64  # boards at most that are ranked before anybody asks for them
REST = 0.5  # seconds before each of them

_waiting: deque[tuple[Store, Version, str, str, str, int | None]] = deque()
_at_work = Lock()


def board(store: Store, task: str, model: str, metric: str, limit: int | None = None) -> tuple[Row, ...]:
    """Return one ranked board, best first."""
    return _board(store, store.version, task, model, metric, limit)


def ahead(store: Store, wanted: Iterable[Board]) -> None:
    """Rank boards in the background, so that a reader who asks for them next does not wait; the last call counts."""
    version = store.version
    _waiting.clear()
    _waiting.extend((store, version, item.task, item.model, item.metric, None) for item in islice(wanted, AHEAD))
    if _at_work.acquire(blocking=False):
        Thread(target=_rank_waiting, name="ranks", daemon=True).start()


def _rank_waiting() -> None:
    try:
        while _waiting:
            time.sleep(REST)  # pages that are being drawn come first
            with suppress(Unreadable, IndexError):  # a page that needs it will say so; another call may empty the list
                _board(*_waiting.popleft())
    finally:
        _at_work.release()


def listed(store: Store) -> tuple[queries.Board, ...]:
    """Return what boards there are."""
    return _listed(store, store.version)


def everything(store: Store) -> pd.DataFrame:
    """Return every field of every row of every board."""
    return tables.whole([row for item in listed(store) for row in board(store, item.task, item.model, item.metric)])


def comparisons(
    store: Store, first: str, second: str, tasks: Sequence[str], models: Sequence[str], limit: int | None = None
) -> tuple[Comparison, ...]:
    """Compare two methods on the headline-independent boards of some tasks and models; Holm over all of them."""
    return _comparisons(store, store.version, first, second, tuple(tasks), tuple(models), limit)


def wins(store: Store, task: str, model: str, metric: str, methods: Sequence[str]) -> WinTable | None:
    """Return on which share of the samples of a board each of some methods beats each other."""
    return _wins(store, store.version, task, model, metric, tuple(methods))


def track(store: Store, name: str, headlines: Sequence[tuple[str, str]], models: Sequence[str]) -> TrackTable | None:
    """Return the mean ranks of one track over the boards of ``headlines`` (task and metric); none without such boards."""
    return _track(store, store.version, name, tuple(headlines), tuple(models))


def track_of(metric: str) -> str:
    """Return the track of a metric; one that is not registered here belongs to none."""
    return METRICS[metric].track if metric in METRICS else "other"


def exactly(name: str) -> str:
    """Return the pattern that only ``name`` matches.

    >>> exactly("m[x=*]")
    'm[[]x=[*]]'
    """
    return "".join(f"[{sign}]" if sign in "*?[" else sign for sign in name)


@lru_cache(maxsize=KEPT)
def _board(store: Store, version: Version, task: str, model: str, metric: str, limit: int | None) -> tuple[Row, ...]:
    del version
    selection = Selection(tasks=[exactly(task)], models=[exactly(model)], metrics=[exactly(metric)], limit=limit)
    with store.reading() as connection:
        return tuple(leaderboard(connection, selection))


@lru_cache(maxsize=8)
def _listed(store: Store, version: Version) -> tuple[queries.Board, ...]:
    del version
    return tuple(queries.boards(store))


@lru_cache(maxsize=64)
def _comparisons(
    store: Store,
    version: Version,
    first: str,
    second: str,
    tasks: tuple[str, ...],
    models: tuple[str, ...],
    limit: int | None,
) -> tuple[Comparison, ...]:
    del version
    selection = Selection(tasks=[exactly(task) for task in tasks], models=[exactly(model) for model in models], limit=limit)
    with store.reading() as connection:
        return tuple(compare(connection, first, second, selection))


@lru_cache(maxsize=64)
def _track(
    store: Store, version: Version, name: str, headlines: tuple[tuple[str, str], ...], models: tuple[str, ...]
) -> TrackTable | None:
    there = {(item.task, item.model, item.metric) for item in _listed(store, version)}
    rows = [
        row
        for task, metric in headlines
        for model in models
        if (task, model, metric) in there
        for row in _board(store, version, task, model, metric, None)
    ]
    found = [table for table in track_tables(rows, dict(headlines)) if table.track == name]
    return found[0] if found else None


@lru_cache(maxsize=64)
def _wins(store: Store, version: Version, task: str, model: str, metric: str, methods: tuple[str, ...]) -> WinTable | None:
    del version
    selection = Selection(tasks=[exactly(task)], models=[exactly(model)], metrics=[exactly(metric)], methods=methods)
    with store.reading() as connection:
        found = win_tables(connection, selection)
    return found[0] if found else None
