"""The generated set ``mosaics``: determinism, exact cells, and objects that keep to the corners of a 7 x 7 grid."""

import numpy as np
import pytest

from benchmark.data.mosaics import Mosaics, cell_box, draw_mosaic
from benchmark.data.scenes_drawing import SIDE
from benchmark.data.shapes import SHAPES
from benchmark.errors import UnknownName


@pytest.fixture(scope="module")
def samples():
    return list(Mosaics().samples("captions", 40))


def test_a_mosaic_is_the_same_whenever_it_is_drawn():
    first, second = draw_mosaic(7), draw_mosaic(7)
    assert first.labels == second.labels
    assert np.array_equal(np.asarray(first.image), np.asarray(second.image))
    assert not np.array_equal(np.asarray(first.image), np.asarray(draw_mosaic(8).image))


def test_four_different_shapes_each_all_over_the_image():
    labels = [draw_mosaic(number).labels for number in range(60)]
    assert all(len(set(four)) == 4 for four in labels)
    for cell in range(4):
        assert {four[cell] for four in labels} == set(SHAPES)


def test_texts_are_the_first_labels_and_phrases_their_cells(samples):
    for number, sample in enumerate(samples):
        k = number % 4 + 1
        labels = draw_mosaic(number // 4).labels
        assert sample.id == f"mosaics/{number // 4}/k{k}"
        assert sample.cluster == f"mosaics/{number // 4}"
        assert sample.text == " ".join(labels[:k])
        assert sample.strata == {"k": str(k)}
        assert [sample.text[slice(*phrase.span)] for phrase in sample.phrases] == list(labels[:k])
        assert [phrase.region.boxes.tolist() for phrase in sample.phrases] == [[list(cell_box(cell))] for cell in range(k)]
        assert sample.load_image().size == (SIDE, SIDE)


def test_cells_tile_the_image_in_reading_order():
    covered = np.zeros((SIDE, SIDE), dtype=int)
    for cell in range(4):
        x0, y0, x1, y1 = cell_box(cell)
        covered[y0:y1, x0:x1] += cell + 1
    assert covered[0, 0] == 1
    assert covered[0, -1] == 2
    assert covered[-1, 0] == 3
    assert np.unique(covered).tolist() == [1, 2, 3, 4]


def test_every_label_has_a_text_of_its_own():
    samples = Mosaics().samples("labels", 8)
    assert [sample.text for sample in samples] == [*draw_mosaic(0).labels, *draw_mosaic(1).labels]
    assert [sample.strata for sample in samples[:4]] == [{"cell": str(cell)} for cell in range(4)]
    assert all(len(sample.phrases) == 1 for sample in samples)
    assert samples[3].phrases[0].region.boxes.tolist() == [list(cell_box(3))]


def test_candidates_are_all_shapes_and_those_in_the_image_have_cells():
    for number, sample in enumerate(Mosaics().samples("candidates", 5)):
        assert sample.text == " ".join(SHAPES)
        there = {phrase.label: phrase.region.boxes.tolist() for phrase in sample.phrases if len(phrase.region.boxes)}
        assert there == {label: [list(cell_box(cell))] for cell, label in enumerate(draw_mosaic(number).labels)}


def test_objects_keep_to_the_outer_patches_of_their_cells():
    """Strong colour marks objects; what lies between the 3 x 3 corners of a 7 x 7 grid is ground."""
    saturation, n_mosaics = np.zeros((SIDE, SIDE)), 60
    for number in range(n_mosaics):
        pixels = np.asarray(draw_mosaic(number).image).astype(float)
        saturation += (np.ptp(pixels, axis=2) > 60) / n_mosaics
    middle = slice(SIDE // 7 * 3 + 1, SIDE // 7 * 4 - 1)
    assert saturation[middle].max() == saturation[:, middle].max() == 0
    for rows in (slice(8, 40), slice(-40, -8)):
        for columns in (slice(8, 40), slice(-40, -8)):
            assert saturation[rows, columns].mean() > 0.2


def test_ids_are_unique_and_the_default_size_is_250_mosaics():
    data = Mosaics()
    assert {view: len(data.samples(view)) for view in data.views} == {"captions": 1000, "labels": 1000, "candidates": 250}
    ids = [sample.id for view in data.views for sample in data.samples(view, 6)]
    assert len(set(ids)) == len(ids)
    assert data.synthetic
    assert "mosaics" in data.card


def test_an_unknown_view_is_answered_with_the_known_ones():
    with pytest.raises(UnknownName, match="captions"):
        Mosaics().samples("caption")
