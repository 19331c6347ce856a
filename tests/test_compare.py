"""Two methods on shared samples: hand-computed differences, a test that holds its level, a correction that corrects."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from fakes import load_fake_encoder, planted  # noqa: F401

from benchmark.cli import cli
from benchmark.ranking import Selection, compare
from benchmark.ranking.compare import holm, sign_flip_p
from benchmark.store import open_store

pytestmark = pytest.mark.usefixtures("planted")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("benchmark.encoders.load_encoder", load_fake_encoder)
    path = tmp_path / "store.duckdb"
    run = ("run", "--task", "fake-mean", "--model", "fake", "--limit", "6", "--workers", "1")
    result = CliRunner().invoke(cli, [*run, "--method", "fake_noise,fake_good", "--store", str(path)])
    assert result.exit_code == 0, result.output
    return path


def test_the_sign_flip_test_enumerates_few_clusters() -> None:
    assert sign_flip_p(np.ones(5)) == 2 / 32
    assert sign_flip_p(np.array([1.0, -1.0])) == 1.0


def test_the_sign_flip_test_holds_its_level() -> None:
    rng = np.random.default_rng(0)
    rejected = np.mean([sign_flip_p(rng.normal(size=20), seed) <= 0.05 for seed in range(300)])
    assert 0.02 < rejected < 0.09  # 5 % with a binomial error of 1.3 points


def test_holm_is_the_step_down_of_bonferroni() -> None:
    assert holm([0.2, 0.001]) == [0.2, 0.002]
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_difference_is_first_less_second_and_turns_with_them(store: Path) -> None:
    with open_store(store) as connection:
        there, back = (compare(connection, *names) for names in (("fake_good", "fake_noise"), ("fake_noise", "fake_good")))
        means = dict(
            connection.execute("SELECT label, avg(value) FROM scores WHERE metric = 'fake_mean' GROUP BY label").fetchall()
        )
    row, turned = (next(item for item in found if item.metric == "fake_mean") for found in (there, back))
    assert row.difference == pytest.approx(means["fake_good"] - means["fake_noise"])
    assert row.low <= row.difference <= row.high
    assert (turned.difference, turned.low, turned.high) == pytest.approx((-row.difference, -row.high, -row.low))
    assert turned.p == row.p
    assert turned.wins == pytest.approx(1 - row.wins)
    assert {item.difference for item in row.contrasts} == {-item.difference for item in turned.contrasts}


def test_a_method_against_itself_is_not_told_apart(store: Path) -> None:
    with open_store(store) as connection:
        for row in compare(connection, "fake_good", "fake_good", Selection(limit=4)):
            assert (row.difference, row.p, row.wins, row.winner, row.n) == (0.0, 1.0, 0.5, None, 4)


def test_the_command_prints_a_table_json_and_details_and_answers_a_wrong_name(store: Path) -> None:
    def call(*arguments: str):
        return CliRunner().invoke(cli, ["compare", *arguments, "--store", str(store)])

    assert "fake_mean" in call("fake_good", "fake_noise", "--details").stdout
    assert json.loads(call("fake_good", "fake_noise", "--json").stdout)[0]["first"] == "fake_good"
    wrong = call("fake_good", "fake_nois")
    assert wrong.exit_code == 2
    assert "Did you mean 'fake_noise'?" in wrong.output
