"""The generated set ``phantoms``: determinism, exact regions, the patient's sides, and reports that are true."""

import numpy as np
import pytest

from benchmark.data import films
from benchmark.data.captions import DRAWS, EDITS, NEGATION, edit
from benchmark.data.generated import HELD_OUT
from benchmark.data.grammar import ABSENT, FIRST_SIDE, GRAIN, KIND, SIZE, TINT, Things, blank, truth
from benchmark.data.phantoms import CARDIOMEGALY, EFFUSION, LINE, NODULE, OPACITY, Phantoms, lay_out

INDICES = HELD_OUT + np.arange(60)


@pytest.fixture(scope="module")
def rendered():
    return Phantoms.draw(INDICES)


def test_a_film_is_the_same_alone_and_in_any_batch(rendered):
    alone = Phantoms.draw(INDICES[17:18])
    assert np.array_equal(alone.pixels[0], rendered.pixels[17])
    assert np.array_equal(alone.masks[0], rendered.masks[17])


def test_every_finding_has_a_region_and_nothing_else_does(rendered):
    there = rendered.things.attributes[..., KIND] != ABSENT
    assert (rendered.masks.any((2, 3)) == there).all()


def test_left_is_the_patients_left_and_lies_on_the_right_of_the_image(rendered):
    attributes, centres = rendered.things.attributes, rendered.things.centres
    left = attributes[..., TINT] == FIRST_SIDE
    right = attributes[..., TINT] == FIRST_SIDE + 1
    assert left.any()
    assert right.any()
    assert (centres[left][:, 0] > films.SIDE / 2).all()
    assert (centres[right][:, 0] < films.SIDE / 2).all()


def test_zones_go_down_the_lung(rendered):
    attributes, centres = rendered.things.attributes, rendered.things.centres
    heights = [centres[attributes[..., GRAIN] == zone][:, 1] for zone in range(4, 7)]
    assert heights[0].max() < heights[1].min()
    assert heights[1].max() < heights[2].min()


def test_findings_have_only_the_attributes_that_make_sense(rendered):
    kind = rendered.things.attributes[..., KIND]
    zoned = rendered.things.attributes[..., GRAIN] != ABSENT
    assert (zoned == np.isin(kind, (NODULE, OPACITY))).all()
    assert (rendered.things.attributes[kind == CARDIOMEGALY][:, TINT] == ABSENT).all()
    assert (rendered.things.attributes[kind == LINE][:, SIZE] == ABSENT).all()


def test_large_findings_are_larger_than_small_ones(rendered):
    attributes, areas = rendered.things.attributes, rendered.masks.sum((2, 3))
    for kind in (NODULE, OPACITY, EFFUSION):
        small = areas[(attributes[..., KIND] == kind) & (attributes[..., SIZE] == 3)]
        large = areas[(attributes[..., KIND] == kind) & (attributes[..., SIZE] == 4)]
        assert small.max() < large.mean()
        assert small.mean() < large.min()


def test_a_film_changes_only_where_its_finding_is():
    chest = films.anatomy(np.full((1, 16), 0.5), np.array([False]))
    film = films.expose(chest)
    cover = films.fluid(chest, 0, np.array([0]), np.array([True]), np.array([0.5]))
    assert cover.max() > 0.95
    assert (cover[0, :, :56] == 0).all()  # nothing on the patient's right
    assert (film[0] * (cover[0] > 0.9)).sum() > 0


def test_the_heart_of_cardiomegaly_is_wider():
    chest = films.anatomy(np.full((2, 16), 0.5), np.array([False, True]))
    widths = (films.heart_map(chest) > 0.5).any(1).sum(1)
    assert widths[1] > 1.5 * widths[0]


@pytest.mark.parametrize("view", ["captions", "phrases"])
def test_spans_are_the_words_and_boxes_hold_the_masks(view):
    for sample in Phantoms().samples(view, 40):
        for phrase in sample.phrases:
            words = sample.text[slice(*phrase.span)].split()
            assert words[-1] == (phrase.label or "finding")
            rows, columns = np.nonzero(phrase.region.mask)
            x0, y0 = phrase.region.boxes[:, :2].min(0)
            x1, y1 = phrase.region.boxes[:, 2:].max(0)
            assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x0, y0, x1, y1)


def test_every_phrase_film_holds_a_finding_of_the_same_kind_or_side():
    samples = Phantoms().samples("phrases", 60)
    attributes = lay_out(samples.indices)[0]
    pairs = [(first, second) for first in range(3) for second in range(first)]
    shares = [
        [(film[a, column] == film[b, column]) & (film[a, column] != ABSENT) for a, b in pairs for column in (KIND, TINT)]
        for film in attributes
    ]
    assert np.any(shares, axis=1).all()
    assert len({sample.id for sample in samples}) == 60
    assert all(len(sample.phrases) == 1 for sample in samples)


def test_reports_are_true_and_denying_a_finding_that_is_there_makes_them_false(rendered):
    statements, _ = Phantoms().caption_statements(rendered, INDICES)
    assert (np.diag(truth(rendered.things, statements)) == 1).all()
    rng = np.random.default_rng(0)
    kinds = np.full(len(INDICES), NEGATION)
    denied, changed = edit(statements, rendered.things, kinds, rng.random((len(INDICES), DRAWS)))
    assert EDITS[NEGATION] == "negation"
    assert changed.any()
    assert (np.diag(truth(rendered.things, denied))[changed] == 0).all()


def test_a_denial_is_true_of_films_without_the_finding_only():
    attributes = np.full((2, 4, 4), ABSENT)
    attributes[0, 0] = [NODULE, FIRST_SIDE, 4, 3]
    things = Things(attributes=attributes, centres=np.zeros((2, 4, 2)), visible=np.ones((2, 4)), film=np.array([True, True]))
    statement = blank(1, film=True)
    statement.denied[0, 0] = NODULE
    assert truth(things, statement)[:, 0].tolist() == [0, 1]


def test_some_films_show_nothing_and_their_reports_have_no_phrases():
    samples = Phantoms().samples("captions", 60)
    healthy = [sample for sample in samples if sample.strata["n_objects"] == "0"]
    assert healthy
    assert all(sample.text.startswith("no ") and not sample.phrases for sample in healthy)
