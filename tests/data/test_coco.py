import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle

from benchmark.data.base import DATASETS
from benchmark.data.coco import CategoryWords, Coco, article, plurals
from benchmark.errors import DataError, InvalidInput, UnknownName

CATEGORIES = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}, {"id": 58, "name": "hot dog"}]
# A 10 x 8 image: a person as an L of two rectangles, two dogs, and a crowd of people as runs, column by column.
IMAGE = {"id": 7, "file_name": "000000000007.jpg", "width": 10, "height": 8, "license": 4}
PERSON = {
    "id": 1,
    "image_id": 7,
    "category_id": 1,
    "bbox": [0, 0, 4, 6],
    "segmentation": [[0, 0, 2, 0, 2, 6, 0, 6], [2, 4, 4, 4, 4, 6, 2, 6]],
    "iscrowd": 0,
    "area": 16,
}
DOG = {
    "id": 2,
    "image_id": 7,
    "category_id": 18,
    "bbox": [5, 1, 2, 3],
    "segmentation": [[5, 1, 7, 1, 7, 4, 5, 4]],
    "iscrowd": 0,
}
DOG_TOO = {
    "id": 3,
    "image_id": 7,
    "category_id": 18,
    "bbox": [8, 5, 2, 3],
    "segmentation": [[8, 5, 10, 5, 10, 8, 8, 8]],
    "iscrowd": 0,
}
CROWD = {
    "id": 4,
    "image_id": 7,
    "category_id": 1,
    "bbox": [8, 0, 2, 2],
    "segmentation": {"size": [8, 10], "counts": [64, 2, 6, 2, 6]},
    "iscrowd": 1,
}
CAPTIONS = [
    {"id": 30, "image_id": 7, "caption": "Two dogs on grass."},
    {"id": 20, "image_id": 7, "caption": " People watch a dog.\n"},
    {"id": 40, "image_id": 7, "caption": "Nothing much."},
]

