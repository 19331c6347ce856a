import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from benchmark.site import boards, queries
from benchmark.site.access import Store, Unreadable
from tests.site.stores import HOSTILE, N_SAMPLES, write_store


def trouble(path: Path) -> str:
    with pytest.raises(Unreadable) as caught:
        queries.overview(Store(path))
    return caught.value.trouble


def test_each_kind_of_unreadable_file_is_named(tmp_path: Path) -> None:
    assert trouble(tmp_path / "none.duckdb") == "missing"
    (tmp_path / "unfinished.duckdb.part").touch()
    assert trouble(tmp_path / "unfinished.duckdb") == "unfinished"
    (tmp_path / "damaged.duckdb").write_bytes(b"no database" * 1000)
    assert trouble(tmp_path / "damaged.duckdb") == "damaged"
    duckdb.connect(tmp_path / "empty.duckdb").close()
    assert trouble(tmp_path / "empty.duckdb") == "empty"
    with duckdb.connect(tmp_path / "foreign.duckdb") as connection:
        connection.execute("CREATE TABLE birds (name VARCHAR)")
    assert trouble(tmp_path / "foreign.duckdb") == "foreign"
    (tmp_path / "folder").mkdir()
    assert trouble(tmp_path / "folder") == "snapshot"


@pytest.mark.parametrize(("version", "expected"), [(1, "older"), (99, "newer")])
def test_a_store_of_another_schema_is_named(tmp_path: Path, version: int, expected: str) -> None:
    path = tmp_path / "other.duckdb"
    write_store(path)
    with duckdb.connect(path) as connection:
        connection.execute("UPDATE meta SET schema_version = ?", [version])
    assert trouble(path) == expected


def test_a_replaced_store_is_read_anew_and_its_boards_are_ranked_anew(tmp_path: Path) -> None:
    path, newer = tmp_path / "s.duckdb", tmp_path / "newer.duckdb"
    write_store(path, ("fixlip",))
    store = Store(path)
    assert len(boards.board(store, "scenes-pointing", "embedded", "pointing_hit")) == 1
    write_store(newer, ("fixlip", "random"))
    newer.replace(path)
    assert queries.overview(store)["n_explanations"] == 2 * N_SAMPLES
    assert [row.method for row in boards.board(store, "scenes-pointing", "embedded", "pointing_hit")] == ["fixlip", "random"]


def test_a_reader_keeps_its_state_while_the_store_is_replaced(tmp_path: Path) -> None:
    path, newer = tmp_path / "s.duckdb", tmp_path / "newer.duckdb"
    write_store(path, ("fixlip",))
    write_store(newer, ("fixlip", "random"))
    store = Store(path)
    with store.reading() as connection:
        newer.replace(path)
        assert queries.overview(store)["n_explanations"] == N_SAMPLES  # a second reader shares what is open
        assert connection.execute("SELECT count(*) FROM explanations").fetchone() == (N_SAMPLES,)
    assert queries.overview(store)["n_explanations"] == 2 * N_SAMPLES


def test_a_query_can_neither_write_nor_leave_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.duckdb"
    write_store(path)
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    store = Store(path)
    for query in ("DELETE FROM scores", f"FROM read_csv('{secret}')", "SET enable_external_access = true"):
        with pytest.raises(Unreadable), store.reading() as connection:
            connection.execute(query)


def test_a_name_full_of_signs_matches_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "s.duckdb"
    write_store(path)
    store = Store(path)
    assert queries.coverage(store, HOSTILE)[0]["n_failed"] == 1
    assert queries.coverage(store, "' OR 1=1 --") == []
    assert boards.board(store, "*", "embedded", "pointing_hit") == ()


def test_no_page_imports_torch() -> None:
    code = (
        "import sys, pkgutil, importlib, benchmark.site as site\n"
        "names = [m.name for m in pkgutil.iter_modules(site.__path__) if m.name not in ('app', 'freeze')]\n"
        "assert 'samples_page' in names and 'leaderboard_page' in names\n"
        "for name in names: importlib.import_module(f'benchmark.site.{name}')\n"
        "print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.slow
def test_the_frozen_cards_are_current() -> None:
    from benchmark.site import freeze
    from benchmark.site.catalogue import FILE

    assert FILE.read_text(encoding="utf-8") == freeze.text(), "run python -m benchmark.site.freeze"
