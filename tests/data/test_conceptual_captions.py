from pathlib import Path

import pytest
from PIL import Image

from benchmark.data.base import DATASETS
from benchmark.data.conceptual_captions import ConceptualCaptions
from benchmark.errors import DataError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("000000001", "000000003"):
        Image.new("RGB", (8, 6)).save(tmp_path / f"{name}.jpg")
        (tmp_path / f"{name}.txt").write_text(f"caption of {name}\n")
    (tmp_path / "000000002.txt").write_text("its link is dead")
    return tmp_path


def test_it_is_registered_without_phrases() -> None:
    assert DATASETS["conceptual_captions"] is ConceptualCaptions
    assert ConceptualCaptions.views == ("captions",)


def test_pairs_of_files_are_read_and_dead_links_counted(folder: Path) -> None:
    data = ConceptualCaptions(folder)
    samples = data.samples("captions")
    assert [(sample.id, sample.text) for sample in samples] == [
        (f"conceptual_captions/{name}", f"caption of {name}") for name in ("000000001", "000000003")
    ]
    assert samples[0].load_image().size == (8, 6)
    assert data.problems == ["000000002: the image is not there (a dead link); left out"]


@pytest.mark.parametrize(("name", "mark"), [("captions.tsv", "\t"), ("captions.csv", ",")])
def test_a_list_comes_before_pairs_and_gives_the_order(folder: Path, name: str, mark: str) -> None:
    lines = ["image caption", "000000003.jpg third", "000000001.jpg first", "000000009.jpg ninth", "000000003.jpg again"]
    (folder / name).write_text("\n".join(line.replace(" ", mark) for line in [*lines, "000000001.jpg "]) + "\n")
    data = ConceptualCaptions(folder)
    assert [sample.text for sample in data.samples("captions")] == ["third", "first"]
    assert [problem.partition(":")[0].partition(" ")[0] for problem in data.problems] == [
        "000000009.jpg",
        "000000003.jpg",
        "000000001.jpg",
    ]


def test_a_list_is_the_revision(folder: Path) -> None:
    before = ConceptualCaptions(folder).revision
    (folder / "000000003.txt").write_text("another caption")
    assert ConceptualCaptions(folder).revision != before


def test_nothing_usable_is_an_error(folder: Path, tmp_path: Path) -> None:
    (folder / "captions.tsv").write_text("image\ttext\na.jpg\tb\n")
    with pytest.raises(DataError, match="no column 'caption'; its columns are 'image', 'text'"):
        ConceptualCaptions(folder).samples("captions")
    (folder / "captions.tsv").write_text("image\tcaption\na.jpg\tb\n")
    with pytest.raises(DataError, match=r"first reason of 1: a\.jpg: the image is not there"):
        ConceptualCaptions(folder).samples("captions")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match="no list of images and captions"):
        ConceptualCaptions(empty).samples("captions")
