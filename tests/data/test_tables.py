import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data.tables import (
    boxes_region,
    check_sha256,
    digest,
    find_image,
    image_size,
    locate,
    numbers,
    read_json,
    read_table,
    slug,
)
from benchmark.errors import DataError


def test_a_csv_keeps_commas_and_line_breaks_in_quotes(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('\ufeffimage,text\na.jpg,"A dog, and\na cat"\n\n', encoding="utf-8")
    assert read_table(path, ("image", "text")) == [{"image": "a.jpg", "text": "A dog, and\na cat"}]


def test_tab_separated_text_knows_no_quotes(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text('image\ttext\na.jpg\tthe "best, dog\n')
    assert read_table(path, ("text",)) == [{"image": "a.jpg", "text": 'the "best, dog'}]


def test_missing_columns_are_named_with_those_present_and_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("images,caption\n")
    with pytest.raises(
        DataError, match=r"no column 'image', 'box'; its columns are 'images', 'caption'\. Is 'images' meant to be"
    ):
        read_table(path, ("image", "box"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"image,text\na.jpg,dog\nb.jpg", "1 cells in line 3 and 2 columns"),
        (b'image,text\na.jpg,"a do', "cannot be read as a table"),
        (b"image,text\na.jpg,\xff\xfe", "cannot be read as a table"),
        (b"", "its columns are none"),
    ],
)
def test_a_truncated_or_undecodable_table_is_an_error(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_table(path, ("image",))


def test_a_missing_file_is_an_error_that_says_where_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data card"):
        read_table(tmp_path / "absent.csv", ())
    with pytest.raises(DataError, match="data card"):
        read_json(tmp_path / "absent.json")


def test_truncated_json_is_located(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"a": 1}))
    assert read_json(path) == {"a": 1}
    path.write_text('{"a":\n [1, 2')
    with pytest.raises(DataError, match=r"line 2, column \d+"):
        read_json(path)
    path.write_bytes(b'{"a": "\xff"}')
    with pytest.raises(DataError, match="cannot be read"):
        read_json(path)


def test_locate_takes_patterns_in_order_and_says_what_it_looked_for(tmp_path: Path) -> None:
    (tmp_path / "b.csv").touch()
    (tmp_path / "a.tsv").touch()
    assert locate(tmp_path, "*.json", "*.csv", "*.tsv", what="table").name == "b.csv"
    with pytest.raises(DataError, match=r"has no list of names: looked for x\.csv or \*\.json.*--data-dir"):
        locate(tmp_path, "x.csv", "*.json", what="list of names")


def test_a_digest_that_differs_shows_both(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, the example "abc"
    check_sha256(path, known.upper())
    with pytest.raises(DataError, match=f"{known}, expected {'0' * 64}"):
        check_sha256(path, "0" * 64)


def test_a_revision_changes_with_content_and_order(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    first.write_text("1")
    second.write_text("2")
    assert digest((first, second)) == digest((first, second))
    assert len({digest((first, second)), digest((second, first)), digest((first,)), digest((first, second), "x")}) == 4


def test_boxes_are_clipped_and_those_outside_left_out() -> None:
    region = boxes_region([(-5, 1, 4, 20), (12, 0, 14, 3), (3, 3, 3, 5), (float("nan"), 0, 1, 1)], 10, 8)
    assert region is not None
    assert region.boxes.tolist() == [[0, 1, 4, 8]]
    assert boxes_region([(12, 0, 14, 3)], 10, 8) is None
    assert boxes_region([], 10, 8) is None


def test_images_are_found_inside_the_folder_only(tmp_path: Path) -> None:
    (tmp_path / "data" / "images").mkdir(parents=True)
    Image.fromarray(np.zeros((4, 6, 3), dtype=np.uint8)).save(tmp_path / "data" / "images" / "a.png")
    Image.fromarray(np.zeros((4, 6, 3), dtype=np.uint8)).save(tmp_path / "b.png")
    found = find_image(tmp_path / "data", "a.png")
    assert found is not None
    assert image_size(found) == (6, 4)
    for name in ("../b.png", str(tmp_path / "b.png"), "", "c.png"):
        assert find_image(tmp_path / "data", name) is None
    (tmp_path / "data" / "c.png").write_text("not an image")
    assert image_size(tmp_path / "data" / "c.png") is None


def test_numbers_and_slugs() -> None:
    assert numbers(["1", 2, " 3.5 "]) == (1.0, 2.0, 3.5)
    assert numbers(["1", "x"]) is numbers([None]) is numbers(["nan"]) is numbers(["inf"]) is None
    assert slug("A dog's Bowl!") == "a-dog-s-bowl"
