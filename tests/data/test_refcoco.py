import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.data.base import DATASETS
from benchmark.data.refcoco import RefCoco, RefCocoG, RefCocoPlus
from benchmark.errors import DataError

PHOTOGRAPH = "COCO_train2014_000000000072"
# A 12 x 10 photograph with two targets, as the hub has them: flat polygons, boxes as x, y, width, height.
FIRST = {
    "question_id": "0",
    "question": "Which object is meant?",
    "answer": ["left dog", "the brown dog on the left"],
    "segmentation": [1.0, 1.0, 5.0, 1.0, 5.0, 7.0, 1.0, 7.0],
    "bbox": [1.0, 1.0, 4.0, 6.0],
    "iscrowd": 0,
    "file_name": f"{PHOTOGRAPH}_0.jpg",
}
SECOND = FIRST | {
    "question_id": "1",
    "answer": ["right dog"],
    "segmentation": [],
    "bbox": [7.0, 2.0, 9.0, 3.0],
    "file_name": f"{PHOTOGRAPH}_1.jpg",
}


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``datasets`` converts goes to a temporary folder."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path_factory.mktemp("cache"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "train2014").mkdir()
    photograph().save(tmp_path / "train2014" / f"{PHOTOGRAPH}.jpg")
    write(tmp_path, [FIRST, SECOND])
    return tmp_path


def photograph() -> Image.Image:
    return Image.fromarray(np.full((10, 12, 3), 90, dtype=np.uint8))


def write(folder: Path, rows: Any) -> RefCoco:
    (folder / "refcoco_testA.json").write_text(json.dumps(rows))
    return RefCoco(folder)


def check(data: RefCoco) -> None:
    """What all three layouts must give for the two targets above."""
    samples = data.samples("phrases")
    assert [sample.text for sample in samples] == ["left dog", "the brown dog on the left", "right dog"]
    assert samples[0].id == f"refcoco/{PHOTOGRAPH}#0-left-dog"
    assert samples[2].id == f"refcoco/{PHOTOGRAPH}#1-right-dog"
    assert {sample.cluster for sample in samples} == {f"refcoco/{PHOTOGRAPH}"}
    (left,), (right,) = samples[1].phrases, samples[2].phrases
    assert left.span == (0, len("the brown dog on the left"))
    assert left.region.boxes.tolist() == [[1, 1, 5, 7]]
    expected = np.zeros((10, 12), dtype=bool)
    expected[1:7, 1:5] = True
    np.testing.assert_array_equal(left.region.mask, expected)
    assert right.region.boxes.tolist() == [[7, 2, 12, 5]]
    assert right.region.mask is None
    assert [sample.strata["words"] for sample in samples] == ["2-3", "4+", "2-3"]
    image = samples[0].load_image()
    assert (image.size, image.mode, image.getpixel((3, 3))) == ((12, 10), "RGB", (90, 90, 90))
    assert [sample.text for sample in data.samples("captions")] == ["left dog"]
    assert [sample.id for sample in pickle.loads(pickle.dumps(samples))] == [sample.id for sample in samples]
    assert not data.problems


def test_three_sets_are_registered_at_their_commits() -> None:
    for kind in (RefCoco, RefCocoPlus, RefCocoG):
        assert DATASETS[kind.name] is kind
        assert kind.hub_revision is not None
        assert kind().revision == f"1+{kind.hub_revision[:12]}"


def test_json_rows_beside_images(folder: Path) -> None:
    check(RefCoco(folder))


def test_parquet_with_images_inside(folder: Path) -> None:
    datasets = pytest.importorskip("datasets")
    (folder / "refcoco_testA.json").unlink()
    stored = io.BytesIO()
    photograph().save(stored, "PNG")
    rows = [row | {"image": {"bytes": stored.getvalue(), "path": None}} for row in (FIRST, SECOND)]
    (folder / "data").mkdir()
    datasets.Dataset.from_list(rows).cast_column("image", datasets.Image()).to_parquet(
        folder / "data" / "testA-00000-of-1.parquet"
    )
    check(RefCoco(folder))


def references(folder: Path, content: Any) -> RefCoco:
    (folder / "refcoco_testA.json").unlink(missing_ok=True)
    (folder / "refs(unc).p").write_bytes(pickle.dumps(content, protocol=2))
    targets = [
        {"id": 11, "image_id": 72, "category_id": 18, "bbox": [1, 1, 4, 6], "segmentation": [FIRST["segmentation"]]},
        {"id": 12, "image_id": 72, "category_id": 18, "bbox": [7, 2, 9, 3]},
    ]
    (folder / "instances.json").write_text(json.dumps({"images": [], "annotations": targets, "categories": []}))
    return RefCoco(folder)


