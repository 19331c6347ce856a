from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmark.data.base import DATASETS
from benchmark.data.imagenet_segmentation import ImageNetSegmentation, class_words
from benchmark.errors import DataError

MASK = np.zeros((8, 12), dtype=np.uint8)
MASK[2:5, 3:9] = 1


def pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (8, 12, 3), dtype=np.uint8)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    for name in ("a", "b"):
        Image.fromarray(pixels(ord(name))).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(MASK * 255).save(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "classes.csv").write_text("image,class\na.png,goldfish\nb.png,airliner\n")
    return tmp_path


def test_it_is_registered_and_shows_no_images() -> None:
    assert DATASETS["imagenet_segmentation"] is ImageNetSegmentation
    assert not ImageNetSegmentation.shows_images


def test_an_exported_folder_gives_class_and_mask(exported: Path) -> None:
    data = ImageNetSegmentation(exported)
    first, second = data.samples("phrases")
    assert (first.text, second.text) == ("a photo of a goldfish", "a photo of an airliner")
    (phrase,) = first.phrases
    assert first.text[slice(*phrase.span)] == "goldfish"
    np.testing.assert_array_equal(phrase.region.mask, MASK > 0)
    assert phrase.region.boxes.tolist() == [[3, 2, 9, 5]]
    np.testing.assert_array_equal(np.asarray(first.load_image()), pixels(ord("a")))
    assert first.strata == {"object_area": "small"}
    assert not data.problems


def test_an_empty_mask_has_no_box(exported: Path) -> None:
    Image.fromarray(MASK * 0).save(exported / "masks" / "a.png")
    (phrase,) = ImageNetSegmentation(exported).samples("captions")[0].phrases
    assert phrase.region.boxes.shape == (0, 4)
    assert phrase.region.mask is not None
    assert not phrase.region.mask.any()


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ("c.png,dog", "its image is not there"),
        ("broken.png,dog", "its image is not there or cannot be opened"),
        ("maskless.png,dog", "its mask is not there"),
        ("small.png,dog", "image and mask have different sizes"),
        ("a.png,dog", "listed twice"),
    ],
)
def test_a_bad_row_is_left_out_and_counted(exported: Path, row: str, problem: str) -> None:
    for name in ("maskless", "small"):
        Image.fromarray(pixels(1)).save(exported / "images" / f"{name}.png")
    (exported / "images" / "broken.png").write_text("no image")
    Image.fromarray(MASK).save(exported / "masks" / "broken.png")
    Image.fromarray(MASK[:4]).save(exported / "masks" / "small.png")
    with (exported / "classes.csv").open("a") as file:
        file.write(row + "\n")
    data = ImageNetSegmentation(exported)
    assert len(data.samples("phrases")) == 2
    (only,) = data.problems
    assert problem in only


def test_wrong_columns_and_empty_folders_are_errors(exported: Path) -> None:
    (exported / "classes.csv").write_text("image,label\na.png,dog\n")
    with pytest.raises(DataError, match="no column 'class'; its columns are 'image', 'label'"):
        ImageNetSegmentation(exported).samples("phrases")
    (exported / "classes.csv").unlink()
    with pytest.raises(DataError, match=r"looked for gtsegs_ijcv\.mat or"):
        ImageNetSegmentation(exported).samples("phrases")


@pytest.mark.slow
def test_wordnet_ids_become_the_words_of_zero_shot_classifiers() -> None:
    assert [class_words(name) for name in ("n01443537", "n02690373", "n02084071", "n99999999", "corgi")] == [
        *("goldfish", "airliner", "dog", "n99999999", "corgi")
    ]


def test_the_original_file_without_h5py_names_the_install_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gtsegs_ijcv.mat").write_bytes(b"")
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(DataError, match="pip install h5py"):
        ImageNetSegmentation(tmp_path).samples("phrases")


def write_original(path: Path, h5py: Any) -> None:
    """Write the layout of the published file: references to transposed arrays, and a mask behind two references."""
    with h5py.File(path, "w") as file:
        held = file.create_group("#refs#")
        references: dict[str, list[Any]] = {"img": [], "gt": [], "target": []}
        for number, wnid in enumerate(("n01443537", "n02690373")):
            image = held.create_dataset(f"i{number}", data=pixels(number).transpose(2, 1, 0))
            mask = held.create_dataset(f"m{number}", data=MASK.T)
            cell = held.create_dataset(f"c{number}", (1, 1), dtype=h5py.ref_dtype)
            cell[0, 0] = mask.ref
            target = held.create_dataset(f"t{number}", data=np.array([[ord(letter)] for letter in wnid], dtype=np.uint16))
            for name, item in zip(references, (image, cell, target), strict=True):
                references[name].append(item.ref)
        for name, found in references.items():
            table = file.create_dataset(f"value/{name}", (len(found), 1), dtype=h5py.ref_dtype)
            for number, reference in enumerate(found):
                table[number, 0] = reference


@pytest.mark.slow
def test_the_original_file_is_read(tmp_path: Path) -> None:
    h5py: Any = pytest.importorskip("h5py", reason="gtsegs_ijcv.mat is HDF5; h5py is not installed")
    write_original(tmp_path / "gtsegs_ijcv.mat", h5py)
    first, second = ImageNetSegmentation(tmp_path).samples("phrases")
    assert (first.text, second.text) == ("a photo of a goldfish", "a photo of an airliner")
    np.testing.assert_array_equal(np.asarray(second.load_image()), pixels(1))
    np.testing.assert_array_equal(first.phrases[0].region.mask, MASK > 0)


def test_a_truncated_original_file_is_an_error(tmp_path: Path) -> None:
    h5py: Any = pytest.importorskip("h5py", reason="gtsegs_ijcv.mat is HDF5; h5py is not installed")
    path = tmp_path / "gtsegs_ijcv.mat"
    write_original(path, h5py)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="cannot be read as HDF5"):
        ImageNetSegmentation(tmp_path).samples("phrases")
    with h5py.File(path, "w") as file:
        file.create_group("images")
    with pytest.raises(DataError, match=r"has no value/img, value/gt, value/target; its groups are 'images'"):
        ImageNetSegmentation(tmp_path).samples("phrases")
