"""MS-CXR and PadChest-GR: sentences with boxes, from made folders in their formats."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.data.ms_cxr import COLUMNS, MsCxr
from benchmark.data.padchest_gr import PadChestGr
from benchmark.errors import DataError, InvalidInput

JPEG = "files/p10/p10000032/s50414267/02aa804e.jpg"
EFFUSION = ["Pleural Effusion", "small left effusion.", JPEG, "10", "20", "5", "6", "40", "50", "02aa804e"]
EFFUSION_TOO = [*EFFUSION[:3], "20", "21", "7", "8", *EFFUSION[7:]]
OPACITY = ["Lung Opacity", "Left basal opacity", JPEG, "1", "2", "3", "4", "40", "50", "02aa804e"]
STUDY: dict[str, Any] = {
    "StudyID": "s1",
    "ImageID": "1_2_3.png",
    "findings": [
        {
            "sentence_en": "Cardiomegaly.",
            "sentence_es": "Cardiomegalia.",
            "abnormal": True,
            "boxes": [[0.25, 0.5, 0.75, 0.75]],
            "extra_boxes": [[0.2, 0.5, 0.75, 0.75]],
            "labels": ["cardiomegaly"],
            "locations": ["cardiac"],
        },
        {"sentence_en": "No pneumothorax.", "sentence_es": "Sin neumotórax.", "abnormal": False, "boxes": []},
    ],
}

Write = Callable[..., Any]


def damaged(problems: list[str]) -> list[str]:
    return [problem.split(": ", 1)[1] for problem in problems]


@pytest.fixture
def mscxr(tmp_path: Path) -> Write:
    """Write the table, or with ``form="json"`` the same content in COCO's layout, and open the folder."""

    def write(*rows: list[str], header: tuple[str, ...] = COLUMNS, form: str = "csv") -> MsCxr:
        (tmp_path / JPEG).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (40, 50)).save(tmp_path / JPEG)
        path = tmp_path / f"MS_CXR_Local_Alignment_v1.1.0.{form}"
        with path.open("w", newline="") as file:
            if form == "csv":
                csv.writer(file).writerows([header, *rows])
            else:
                json.dump(coco(rows), file)
        return MsCxr(tmp_path)

    return write


def coco(rows: tuple[list[str], ...]) -> dict[str, Any]:
    names = sorted({row[0] for row in rows})
    images = {row[2]: {"id": 5, "file_name": Path(row[2]).name, "path": row[2], "width": 40, "height": 50} for row in rows}
    annotations = [
        {"id": i, "image_id": 5, "category_id": names.index(row[0]), "bbox": [*map(float, row[3:7])], "label_text": row[1]}
        for i, row in enumerate(rows)
    ]
    categories = [{"id": i, "name": name} for i, name in enumerate(names)]
    return {"images": list(images.values()), "annotations": annotations, "categories": categories}


@pytest.mark.parametrize("form", ["csv", "json"])
def test_mscxr_is_sentences_with_all_their_boxes(mscxr: Write, form: str) -> None:
    data = mscxr(EFFUSION, OPACITY, EFFUSION_TOO, form=form)
    effusion, opacity = data.samples("phrases")
    assert (effusion.id, effusion.text) == ("mscxr/02aa804e#1", "small left effusion")
    assert effusion.phrases[0].span == (0, 19)
    assert effusion.phrases[0].region.boxes.tolist() == [[10, 20, 15, 26], [20, 21, 27, 29]]
    assert effusion.strata == {
        "modality": "x-ray",
        "finding": "Pleural Effusion",
        "n_instances": "2+",
        "region": "box",
        "area": "under 5 %",
    }
    assert opacity.text == "Left basal opacity"
    (caption,) = data.samples("grounding")
    assert caption.text == "small left effusion. Left basal opacity"
    assert [caption.text[slice(*phrase.span)] for phrase in caption.phrases] == [effusion.text, opacity.text]
    assert caption.load_image().size == (40, 50)
    assert not data.problems
    assert not data.shows_images


