import json
import pickle
from pathlib import Path

import pytest
from PIL import Image

from benchmark.data.base import DATASETS
from benchmark.data.folder import Folder
from benchmark.errors import DataError, UnknownName

TABLE = """image,text,x0,y0,x1,y1,phrase,id
a.png,A dog beside a cat,1,1,4,5,dog,one
a.png,A dog beside a cat,6,2,9,7,a cat,one
a.png,A dog beside a cat,0,6,2,8,dog,one
b.png,An empty road,,,,,,two
b.png,the kerb,0,0,3,8,,three
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("RGB", (10, 8)).save(tmp_path / "images" / name)
    (tmp_path / "samples.csv").write_text(TABLE)
    return tmp_path


def rows(folder: Path, *lines: str) -> Folder:
    (folder / "samples.csv").write_text("\n".join(lines) + "\n")
    return Folder(folder)


def test_it_is_registered_and_is_not_shown() -> None:
    assert DATASETS["folder"] is Folder
    assert not Folder.shows_images


def test_rows_of_one_image_and_text_are_one_caption_with_spans_and_boxes(folder: Path) -> None:
    data = Folder(folder)
    samples = data.samples("captions")
    assert [sample.id for sample in samples] == ["folder/one", "folder/two", "folder/three"]
    dog, cat = samples[0].phrases
    assert [samples[0].text[slice(*phrase.span)] for phrase in (dog, cat)] == ["dog", "a cat"]
    assert dog.region.boxes.tolist() == [[1, 1, 4, 5], [0, 6, 2, 8]]
    assert cat.region.boxes.tolist() == [[6, 2, 9, 7]]
    assert samples[1].phrases == ()
    assert samples[0].cluster == "folder/images/a.png"
    assert samples[0].load_image().size == (10, 8)
    assert not data.problems


def test_a_box_without_a_phrase_is_of_the_whole_text(folder: Path) -> None:
    sample = Folder(folder).samples("captions")[2]
    assert sample.phrases[0].span == (0, len("the kerb"))


def test_grounding_and_phrases_hold_what_has_a_box(folder: Path) -> None:
    data = Folder(folder)
    assert [sample.id for sample in data.samples("grounding")] == ["folder/one", "folder/three"]
    assert [sample.text for sample in data.samples("phrases")] == ["dog", "a cat", "the kerb"]
    assert [sample.text for sample in data.samples("phrases", limit=1)] == ["dog"]
    assert len(pickle.loads(pickle.dumps(data.samples("phrases")))) == 3


def test_image_and_text_alone_are_enough(folder: Path) -> None:
    data = rows(folder, "image,text", "a.png,a dog", "b.png,a road", "a.png,a dog")
    first, second = data.samples("captions")
    assert first.id.startswith("folder/a-png#")
    assert (second.text, second.phrases) == ("a road", ())
    with pytest.raises(DataError, match="no row gives a box"):
        data.samples("phrases")


def test_bbox_is_x_y_width_height(folder: Path) -> None:
    data = rows(folder, "image,text,bbox", 'a.png,a dog,"1,2,3,4"', "b.png,a road,[5;1;20;3]")
    boxes = [sample.phrases[0].region.boxes.tolist() for sample in data.samples("phrases")]
    assert boxes == [[[1, 2, 4, 6]], [[5, 1, 10, 4]]]


def test_the_revision_is_that_of_the_table(folder: Path) -> None:
    before = Folder(folder).revision
    assert before.startswith("1+")
    assert rows(folder, "image,text", "a.png,a dog").revision != before


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("c.png,a dog,0,0,2,2,,", "there is no such image"),
        ("../a.png,a dog,0,0,2,2,,", "there is no such image"),
        ("broken.png,a dog,0,0,2,2,,", "not an image that can be opened"),
        ("a.png, ,0,0,2,2,,", "empty text"),
        ("b.png,other words,0,0,2,2,,one", "id 'one', which another image or text has"),
        ("b.png,a cow,20,0,30,2,,", "box [20, 0, 30, 2] without area inside the 10 x 8 image"),
        ("b.png,a cow,4,0,2,2,,", "without area"),
        ("b.png,a cow,0,0,x,2,,", "not four numbers"),
        ("b.png,a cow,0,0,,2,,", "not four numbers"),
        ("b.png,a cow,0,0,2,2,dog,", "the phrase 'dog', which is not in its text"),
    ],
)
def test_a_bad_row_is_left_out_and_counted(folder: Path, row: str, problem: str) -> None:
    (folder / "images" / "broken.png").write_text("no image")
    (folder / "samples.csv").write_text(TABLE + row + "\n")
    data = Folder(folder)
    assert len(data.samples("grounding")) == 2
    (only,) = data.problems
    assert problem in only


def test_a_wrong_column_names_those_present(folder: Path) -> None:
    with pytest.raises(DataError, match="no column 'text'; its columns are 'image', 'caption'"):
        rows(folder, "image,caption", "a.png,a dog").samples("captions")


def test_a_table_whose_rows_are_all_wrong_says_the_first_reason(folder: Path) -> None:
    with pytest.raises(DataError, match=r"row 1 \(c\.png\): there is no such image"):
        rows(folder, "image,text", "c.png,a dog").samples("captions")


def test_several_tables_are_an_error_and_samples_csv_settles_it(folder: Path) -> None:
    (folder / "other.csv").write_text("image,text\na.png,a dog\n")
    assert len(Folder(folder).samples("captions")) == 3
    (folder / "samples.csv").rename(folder / "mine.csv")
    with pytest.raises(DataError, match=r"several tables \(mine\.csv, other\.csv\)"):
        Folder(folder).samples("captions")


def test_unknown_views_and_empty_folders_are_errors(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'captions'"):
        Folder(folder).samples("caption")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"put a samples\.csv there.*As COCO"):
        Folder(empty).samples("captions")
    with pytest.raises(DataError, match="--data-dir"):
        Folder().samples("captions")


def test_coco_files_are_read_where_there_is_no_table(folder: Path) -> None:
    (folder / "samples.csv").unlink()
    images = [{"id": 1, "file_name": "a.png", "width": 10, "height": 8}]
    cow = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}
    captions = {"images": images, "annotations": [{"id": 1, "image_id": 1, "caption": "Nothing named."}]}
    instances = {"images": images, "annotations": [cow], "categories": [{"id": 1, "name": "cow"}]}
    (folder / "captions.json").write_text(json.dumps(captions))
    (folder / "instances.json").write_text(json.dumps(instances))
    data = Folder(folder)
    (sample,) = data.samples("phrases")
    assert (sample.text, sample.id) == ("a photo of a cow", "folder/000000000001#cow")
    assert sample.phrases[0].region.boxes.tolist() == [[1, 1, 5, 5]]
    assert data.revision.startswith("1+")
    (folder / "captions.json").write_text('{"images": [], "annotations": []}')
    assert [sample.text for sample in Folder(folder).samples("phrases")] == ["a photo of a cow"]