Write = Callable[..., Coco]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a folder in the official layout and open it; ``instances`` and the rest replace the defaults."""

    def write(**changes: Any) -> Coco:
        content: dict[str, Any] = {
            "images": [IMAGE],
            "captions": CAPTIONS,
            "instances": [PERSON, DOG, DOG_TOO, CROWD],
            "categories": CATEGORIES,
            "phrases": None,
        } | changes
        annotations = tmp_path / "annotations"
        annotations.mkdir()
        (tmp_path / "val2017").mkdir()
        Image.new("RGB", (10, 8)).save(tmp_path / "val2017" / "000000000007.jpg")
        captions = {"images": content["images"], "annotations": content["captions"]}
        instances = {"images": content["images"], "annotations": content["instances"], "categories": content["categories"]}
        (annotations / "captions_val2017.json").write_text(json.dumps(captions))
        (annotations / "instances_val2017.json").write_text(json.dumps(instances))
        if content["phrases"] is not None:
            (annotations / "phrases_val2017.json").write_text(json.dumps(content["phrases"]))
        return Coco(tmp_path)

    return write


def filled(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    mask = np.zeros((8, 10), dtype=bool)
    for x0, y0, x1, y1 in boxes:
        mask[y0:y1, x0:x1] = True
    return mask


def test_it_is_registered() -> None:
    assert DATASETS["coco"] is Coco


def test_captions_are_the_first_of_each_image_with_spans_boxes_and_masks(write: Write) -> None:
    (sample,) = write().samples("captions")
    assert (sample.id, sample.cluster, sample.text) == ("coco/000000000007#20", "coco/000000000007", "People watch a dog.")
    assert [sample.text[slice(*phrase.span)] for phrase in sample.phrases] == ["People", "dog"]
    assert [phrase.label for phrase in sample.phrases] == ["person", "dog"]
    people, dogs = (phrase.region for phrase in sample.phrases)
    assert people.boxes.tolist() == [[0, 0, 4, 6], [8, 0, 10, 2]]
    np.testing.assert_array_equal(people.mask, filled((0, 0, 2, 6), (2, 4, 4, 6), (8, 0, 10, 2)))
    assert dogs.boxes.tolist() == [[5, 1, 7, 4], [8, 5, 10, 8]]
    np.testing.assert_array_equal(dogs.mask, filled((5, 1, 7, 4), (8, 5, 10, 8)))
    assert sample.load_image().size == (10, 8)
    assert sample.strata == {"licence": "4", "object_area": "small", "n_instances": "2+"}


def test_a_crowd_alone_counts_as_several(write: Write) -> None:
    (sample,) = write(instances=[CROWD]).samples("captions")
    assert sample.strata["n_instances"] == "2+"


def test_grounding_holds_the_captions_that_have_a_phrase(write: Write) -> None:
    samples = write().samples("grounding")
    assert [sample.id for sample in samples] == ["coco/000000000007#20", "coco/000000000007#30"]
    assert [sample.text for sample in samples[1:]] == ["Two dogs on grass."]
    assert [sample.id for sample in pickle.loads(pickle.dumps(samples))] == [sample.id for sample in samples]


def test_phrases_are_each_phrase_of_an_image_once(write: Write) -> None:
    repeated = {"id": 50, "image_id": 7, "caption": "A dog!"}
    samples = write(captions=[*CAPTIONS, repeated]).samples("phrases")
    assert [(sample.id, sample.text) for sample in samples] == [
        ("coco/000000000007#people", "a photo of people"),
        ("coco/000000000007#dog", "a photo of a dog"),
        ("coco/000000000007#dogs", "a photo of dogs"),
    ]
    assert [sample.text[slice(*sample.phrases[0].span)] for sample in samples] == ["people", "dog", "dogs"]
    assert {sample.cluster for sample in samples} == {"coco/000000000007"}


def test_where_captions_do_not_name_categories_the_phrases_are_the_categories_there(write: Write) -> None:
    samples = write(captions=[CAPTIONS[2]]).samples("phrases")
    assert [sample.text for sample in samples] == ["a photo of a person", "a photo of a dog"]
    assert [sample.text[slice(*sample.phrases[0].span)] for sample in samples] == ["person", "dog"]
    assert samples[1].phrases[0].region.boxes.tolist() == [[5, 1, 7, 4], [8, 5, 10, 8]]


def test_half_of_the_captions_naming_categories_is_enough_for_phrases_from_captions(write: Write) -> None:
    other = IMAGE | {"id": 9, "file_name": "9.jpg"}
    dog = DOG | {"id": 9, "image_id": 9}
    silent = {"id": 50, "image_id": 9, "caption": "Nothing much."}
    samples = write(images=[IMAGE, other], captions=[*CAPTIONS, silent], instances=[DOG, dog]).samples("phrases")
    assert [sample.text for sample in samples] == ["a photo of a dog", "a photo of dogs"]


def test_a_limit_takes_the_first_by_image_and_opens_none(write: Write, tmp_path: Path) -> None:
    images = [IMAGE | {"id": 9, "file_name": "absent.jpg"}, IMAGE]
    coco = write(images=images, captions=[{"id": 1, "image_id": 9, "caption": "A dog."}, *CAPTIONS])
    (tmp_path / "val2017" / "000000000007.jpg").unlink()
    clusters = ["coco/000000000007", "coco/000000000009"]
    assert [[sample.cluster for sample in coco.samples("captions", limit)] for limit in (0, 1, 2, None)] == [
        [],
        clusters[:1],
        clusters,
        clusters,
    ]
    assert len(coco.samples("grounding", limit=1)) == len(coco.samples("phrases", limit=1)) == 1


def test_a_missing_or_broken_photograph_is_still_a_sample_and_fails_when_read(write: Write) -> None:
    coco = write()
    (sample,) = coco.samples("captions")
    assert isinstance(sample.image, Path)
    sample.image.write_bytes(sample.image.read_bytes()[:100])
    with pytest.raises(InvalidInput, match="truncated"):
        coco.samples("captions")[0].load_image()
    sample.image.unlink()
    with pytest.raises(InvalidInput, match=r"no image at .*val2017.000000000007\.jpg"):
        coco.samples("captions")[0].load_image()


def test_an_unknown_view_names_the_known_ones(write: Write) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'phrases'"):
        write().samples("phrase")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A dog.", ["dog"]),
        ("a hot dog and a dog", ["hot dog", "dog"]),
        ("a Hot-Dog", ["Hot-Dog"]),
        ("a dog beside dogs", []),
        ("a dogma", []),
        ("a bird-dog", []),
        ("a room with no dog", []),
        ("a dog house", []),
        ("persons and a dog's bowl", ["persons", "dog"]),
        ("a bike", ["bike"]),
        ("a bike near bicycles", []),
        ("mice under a dining table", ["mice", "dining table"]),
        ("", []),
    ],
)
def test_categories_are_named_by_whole_words_once(text: str, expected: list[str]) -> None:
    words = CategoryWords(["person", "dog", "hot dog", "bicycle", "mouse", "dining table"])
    assert [text[start:end] for start, end, _ in words.find(text)] == expected


def test_plurals_and_articles() -> None:
    assert [plurals(name)[0] for name in ("bus", "toothbrush", "wine glass", "sheep", "toy", "berry", "knife")] == [
        *("buses", "toothbrushes", "wine glasses", "sheep", "toys", "berries", "knives")
    ]
    words = ("dog", "oven", "dogs", "bus", "wine glass", "scissors", "the dog", "two men", "sheep", "anteater", "unicycle")
    assert [article(word) for word in words] == ["a ", "an ", "", "a ", "a ", "", "", "", "a ", "an ", "a "]


# Files that are not usable at all.


def test_no_folder_and_a_missing_folder_say_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="--data-dir"):
        Coco().samples("captions")
    with pytest.raises(DataError, match="is not a folder"):
        Coco(tmp_path / "absent").samples("captions")


def test_a_missing_annotation_file_says_which_names_were_looked_for(write: Write, tmp_path: Path) -> None:
    coco = write()
    (tmp_path / "annotations" / "instances_val2017.json").unlink()
    with pytest.raises(DataError, match=r"instances_SPLIT\.json.*found only annotations/captions_val2017\.json"):
        coco.samples("captions")


def test_truncated_json_names_file_and_position(write: Write, tmp_path: Path) -> None:
    coco = write()
    path = tmp_path / "annotations" / "instances_val2017.json"
    path.write_text(path.read_text()[:200])
    with pytest.raises(DataError, match=r"instances_val2017\.json is not valid JSON at line 1, column \d+, character \d+"):
        coco.samples("captions")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[]", "holds a list"),
        ('{"images": [], "annotations": []}', "no list 'categories'; its keys are 'images', 'annotations'"),
        ('{"images": {}, "annotations": [], "categories": []}', "no list 'images'"),
        ("\udcff", "cannot be read"),
    ],
)
def test_json_of_another_shape_says_what_is_missing(write: Write, tmp_path: Path, content: str, message: str) -> None:
    coco = write()
    path = tmp_path / "annotations" / "instances_val2017.json"
    path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(DataError, match=message):
        coco.samples("captions")


def test_an_image_id_given_twice_is_an_error(write: Write) -> None:
    with pytest.raises(DataError, match=r"image id 7 is given twice \(000000000007\.jpg and other\.jpg\)"):
        write(images=[IMAGE, IMAGE | {"file_name": "other.jpg"}]).samples("captions")


def test_wrong_key_names_throughout_are_an_error_that_shows_the_keys(write: Write) -> None:
    wrong = {("box" if key == "bbox" else key): value for key, value in DOG.items()}
    with pytest.raises(DataError, match=r"no entry of annotations is usable; the first has no 'bbox' \(its keys are .*'box'"):
        write(instances=[wrong]).samples("captions")


# Entries that are not usable; the rest is.


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"bbox": [20, 1, 2, 3]}, "box [20, 1, 2, 3] outside the 10 x 8 image; left out"),
        ({"bbox": [5, 1, 0, 3]}, "box 0 wide and 3 high; left out"),
        ({"bbox": [5, 1, -2, 3]}, "box -2 wide"),
        ({"bbox": [5, 1, 2]}, "not four finite numbers"),
        ({"bbox": [5, 1, 2, float("nan")]}, "not four finite numbers"),
        ({"bbox": [5, 1, 2, "3"]}, "not four finite numbers"),
        ({"bbox": "5 1 2 3"}, "'bbox' = '5 1 2 3', which is not of type list"),
        ({"image_id": 99}, "annotation 2 of image 99: this image is not known"),
        ({"category_id": 99}, "category 99, which is not in the file's categories"),
        ({"id": 1}, "id given before"),
        ({"id": "2"}, "'id' = '2', which is not of type int"),
    ],
)
def test_a_bad_instance_is_left_out_with_a_reason(write: Write, change: dict[str, Any], problem: str) -> None:
    coco = write(instances=[PERSON, DOG | change, DOG_TOO])
    (sample,) = coco.samples("captions")
    assert sample.phrases[1].region.boxes.tolist() == [[8, 5, 10, 8]]
    assert len(coco.problems) == 1
    assert problem in coco.problems[0]


def test_a_box_that_overlaps_the_border_is_clipped(write: Write) -> None:
    coco = write(instances=[DOG | {"bbox": [-3, -0.5, 6, 20]}, DOG_TOO | {"bbox": [8, 5, 2.4, 3]}])
    (sample,) = coco.samples("captions")
    assert sample.phrases[0].region.boxes.tolist() == [[0, 0, 3, 8], [8, 5, 10, 8]]
    assert len(coco.problems) == 1  # less than a pixel is rounding
    assert "reaches 11.5 pixels beyond" in coco.problems[0]


@pytest.mark.parametrize(
    "segmentation",
    [
        [[5, 1, 7, 1]],
        [[5, 1, 7, 1, 7, 4, 5]],
        [[5, 1, 7, 1, 7, None]],
        [5, 1, 7, 1, 7, 4],
        {"size": [8, 10], "counts": [64, 2, 6]},
        {"size": [10, 8], "counts": [64, 2, 14]},
        {"size": [8, 10], "counts": [-1, 81]},
        {"size": [8, 10], "counts": ""},
        {"size": [8, 10], "counts": "zzzz"},
        {"size": [8, 10]},
        "polygon",
    ],
)
def test_a_malformed_outline_leaves_the_box(write: Write, segmentation: Any) -> None:
    coco = write(instances=[DOG | {"segmentation": segmentation}, DOG_TOO])
    (sample,) = coco.samples("captions")
    assert len(coco.problems) == 1
    assert "its box is kept" in coco.problems[0]
    assert sample.phrases[0].region.mask is None
    assert sample.phrases[0].region.boxes.tolist() == [[5, 1, 7, 4], [8, 5, 10, 8]]


def test_no_outline_at_all_is_no_problem(write: Write) -> None:
    coco = write(instances=[{key: value for key, value in DOG.items() if key != "segmentation"}])
    assert coco.samples("captions")[0].phrases[0].region.mask is None
    assert not coco.problems


def test_run_lengths_are_read_compressed_or_not(write: Write) -> None:
    mask = np.random.default_rng(0).random((8, 10)) < 0.4
    code = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    coco = write(instances=[DOG | {"segmentation": {"size": [8, 10], "counts": code["counts"].decode()}}])
    np.testing.assert_array_equal(coco.samples("captions")[0].phrases[0].region.mask, mask)


@pytest.mark.parametrize(
    ("caption", "problem"),
    [
        ({"id": 10, "image_id": 7, "caption": " \n"}, "caption 10 of image 7 is empty"),
        ({"id": 10, "image_id": 8, "caption": "A dog."}, "caption 10 is of image 8, which is not known"),
        ({"id": 20, "image_id": 7, "caption": "A dog."}, "caption id 20 is given twice"),
        ({"id": 10, "image_id": 7, "text": "A dog."}, "entry 3 of annotations has no 'caption'"),
    ],
)
def test_a_bad_caption_is_left_out_with_a_reason(write: Write, caption: dict[str, Any], problem: str) -> None:
    coco = write(captions=[*CAPTIONS, caption])
    assert [sample.id for sample in coco.samples("grounding")] == ["coco/000000000007#20", "coco/000000000007#30"]
    assert len(coco.problems) == 1
    assert problem in coco.problems[0]


def test_an_image_without_a_size_or_outside_the_folder_is_left_out(write: Write) -> None:
    away = IMAGE | {"id": 8, "file_name": "../secret.jpg"}
    flat = IMAGE | {"id": 9, "height": 0}
    coco = write(images=[IMAGE, away, flat])
    assert len(coco.samples("captions")) == 1
    assert "lies outside the folder" in coco.problems[0]
    assert "has size 10 x 0" in coco.problems[1]


# Phrases from a file.


def phrase(**changes: Any) -> dict[str, Any]:
    return {"caption_id": 30, "start": 0, "end": 8, "phrase": "Two dogs", "annotation_id": 2} | changes


def test_a_phrases_file_replaces_the_rule_and_joins_the_places_of_a_phrase(write: Write) -> None:
    boxed = phrase(caption_id=20, start=1, end=13, phrase="People watch", bbox=[1, 1, 2, 2], category="people")
    boxed.pop("annotation_id")
    coco = write(phrases=[phrase(), phrase(annotation_id=3), phrase(), boxed])
    assert coco.problems == ()
    watch, dogs = coco.samples("grounding")
    assert [watch.text[slice(*found.span)] for found in watch.phrases] == ["People watch"]
    assert watch.phrases[0].region.boxes.tolist() == [[1, 1, 3, 3]]
    assert watch.phrases[0].region.mask is None
    assert dogs.phrases[0].region.boxes.tolist() == [[5, 1, 7, 4], [8, 5, 10, 8]]
    np.testing.assert_array_equal(dogs.phrases[0].region.mask, filled((5, 1, 7, 4), (8, 5, 10, 8)))
    assert [sample.text for sample in coco.samples("phrases")] == ["a photo of a people watch", "a photo of two dogs"]


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [
        (phrase(caption_id=31), "this caption is not known"),
        (phrase(end=7), "characters 0 to 7 are 'Two dog'"),
        (phrase(end=99), "characters 0 to 99"),
        (phrase(start=8), "characters 8 to 8"),
        (phrase(annotation_id=77), "neither a known annotation_id nor a bbox"),
        (phrase(annotation_id=77, bbox=[50, 50, 3, 3]), "outside the 10 x 8 image"),
        (phrase(start="0"), "'start' = '0', which is not of type int"),
    ],
)
def test_a_bad_phrase_is_left_out_with_a_reason(write: Write, wrong: dict[str, Any], problem: str) -> None:
    coco = write(phrases=[phrase(), wrong])
    assert [len(sample.phrases) for sample in coco.samples("grounding")] == [1]
    assert len(coco.problems) == 1
    assert problem in coco.problems[0]


# Layouts.


def test_the_split_whose_photographs_are_there_is_read(write: Write, tmp_path: Path) -> None:
    coco = write()
    for kind in ("captions", "instances"):
        content = (tmp_path / "annotations" / f"{kind}_val2017.json").read_text()
        (tmp_path / "annotations" / f"{kind}_val2014.json").write_text(content)
        (tmp_path / "annotations" / f"{kind}_train2017.json").write_text(content)
    assert coco.files.split == "val2017"
    assert Coco(tmp_path, split="train2017").files.split == "train2017"
    with pytest.raises(DataError, match=r"no captions and instances of split 'val2015'.*'val2014', 'val2017'"):
        Coco(tmp_path, split="val2015").samples("captions")


@pytest.mark.parametrize("place", ["images", "train2017", "val2014", "."])
def test_photographs_are_found_in_any_usual_place(write: Write, tmp_path: Path, place: str) -> None:
    coco = write()
    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / "val2017" / "000000000007.jpg").rename(tmp_path / place / "000000000007.jpg")
    assert coco.samples("captions")[0].load_image().size == (10, 8)


def test_several_phrases_files_are_ambiguous(write: Write, tmp_path: Path) -> None:
    coco = write()
    for name in ("phrases_mine.json", "phrases_yours.json"):
        (tmp_path / name).write_text("[]")
    with pytest.raises(DataError, match=r"several phrases files \(phrases_mine\.json, phrases_yours\.json\)"):
        coco.samples("captions")


# The real photographs that lie beside a checkout.


@pytest.fixture(scope="module")
def real(shared: Path) -> Coco:
    return Coco(shared / "data" / "coco_cc")


def test_real_photographs_all_open_and_every_region_lies_inside(real: Coco) -> None:
    assert real.problems == ()
    captions, grounding, phrases = (real.samples(view) for view in ("captions", "grounding", "phrases"))
    assert (len(captions), len(grounding), len(phrases)) == (64, 148, 59)
    for samples in (captions, grounding, phrases):
        assert len({sample.id for sample in samples}) == len(samples)
        assert [sample.cluster for sample in samples] == sorted(sample.cluster for sample in samples)
    for sample in (*captions, *phrases):
        width, height = sample.load_image().size
        for found in sample.phrases:
            x0, y0, x1, y1 = found.region.boxes.T
            assert (x0 >= 0).all()
            assert (y0 >= 0).all()
            assert (x1 <= width).all()
            assert (y1 <= height).all()
            assert found.region.mask is not None
            assert found.region.mask.shape == (height, width)


def test_real_phrases_are_those_of_the_file(real: Coco, shared: Path) -> None:
    listed = json.loads((shared / "data" / "coco_cc" / "phrases_derived.json").read_text())
    found = {
        (int(sample.id.split("#")[1]), sample.text[slice(*one.span)], *np.round(one.region.boxes[0], 2))
        for sample in real.samples("grounding")
        for one in sample.phrases
    }
    expected = set()
    for record in listed:
        x, y, width, height = record["bbox"]
        expected.add((record["caption_id"], record["phrase"], *np.round([x, y, x + width, y + height], 2)))
    assert found == expected


def test_masks_are_those_of_pycocotools(real: Coco) -> None:
    instances = [instance for found in real.annotations.instances.values() for instance in found]
    for instance in [*instances[::10], *(instance for instance in instances if instance.crowd)]:
        image = real.annotations.images[instance.image_id]
        height, width = image.height, image.width
        if instance.crowd:
            code = rle.frPyObjects({"counts": list(instance.runs), "size": [height, width]}, height, width)
        else:
            code = rle.merge(rle.frPyObjects([list(polygon) for polygon in instance.polygons], height, width))
        mask = instance.mask(width, height)
        assert mask is not None
        assert mask.sum() == rle.area(code)
        again = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
        assert again["counts"] == code["counts"]


def test_real_masks_fill_their_boxes_as_the_annotators_drew_them(real: Coco) -> None:
    for sample in real.samples("phrases"):
        (one,) = sample.phrases
        assert one.region.mask is not None
        rows, columns = np.nonzero(one.region.mask)
        x0, y0, x1, y1 = one.region.boxes[0]
        np.testing.assert_allclose([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], [x0, y0, x1, y1], atol=1.5)


def test_the_rule_finds_again_what_the_real_file_lists_except_men_and_women(real: Coco, shared: Path) -> None:
    by_rule = Coco(shared / "data" / "coco_cc")
    by_rule.annotations.mentions = None
    for captions in real.annotations.captions.values():
        for caption in captions:
            found = {(one.start, one.end, one.label) for one in by_rule.mentions(caption)}
            for one in real.mentions(caption):
                if caption.text[one.start : one.end] not in {"man", "woman"}:
                    assert (one.start, one.end, one.label) in found


def test_all_captions_of_the_real_photographs_are_in_order_and_start_with_the_first(real: Coco) -> None:
    first, every = real.samples("captions"), real.samples("all_captions")
    assert (len(first), len(every)) == (64, 320)
    assert [sample.id for sample in every[::5]] == [sample.id for sample in first]
