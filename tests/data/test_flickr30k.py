from pathlib import Path

import pytest
from PIL import Image

from benchmark.data.base import DATASETS
from benchmark.data.flickr30k import Flickr30kEntities, read_boxes, read_sentences
from benchmark.errors import DataError

SENTENCES = """[/EN#1/people Two young guys] with [/EN#2/bodyparts shaggy hair] stand in [/EN#3/scene the yard] .
[/EN#1/people/other Men] , in [/EN#0/notvisual a way] , hold [/EN#9/other a rake] .
[/EN#1/people Two young guys] and [/EN#4/animals a dog]
"""
ANNOTATION = """<annotation>
  <filename>1000.jpg</filename>
  <size><width>20</width><height>10</height><depth>3</depth></size>
  <object><name>1</name><bndbox><xmin>1</xmin><ymin>2</ymin><xmax>5</xmax><ymax>10</ymax></bndbox></object>
  <object><name>1</name><name>2</name><bndbox><xmin>8</xmin><ymin>1</ymin><xmax>9</xmax><ymax>3</ymax></bndbox></object>
  <object><name>3</name><scene>1</scene><nobndbox>0</nobndbox></object>
  <object><name>4</name><bndbox><xmin>30</xmin><ymin>1</ymin><xmax>40</xmax><ymax>3</ymax></bndbox></object>
</annotation>
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("Sentences", "Annotations", "flickr30k-images"):
        (tmp_path / name).mkdir()
    for image in ("1000", "2000", "3000"):
        (tmp_path / "Sentences" / f"{image}.txt").write_text(SENTENCES)
        (tmp_path / "Annotations" / f"{image}.xml").write_text(ANNOTATION.replace("1000", image))
        Image.new("RGB", (20, 10)).save(tmp_path / "flickr30k-images" / f"{image}.jpg")
    (tmp_path / "test.txt").write_text("2000\n1000\n")
    return tmp_path


def test_it_is_registered_and_shows_no_images() -> None:
    assert DATASETS["flickr30k"] is Flickr30kEntities
    assert not Flickr30kEntities.shows_images


def test_sentences_lose_their_brackets_and_keep_their_spans(folder: Path) -> None:
    first, second, third = read_sentences(folder / "Sentences" / "1000.txt")
    assert first.text == "Two young guys with shaggy hair stand in the yard."
    assert [(first.text[start:end], chain, kind) for start, end, chain, kind in first.phrases] == [
        ("Two young guys", "1", "people"),
        ("shaggy hair", "2", "bodyparts"),
        ("the yard", "3", "scene"),
    ]
    assert second.text == "Men, in a way, hold a rake."
    assert [second.text[start:end] for start, end, *_ in second.phrases] == ["Men", "a way", "a rake"]
    assert third.text == "Two young guys and a dog"


def test_boxes_count_pixels_from_one_and_include_the_last(folder: Path) -> None:
    boxes = read_boxes(folder / "Annotations" / "1000.xml")
    assert (boxes.width, boxes.height) == (20, 10)
    assert boxes.boxes["1"] == ((0, 1, 5, 10), (7, 0, 9, 3))
    assert boxes.boxes["2"] == ((7, 0, 9, 3),)
    assert boxes.unboxed == {"3"}


def test_captions_are_the_first_of_each_image_in_the_order_of_the_split(folder: Path) -> None:
    data = Flickr30kEntities(folder)
    samples = data.samples("captions")
    assert [sample.id for sample in samples] == ["flickr30k/2000#0", "flickr30k/1000#0"]
    people, hair = samples[0].phrases
    assert people.region.boxes.tolist() == [[0, 1, 5, 10], [7, 0, 9, 3]]
    assert (people.label, hair.label) == ("people", "bodyparts")
    assert samples[0].strata == {"object_area": "small", "n_instances": "mixed"}
    assert samples[0].load_image().size == (20, 10)


def test_grounding_is_every_caption_and_phrases_each_phrase_once(folder: Path) -> None:
    data = Flickr30kEntities(folder)
    assert [sample.id for sample in data.samples("grounding", limit=3)] == [f"flickr30k/2000#{i}" for i in range(3)]
    samples = data.samples("phrases")
    assert [sample.text for sample in samples[:3]] == [
        "a photo of two young guys",
        "a photo of shaggy hair",
        "a photo of men",
    ]
    assert len(samples) == 6
    assert [sample.text[slice(*sample.phrases[0].span)] for sample in samples[:2]] == ["two young guys", "shaggy hair"]


def test_phrases_without_a_usable_box_are_counted_and_scenes_are_not(folder: Path) -> None:
    (folder / "test.txt").write_text("1000\n")
    data = Flickr30kEntities(folder)
    data.samples("captions")
    assert [problem.partition(" has ")[2] for problem in data.problems] == [
        "no entry in the XML; the phrase is left out",
        "no box inside the image; the phrase is left out",
    ]


def test_without_a_list_all_images_are_read(folder: Path) -> None:
    (folder / "test.txt").unlink()
    assert len(Flickr30kEntities(folder).samples("captions")) == 3


def test_a_missing_image_or_annotation_is_counted(folder: Path) -> None:
    (folder / "flickr30k-images" / "2000.jpg").unlink()
    data = Flickr30kEntities(folder)
    assert len(data.samples("captions")) == 1
    assert any("2000.jpg is in none of the folders" in problem for problem in data.problems)
    (folder / "Annotations" / "1000.xml").unlink()
    with pytest.raises(DataError, match="no sample of the view 'captions'"):
        Flickr30kEntities(folder).samples("captions")


def test_truncated_files_are_errors(folder: Path) -> None:
    xml = folder / "Annotations" / "1000.xml"
    xml.write_text(ANNOTATION[:200])
    with pytest.raises(DataError, match=r"1000\.xml is not valid XML"):
        Flickr30kEntities(folder).samples("captions")
    xml.write_text("<annotation></annotation>")
    with pytest.raises(DataError, match="gives no image size"):
        Flickr30kEntities(folder).samples("captions")
    (folder / "Sentences" / "2000.txt").write_text(SENTENCES[:12])
    with pytest.raises(DataError, match="a bracket in line 1 does not close"):
        Flickr30kEntities(folder).samples("captions")


def test_a_folder_without_sentences_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no folder Sentences of Flickr30k Entities"):
        Flickr30kEntities(tmp_path).samples("captions")


def test_the_revision_is_that_of_the_annotations(folder: Path) -> None:
    before = Flickr30kEntities(folder).revision
    (folder / "Annotations" / "1000.xml").write_text(ANNOTATION.replace("<xmax>5", "<xmax>6"))
    assert Flickr30kEntities(folder).revision != before
