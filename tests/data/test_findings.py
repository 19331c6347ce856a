import numpy as np
import pytest

from benchmark.data.base import Region
from benchmark.data.findings import add_box, area_stratum, sentence, spoken, union_area
from benchmark.data.tables import Box


def test_boxes_are_clipped_and_what_is_wrong_with_them_is_said() -> None:
    boxes: list[Box] = []
    problems: list[str] = []
    for cells in (
        ["1", "2", "3", "4"],
        [1, 2, 3, 4],
        [8, 7, 5, 5],
        [20, 0, 5, 5],
        ["", "", "", ""],
        [1, 1, 0, 3],
        [9.5, 0, 1, 1],
    ):
        add_box(boxes, cells, "width and height", (10, 8), "a film", problems)
    assert boxes == [(1, 2, 4, 6), (8, 7, 10, 8), (9.5, 0, 10, 1)]
    assert problems == [
        "a film has the box [1, 2, 4, 6] twice; the first is kept",
        "a film has a box [8, 7, 13, 12] that reaches beyond the 10 x 8 image; clipped",
        "a film has a box [20, 0, 25, 5] without area in the 10 x 8 image; left out",
        "a film has a box that is not four finite numbers ([, , , ]); left out",
        "a film has a box [1, 1, 1, 4] without area in the 10 x 8 image; left out",
    ]


def test_corners_are_taken_as_they_are() -> None:
    boxes: list[Box] = []
    add_box(boxes, (1, 2, 3, 4), "corners", (10, 8), "a film", [])
    assert boxes == [(1, 2, 3, 4)]


@pytest.mark.parametrize("seed", range(5))
def test_the_area_of_a_union_agrees_with_counted_pixels(seed: int) -> None:
    corners = np.sort(np.random.default_rng(seed).integers(0, 20, (6, 2, 2)), axis=1)
    corners[:, 1] += 1
    boxes = corners.reshape(-1, 4)
    covered = np.zeros((21, 21), dtype=bool)
    for x0, y0, x1, y1 in boxes:
        covered[y0:y1, x0:x1] = True
    assert union_area(boxes.astype(float)) == covered.sum()


def test_areas_are_named_by_the_fraction_of_the_frame() -> None:
    widths = {4: "under 5 %", 5: "5 to 25 %", 25: "25 to 75 %", 75: "over 75 %"}
    found = {width: area_stratum(Region(boxes=np.array([[0.0, 0.0, width, 10.0]])), (100, 10)) for width in widths}
    assert found == widths
    whole = Region(boxes=np.array([[0.0, 0.0, 100.0, 10.0]]), mask=np.eye(10, 100, dtype=bool))
    assert area_stratum(whole, (100, 10)) == "under 5 %"  # ten pixels of the mask


def test_labels_and_sentences_become_plain_words() -> None:
    assert [spoken(label) for label in ("Pleural Effusion", "Nodule/Mass", "ILD", "Lung_Lesion")] == [
        "pleural effusion",
        "nodule or mass",
        "ILD",
        "lung lesion",
    ]
    assert sentence(" Small  left\neffusion. ") == "Small left effusion"