def test_mscxr_keeps_the_splits_of_its_later_version(mscxr: Write, tmp_path: Path) -> None:
    Image.new("L", (40, 50)).save(tmp_path / "a.jpg")
    other = [*OPACITY[:2], "a.jpg", *OPACITY[3:9], "a", "train"]
    data = mscxr(other, [*EFFUSION, "test"], header=(*COLUMNS, "split"))
    assert [(sample.cluster, sample.strata["split"]) for sample in data.samples("captions")] == [
        ("mscxr/02aa804e", "test"),
        ("mscxr/a", "train"),
    ]


def test_mscxr_counts_what_it_leaves_out(mscxr: Write, tmp_path: Path) -> None:
    outside = [*OPACITY[:3], "40", *OPACITY[4:]]
    absent = [*OPACITY[:2], "files/p11/b.jpg", *OPACITY[3:9], "b"]
    sizes = [[*OPACITY[:7], width, "50", "c"] for width in ("40", "41")]
    silent = ["Edema", " . ", *EFFUSION[2:]]
    data = mscxr(EFFUSION, EFFUSION, outside, silent, absent, *sizes)
    assert [sample.text for sample in data.samples("phrases")] == ["small left effusion"]
    assert damaged(data.problems) == [
        "02aa804e has the box [10, 20, 15, 26] twice; the first is kept",
        "02aa804e has a box [40, 2, 43, 6] without area in the 40 x 50 image; left out",
        "02aa804e has a box without a sentence; left out",
        f"b: there is no image files/p11/b.jpg in {tmp_path}; left out",
        "c has no size, or several sizes or paths; left out",
    ]


def test_mscxr_does_not_follow_a_path_out_of_the_folder(mscxr: Write) -> None:
    data = mscxr([*OPACITY[:2], "../../secret.jpg", *OPACITY[3:]], [*EFFUSION[:9], "d"])
    assert len(data.samples("captions")) == 1
    assert "there is no image ../../secret.jpg" in data.problems[0]


def test_mscxr_json_counts_what_it_leaves_out(mscxr: Write, tmp_path: Path) -> None:
    data = mscxr(EFFUSION, form="json")
    path = data.files[0]
    content = json.loads(path.read_text())
    (entry,) = content["annotations"]
    content["annotations"] += [entry | {"image_id": 6}, entry | {"label_text": None}, entry | {"category_id": 9}]
    path.write_text(json.dumps(content))
    assert len(data.samples("phrases")) == 1
    assert damaged(data.problems) == [
        "annotation 1 is of an image or category that is not known; left out",
        "annotation 2 has no 'bbox' or no 'label_text'; left out",
        "annotation 3 is of an image or category that is not known; left out",
    ]
    content["images"] *= 2
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match="gives an image id twice"):
        MsCxr(tmp_path).samples("phrases")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"images": [', "not valid JSON"),
        ('{"images": [], "annotations": []}', "no list 'categories'"),
        ('{"images": [{"id": 1}], "annotations": [], "categories": []}', "without 'width'"),
        ("[]", "no list 'images'"),
    ],
)
def test_mscxr_with_a_damaged_json_is_an_error(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "MS_CXR_Local_Alignment_v1.1.0.json").write_text(content)
    with pytest.raises(DataError, match=message):
        MsCxr(tmp_path).samples("phrases")


