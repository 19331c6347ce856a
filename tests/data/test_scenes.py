"""The generated set ``scenes``: determinism, exact truth, and samples that say what is drawn."""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.data.captions import DRAWS, EDITS, edit, remove_words, write_captions
from benchmark.data.generated import HELD_OUT
from benchmark.data.grammar import (
    ABSENT,
    KIND,
    SIZE,
    TINT,
    TOKEN,
    Things,
    first_slot,
    phrases_of,
    slots,
    truth,
    write,
)
from benchmark.data.scenes import N_THINGS, Scenes, lay_out, render
from benchmark.data.shapes import SHAPES, distance_tables
from benchmark.errors import InvalidInput

INDICES = HELD_OUT + np.arange(40)


@pytest.fixture(scope="module")
def rendered():
    return Scenes.draw(INDICES)


def test_a_scene_is_the_same_alone_and_in_any_batch(rendered):
    alone = Scenes.draw(INDICES[17:18])
    shuffled = Scenes.draw(INDICES[[30, 17, 2]])
    assert np.array_equal(alone.pixels[0], rendered.pixels[17])
    assert np.array_equal(shuffled.masks[1], rendered.masks[17])
    assert np.array_equal(shuffled.things.attributes[1], rendered.things.attributes[17])


def test_scenes_hold_two_to_four_objects_and_a_distractor(rendered):
    attributes = rendered.things.attributes
    n_objects = (attributes[..., KIND] != ABSENT).sum(1)
    assert set(n_objects) == {2, 3, 4}
    shares = (attributes[:, 0, :2] == attributes[:, 1, :2]).any(1)
    assert shares.all()


def test_some_objects_overlap_and_few_are_mostly_hidden(rendered):
    there = rendered.things.attributes[..., KIND] != ABSENT
    visible = rendered.things.visible[there]
    assert 0.02 < (visible < 0.98).mean() < 0.5
    assert (visible < 0.6).mean() < 0.03


def test_masks_are_what_changes_when_an_object_is_taken_away():
    layout = lay_out(INDICES)
    with_all = render(layout)
    for thing in range(N_THINGS):
        attributes = layout.attributes.copy()
        attributes[:, thing] = ABSENT
        without = render(replace(layout, attributes=attributes))
        changed = (with_all.pixels.astype(int) - without.pixels).any(-1)
        mask = with_all.masks[:, thing]
        assert changed[mask].mean() > 0.99
        beyond = np.pad(mask, ((0, 0), (1, 1), (1, 1)))
        grown = np.zeros_like(mask)
        for row in range(3):
            for column in range(3):
                grown |= beyond[:, row : row + 112, column : column + 112]
        assert changed[~grown].sum() < 0.002 * changed.sum()  # rims that shine through where two objects meet


def test_distance_tables_are_negative_in_every_silhouette_and_positive_at_the_corners():
    tables = distance_tables()
    assert len(tables) == len(SHAPES) == 12
    assert (tables.min((1, 2)) < -0.15).all()
    assert (tables[:, 0, 0] > 0.3).all()


@pytest.mark.parametrize("view", ["captions", "phrases"])
def test_spans_are_the_words_and_boxes_hold_the_masks(view):
    for sample in Scenes().samples(view, 40):
        assert sample.text.startswith(("a ", "an "))
        for phrase in sample.phrases:
            words = sample.text[slice(*phrase.span)].split()
            assert words[-1] == (phrase.label or "object")
            assert not set(words) & {"a", "an", "and", "of", "above", "below"}
            mask = phrase.region.mask
            rows, columns = np.nonzero(mask)
            boxes = phrase.region.boxes
            inside = [(columns >= x0) & (columns < x1) & (rows >= y0) & (rows < y1) for x0, y0, x1, y1 in boxes]
            assert len(rows) > 0
            assert np.any(inside, axis=0).all()
            assert boxes.min() >= 0
            assert boxes.max() <= 112


def test_a_phrase_region_is_the_union_of_everything_the_phrase_is_true_of():
    data = Scenes()
    samples = data.samples("phrases", 60)
    several = [sample for sample in samples if len(sample.phrases[0].region.boxes) > 1]
    assert several
    rendered = data.draw(samples.indices)
    statements = data.phrase_statements(rendered, samples.indices)
    for row, sample in enumerate(samples):
        said, here = statements.attributes[row, 0], rendered.things.attributes[row]
        true_of = [thing for thing in range(N_THINGS) if all(s in (ABSENT, h) for s, h in zip(said, here[thing], strict=True))]
        true_of = [thing for thing in true_of if here[thing, KIND] != ABSENT]
        assert np.array_equal(sample.phrases[0].region.mask, rendered.masks[row, true_of].any(0))


