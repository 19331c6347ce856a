"""Every table can be cited: entries are whole, keys are unique."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest

from benchmark.data import DATASETS
from benchmark.errors import InvalidInput
from benchmark.explainers import EXPLAINERS
from benchmark.ranking.citations import gather, read, snapshot_entry, suite_entry

A = '@article{a2020, title={A {B} of "C"}, author = "M{\\"o}ller, A.",\n  year = 2020}'
CITED_ELSEWHERE = {"raw_attention"}  # folklore; its card names where the form used here comes from
NO_PAPER = {"scenes", "phantoms", "mosaics", "folder"}


def test_an_entry_is_read_as_written() -> None:
    (entry,) = read(A)
    assert (entry.kind, entry.key) == ("article", "a2020")
    assert entry.fields == {"title": 'A {B} of "C"', "author": 'M{\\"o}ller, A.', "year": "2020"}
    assert read(str(entry)) == [entry]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("article{a}", "expected @kind"),
        ("@article{a, title={x}}", "a has no author"),
        ("@article{a b, title={x}, author={y}}", "expected @kind|is no key"),
        ("@article{a, title={x}, author={y}", "expected a comma"),
        ("@article{a, title={x, author={y}}", "expected a comma"),
        ("@article{a, title={x, author={y}", "not balanced"),
        ('@article{a, title="x}", author={y}}', "not balanced"),
        ("@article{a, title={x}, title={z}, author={y}}", "title stands twice"),
        ("@article{, title={x}, author={y}}", "'' is no key"),
        ("@article{a, title={x}, author={y}} and more", "expected @kind"),
    ],
)
def test_a_broken_entry_is_named_with_its_source(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=f"the BibTeX of method m.*({message})"):
        read(text, "method m")


def test_a_shared_entry_stands_once_and_a_taken_key_gets_a_letter() -> None:
    other = A.replace("2020}", "2021}")
    found = gather({"m": A, "n": A, "data": f"{other}\n\n{A}", "none": ""})
    assert found.keys == {"m": ("a2020",), "n": ("a2020",), "data": ("a2020a", "a2020"), "none": ()}
    assert [entry.key for entry in read(str(found))] == ["a2020", "a2020a"]


@pytest.mark.parametrize("name", list(EXPLAINERS))
def test_every_published_method_has_an_entry(name: str) -> None:
    kind = EXPLAINERS[name]
    assert read(kind.bibtex, name) or not kind.paper or name in CITED_ELSEWHERE


@pytest.mark.parametrize("name", list(DATASETS))
def test_every_data_set_says_what_to_cite(name: str) -> None:
    entries = read(DATASETS[name]().bibtex, name)
    assert bool(entries) != (name in NO_PAPER)
    assert all(re.fullmatch(r"(19|20)\d\d", entry.fields["year"]) for entry in entries)


def test_all_entries_of_the_suite_have_unique_keys() -> None:
    sources = {name: kind.bibtex for name, kind in EXPLAINERS.items()} | {
        f"data {name}": DATASETS[name]().bibtex for name in DATASETS
    }
    keys = [entry.key for entry in gather(sources | {"suite": suite_entry("1")}).entries]
    assert len(keys) == len(set(keys))
    assert all(key[-5:-1].isdigit() is False for key in keys)  # no letter had to be added: one paper, one text


def test_the_suites_entry_is_that_of_its_citation_file() -> None:
    cff = (Path(__file__).resolve().parents[2] / "CITATION.cff").read_text()
    (entry,) = read(suite_entry(version("xlip-bench")))
    assert f'title: "{entry.fields["title"].replace("{", "").replace("}", "")}"' in cff
    assert entry.fields["author"].strip("{}") in cff


def test_a_snapshot_has_an_entry_of_its_own() -> None:
    (entry,) = read(snapshot_entry("generated_all/v1", 2026, "0.1.0", "ab12"))
    assert (entry.key, entry.fields["year"]) == ("xlip_bench:generated-all/v1", "2026")
    assert "ab12" in entry.fields["note"]
