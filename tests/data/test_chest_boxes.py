"""ChestX-ray14, VinDr-CXR, RSNA and CheXlocalize: findings with boxes or outlines, from made folders in their formats."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from benchmark.data.chestxray14 import ChestXray14
from benchmark.data.chexlocalize import CheXlocalize
from benchmark.data.rsna import Rsna
from benchmark.data.vindr_cxr import VinDrCxr
from benchmark.errors import DataError, InvalidInput

NIH = """Image Index,Finding Label,Bbox [x,y,w,h],,,
00013118_008.png,Atelectasis,225.08,547.02,86.78,79.19,,,
00013118_008.png,Effusion,100,600,200,300,,,
00014716_007.png,Infiltrate,686,131,185,313,,,
"""
NIH_ENTRIES = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n"
    "00013118_008.png,Atelectasis|Effusion,8,13118,69,M,PA,2048,2500,0.171,0.171,\n"
)
VINDR = """image_id,class_name,x_min,y_min,x_max,y_max
002a,Cardiomegaly,10,20,30,35
002a,Nodule/Mass,1,1,4,4
002a,Nodule/Mass,30,30,36,38
003b,No finding,,,,
"""
RSNA = """patientId,x,y,width,height,Target
0004cfab,,,,,0
00436515,264.0,152.0,213.0,379.0,1
00436515,562.0,152.0,256.0,453.0,1
"""
ARROW = "patient64741_study1_view1_frontal"

Write = Callable[..., Any]


def film(path: Path, size: tuple[int, int] = (1024, 1024)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size).save(path, format=None if path.suffix in (".png", ".jpg") else "PNG")


def damaged(problems: list[str]) -> list[str]:
    return [problem.split(": ", 1)[1] for problem in problems]


@pytest.fixture
def nih(tmp_path: Path) -> Write:
    def write(table: str = NIH) -> ChestXray14:
        film(tmp_path / "images_001" / "images" / "00013118_008.png")
        film(tmp_path / "images_002" / "00014716_007.png")
        (tmp_path / "BBox_List_2017.csv").write_text(table)
        (tmp_path / "Data_Entry_2017_v2020.csv").write_text(NIH_ENTRIES)
        return ChestXray14(tmp_path)

    return write


def test_chestxray14_reads_the_published_header_and_both_layouts(nih: Write) -> None:
    data = nih()
    samples = data.samples("phrases")
    assert [(sample.id, sample.text) for sample in samples] == [
        ("chestxray14/00013118_008#atelectasis", "chest x-ray showing atelectasis"),
        ("chestxray14/00013118_008#effusion", "chest x-ray showing effusion"),
        ("chestxray14/00014716_007#infiltrate", "chest x-ray showing infiltrate"),
    ]
    np.testing.assert_allclose(samples[0].phrases[0].region.boxes, [[225.08, 547.02, 225.08 + 86.78, 547.02 + 79.19]])
    assert samples[0].load_image().size == (1024, 1024)
    assert samples[0].strata == {
        "modality": "x-ray",
        "view": "PA",
        "finding": "Atelectasis",
        "n_instances": "1",
        "region": "box",
        "area": "under 5 %",
    }
    assert "view" not in samples[2].strata  # the table of entries does not list it
    assert [sample.text for sample in data.samples("captions")] == [
        "chest x-ray showing atelectasis and effusion",
        "chest x-ray showing infiltrate",
    ]
    assert not data.problems


def test_chestxray14_joins_boxes_of_one_finding_and_counts_what_it_leaves_out(nih: Write) -> None:
    rows = ["Effusion,500,600,20,30", "Effusion,100,600,200,300", "Mass,2000,0,9,9", "Nodule,1,1,x,9"]
    data = nih(NIH + "".join(f"00013118_008.png,{row},,,\n" for row in rows) + "00000001_000.png,Mass,1,1,9,9,,,\n")
    effusion = data.samples("phrases")[1]
    assert effusion.phrases[0].region.boxes.tolist() == [[100, 600, 300, 900], [500, 600, 520, 630]]
    assert effusion.strata["n_instances"] == "2+"
    assert effusion.strata["area"] == "5 to 25 %"
    assert damaged(data.problems) == [
        "00013118_008.png, Effusion has the box [100, 600, 300, 900] twice; the first is kept",
        "00013118_008.png, Mass has a box [2000, 0, 2009, 9] without area in the 1024 x 1024 image; left out",
        "00013118_008.png, Nodule has a box that is not four finite numbers ([1, 1, x, 9]); left out",
        f"00000001_000.png: there is no image 00000001_000.png in {data.data_dir}; left out",
    ]


def test_chestxray14_does_not_take_resized_images(nih: Write, tmp_path: Path) -> None:
    data = nih()
    film(tmp_path / "images_002" / "00014716_007.png", (224, 224))
    with pytest.raises(InvalidInput, match="is 224 x 224 pixels, but its annotation is of 1024 x 1024"):
        data.samples("phrases")[2].load_image()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (NIH.replace("Finding Label", "Finding"), r"no column 'Finding Label'.*Is 'Finding' meant"),
        (NIH[:-25], "cells in line 4 and 9 columns; is the file complete"),
        ("", "no column"),
        (NIH.splitlines()[0], "has no sample of the view 'phrases'.*the files name none"),
    ],
)
def test_chestxray14_with_a_damaged_table_is_an_error(nih: Write, table: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        nih(table).samples("phrases")


@pytest.fixture
def vindr(tmp_path: Path) -> Write:
    def write(table: str = VINDR, name: str = "annotations/annotations_test.csv") -> VinDrCxr:
        film(tmp_path / "test" / "002a.png", (40, 50))
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(table)
        return VinDrCxr(tmp_path)

    return write


def test_vindr_reads_corners_in_pixels_of_the_original(vindr: Write) -> None:
    data = vindr()
    heart, nodules = data.samples("phrases")
    assert (heart.id, heart.text) == ("vindr/002a#cardiomegaly", "chest x-ray showing cardiomegaly")
    assert heart.phrases[0].region.boxes.tolist() == [[10, 20, 30, 35]]
    assert heart.strata["readers"] == "consensus"
    assert heart.strata["view"] == "PA"
    assert nodules.text == "chest x-ray showing nodule or mass"
    assert len(nodules.phrases[0].region.boxes) == 2
    assert len(data.samples("captions")) == 1  # images without a box have nothing to say
    assert not data.problems
    assert not data.shows_images


def test_vindr_counts_the_readers_of_the_training_part(vindr: Write) -> None:
    rows = "002a,Cardiomegaly,3,R1,10,20,30,35\n002a,Cardiomegaly,3,R2,11,20,30,35\n002a,ILD,5,R1,1,1,9,9\n"
    data = vindr("image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max\n" + rows, "train.csv")
    heart, lung = data.samples("phrases")
    assert (heart.strata["readers"], lung.strata["readers"]) == ("2", "1")
    assert len(heart.phrases[0].region.boxes) == 2
    assert lung.text == "chest x-ray showing ILD"


def test_vindr_counts_what_it_leaves_out(vindr: Write, tmp_path: Path) -> None:
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "005d.png").write_text("not an image")
    data = vindr(VINDR + "002a,ILD,50,1,60,9\n002a,Mass,,1,60,9\n004c,ILD,1,1,9,9\n005d,ILD,1,1,9,9\n")
    assert len(data.samples("phrases")) == 2
    assert damaged(data.problems) == [
        "002a, ILD has a box [50, 1, 60, 9] without area in the 40 x 50 image; left out",
        "002a, Mass has a box that is not four finite numbers ([, 1, 60, 9]); left out",
        f"004c: there is no image 004c in {tmp_path}; left out",
        "005d: the header of 005d.png cannot be read; left out",
    ]


def test_vindr_with_a_wrong_column_is_an_error(vindr: Write) -> None:
    with pytest.raises(DataError, match=r"no column 'x_min'.*Is 'xmin' meant to be 'x_min'"):
        vindr(VINDR.replace("x_min", "xmin")).samples("captions")


def test_vindr_as_dicom_without_pydicom_says_how_to_install_it(
    vindr: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = vindr()
    (tmp_path / "test" / "002a.png").rename(tmp_path / "test" / "002a.dicom")
    monkeypatch.setitem(sys.modules, "pydicom.pixels", None)
    with pytest.raises(DataError, match="needs pydicom: pip install"):
        data.samples("captions")


@pytest.fixture
def rsna(tmp_path: Path) -> Write:
    def write(table: str = RSNA, image: str = "00436515.png") -> Rsna:
        film(tmp_path / "stage_2_train_images" / image)
        (tmp_path / "stage_2_train_labels.csv").write_text(table)
        return Rsna(tmp_path)

    return write


def test_rsna_is_the_positive_images_with_all_their_boxes(rsna: Write) -> None:
    (sample,) = rsna().samples("phrases")
    assert (sample.id, sample.text) == ("rsna/00436515#pneumonia", "chest x-ray showing pneumonia")
    assert sample.phrases[0].region.boxes.tolist() == [[264, 152, 477, 531], [562, 152, 818, 605]]
    assert sample.strata["n_instances"] == "2+"
    assert [sample.text for sample in rsna().samples("captions")] == ["chest x-ray showing pneumonia"]


def test_rsna_counts_what_it_leaves_out(rsna: Write, tmp_path: Path) -> None:
    data = rsna(RSNA + "00436515,1,1,,9,1\n00436515,1,1,9,9,yes\n00aabbcc,1,1,9,9,1\n")
    assert len(data.samples("captions")) == 1
    assert damaged(data.problems) == [
        "00436515 has a box that is not four finite numbers ([1, 1, , 9]); left out",
        "00436515 has Target 'yes', not 0 or 1; left out",
        f"00aabbcc: there is no image 00aabbcc in {tmp_path}; left out",
    ]


def test_rsna_as_dicom_without_pydicom_is_said_before_anything_runs(rsna: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    data = rsna(image="00436515.dcm")
    monkeypatch.setitem(sys.modules, "pydicom.pixels", None)
    with pytest.raises(DataError, match=r"00436515\.dcm is DICOM, which needs pydicom"):
        data.samples("captions")


@pytest.mark.parametrize(("table", "message"), [(RSNA[:-5], "is the file complete"), (RSNA.replace(",x,", ",left,"), "'x'")])
def test_rsna_with_a_damaged_table_is_an_error(rsna: Write, table: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        rsna(table).samples("captions")


def code(mask: np.ndarray) -> dict[str, Any]:
    encoded: Any = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(encoded["size"]), "counts": encoded["counts"].decode()}


@pytest.fixture
def outlines() -> dict[str, np.ndarray]:
    heart, opacity = np.zeros((6, 9), dtype=bool), np.zeros((6, 9), dtype=bool)
    heart[2:5, 3:7] = True
    heart[2, 3] = False
    opacity[:, 1:3] = True  # whole columns, one run in the code
    opacity[5, 8] = True
    return {"Cardiomegaly": heart, "Airspace Opacity": opacity, "Edema": np.zeros((6, 9), dtype=bool)}


@pytest.fixture
def chexlocalize(tmp_path: Path, outlines: dict[str, np.ndarray]) -> Write:
    def write(split: str = "test", **changes: Any) -> CheXlocalize:
        film(tmp_path / f"CheXpert/{split}/patient64741/study1/view1_frontal.jpg", (9, 6))
        codes = {name: code(mask) for name, mask in outlines.items()}
        (tmp_path / "CheXlocalize").mkdir(exist_ok=True)
        (tmp_path / "CheXlocalize" / f"gt_segmentations_{split}.json").write_text(json.dumps({ARROW: codes} | changes))
        return CheXlocalize(tmp_path)

    return write


@pytest.mark.parametrize("split", ["test", "val"])
def test_chexlocalize_has_the_outlines_that_pycocotools_encodes(
    chexlocalize: Write, outlines: dict[str, np.ndarray], split: str
) -> None:
    data = chexlocalize(split)
    heart, opacity = data.samples("phrases")
    assert (heart.id, heart.text) == (f"chexlocalize/{ARROW}#cardiomegaly", "chest x-ray showing cardiomegaly")
    np.testing.assert_array_equal(heart.phrases[0].region.mask, outlines["Cardiomegaly"])
    assert heart.phrases[0].region.boxes.tolist() == [[3, 2, 7, 5]]
    np.testing.assert_array_equal(opacity.phrases[0].region.mask, outlines["Airspace Opacity"])
    assert opacity.phrases[0].region.boxes.tolist() == [[1, 0, 3, 6], [8, 5, 9, 6]]
    assert (heart.strata["n_instances"], opacity.strata["n_instances"]) == ("1", "2+")
    assert heart.strata["view"] == "frontal"
    assert heart.strata["split"] == split
    assert heart.strata["region"] == "mask"
    assert heart.load_image().size == (9, 6)
    assert data.samples("captions")[0].text == "chest x-ray showing cardiomegaly and airspace opacity"


def test_chexlocalize_boxes_enclose_what_pycocotools_encodes(chexlocalize: Write) -> None:
    rng = np.random.default_rng(0)
    masks = {f"Finding {i}": np.kron(rng.random((3, 3)) < 0.3, np.ones((2, 3), dtype=bool)) for i in range(20)}
    data = chexlocalize(**{ARROW: {name: code(mask) for name, mask in masks.items()}})
    samples = data.samples("phrases")
    assert len(samples) == sum(bool(mask.any()) for mask in masks.values()) > 10
    for sample in samples:
        mask = masks[sample.phrases[0].label]
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        tight = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
        np.testing.assert_array_equal(sample.phrases[0].region.mask, mask)
        boxes = sample.phrases[0].region.boxes
        assert [*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)] == tight


def test_chexlocalize_counts_what_it_leaves_out(chexlocalize: Write, tmp_path: Path, outlines: dict[str, np.ndarray]) -> None:
    good = code(outlines["Cardiomegaly"])
    broken = {
        "Cardiomegaly": good,
        "Edema": good | {"counts": good["counts"][:-1]},
        "Fracture": good | {"size": [6]},
        "Lesion": code(np.ones((3, 3), dtype=bool)),
    }
    data = chexlocalize(**{ARROW: broken, "patient1_study1_view1_frontal": {"Edema": good}, "patient2": [1]})
    assert len(data.samples("phrases")) == 1
    assert damaged(data.problems) == [
        f"{ARROW}, Edema: the outline is not a run-length code of its size; left out",
        f"{ARROW}, Fracture: the outline is not a run-length code of its size; left out",
        f"{ARROW}, Lesion: the outline is not of the others' 9 x 6 pixels; left out",
        f"patient1_study1_view1_frontal: there is no image patient1/study1/view1_frontal.jpg in {tmp_path}; left out",
        "patient2 is not an object of pathologies; left out",
    ]


def test_chexlocalize_does_not_take_the_small_images_of_chexpert(chexlocalize: Write, tmp_path: Path) -> None:
    data = chexlocalize()
    film(tmp_path / "CheXpert/test/patient64741/study1/view1_frontal.jpg", (5, 3))
    with pytest.raises(InvalidInput, match="is 5 x 3 pixels, but its annotation is of 9 x 6; was it resized"):
        data.samples("phrases")[0].load_image()


def test_chexlocalize_with_a_truncated_file_is_an_error(chexlocalize: Write, tmp_path: Path) -> None:
    data = chexlocalize()
    path = tmp_path / "CheXlocalize" / "gt_segmentations_test.json"
    path.write_text(path.read_text()[:-9])
    with pytest.raises(DataError, match="not valid JSON"):
        data.samples("phrases")
