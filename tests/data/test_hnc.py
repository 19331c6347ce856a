import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmark.data.base import DATASETS
from benchmark.data.hnc import Hnc
from benchmark.errors import DataError

SINK = {"bbox": {"x": 2, "y": 1, "w": 4, "h": 5}, "name": "sink"}
MIRROR = {"bbox": {"x": 10, "y": 0, "w": 30, "h": 4}, "name": "mirror"}


def caption(text: str, label: int = 1, bboxes: Any = None, **more: Any) -> dict[str, Any]:
    return {"caption": text, "label": label, "type": "relation_subj", "textual_label": "sink", "bboxes": bboxes, **more}


CAPTIONS = {
    "0": caption("The sink is to the left of the mirror.", bboxes={"11": SINK, "12": MIRROR}),
    "1": caption("The can is to the left of the mirror.", 0, {"11": SINK, "12": MIRROR}, cpt_p_id=0),
    "2": caption("There are two sinks.", bboxes={"11": SINK, "13": SINK | {"bbox": {"x": 14, "y": 2, "w": 3, "h": 3}}}),
    "3": caption("A mirror beside a mirror.", bboxes={"12": MIRROR}),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    Image.new("RGB", (20, 10)).save(tmp_path / "images" / "2410.jpg")
    write(tmp_path, {"2410": {"captions": CAPTIONS}})
    return tmp_path


def write(folder: Path, content: Any) -> Hnc:
    (folder / "hnc_clean_strict_test.json").write_text(json.dumps(content))
    return Hnc(folder)


def test_it_is_registered() -> None:
    assert DATASETS["hnc"] is Hnc


def test_true_captions_have_a_phrase_for_each_object_named_once(folder: Path) -> None:
    data = Hnc(folder)
    first, second = data.samples("grounding")
    assert [(first.text[slice(*phrase.span)], phrase.label) for phrase in first.phrases] == [
        ("sink", "sink"),
        ("mirror", "mirror"),
    ]
    assert first.phrases[1].region.boxes.tolist() == [[10, 0, 20, 4]]
    assert second.text[slice(*second.phrases[0].span)] == "sinks"
    assert second.phrases[0].region.boxes.tolist() == [[2, 1, 6, 6], [14, 2, 17, 5]]
    assert first.strata == {"label": "1", "type": "relation_subj", "object_area": "small", "n_instances": "1"}
    assert first.id == "hnc/2410#0"
    assert not data.problems


def test_views(folder: Path) -> None:
    data = Hnc(folder)
    assert [sample.id for sample in data.samples("captions")] == ["hnc/2410#0"]
    assert [sample.text for sample in data.samples("phrases")] == [
        "a photo of a sink",
        "a photo of a mirror",
        "a photo of sinks",
    ]
    (negative,) = data.samples("negatives")
    assert (negative.text, negative.phrases) == ("The can is to the left of the mirror.", ())


def test_captions_without_a_level_of_their_own_are_read_too(folder: Path) -> None:
    assert len(write(folder, {"2410.jpg": CAPTIONS}).samples("grounding")) == 2


@pytest.mark.parametrize(
    ("item", "problem"),
    [
        (
            caption("A sink.", bboxes={"1": {"name": "sink", "bbox": {"x": 30, "y": 1, "w": 2, "h": 2}}}),
            "not one inside the 20 x 10",
        ),
        (caption("A sink.", bboxes={"1": {"name": "sink", "bbox": {"x": 3, "y": 1}}}), "not one inside"),
        (caption("A sink.", bboxes={"1": {"bbox": {"x": 3, "y": 1, "w": 1, "h": 1}}}), "box of None"),
        (caption(""), "no caption with a label"),
        (caption("A sink.", 7), "no caption with a label"),
        ({"text": "A sink."}, "its keys are 'text'"),
    ],
)
def test_a_bad_caption_or_box_is_left_out_and_counted(folder: Path, item: Any, problem: str) -> None:
    data = write(folder, {"2410": {"captions": CAPTIONS | {"9": item}}})
    assert len(data.samples("grounding")) == 2
    (only,) = data.problems
    assert problem in only
    assert "caption 9 of image 2410" in only


def test_a_missing_image_is_counted(folder: Path) -> None:
    data = write(folder, {"2410": {"captions": CAPTIONS}, "77": {"captions": CAPTIONS}, "78": []})
    assert len(data.samples("captions")) == 1
    assert ["77.jpg is not there" in data.problems[0], "no object of captions" in data.problems[1]] == [True, True]


def test_files_of_another_shape_are_errors(folder: Path) -> None:
    with pytest.raises(DataError, match="holds a list"):
        write(folder, []).samples("captions")
    path = folder / "hnc_clean_strict_test.json"
    path.write_text(path.read_text() + "{")
    with pytest.raises(DataError, match="not valid JSON at line 1"):
        Hnc(folder).samples("captions")
    path.unlink()
    with pytest.raises(DataError, match="has no HNC captions"):
        Hnc(folder).samples("captions")
