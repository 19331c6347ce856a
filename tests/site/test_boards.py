import time
from pathlib import Path

import duckdb
import numpy as np
import pytest

from benchmark.ranking import Selection, bootstrap, leaderboard
from benchmark.site import boards, catalogue, leaderboard_page
from benchmark.site.access import Store
from tests.site.stores import write_store


@pytest.fixture
def path(tmp_path: Path) -> Path:
    write_store(tmp_path / "s.duckdb")
    return tmp_path / "s.duckdb"


def test_a_board_is_that_of_the_command(path: Path) -> None:
    store = Store(path)
    shown = [row for item in boards.listed(store) for row in boards.board(store, item.task, item.model, item.metric)]
    with duckdb.connect(path, read_only=True, config={"enable_external_access": "false", "lock_configuration": "true"}) as read:
        assert shown == leaderboard(read, Selection())


def test_boards_are_ranked_before_anybody_asks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "REST", 0.0)
    store = Store(path)
    wanted = boards.listed(store)
    kept = boards._board.cache_info  # pyright: ignore[reportPrivateUsage]
    before = kept().currsize
    boards.ahead(store, wanted)
    deadline = time.monotonic() + 30
    while kept().currsize < before + len(wanted):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    misses = kept().misses
    for item in wanted:
        assert boards.board(store, item.task, item.model, item.metric)
    assert kept().misses == misses


def test_a_store_that_is_gone_stops_no_thread(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "REST", 0.0)
    store = Store(path)
    wanted = boards.listed(store)
    path.unlink()
    boards.ahead(store, wanted)
    time.sleep(0.5)
    write_store(path)
    assert boards.board(store, wanted[0].task, wanted[0].model, wanted[0].metric)


def test_the_first_board_is_the_headline_of_the_first_task(path: Path) -> None:
    store, cards = Store(path), catalogue.load()
    first = leaderboard_page.usual(cards, boards.listed(store))
    assert first is not None
    assert (first.task, first.metric) == ("scenes-pointing", cards.headline("scenes-pointing"))
    assert leaderboard_page.usual(cards, []) is None


def test_kept_weights_give_the_same_numbers_as_weights_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    values = {"a": rng.normal(size=40), "b": rng.normal(size=40)}
    names = [f"s{i}" for i in range(40)]
    kept = bootstrap.Bootstrap(names, names, 500)
    first, again = kept.resample(values), kept.resample(values)
    monkeypatch.setattr(bootstrap, "BLOCK", 40 * 7)
    monkeypatch.setattr(bootstrap, "KEPT", 0)
    blocks = bootstrap.Bootstrap(names, names, 500).resample(values)
    for name in values:
        np.testing.assert_array_equal(first[name].means, again[name].means)
        np.testing.assert_array_equal(first[name].means, blocks[name].means)
