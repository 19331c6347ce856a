"""The commands as an author uses them: new, check, run; the code of a submission runs in a sandbox only."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from benchmark.cli import cli
from benchmark.errors import InvalidInput
from benchmark.runner import catalogue
from benchmark.sandbox import SandboxUnavailable, best_confinement
from benchmark.store import query_store
from benchmark.submissions.check import Check
from benchmark.submissions.findings import Finding
from benchmark.submissions.loading import find
from benchmark.submissions.template import write

EXAMPLES = Path(__file__).resolve().parents[2] / "submissions"


@pytest.fixture(scope="module", autouse=True)
def registered() -> None:
    catalogue.register()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write("my_method", tmp_path, frozenset())


@pytest.fixture
def confined() -> None:
    try:
        best_confinement()
    except SandboxUnavailable as error:
        pytest.skip(f"nothing can confine a process here: {error}")


def statically(folder: Path) -> list[Finding]:
    """Return the findings up to the first wrong one, of a submission whose code is never run."""
    found: list[Finding] = []
    for finding in Check(folder, "none").findings():
        found.append(finding)
        assert finding.check in ("manifest", "files", "source", "requirements"), finding
        if finding.state == "wrong":
            break
    return found


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("file", "old", "new", "said", "mend"),
    [
        ("submission.toml", "title={Your Title}", "", "it has no title", "one BibTeX entry|@misc"),
        (
            "explainer.py",
            "def _blocks(self, grid):",
            "def _blocks(self, grid)",
            "explainer.py, line 45: expected ':'",
            "that line",
        ),
        ("explainer.py", "class MyMethod", "class Other", "has no class MyMethod; its classes: Other", "mend entry"),
        ("submission.toml", '"explainer.py:MyMethod"', '"other.py:MyMethod"', "there is no such file", "mend entry"),
        ("submission.toml", "requirements = []", 'requirements = ["nowhere-to-be-found"]', "is not installed", "pip install"),
        ("submission.toml", "requirements = []", 'requirements = ["numpy<1"]', "is here, and numpy<1 is asked", "pip install"),
    ],
)
def test_what_can_be_seen_without_running_is_said_first(folder, file, old, new, said, mend):
    rewrite(folder / file, old, new)
    last = statically(folder)[-1]
    assert last.state == "wrong"
    assert said in last.message
    assert any(part in last.mend for part in mend.split("|"))


def test_a_folder_of_odd_files_is_refused(folder):
    (folder / "weights.bin").write_bytes(bytes(5_000_001))
    assert "at most 200 of 5 MB" in statically(folder)[-1].message
    (folder / "weights.bin").unlink()
    (folder / "link").symlink_to("/etc/passwd")
    assert "link is a link" in statically(folder)[-1].message
    (folder / "link").unlink()
    (folder / "README.md").write_text("soon")
    assert "README.md has 1 words" in statically(folder)[-1].message


def test_an_unknown_submission_is_answered_with_what_there_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("mine", tmp_path / "submissions", frozenset())
    assert find("mine") == Path("submissions/mine")
    with pytest.raises(InvalidInput, match=r"no submission 'yours'.*there are: mine.*submission new NAME"):
        find("yours")


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XLIP_STORE", str(tmp_path / "store.duckdb"))
    return lambda *arguments: CliRunner().invoke(cli, ["submission", *arguments])


@pytest.mark.slow
@pytest.mark.usefixtures("confined")
def test_what_new_writes_passes_and_runs(command):
    assert command("new", "my_method").exit_code == 0
    again = command("new", "my_method")
    assert again.exit_code == 2
    assert "is there already" in again.stderr
    checked = command("check", "my_method", "--json")
    assert checked.exit_code == 0, checked.output
    report = json.loads(checked.stdout)
    assert report["passed"]
    assert report["confinement"] != "none"
    assert {row["method"] for row in report["mock_run"]} >= {"my_method", "random"}
    arguments = ("run", "my_method", "--task", "scenes-pointing", "--limit", "2", "--beside", "random", "--workers", "1")
    ran = command(*arguments)
    assert ran.exit_code == 0, ran.output
    assert "my_method" in ran.stdout
    assert "my_method[" not in ran.stdout
    assert "12 done now" in ran.stderr  # random has five draws of each sample
    assert "0 done now" in command(*arguments).stderr
    _, rows = query_store(
        Path("store.duckdb"), "SELECT label, count(*) FROM explanations WHERE status = 'ok' GROUP BY ALL ORDER BY ALL"
    )
    assert rows == [("my_method", 2), ("random", 10)]


@pytest.mark.slow
@pytest.mark.usefixtures("confined")
@pytest.mark.parametrize("name", ["clip_decomposition", "hsic_attribution"])
def test_examples_pass(name):
    checking = Check(EXAMPLES / name, best_confinement())
    report = checking.report(list(checking.findings()))
    assert report.passed, "\n".join(map(str, report.findings))
    own = [row for row in report.table if row["method"] == name]
    assert own
    assert not any(row["n_failed"] for row in own)


@pytest.mark.slow
@pytest.mark.usefixtures("confined")
def test_a_broken_submission_is_stopped_in_the_sandbox_and_told_why(command, monkeypatch):
    command("new", "my_method")
    rewrite(Path("submissions/my_method/explainer.py"), "drops[len(blocks) :], similarity", "drops[:1], similarity")
    checked = command("check", "my_method")
    assert checked.exit_code == 1
    assert "wrong  output: text scores have shape (1,)" in checked.stdout
    assert "my_method has to be mended first" in checked.stdout
    monkeypatch.setattr("benchmark.submissions.check.CONTRACT_SECONDS", 1.0)
    rewrite(
        Path("submissions/my_method/explainer.py"), "import numpy as np", "import time\n\nimport numpy as np\n\ntime.sleep(60)"
    )
    slow = command("check", "my_method")
    assert slow.exit_code == 1
    assert "took more than 1 s" in slow.stdout
