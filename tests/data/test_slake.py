import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.data.base import DATASETS
from benchmark.data.slake import Slake
from benchmark.errors import DataError, InvalidInput, UnknownName

LIVER, SPLEEN, TUMOR = [2, 3, 8, 6], [12, 4, 4, 4], [3, 4, 2, 2]


def question(image: str, **changes: Any) -> dict[str, Any]:
    return {
        "img_id": 1,
        "img_name": f"{image}/source.jpg",
        "question": "What organ is the largest?",
        "answer": "Liver",
        "q_lang": "en",
        "location": "Abdomen",
        "modality": "CT",
        "answer_type": "OPEN",
        "base_type": "vqa",
        "content_type": "Size",
        "triple": ["vhead", "_", "_"],
        "qid": 0,
    } | changes


def add_image(root: Path, name: str, detection: Any, mask: np.ndarray | None = None) -> None:
    folder = root / "imgs" / name
    folder.mkdir(parents=True)
    Image.new("RGB", (20, 16)).save(folder / "source.jpg")
    (folder / "detection.json").write_text(json.dumps(detection))
    if mask is not None:
        Image.fromarray(mask).save(folder / "mask.png")


@pytest.fixture
def organs() -> np.ndarray:
    mask = np.zeros((16, 20), dtype=np.uint8)
    mask[3:9, 2:10] = 1
    mask[3, 2] = 0  # the liver's box, less a corner
    mask[4:6, 3:5] = 7
    return mask


@pytest.fixture
def root(tmp_path: Path, organs: np.ndarray) -> Path:
    """A folder with one CT image in each of the test and training splits, as the release has them."""
    add_image(tmp_path, "xmlab5", [{"Liver": LIVER}, {"Spleen": SPLEEN}, {"Liver Cancer": TUMOR}], organs)
    add_image(tmp_path, "xmlab1", [{"Left Lung": [1, 1, 5, 5]}, {"Right Lung": [10, 1, 5, 5]}])
    (tmp_path / "mask.txt").write_text("1:Liver\n3:Spleen\n7:Liver Cancer\n")
    (tmp_path / "test.json").write_text(json.dumps([question("xmlab5"), question("xmlab5", q_lang="zh", qid=1)]))
    lungs = question("xmlab1", location="Lung", modality="X-Ray")
    (tmp_path / "train.json").write_text(json.dumps([lungs]))
    (tmp_path / "validation.json").write_text("[]")
    return tmp_path


def test_it_is_registered() -> None:
    assert DATASETS["slake"] is Slake


def test_phrases_are_words_with_their_boxes_test_split_first(root: Path) -> None:
    samples = Slake(root).samples("phrases")
    assert [(sample.id, sample.text) for sample in samples] == [
        ("slake/xmlab5#liver", "abdomen CT showing liver"),
        ("slake/xmlab5#spleen", "abdomen CT showing spleen"),
        ("slake/xmlab5#liver-cancer", "abdomen CT showing liver cancer"),
        ("slake/xmlab1#left-lung", "lung X-Ray showing left lung"),
        ("slake/xmlab1#right-lung", "lung X-Ray showing right lung"),
    ]
    assert [sample.text[slice(*sample.phrases[0].span)] for sample in samples][:2] == ["liver", "spleen"]
    assert samples[0].phrases[0].region.boxes.tolist() == [[2, 3, 10, 9]]
    assert samples[0].load_image().size == (20, 16)
    assert samples[2].strata == {
        "modality": "CT",
        "location": "Abdomen",
        "split": "test",
        "kind": "lesion",
        "finding": "Liver Cancer",
        "n_instances": "1",
        "region": "mask",
        "area": "under 5 %",
    }


def test_the_mask_has_the_value_that_the_legend_gives(root: Path, organs: np.ndarray) -> None:
    liver, spleen, tumor, *_ = Slake(root).samples("phrases")
    np.testing.assert_array_equal(liver.phrases[0].region.mask, organs == 1)
    np.testing.assert_array_equal(tumor.phrases[0].region.mask, organs == 7)
    assert spleen.phrases[0].region.mask is None  # the legend names it, the mask has no such pixel


def test_a_mask_that_lies_elsewhere_than_the_box_is_not_used(root: Path, organs: np.ndarray) -> None:
    (root / "mask.txt").write_text("7:Liver\n1:Liver Cancer\n")
    liver, *_ = Slake(root).samples("phrases")
    assert liver.phrases[0].region.mask is None
    assert liver.strata["region"] == "box"
    Image.fromarray(organs.repeat(2, axis=0)).save(root / "imgs/xmlab5/mask.png")  # of another size
    (root / "mask.txt").write_text("1:Liver\n")
    assert Slake(root).samples("phrases")[0].phrases[0].region.mask is None