def test_captions_are_true_and_their_ids_and_clusters_unique(rendered):
    data = Scenes()
    statements, _ = data.caption_statements(rendered, INDICES)
    assert (np.diag(truth(rendered.things, statements)) == 1).all()
    samples = data.samples("captions", 40)
    assert [sample.text for sample in samples] == [write(row)[0] for row in slots(statements)]
    assert len({sample.id for sample in samples}) == len({sample.cluster for sample in samples}) == 40
    assert samples[17].id == "scenes/17"
    assert data.samples("phrases", 40)[17].cluster == "scenes/17"


def test_ground_truth_never_rests_on_a_kind_that_is_not_gated():
    sizes = {"small", "large"}
    for view in ("captions", "phrases"):
        for sample in Scenes().samples(view, 40):
            for phrase in sample.phrases:
                assert not sizes & set(sample.text[slice(*phrase.span)].split())


def test_an_edit_changes_one_attribute_to_one_that_makes_the_caption_false(rendered):
    rng = np.random.default_rng(0)
    statements, _ = write_captions(rendered.things, rng.random((40, DRAWS)))
    for kind in (KIND, TINT, SIZE):
        edited, changed = edit(statements, rendered.things, np.full(40, kind), rng.random((40, DRAWS)))
        differs = edited.attributes != statements.attributes
        assert changed.any()
        assert (differs.sum((1, 2)) == changed).all()
        assert not np.delete(differs, kind, axis=2).any()
        if kind != SIZE:
            assert (np.diag(truth(rendered.things, edited))[changed] == 0).all()


def _two_things() -> Things:
    """A red circle left of a blue square."""
    attributes = np.full((1, 4, 4), ABSENT)
    attributes[0, 0], attributes[0, 1] = [0, 0, 0, 0], [1, 5, 1, 2]
    centres = np.array([[[20.0, 50.0], [80.0, 60.0], [0, 0], [0, 0]]])
    return Things(attributes=attributes, centres=centres, visible=np.ones((1, 4)), film=np.array([False]))


def _said(first: list[int], second: list[int], relation: int):
    statement = phrases_of(np.array([first]), film=False)
    statement.attributes[0, 1] = second
    statement.n_clauses[0] = 2
    statement.relations[0, 0] = relation
    return statement


@pytest.mark.parametrize(("relation", "holds"), [(0, 1), (1, 1), (2, 0), (3, 0), (4, 0)])
def test_relations_hold_one_way(relation, holds):
    statement = _said([0, 0, ABSENT, ABSENT], [1, 5, ABSENT, ABSENT], relation)
    assert truth(_two_things(), statement)[0, 0] == holds


def test_attributes_of_two_things_do_not_mix():
    swapped = _said([0, 5, ABSENT, ABSENT], [1, 0, ABSENT, ABSENT], 0)
    assert truth(_two_things(), swapped)[0, 0] == 0


@pytest.mark.parametrize(("visible", "expected"), [(0.7, 1), (0.4, -1), (0.1, 0)])
def test_half_hidden_things_leave_the_truth_open(visible, expected):
    things = replace(_two_things(), visible=np.array([[visible, 1, 1, 1]]))
    assert truth(things, phrases_of(np.array([[0, ABSENT, ABSENT, ABSENT]]), film=False))[0, 0] == expected


def test_a_removed_word_removes_its_condition():
    statement = phrases_of(np.array([[0, 5, ABSENT, ABSENT]]), film=False)  # "a blue circle"
    removed = np.zeros_like(slots(statement), dtype=bool)
    removed[0, first_slot(0) + 1] = True
    assert truth(_two_things(), statement)[0, 0] == 0
    assert truth(_two_things(), remove_words(statement, removed))[0, 0] == 1


def test_the_text_of_a_statement_reads_as_english():
    text, offsets = write(slots(_said([SHAPES.index("hourglass"), ABSENT, ABSENT, ABSENT], [1, 1, 1, 0], 1))[0])
    assert text == "an hourglass left of a small orange striped square"
    assert text[slice(*offsets[first_slot(1) + 1])] == "orange"
    assert TOKEN["orange"] in slots(_said([0, 1, ABSENT, ABSENT], [1, 1, 1, 0], 1))[0]


def test_every_kind_of_edit_has_a_name():
    assert EDITS[:4] == ("kind", "tint", "grain", "size")


def test_an_unknown_view_is_answered_with_the_known_ones():
    with pytest.raises(InvalidInput, match="captions, phrases"):
        Scenes().samples("films")


def test_samples_are_a_sequence_of_a_thousand_that_draws_only_what_is_asked_for():
    samples = Scenes().samples("captions")
    assert len(samples) == 1000
    assert samples[-1].id == "scenes/999"
    assert [sample.id for sample in samples[10:12]] == ["scenes/10", "scenes/11"]
    assert samples[5].load_image().size == (112, 112)
    with pytest.raises(IndexError):
        samples[1000]


def test_strata_are_filled():
    for sample in Scenes().samples("phrases", 20):
        assert set(sample.strata) == {"object_area", "overlap", "n_objects"}
        assert sample.strata["n_objects"] in {"2", "3", "4"}
