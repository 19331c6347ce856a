"""The workflow that checks a pull request: nothing to steal, and one submission's folder at a time."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

WORKFLOW = Path(__file__).resolve().parents[2] / ".github" / "workflows" / "submission.yml"
TEXT = WORKFLOW.read_text()
WRITTEN: dict[Any, Any] = yaml.safe_load(TEXT)
STEPS: list[dict[str, Any]] = WRITTEN["jobs"]["check"]["steps"]


def test_it_runs_on_pull_requests_to_submissions_alone():
    assert WRITTEN[True] == {"pull_request": {"paths": ["submissions/**"]}}  # YAML reads the key `on` as true
    assert "pull_request_target" not in TEXT
    assert "workflow_run" not in TEXT


def test_it_has_no_secret_and_may_only_read():
    assert WRITTEN["permissions"] == {"contents": "read"}
    assert list(WRITTEN["jobs"]) == ["check"]
    assert "permissions" not in WRITTEN["jobs"]["check"]
    assert not re.search(r"\$\{\{[^}]*(secrets|token)|GITHUB_TOKEN", TEXT)
    checkouts = [step for step in STEPS if "checkout" in step.get("uses", "")]
    assert len(checkouts) == 2
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)


def test_actions_are_pinned_and_the_job_ends():
    assert WRITTEN["jobs"]["check"]["timeout-minutes"] <= 30
    used = [step["uses"] for step in STEPS if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", name) for name in used), used


def test_what_a_stranger_writes_reaches_no_shell_as_text():
    assert not [step for step in STEPS if "${{" in step.get("run", "")]


def test_the_check_is_the_base_branchs_and_in_the_sandbox():
    assert STEPS[0]["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"
    check = next(step for step in STEPS if step.get("name") == "Check")
    assert check["working-directory"] == "suite"
    assert "--unconfined" not in TEXT
    assert "bubblewrap" in TEXT
    assert "--require-hashes" in TEXT
    names = [step.get("name") for step in STEPS]
    assert names.index("One submission's folder, and nothing else") < names.index("Put its folder into the suite")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    if shutil.which("git") is None or shutil.which("bash") is None:
        pytest.skip("git or bash is not on this machine")
    folder = tmp_path / "proposed"
    for name in ("submissions/old/explainer.py", "benchmark/cli.py", "README.md"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    commit(folder)
    return folder


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True, text=True).stdout


def commit(folder: Path) -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "x")
    return git(folder, "rev-parse", "HEAD").strip()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["submissions/mine/explainer.py", "submissions/mine/README.md"], "name=mine"),
        (["submissions/mine/a.py", "benchmark/cli.py"], "benchmark/cli.py"),
        (["submissions/mine/a.py", ".github/workflows/submission.yml"], ".github/workflows/submission.yml"),
        (["submissions/mine/a.py", "submissions/old/explainer.py"], "one submission a pull request"),
        (["submissions/README.md"], "submissions/README.md"),
        (["submissions/Mine; rm -rf x/a.py"], "Mine; rm -rf x"),
        (["submissions/mine/a.py", "submissions/../evil.py"], "evil.py"),
    ],
)
def test_only_one_folder_may_change(repository, tmp_path, changed, said):
    base = git(repository, "rev-parse", "HEAD").strip()
    for name in changed:
        path = repository / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("new")
    head = commit(repository)
    step = next(step for step in STEPS if step.get("id") == "changed")
    output = tmp_path / "output"
    environment = os.environ | {"BASE": base, "HEAD": head, "GITHUB_OUTPUT": str(output)}
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]], cwd=repository, env=environment, capture_output=True, text=True, check=False
    )
    if said.startswith("name="):
        assert done.returncode == 0, done.stdout
        assert output.read_text().strip() == said
    else:
        assert done.returncode == 1
        assert said in done.stdout
