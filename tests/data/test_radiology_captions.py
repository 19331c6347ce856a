"""ROCOv2 and Open-i: captions and reports without regions, from made folders in their formats."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from benchmark.data.openi import OpenI
from benchmark.data.rocov2 import RocoV2
from benchmark.errors import DataError, UnknownName

CAPTIONS = 'ID,Caption\nROCOv2_2023_test_000001,"CT of the chest, axial view."\nROCOv2_2023_test_000002,Chest film.\n'
CONCEPTS = "ID,CUIs\nROCOv2_2023_test_000001,C0040405;C0817096\nROCOv2_2023_test_000002,C1306645;C0040405\n"
REPORTS = """uid,MeSH,Problems,image,indication,comparison,findings,impression
10,normal,normal,Xray,,None.,,Normal chest.
1,normal,normal,Xray,Cough,None.,"The heart is  normal.
Lungs are clear.",Normal chest.
"""
PROJECTIONS = """uid,filename,projection
1,1_IM-0001-3001.dcm.png,Lateral
1,1_IM-0001-4001.dcm.png,Frontal
10,10_IM-0002-1001.dcm.png,Lateral
"""
XML = """<?xml version="1.0" encoding="utf-8"?>
<eCitation><uId id="CXR1"/><MedlineCitation><Article><Abstract>
<AbstractText Label="COMPARISON">None.</AbstractText>
<AbstractText Label="FINDINGS">The heart is normal.</AbstractText>
<AbstractText Label="IMPRESSION">Normal chest.</AbstractText>
</Abstract></Article></MedlineCitation>
<parentImage id="CXR1_1_IM-0001-3001"><caption>Xray Chest PA and Lateral</caption></parentImage>
<parentImage id="CXR1_1_IM-0001-4001"><caption>Xray Chest PA and Lateral</caption></parentImage>
</eCitation>"""

Write = Callable[..., Any]


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", (12, 8)).save(path)


@pytest.fixture
def roco(tmp_path: Path) -> Write:
    def write(captions: str = CAPTIONS) -> RocoV2:
        for number in (1, 2):
            image(tmp_path / "test_images" / "test" / f"ROCOv2_2023_test_00000{number}.jpg")
        (tmp_path / "test_captions.csv").write_text(captions)
        (tmp_path / "test_concepts.csv").write_text(CONCEPTS)
        return RocoV2(tmp_path)

    return write


def test_rocov2_reads_the_files_of_the_release(roco: Write) -> None:
    data = roco()
    first, second = data.samples("captions")
    assert (first.id, first.text) == ("rocov2/ROCOv2_2023_test_000001#caption", "CT of the chest, axial view.")
    assert first.strata == {"modality": "CT", "split": "test"}
    assert second.strata["modality"] == "mixed"
    assert first.load_image().mode == "RGB"
    assert not first.phrases
    assert not data.problems
    assert len(data.samples("captions", limit=1)) == 1
    with pytest.raises(UnknownName, match="Known: captions"):
        data.samples("phrases")


def test_rocov2_counts_what_it_leaves_out(roco: Write, tmp_path: Path) -> None:
    data = roco(CAPTIONS + "ROCOv2_2023_test_000001,Again.\nROCOv2_2023_test_000009,Lost.\n")
    (tmp_path / "test_images/test/ROCOv2_2023_test_000009.jpg").unlink(missing_ok=True)
    image(tmp_path / "test_images/test/ROCOv2_2023_test_000003.png")
    data.files[0].write_text(data.files[0].read_text() + "ROCOv2_2023_test_000003, \n")
    assert len(data.samples("captions")) == 2
    assert data.problems == [
        "ROCOv2_2023_test_000001 is listed twice; the first is kept",
        f"ROCOv2_2023_test_000009: there is no image ROCOv2_2023_test_000009.jpg in {tmp_path}; left out",
        "ROCOv2_2023_test_000003: the caption is empty; left out",
    ]


def test_rocov2_with_damaged_files_is_an_error(roco: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'Caption'.*Is 'caption' meant"):
        roco(CAPTIONS.replace("Caption", "caption")).samples("captions")
    with pytest.raises(DataError, match="cannot be read as a table"):
        roco(CAPTIONS[:60]).samples("captions")
    with pytest.raises(DataError, match="no captions"):
        RocoV2(tmp_path, split="train").samples("captions")


def test_rocov2_reads_the_table_of_the_hub_from_parquet(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets", reason="the library datasets is not installed")
    image(tmp_path / "a.png")
    table = {
        "image": [str(tmp_path / "a.png")] * 3,
        "image_id": ["ROCOv2_2023_test_000001", "ROCOv2_2023_test_000002", "ROCOv2_2023_test_000002"],
        "caption": ["MRI of the brain.", "Ultrasound.", "Again."],
        "cui": [["C0024485"], [], []],
    }
    features = datasets.Features(
        image=datasets.Image(),
        image_id=datasets.Value("string"),
        caption=datasets.Value("string"),
        cui=datasets.Sequence(datasets.Value("string")),
    )
    path = tmp_path / "data" / "test-00000-of-00001.parquet"
    path.parent.mkdir()
    datasets.Dataset.from_dict(table, features=features).to_parquet(path)
    data = RocoV2(tmp_path)
    first, second = data.samples("captions")
    assert (first.text, first.strata["modality"], second.strata["modality"]) == ("MRI of the brain.", "MRI", "unknown")
    assert first.load_image().size == (12, 8)
    assert first.load_image().mode == "RGB"
    assert data.problems == ["ROCOv2_2023_test_000002 is listed twice; the first is kept"]
    assert data.revision.startswith("1+")


def test_rocov2_from_the_hub_asks_for_a_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XLIP_REVISION_ROCOV2_RADIOLOGY", raising=False)
    for ask in (lambda data: data.samples("captions"), lambda data: data.revision):
        with pytest.raises(DataError, match="set XLIP_REVISION_ROCOV2_RADIOLOGY="):
            ask(RocoV2())
    assert RocoV2(revision="0123456789" * 4).revision == "1+012345678901"


@pytest.fixture
def openi(tmp_path: Path) -> Write:
    def write(reports: str = REPORTS, projections: str = PROJECTIONS) -> OpenI:
        for name in ("1_IM-0001-3001", "1_IM-0001-4001", "10_IM-0002-1001"):
            image(tmp_path / "images" / "images_normalized" / f"{name}.dcm.png")
        (tmp_path / "indiana_reports.csv").write_text(reports)
        (tmp_path / "indiana_projections.csv").write_text(projections)
        return OpenI(tmp_path)

    return write


def test_openi_pairs_a_report_with_its_frontal_image(openi: Write) -> None:
    data = openi()
    first, second = data.samples("captions")
    assert (first.id, first.text) == ("openi/1#caption", "The heart is normal. Lungs are clear.")
    assert isinstance(first.image, Path)
    assert first.image.name == "1_IM-0001-4001.dcm.png"
    assert first.strata == {"modality": "x-ray", "view": "frontal", "section": "findings"}
    assert (second.text, second.strata["view"], second.strata["section"]) == ("Normal chest.", "lateral", "impression")
    assert first.load_image().size == (12, 8)
    assert not first.phrases
    assert not data.problems


def test_openi_counts_what_it_leaves_out(openi: Write, tmp_path: Path) -> None:
    rows = "2,,,,,,,\n3,,,,,,Clear.,\n1,,,,,,Again.,\n"
    data = openi(REPORTS + rows, PROJECTIONS + "3,3_IM-1.dcm.png,Frontal\n")
    assert len(data.samples("captions")) == 2
    assert data.problems == [
        "report 2 has neither findings nor an impression; left out",
        f"report 3: none of its images is in {tmp_path} (3_IM-1.dcm.png); left out",
        "report 1 is given twice; the first is kept",
    ]


def test_openi_reads_the_original_files(tmp_path: Path) -> None:
    image(tmp_path / "NLMCXR_png" / "CXR1_1_IM-0001-4001.png")
    (tmp_path / "ecgen-radiology").mkdir()
    path = tmp_path / "ecgen-radiology" / "1.xml"
    path.write_text(XML)
    (sample,) = OpenI(tmp_path).samples("captions")
    assert (sample.id, sample.text, sample.strata["view"]) == ("openi/1#caption", "The heart is normal.", "unknown")
    path.write_text(XML[:300])
    with pytest.raises(DataError, match=r"1\.xml is not a whole XML file"):
        OpenI(tmp_path).samples("captions")


def test_openi_with_a_wrong_column_or_nothing_is_an_error(openi: Write, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no column 'findings'.*Is 'finding' meant"):
        openi(REPORTS.replace("findings", "finding")).samples("captions")
    with pytest.raises(DataError, match="no column 'projection'"):
        openi(projections=PROJECTIONS.replace("projection", "view")).samples("captions")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"has no indiana_reports\.csv and no XML report"):
        OpenI(tmp_path / "empty").samples("captions")
