"""Installed packages register what they bring; what cannot be loaded is named, and stops nothing."""

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from benchmark import plugins
from benchmark.errors import BenchmarkError
from benchmark.explainers.base import EXPLAINERS
from benchmark.types import Registry

ROOT = Path(__file__).parents[1]
GUIDE = ROOT / "docs" / "writing_an_explainer.md"
BROKEN = """import numpy as np

from benchmark.explainers.base import Explainer


class Half(Explainer, name="half_done", version=1):
    def explain(self, encoder, pair, rng): ...


class Rest(Explainer, name="{name}", version=1):
    def explain(self, encoder, pair, rng): ...
"""


def guide_files() -> dict[str, str]:
    """Return the files of the guide's example package: every block that begins with a comment that names its file."""
    blocks = re.findall(r"```(?:py|toml)\n# (tiny-plugin/\S+)\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    return dict(blocks)


def install(site: Path, name: str, version: str, files: dict[str, str], entries: dict[str, dict[str, str]]) -> None:
    """Lay an installed package out as an installer does: its modules, and a folder of metadata beside them."""
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    metadata = site / f"{name.replace('-', '_')}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    lines = [line for group, names in entries.items() for line in (f"[{group}]", *(f"{k} = {v}" for k, v in names.items()))]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")


def python(*arguments: str, site: Path, store: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "XLIP_STORE": str(store), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=300, env=environment, cwd=ROOT, check=False
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the guide's package and three that cannot be loaded."""
    site = tmp_path_factory.mktemp("site")
    files = guide_files()
    project = tomllib.loads(files.pop("tiny-plugin/pyproject.toml"))["project"]
    modules = {path.removeprefix("tiny-plugin/"): text for path, text in files.items()}
    install(site, project["name"], project["version"], modules, project["entry-points"])
    one = {"xlip_bench.explainers": {"typo": "typo_plugin.methods"}}
    install(site, "typo-plugin", "0.1", {"typo_plugin/__init__.py": "", "typo_plugin/methods.py": "x = 1\ndef broken(:\n"}, one)
    taken = {"xlip_bench.explainers": {"taken": "taken_plugin"}, "xlip_bench.tasks": {"taken": "taken_plugin"}}
    install(site, "taken-plugin", "2.0", {"taken_plugin.py": BROKEN.format(name="fixlip")}, taken)
    install(site, "gone-plugin", "3.0", {}, {"xlip_bench.metrics": {"gone": "gone_plugin.metrics"}})
    return site


@pytest.mark.slow
def test_a_run_uses_a_packages_method_metric_and_task_in_worker_processes(site: Path, tmp_path: Path) -> None:
    chosen = ("--method", "tiny_centre,random", "--task", "tiny-peak", "--limit", "2", "--workers", "2", "--device", "cpu")
    ran = python("-m", "benchmark", "run", *chosen, "--json", site=site, store=tmp_path / "store.duckdb")
    assert ran.returncode == 0, ran.stderr
    rows = {row["method"]: row for row in json.loads(ran.stdout)}
    assert rows.keys() == {"tiny_centre", "random"}
    assert {(row["task"], row["metric"], row["n"]) for row in rows.values()} == {("tiny-peak", "tiny_peak", 2)}
    assert rows["tiny_centre"]["mean"] == 1.0 > rows["random"]["mean"]
    for name in ("typo-plugin", "taken-plugin", "gone-plugin"):  # once, not once more for each worker
        assert ran.stderr.count(f"the plug-in {name}") == 1, ran.stderr


SESSION = """
import json, sys
from click.testing import CliRunner
from benchmark.cli import cli

def ask(*arguments):
    result = CliRunner().invoke(cli, arguments)
    return result.exit_code, result.stdout, result.stderr

found = {"methods": ask("list", "methods", "--json"), "models": ask("list", "models", "--json")}
found["doctor"] = ask("doctor", "--json")
found["taken"] = ask("run", "--method", "half_done", "--task", "scenes-pointing", "--limit", "1")
found["typo"] = ask("run", "--method", "typo", "--task", "scenes-pointing", "--limit", "1")
found["task"] = ask("run", "--method", "random", "--task", "half_done", "--limit", "1")

import benchmark as xb
from benchmark.errors import BenchmarkError
encoder = xb.load_encoder("tiny:embedded", device="cpu")
found["encoder"] = [type(encoder).__name__, encoder.name]
for name in ("tiny:nothing", "tini:embedded"):
    try:
        xb.load_encoder(name, device="cpu")
    except BenchmarkError as error:
        found[name] = str(error)
json.dump(found, sys.stdout)
"""


@pytest.mark.slow
def test_lists_the_doctor_and_the_encoders_know_installed_packages(site: Path, tmp_path: Path) -> None:
    done = python("-c", SESSION, site=site, store=tmp_path / "store.duckdb")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    code, listed, warned = found["methods"]
    assert code == 0
    sources = {row["id"]: row["source"] for row in json.loads(listed)}
    assert sources["tiny_centre"] == "tiny-plugin 1.2"
    assert sources["fixlip"] == "built in"
    assert "half_done" not in sources  # its module failed at the second class
    lines = warned.strip().splitlines()
    assert len(lines) == 3  # two entry points name one module; it is said once
    typo, taken, gone = (
        next(line for line in lines if name in line) for name in ("typo-plugin", "taken-plugin", "gone-plugin")
    )
    assert "typo-plugin 0.1 (xlip_bench.explainers: typo = typo_plugin.methods) was not loaded" in typo
    assert "methods.py, line 2: SyntaxError" in typo
    assert "pip uninstall typo-plugin" in typo
    assert "taken_plugin.py, line 10: ValueError: method 'fixlip' is registered twice" in taken
    assert "ModuleNotFoundError: No module named 'gone_plugin'" in gone
    assert {"id": "tiny:...", "summary": "A coarser look through the named encoder."} in json.loads(found["models"][1])
    warnings = [
        row["message"] for row in json.loads(found["doctor"][1]) if row["check"] == "registered" and row["state"] == "warn"
    ]
    assert warnings == lines
    assert found["taken"][0] == found["typo"][0] == 2
    assert "no method is called 'half_done', because the plug-in taken-plugin 2.0" in found["taken"][2]
    assert "no method is called 'typo', because the plug-in typo-plugin 0.1" in found["typo"][2]
    assert found["encoder"] == ["CoarseEncoder", "embedded"]
    assert "no encoder is called 'nothing'" in found["tiny:nothing"]
    assert "Did you mean" in found["tini:embedded"]
    assert "tiny:..." in found["tini:embedded"]


BROKEN_SESSION = """
import json, sys
from click.testing import CliRunner
from benchmark.cli import cli

def ask(*arguments):
    result = CliRunner().invoke(cli, arguments)
    return result.exit_code, result.stdout, result.stderr

listed = ask("list", "tasks", "--json")
asked = ask("run", "--method", "mine", "--task", "scenes-pointing", "--limit", "1")
json.dump([listed, asked], sys.stdout)
"""


@pytest.mark.slow
def test_a_file_with_a_syntax_error_is_named_and_the_rest_works(tmp_path: Path) -> None:
    copy = tmp_path / "benchmark"
    shutil.copytree(ROOT / "benchmark", copy, ignore=shutil.ignore_patterns("__pycache__", "*.safetensors"))
    (copy / "explainers" / "zz_contributed.py").write_text('NAME = "mine"\nclass Mine(\n')
    (copy / "tasks" / "zz_tasks.py").write_text("import no_such_library\n")
    done = subprocess.run(
        [sys.executable, "-c", BROKEN_SESSION], capture_output=True, text=True, timeout=300, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    listed, asked = json.loads(done.stdout)
    said = done.stderr + listed[2]
    assert listed[0] == 0
    assert "scenes-pointing" in [row["id"] for row in json.loads(listed[1])]
    assert said.count("explainers/zz_contributed.py was not loaded") == 1
    assert re.search(r"explainers/zz_contributed\.py, line 2: SyntaxError: .+; mend the file or take it away", said)
    assert "tasks/zz_tasks.py, line 1: ModuleNotFoundError: No module named 'no_such_library'" in said
    assert asked[0] == 2
    assert "no method is called 'mine', because benchmark/explainers/zz_contributed.py was not loaded" in asked[2]


def test_every_file_of_the_suite_can_be_loaded() -> None:
    from benchmark.runner.catalogue import register

    register()
    built_in = [str(failure) for failure in plugins.FAILURES if failure.what.startswith("benchmark/")]
    assert built_in == []


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a package's empty folder, with nothing that it registers left after the test."""
    folder = tmp_path / "home_of_modules"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(plugins, "FAILURES", [])
    monkeypatch.setattr(EXPLAINERS, "_items", dict(EXPLAINERS))
    return folder


def test_a_module_that_fails_takes_back_what_it_registered(package: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (package / "a_good.py").write_text(BROKEN.format(name="whole").replace("half_done", "whole_too"))
    (package / "b_bad.py").write_text(BROKEN.format(name="half_too") + "\n1 / 0\n")
    (package / "c_leaves.py").write_text("import sys\n\nsys.exit(3)\n")
    (package / "d_needs_b.py").write_text("from home_of_modules.b_bad import Half\n")
    plugins.import_modules("home_of_modules", [str(package)], EXPLAINERS)
    assert {"whole", "whole_too"} <= set(EXPLAINERS)
    assert not {"half_done", "half_too"} & set(EXPLAINERS)
    assert "home_of_modules.b_bad" not in sys.modules
    lines = [Path(failure.reason.partition(": ")[0]).name for failure in plugins.FAILURES]
    assert lines == ["b_bad.py, line 13", "c_leaves.py, line 3", "b_bad.py, line 13"]
    said = capsys.readouterr().err
    assert said.count("division by zero") == 1
    assert "SystemExit: 3" in said
    with pytest.raises(BenchmarkError, match=r"no method is called 'half_too', because .*b_bad\.py was not loaded"):
        plugins.find(EXPLAINERS, "half_too")


def test_an_unknown_name_that_no_failure_mentions_is_answered_as_ever(package: Path) -> None:
    (package / "bad.py").write_text("1 / 0\n")
    plugins.import_modules("home_of_modules", [str(package)], EXPLAINERS)
    with pytest.raises(BenchmarkError, match="Did you mean 'fixlip'"):
        plugins.find(EXPLAINERS, "fixlp")


def test_the_source_of_a_class_outside_every_package_is_its_module() -> None:
    assert plugins.source(Registry) == "built in"
    assert plugins.source(Path) == Path.__module__