def reference(ann_id: int, number: int, *sentences: str, split: str = "testA") -> dict[str, Any]:
    found = [{"tokens": text.split(), "raw": text.upper(), "sent_id": i, "sent": text} for i, text in enumerate(sentences)]
    name = f"{PHOTOGRAPH}_{number}.jpg"
    return {"ref_id": ann_id, "ann_id": ann_id, "image_id": 72, "file_name": name, "split": split, "sentences": found}


def test_the_authors_references_with_instances(folder: Path) -> None:
    left = reference(11, 0, "left dog", "the brown dog on the left")
    check(references(folder, [left, reference(12, 1, "right dog"), reference(12, 1, "a dog", split="train")]))


def test_references_to_unknown_instances_are_counted(folder: Path) -> None:
    data = references(folder, [reference(11, 0, "left dog"), reference(99, 1, "right dog")])
    assert len(data.samples("phrases")) == 1
    assert data.problems == ["refs(unc).p: annotation 99 is not in instances.json; left out"]


def test_a_pickle_that_names_code_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match=r"plain pickle .*only plain data is read"):
        references(folder, [Path("x")]).samples("phrases")
    with pytest.raises(DataError, match="are not RefCOCO's references"):
        references(folder, [{"ref": 1}]).samples("phrases")
    path = folder / "refs(unc).p"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="is the download complete"):
        RefCoco(folder).samples("phrases")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"bbox": [20, 1, 3, 3]}, "not inside the 12 x 10 image"),
        ({"bbox": [1, 1, 0, 3]}, "not inside"),
        ({"bbox": [1, 1, 3]}, "not inside"),
        ({"bbox": "1 1 3 3"}, "not inside"),
        ({"answer": []}, "has no text"),
        ({"file_name": "COCO_train2014_000000000073_0.jpg"}, "the image is not there"),
        ({"bbox": FIRST["bbox"], "answer": ["left dog"]}, "given twice for one target"),
    ],
)
def test_a_bad_row_is_left_out_and_counted(folder: Path, change: dict[str, Any], problem: str) -> None:
    data = write(folder, [FIRST, SECOND | change])
    assert len(data.samples("phrases")) == 2
    (only,) = data.problems
    assert problem in only


def test_a_row_without_its_fields_is_counted_and_a_file_of_them_an_error(folder: Path) -> None:
    data = write(folder, [FIRST, {"answer": ["x"]}, 3])
    assert len(data.samples("phrases")) == 2
    assert [problem.partition(" lacks")[0] for problem in data.problems] == [f"refcoco_testA.json: entry {i}" for i in (1, 2)]
    with pytest.raises(DataError, match=r"no entry has answer, bbox and file_name; the first is .*'box'"):
        write(folder, [{"box": [1, 2]}]).samples("phrases")
    with pytest.raises(DataError, match="holds a dict"):
        write(folder, {}).samples("phrases")


@pytest.mark.parametrize("outline", [[1.0, 2.0], [[1, 1, 5, 1, "x", 7]], {"size": [10, 12], "counts": [3]}, "rle", None])
def test_an_outline_that_cannot_be_right_leaves_the_box(folder: Path, outline: Any) -> None:
    (phrase,) = write(folder, [FIRST | {"segmentation": outline}]).samples("phrases")[0].phrases
    assert phrase.region.mask is None
    assert phrase.region.boxes.tolist() == [[1, 1, 5, 7]]


def test_run_lengths_are_an_outline(folder: Path) -> None:
    outline = {"size": [10, 12], "counts": [10, 20, 90]}
    (phrase,) = write(folder, [FIRST | {"segmentation": outline}]).samples("phrases")[0].phrases
    assert phrase.region.mask is not None
    assert phrase.region.mask[:, 1:3].all()
    assert phrase.region.mask.sum() == 20


def test_truncated_json_and_an_empty_folder_are_errors(folder: Path, tmp_path: Path) -> None:
    path = folder / "refcoco_testA.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(DataError, match="not valid JSON at line 1"):
        RefCoco(folder).samples("phrases")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(DataError, match=r"refcoco: testA or testB as Parquet or JSON, or refs"):
        RefCoco(empty).samples("phrases")
