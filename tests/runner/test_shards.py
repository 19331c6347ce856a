"""Parts of a run that know nothing of each other make, merged, the whole."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from click.testing import CliRunner
from fakes import FAKE_TASK, FAKE_TRUTH, N_SAMPLES, FakeEncoder, FakeSource, planted

from benchmark.cli import cli
from benchmark.errors import InvalidInput, StoreError
from benchmark.runner import catalogue
from benchmark.runner.plan import Known, Plan, Request, make_plan
from benchmark.runner.run import run
from benchmark.runner.shards import Shard
from benchmark.store import StoreWriter, parquet, query_store
from benchmark.store.merge import merge

__all__ = ["planted"]
pytestmark = pytest.mark.usefixtures("planted")
ROWS = (
    "SELECT unit_key, status, payload_hash, similarity, image_forwards, text_forwards FROM explanations ORDER BY unit_key",
    "SELECT score_key, unit_key, position, status, value, chance, reason, flags FROM scores ORDER BY score_key",
    "SELECT * FROM samples ORDER BY sample_id, text_hash",
)
ALL = tuple(Shard(i, 8) for i in range(1, 9))


def request(shard: Shard | None = None, limit: int | None = None) -> Request:
    methods = catalogue.methods("fake_noise,fake_good,fake_broken,fake_oracle")
    return Request(methods=methods, tasks=(FAKE_TASK, FAKE_TRUTH), limit=limit, shard=shard)


def plan(shard: Shard | None, limit: int | None = None) -> Plan:
    return make_plan(request(shard, limit), FakeEncoder(), Known())


def rows(store: Path) -> list:
    return [query_store(store, query)[1] for query in ROWS]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One undisturbed run, and the same in eight shards."""
    import fakes

    folder = tmp_path_factory.mktemp("shards")
    fakes.plant()
    try:
        found = {"whole": folder / "whole.duckdb"} | {f"{shard.index}": folder / f"shard-{shard.index}.duckdb" for shard in ALL}
        run(request(limit=12), [FakeSource()], found["whole"], workers=1)
        for shard in ALL:
            run(request(shard, limit=12), [FakeSource()], found[f"{shard.index}"], workers=1)
    finally:
        fakes._take_out()
    return found


def test_every_sample_is_in_one_shard_with_all_its_methods() -> None:
    whole = {group.record.sample_id: {unit.key for unit in group.units} for group in plan(None).groups}
    found: Counter[str] = Counter()
    for shard in ALL:
        for group in plan(shard).groups:
            found[group.record.sample_id] += 1
            assert {unit.key for unit in group.units} == whole[group.record.sample_id]
    assert found == Counter(dict.fromkeys(whole, 1))
    assert len(whole) == N_SAMPLES


def test_a_samples_shard_depends_on_nothing_but_the_sample() -> None:
    for shard in ALL:
        first = [group.record.sample_id for group in plan(shard, limit=10).groups]
        more = [group.record.sample_id for group in plan(shard, limit=30).groups]
        assert first == [sample for sample in more if int(sample[1:]) < 10]


def test_shards_are_of_about_the_same_size() -> None:
    from benchmark.records import content_key

    keys = [content_key(["data", i]) for i in range(8_000)]
    sizes = [sum(shard.holds(key) for key in keys) for shard in ALL]
    assert sum(sizes) == 8_000
    assert max(abs(size - 1_000) for size in sizes) < 150  # five standard deviations of a fair draw


@pytest.mark.parametrize("text", ["0/8", "9/8", "3", "3/0", "a/b", "-1/8", "1/8/2"])
def test_what_is_no_shard_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match="shard"):
        Shard.parse(text)


def test_eight_shards_merged_equal_one_run(stores: dict[str, Path], tmp_path: Path) -> None:
    target = tmp_path / "merged.duckdb"
    parts = [stores[f"{shard.index}"] for shard in ALL]
    assert not any(item.conflicts for item in merge(target, parts))
    assert rows(target) == rows(stores["whole"])
    assert len(rows(target)[0]) == 12 * 4 - 1  # the oracle has nothing to explain where its one task leaves a sample out
    assert sum(bool(rows(part)[0]) for part in parts) > 3