def test_captions_name_everything_in_the_image(root: Path) -> None:
    first, second = Slake(root).samples("captions")
    assert first.text == "abdomen CT showing liver, spleen and liver cancer"
    assert [first.text[slice(*phrase.span)] for phrase in first.phrases] == ["liver", "spleen", "liver cancer"]
    assert (first.id, first.cluster) == ("slake/xmlab5#caption", "slake/xmlab5")
    assert first.strata["finding"] == first.strata["kind"] == first.strata["region"] == "mixed"
    assert second.text == "lung X-Ray showing left lung and right lung"
    assert len(Slake(root).samples("captions", limit=1)) == 1
    assert [sample.id for sample in pickle.loads(pickle.dumps(Slake(root).samples("grounding")))] == [first.id, second.id]


def test_the_folder_above_the_unpacked_release_will_do(root: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    above = tmp_path_factory.mktemp("above")
    (above / "Slake1.0").symlink_to(root, target_is_directory=True)
    assert len(Slake(above).samples("captions")) == 2


def test_the_revision_changes_with_boxes_and_masks(root: Path, organs: np.ndarray) -> None:
    before = Slake(root).revision
    (root / "imgs/xmlab1/detection.json").write_text(json.dumps([{"Left Lung": [1, 1, 5, 6]}]))
    between = Slake(root).revision
    Image.fromarray(organs.T).save(root / "imgs/xmlab5/mask.png")
    assert len({before, between, Slake(root).revision}) == 3


def test_entries_that_cannot_be_right_are_left_out_and_counted(root: Path) -> None:
    (root / "imgs/xmlab1/source.jpg").unlink()
    boxes = [{"Liver": [30, 30, 5, 5]}, {"Spleen": [1, 2, 3]}, {"Kidney": SPLEEN}, "Heart", {"Kidney": SPLEEN}]
    (root / "imgs/xmlab5/detection.json").write_text(json.dumps(boxes))
    (root / "validation.json").write_text(json.dumps([question("xmlab5"), {"img_id": 3}]))
    slake = Slake(root)
    assert [sample.text for sample in slake.samples("phrases")] == ["abdomen CT showing kidney"]
    assert [problem.split(": ", 1)[1] for problem in slake.problems] == [
        "xmlab5/source.jpg, detection.json, Liver has a box [30, 30, 35, 35] without area in the 20 x 16 image; left out",
        "xmlab5/source.jpg, detection.json, Spleen has a box that is not four finite numbers ([1, 2, 3]); left out",
        "xmlab5/source.jpg, detection.json has an entry 'Heart' that is not {word: [x, y, width, height]}; left out",
        "xmlab5/source.jpg, detection.json, Kidney has the box [12, 4, 16, 8] twice; the first is kept",
        "entry 1 has no 'img_name'; left out",
        "image xmlab5/source.jpg is in test.json too; the first is kept",
        f"xmlab1/source.jpg is missing in {root / 'imgs'} or is no image; left out",
    ]


Damage = Callable[[Path], object]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "test.json").write_text('[{"img_name": "xm'), r"test\.json is not valid JSON at line 1"),
        (lambda root: (root / "test.json").write_text('{"a": 1}'), "holds a dict; a SLAKE file is a list"),
        (lambda root: (root / "imgs/xmlab5/detection.json").write_text("[{"), r"detection\.json is not valid JSON"),
        (lambda root: (root / "imgs/xmlab5/detection.json").write_text("{}"), "holds a dict; a list of objects"),
        (lambda root: (root / "mask.txt").write_text("Liver = 1\n"), "a line 'Liver = 1'; each is expected to be 'value:word'"),
        (lambda root: [(root / f"{name}.json").unlink() for name in ("test", "train", "validation")], "no file of questions"),
        (lambda root: (root / "imgs").rename(root / "pictures"), "no folder of images"),
        (lambda root: [path.unlink() for path in root.glob("imgs/*/source.jpg")], "has no sample.*is missing in"),
    ],
)
def test_a_damaged_folder_is_an_error_that_says_where(root: Path, damage: Damage, message: str) -> None:
    damage(root)
    with pytest.raises(DataError, match=message):
        list(Slake(root).samples("phrases"))


def test_an_image_damaged_later_or_behind_its_header_cannot_be_loaded(root: Path) -> None:
    sample = Slake(root).samples("captions")[0]
    path = root / "imgs/xmlab5/source.jpg"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InvalidInput, match="truncated"):
        sample.load_image()


def test_a_folder_and_a_known_view_are_asked_for(root: Path) -> None:
    with pytest.raises(DataError, match="slake reads a local folder"):
        Slake().samples("captions")
    with pytest.raises(UnknownName, match="grounding, phrases"):
        Slake(root).samples("questions")
