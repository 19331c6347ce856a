"""submission.toml: what is wrong is said by file and key, with what was given, what is allowed and how to mend it."""

import tomllib
from pathlib import Path

import pytest

from benchmark.errors import InvalidInput
from benchmark.submissions.manifest import FILE, HINTS, Manifest, ManifestError, Paper, read_manifest
from benchmark.submissions.template import write

EXAMPLES = Path(__file__).resolve().parents[2] / "submissions"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write("my_method", tmp_path, frozenset())


def problems(folder: Path, old: str, new: str, taken: tuple[str, ...] = ()) -> dict[str, str]:
    """Return what is wrong, by key, after one stretch of the template is replaced."""
    path = folder / FILE
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(ManifestError) as caught:
        read_manifest(folder, taken)
    return {problem.key: str(problem) for problem in caught.value.problems}


def test_the_template_is_a_manifest(folder):
    manifest = read_manifest(folder)
    assert (manifest.name, manifest.file, manifest.kind) == ("my_method", "explainer.py", "MyMethod")
    assert manifest.values == {"block": 2}
    assert manifest.limits.seconds == 60


@pytest.mark.parametrize(
    ("old", "new", "key", "said"),
    [
        ("version = 1", 'version = "one"', "version", "given 'one'; allowed is a whole number from 1. Mend: version = 1"),
        ("version = 1", "version = 0", "version", "given 0"),
        ("version = 1", "version = true", "version", "given True"),
        ("version = 1", "versoin = 1", "versoin", "did you mean 'version'?"),
        ("version = 1", "versoin = 1", "version", "it is missing; it is a whole number from 1. Mend: add version = 1"),
        ("[paper]", "[papper]", "paper", "it is missing; it is a table with a title and where it is"),
        ("unpublished = true", "", "paper", "it has none of url, arxiv and doi"),
        ("unpublished = true", 'arxiv = "new"', "paper.arxiv", "given 'new'; allowed is an arXiv number"),
        ("unpublished = true", 'url = "http://x"', "paper.url", "begins with https://"),
        ('["Your Name"]', "[]", "authors", "given []; allowed is a list of at least one name"),
        ('["Your Name"]', '["Ada", 3]', "authors (number 2)", "given 3"),
        ('"Apache-2.0"', '"mine alone"', "licence", "'mine alone' is no SPDX expression. Mend: licence = \"Apache-2.0\""),
        ("requirements = []", 'requirements = ["a b"]', "requirements (number 1)", "'a b' is no requirement"),
        ("requirements = []", 'requirements = ["a @ https://x.y"]', "requirements (number 1)", "points at an address"),
        ('"image", "text"', '"image", "map"', "yields (number 2)", "given 'map'; allowed is a list of \"image\""),
        ("deterministic = true", 'deterministic = "no"', "deterministic", "given 'no'; allowed is true or false"),
        ("replicates = 1", "replicates = 17", "replicates", "from 1 to 16"),
        ("@misc{my_method,", "my paper", "bibtex", "an entry begins with @kind{key,"),
        ("year={2026}", "year={2026", "bibtex", "opening and"),
        ("  year={2026}\n", "", "bibtex", "it has no year"),
        ('bibtex = """', 'bib = """', "bibtex", "it is missing; it is one BibTeX entry"),
        ("value = 2\n", "", "parameters.block.value", "it is missing"),
        ("value = 2", "value = nan", "parameters.block.value", "given nan"),
        ('source = "chosen"', 'source = "guessed"', "parameters.block.source", '"tuned" (chosen by results)'),
        ('detail = "the smallest block that hides more than one patch"', "", "parameters.block.detail", "on what it was tuned"),
        ("[parameters.block]", "[parameters.Block-size]", "parameters.Block-size", "given 'Block-size'"),
        ("seconds = 60", "seconds = 1e9", "limits.seconds", "at most 600"),
        ("memory_gb = 4", "memory_gb = 64", "limits.memory_gb", "from 1 to 16"),
        ("memory_gb = 4", "disk = 4", "limits.disk", "known: seconds, memory_gb, processes"),
        ('"explainer.py:MyMethod"', '"../explainer.py:MyMethod"', "entry", "a file of this folder"),
        ('name = "my_method"', 'name = "My-Method"', "name", "3 to 40 small letters"),
        ('name = "my_method"', 'name = "another"', "name", "its folder 'my_method'"),
        ("version = 1", "version", FILE, "it is no TOML"),
    ],
)
def test_what_is_wrong_is_said_with_what_is_allowed(folder, old, new, key, said):
    found = problems(folder, old, new)
    assert said in found[key]
    assert found[key].startswith(f"{FILE}: ")
    assert "Mend: " in found[key]
    assert "pydantic" not in str(found)


def test_everything_that_is_wrong_is_said_at_once(folder):
    found = problems(folder, "version = 1                          #", "version = -1\nextra = 2 #")
    assert found.keys() == {"version", "extra"}


def test_a_name_of_the_suite_is_refused(folder):
    assert (
        "a method of the suite is called 'my_method'" in problems(folder, "version = 1", "version = 2", ("my_method",))["name"]
    )


def test_a_folder_without_a_manifest_says_what_writes_one(tmp_path):
    with pytest.raises(ManifestError, match=r"has no such file\. Mend: `benchmark submission new NAME` writes one"):
        read_manifest(tmp_path)


def test_every_key_has_its_hint():
    assert set(Manifest.model_fields) <= set(HINTS)
    assert {f"paper.{name}" for name in Paper.model_fields} <= set(HINTS)


def test_new_never_overwrites_and_refuses_bad_names(folder, tmp_path):
    before = (folder / "explainer.py").read_text()
    with pytest.raises(InvalidInput, match="is there already and stays as it is"):
        write("my_method", tmp_path, frozenset())
    assert (folder / "explainer.py").read_text() == before
    with pytest.raises(InvalidInput, match="3 to 40 small letters"):
        write("../../etc", tmp_path, frozenset())
    with pytest.raises(InvalidInput, match="a method of the suite"):
        write("rise", tmp_path, frozenset({"rise"}))


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob(f"*/{FILE}")), ids=lambda path: path.parent.name)
def test_examples_have_manifests(path):
    manifest = read_manifest(path.parent)
    assert set(tomllib.loads(path.read_text())["parameters"]) == set(manifest.values)
