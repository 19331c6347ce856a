"""The scripts behind the pages of ``docs/`` run, and what they compare agrees."""

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner

SCRIPTS = Path(__file__).parents[1] / "scripts"


@pytest.fixture(autouse=True)
def _scripts_are_importable(monkeypatch):
    monkeypatch.syspath_prepend(SCRIPTS)


def printed_by(script, *arguments):
    result = CliRunner().invoke(import_module(script).main, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_authors_way_of_computing_gives_the_same_results():
    differences = json.loads(printed_by("speed", "--quick"))
    assert set(differences) == {"fit", "fit-cross", "fit-block", "fixlip", "exclip"}
    assert max(differences.values()) < 1e-4


def test_every_claim_is_measured_on_both_sets():
    lines = printed_by("check_claims", "--quick").splitlines()
    rows = [line for line in lines if line.startswith("| ") and not line.startswith(("| measured", "| ---"))]
    claims = import_module("claims").CLAIMS.values()
    assert len(rows) == sum(len(claim.expected) for claim in claims)
    missing = [row for row in rows if "n = 0" in row]
    assert all("other phrase's tokens" in row for row in missing)  # a single caption may have one phrase


@pytest.mark.parametrize(
    ("values", "expected", "verdict"),
    [
        ([1.0, 2.0, 1.5], (">", 0.0), "holds"),
        ([-1.0, -2.0, -1.5], (">", 0.0), "fails"),
        ([-1.0, 1.0, -0.5, 0.5], (">", 0.0), "open"),
        ([0.5, 0.4, 0.3], ("<", 1.0), "holds"),
        ([1.0, 1.0], ("=", 1.0), "holds"),
        ([1.0, 0.9], ("=", 1.0), "fails"),
        ([0.3, 0.2], None, ""),
    ],
)
def test_a_claim_stays_open_unless_the_whole_interval_is_on_one_side(values, expected, verdict):
    assert import_module("check_claims").summarise(values, expected).verdict == verdict


def test_the_page_of_tasks_and_metrics_is_up_to_date() -> None:
    root = Path(__file__).resolve().parents[1]
    made = subprocess.run(
        [sys.executable, "-c", "import catalogue; print(catalogue.page(), end='')"],
        cwd=root / "scripts",
        check=True,
        capture_output=True,
        text=True,
    )
    assert made.stdout == (root / "docs" / "tasks.md").read_text(), "run: python scripts/catalogue.py docs/tasks.md"