def test_mscxr_with_a_wrong_column_or_without_images_is_an_error(mscxr: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'label_text'.*Is 'label' meant"):
        mscxr(EFFUSION, header=("category_name", "label", *COLUMNS[2:])).samples("phrases")
    data = mscxr(EFFUSION)
    (tmp_path / JPEG).unlink()
    with pytest.raises(DataError, match=r"has no sample.*there is no image files/p10"):
        data.samples("phrases")


@pytest.fixture
def padchest(tmp_path: Path) -> Write:
    def write(*studies: Any, **options: Any) -> PadChestGr:
        (tmp_path / "PadChest_GR").mkdir(exist_ok=True)
        deep = np.linspace(0, 60000, 40 * 20).astype(np.uint16).reshape(20, 40)
        for name in ("1_2_3.png", "4_5_6.png"):
            Image.fromarray(deep).save(tmp_path / "PadChest_GR" / name)
        (tmp_path / "grounded_reports_20240819.json").write_text(json.dumps(studies))
        return PadChestGr(tmp_path, **options)

    return write


def test_padchest_boxes_are_fractions_of_the_image(padchest: Write) -> None:
    (sample,) = padchest(STUDY).samples("phrases")
    assert (sample.id, sample.text, sample.phrases[0].span) == ("padchest/1_2_3#1", "Cardiomegaly", (0, 12))
    assert sample.phrases[0].region.boxes.tolist() == [[10, 10, 30, 15]]
    assert sample.strata["finding"] == "cardiomegaly"
    assert sample.strata["readers"] == "2"
    pixels = np.asarray(sample.load_image())
    assert pixels.min() == 0
    assert pixels.max() == 255
    assert 127 <= pixels.mean() <= 128


def test_padchest_captions_have_the_negative_sentences_too(padchest: Write) -> None:
    normal = STUDY | {"ImageID": "4_5_6.png", "StudyID": "s2", "findings": STUDY["findings"][1:]}
    data = padchest(normal, STUDY)
    assert [sample.text for sample in data.samples("captions")] == ["Cardiomegaly. No pneumothorax", "No pneumothorax"]
    (grounded,) = data.samples("grounding")
    assert grounded.strata["readers"] == "2"  # of the one sentence that has boxes
    assert [grounded.text[slice(*phrase.span)] for phrase in grounded.phrases] == ["Cardiomegaly"]
    assert padchest(STUDY, language="es").samples("captions")[0].text == "Cardiomegalia. Sin neumotórax"


def test_padchest_takes_the_test_split_first(padchest: Write, tmp_path: Path) -> None:
    (tmp_path / "master_table.csv").write_text("StudyID,ImageID,label,split\ns1,1_2_3.png,a,train\ns2,4_5_6.png,a,test\n")
    data = padchest(STUDY, STUDY | {"StudyID": "s2", "ImageID": "4_5_6.png"})
    assert [sample.strata["split"] for sample in data.samples("captions")] == ["test", "train"]


def test_padchest_counts_what_it_leaves_out(padchest: Write, tmp_path: Path) -> None:
    heart = STUDY["findings"][0]
    pixels = heart | {"boxes": [[100, 100, 300, 300], [0.1, 0.1]]}
    bare = {"sentence_es": "Solo."}
    data = padchest(
        STUDY | {"findings": [heart, pixels, bare]},
        STUDY,
        STUDY | {"ImageID": "absent.png"},
        {"ImageID": "4_5_6.png"},
        STUDY | {"ImageID": "4_5_6.png", "findings": []},
    )
    assert len(data.samples("phrases")) == 1
    assert damaged(data.problems) == [
        "1_2_3.png, finding 2 has a box that is not four fractions of the image ([100, 100, 300, 300]); left out",
        "1_2_3.png, finding 2 has a box that is not four fractions of the image ([0.1, 0.1]); left out",
        "1_2_3.png: finding 3 has no 'sentence_en'; left out",
        "1_2_3.png is given twice; the first is kept",
        f"absent.png: there is no image absent.png in {tmp_path}; left out",
        "study 3 has no 'ImageID' or no list 'findings'; left out",
        "4_5_6.png has no usable finding; left out",
    ]


def test_padchest_with_a_damaged_file_is_an_error(padchest: Write, tmp_path: Path) -> None:
    data = padchest(STUDY)
    path = data.files[0]
    path.write_text(path.read_text()[:-3])
    with pytest.raises(DataError, match="not valid JSON at line 1"):
        data.samples("captions")
    path.write_text('{"a": 1}')
    with pytest.raises(DataError, match="holds a dict; a list of studies"):
        data.samples("captions")
    (tmp_path / "master_table.csv").write_text("StudyID,part\ns1,test\n")
    with pytest.raises(DataError, match="no column 'split'"):
        padchest(STUDY).samples("captions")


def test_padchest_with_a_truncated_image_cannot_load_it(padchest: Write, tmp_path: Path) -> None:
    data = padchest(STUDY)
    path = tmp_path / "PadChest_GR" / "1_2_3.png"
    path.write_bytes(path.read_bytes()[:120])
    with pytest.raises(InvalidInput, match="truncated"):
        data.samples("phrases")[0].load_image()