def test_a_shard_without_samples_leaves_a_store_to_merge(tmp_path: Path) -> None:
    store = tmp_path / "empty.duckdb"
    empty = next(shard for shard in ALL if not plan(shard, limit=1).groups)
    assert run(request(empty, limit=1), [FakeSource()], store).n_units == 0
    assert rows(store) == [[], [], []]
    assert merge(tmp_path / "target.duckdb", [store])[0].explanations == 0


def test_exported_shards_are_read_by_glob_and_merged_from_their_folder(stores: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "it's shared"
    for shard in ALL:
        parquet.export(stores[f"{shard.index}"], str(folder))
    parquet.export(stores["1"], str(folder))  # again: replaced
    with duckdb.connect() as connection:
        glob = [str(folder / "scores" / "*" / "*.parquet")]
        found = connection.execute("SELECT score_key, value FROM read_parquet(?) ORDER BY 1", glob).fetchall()
        names = connection.execute("SELECT DISTINCT part FROM read_parquet(?) ORDER BY 1", glob).fetchall()
    assert found == query_store(stores["whole"], "SELECT score_key, value FROM scores ORDER BY 1")[1]
    assert set(names) <= {(f"shard-{shard.index}",) for shard in ALL}
    target = tmp_path / "merged.duckdb"
    assert len(merge(target, [folder])) == 8
    assert rows(target) == rows(stores["whole"])
    assert sum(item.explanations + item.scores for item in merge(target, [str(folder), stores["3"]])) == 0
    assert rows(target) == rows(stores["whole"])
    assert not list(folder.rglob("*.writing"))


def test_contradictions_between_exported_stores_are_named(stores: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "parquet"
    changed = tmp_path / "changed.duckdb"
    merge(changed, [stores["whole"]])
    with StoreWriter(changed) as writer, writer.transaction() as connection:
        connection.execute("UPDATE scores SET value = value + 0.25 WHERE score_key = (SELECT min(score_key) FROM scores)")
    for store in (stores["whole"], changed):
        parquet.export(store, str(folder))
    found = merge(tmp_path / "target.duckdb", [folder])
    assert [len(item.conflicts) for item in found] == [0, 1]


def test_a_part_that_was_not_written_to_the_end_is_not_there(stores: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "parquet"
    for name in ("1", "2"):
        parquet.export(stores[name], str(folder), name)
    (folder / "meta" / "part=2" / "rows.parquet").unlink()
    assert [part.name for part in parquet.parts_of(str(folder))] == ["1"]
    with pytest.raises(StoreError, match="holds no exported store"):
        merge(tmp_path / "target.duckdb", [tmp_path])
    with pytest.raises(InvalidInput, match="cannot name a part"):
        parquet.export(stores["1"], str(folder), "../1")


def test_the_command_line_takes_shards_and_folders(stores: dict[str, Path], tmp_path: Path) -> None:
    def call(*arguments: str) -> str:
        result = CliRunner().invoke(cli, arguments)
        assert result.exit_code == 0, result.output
        return result.output

    folder, target = str(tmp_path / "parquet"), str(tmp_path / "target.duckdb")
    assert "scores" in call("export", folder, "--store", str(stores["whole"]))
    assert "part=whole" in call("merge", folder, "--store", target)
    assert rows(Path(target)) == rows(stores["whole"])
    refused = CliRunner().invoke(cli, ("run", "--shard", "9/8", "--store", target))
    assert refused.exit_code == 2
    assert "no shard 9/8" in refused.output


def test_a_shard_changes_no_key() -> None:
    whole = {unit.key for group in plan(None).groups for unit in group.units}
    parts = {unit.key for shard in ALL for group in plan(shard).groups for unit in group.units}
    assert parts == whole
    assert replace(request(), shard=ALL[0]).shard == Shard.parse(" 1/8")
