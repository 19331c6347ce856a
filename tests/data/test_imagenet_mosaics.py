import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.data.base import DATASETS
from benchmark.data.imagenet_mosaics import CELL, ImageNetMosaics, OriginalImageNetMosaics
from benchmark.errors import DataError

SETS = (ImageNetMosaics, OriginalImageNetMosaics)


def colour(number: int) -> tuple[int, int, int]:
    return number % 251, 255 - number % 251, (7 * number) % 251


def fill(folder: Path, data: type[ImageNetMosaics], key: str = "wnid", n: int = 2) -> Path:
    """One folder per class, each with ``n`` images of one colour per class."""
    for label, (number, wnid) in data.classes.items():
        place = folder / {"wnid": wnid, "number": str(number), "label": label}[key]
        place.mkdir(parents=True)
        for i in range(n):
            Image.new("RGB", (30, 20 + i), colour(number)).save(place / f"ILSVRC2012_val_{number:04d}{i:04d}.JPEG")
    return folder


@pytest.mark.parametrize("data", SETS)
def test_ten_games_of_four_known_labels(data: type[ImageNetMosaics]) -> None:
    assert DATASETS[data.name] is data
    assert len(data.games) == len(data.classes) == 10
    assert {label for game in data.games for label in game.split()} == set(data.classes)
    assert all(len(set(game.split())) == 4 for game in data.games)
    assert sum(label in game.split() for game in data.games for label in data.classes) == 40
    assert not data.shows_images


def test_class_numbers_and_wordnet_ids_agree() -> None:
    info = pytest.importorskip("timm.data.imagenet_info", reason="timm has the list of ImageNet's WordNet ids")
    names = info.ImageNetInfo().label_names()
    for data in SETS:
        assert [names[number] for number, _ in data.classes.values()] == [wnid for _, wnid in data.classes.values()]


@pytest.mark.parametrize("key", ["wnid", "number", "label"])
def test_captions_are_the_first_k_labels_with_their_cells(tmp_path: Path, key: str) -> None:
    samples = ImageNetMosaics(fill(tmp_path / "val", ImageNetMosaics, key).parent).samples("captions")
    assert len(samples) == 2 * 10 * 4
    assert [sample.text for sample in samples[:4]] == ["fish", "fish koala", "fish koala balloon", "fish koala balloon laptop"]
    assert [sample.strata for sample in samples[:4]] == [{"k": k} for k in "1234"]
    last = samples[3]
    assert last.id == "imagenet_mosaics/fish-koala-balloon-laptop/00#k4"
    assert {sample.cluster for sample in samples[:4]} == {"imagenet_mosaics/fish-koala-balloon-laptop/00"}
    assert samples[4].text == "koala"
    assert samples[40].cluster.endswith("/01")
    assert [last.text[slice(*phrase.span)] for phrase in last.phrases] == ["fish", "koala", "balloon", "laptop"]
    assert [phrase.region.boxes.tolist() for phrase in last.phrases] == [
        [[0, 0, 224, 224]],
        [[224, 0, 448, 224]],
        [[0, 224, 224, 448]],
        [[224, 224, 448, 448]],
    ]
    assert len(pickle.loads(pickle.dumps(samples))) == 80


def test_labels_are_one_label_with_its_cell(tmp_path: Path) -> None:
    samples = ImageNetMosaics(fill(tmp_path, ImageNetMosaics)).samples("labels", limit=4)
    assert [sample.text for sample in samples] == ["fish", "koala", "balloon", "laptop"]
    assert samples[2].phrases[0].region.boxes.tolist() == [[0, 224, 224, 448]]
    assert samples[2].phrases[0].span == (0, len("balloon"))
    assert len({sample.id for sample in samples}) == 4


@pytest.mark.parametrize("data", SETS)
def test_each_cell_shows_its_label(tmp_path: Path, data: type[ImageNetMosaics]) -> None:
    sample = data(fill(tmp_path, data, n=1)).samples("captions")[7]  # the second game, all four labels
    pixels = np.asarray(sample.load_image(), dtype=float)
    assert pixels.shape == (2 * CELL, 2 * CELL, 3)
    for phrase in sample.phrases:
        x0, y0, x1, y1 = phrase.region.boxes[0].astype(int)
        expected = colour(data.classes[phrase.label][0])
        np.testing.assert_allclose(pixels[y0 + 8 : y1 - 8, x0 + 8 : x1 - 8].mean((0, 1)), expected, atol=3)  # JPEG


def test_a_flat_folder_is_read_by_its_list(tmp_path: Path) -> None:
    lines: list[str] = []
    for number, _ in ImageNetMosaics.classes.values():
        name = f"ILSVRC2012_val_{number:08d}.JPEG"
        Image.new("RGB", (30, 20), colour(number)).save(tmp_path / name)
        lines.append(f"{name} {number}")
    (tmp_path / "val.txt").write_text("\n".join(lines) + "\n")
    by_list = ImageNetMosaics(tmp_path).samples("captions")
    assert len(by_list) == 40
    (tmp_path / "val.txt").write_text("\n".join(lines) + "\nILSVRC2012_val_1.JPEG fish\n")
    with pytest.raises(DataError, match=r"line 11 is 'ILSVRC2012_val_1\.JPEG fish'"):
        ImageNetMosaics(tmp_path).samples("captions")
    (tmp_path / "val.txt").unlink()
    wnids = dict(ImageNetMosaics.classes.values())
    rows = [f"{line.split('.')[0]},{wnids[int(line.split()[1])]} 1 2 3 4" for line in lines]
    (tmp_path / "LOC_val_solution.csv").write_text("\n".join(["ImageId,PredictionString", *rows]) + "\n")
    again = ImageNetMosaics(tmp_path).samples("captions")
    assert [sample.id for sample in again] == [sample.id for sample in by_list]


def test_missing_classes_are_named(tmp_path: Path) -> None:
    fill(tmp_path, ImageNetMosaics)
    for path in (tmp_path / "n12267677").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"no images of acorn \(988, n12267677\)"):
        ImageNetMosaics(tmp_path).samples("captions")


def test_a_class_with_fewer_images_gives_fewer_mosaics_and_is_counted(tmp_path: Path) -> None:
    fill(tmp_path, ImageNetMosaics, n=2)
    next((tmp_path / "n01443537").iterdir()).unlink()
    data = ImageNetMosaics(tmp_path)
    with_fish = sum("fish" in game.split() for game in data.games)
    assert len(data.samples("labels")) == 4 * (10 + 10 - with_fish)
    assert "fish: 1 of 50 images; the mosaics that need more are left out" in data.problems


def test_the_revision_is_that_of_the_photographs(tmp_path: Path) -> None:
    fill(tmp_path, ImageNetMosaics, n=1)
    before = ImageNetMosaics(tmp_path).revision
    Image.new("RGB", (300, 20)).save(tmp_path / "n01443537" / "ILSVRC2012_val_00010000.JPEG")
    assert ImageNetMosaics(tmp_path).revision != before
