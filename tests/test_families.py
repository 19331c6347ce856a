from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmark.errors import InvalidInput
from benchmark.explainers import EXPLAINERS
from benchmark.families import BEGIN, END, FAMILIES, insert, main, page

PAGE = Path(__file__).resolve().parents[1] / "docs" / "methods.md"


@pytest.fixture(scope="module")
def generated():
    return page()


def test_the_committed_page_is_up_to_date(generated):
    written = PAGE.read_text()
    assert insert(written, generated) == written, "run: python -m benchmark.families --write docs/methods.md"


def test_every_method_has_a_row_with_a_verdict_for_every_family(generated):
    own = [name for name, kind in EXPLAINERS.items() if kind.__module__.startswith("benchmark.")]
    for name in own:
        (row,) = [line for line in generated.splitlines() if line.startswith(f"| `{name}` |")]
        verdicts = [cell.split()[0] for cell in row.strip("| ").split(" | ")[2:]]
        assert len(verdicts) == len(FAMILIES)
        assert set(verdicts) <= {"works", "adapted", "refused"}


def test_what_is_refused_or_adapted_says_why(generated):
    (row,) = [line for line in generated.splitlines() if line.startswith("| `grad_eclip` |")]
    assert row.count("works") == 2
    assert row.count("refused [") == 2
    assert "Grad-ECLIP reads a class token; this tower pools by attention" in generated
    (row,) = [line for line in generated.splitlines() if line.startswith("| `rollout` |")]
    assert row.count("adapted [") == 2


def test_the_command_writes_between_the_markers(tmp_path):
    document = tmp_path / "page.md"
    document.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    result = CliRunner().invoke(main, ["--write", str(document)])
    assert result.exit_code == 0, result.output
    written = document.read_text()
    assert written.startswith(f"above\n{BEGIN}\n\n| method |")
    assert written.endswith(f"{END}\nbelow\n")
    assert "old" not in written.splitlines()


def test_a_page_without_markers_is_refused():
    with pytest.raises(InvalidInput, match="the page needs a line"):
        insert("nothing here", "table")
