"""The small systems give what the rows-by-columns design gives."""

import numpy as np
import pytest

from benchmark.errors import InvalidInput
from benchmark.games.regression import (
    EmbeddingTable,
    FactorDesign,
    ValueTable,
    coalition_condition,
    condition_number,
    fit_efficient,
    fit_joint,
    fit_product,
    fit_selected,
)
from benchmark.games.sampling import sample_coalitions


def dense_fit(rows, weights, values, pairs):
    """Weighted least squares written out: intercept, players, and the product of each pair of players."""
    n = rows.shape[1]
    columns = [np.ones(len(rows)), *rows.T.astype(float), *(rows[:, i] * rows[:, j] for i, j in pairs)]
    root = np.sqrt(weights)[:, None]
    solution = np.linalg.lstsq(np.array(columns).T * root, values * root[:, 0], rcond=None)[0]
    matrix = np.zeros((n, n))
    for (i, j), coefficient in zip(pairs, solution[1 + n :], strict=True):
        matrix[i, j] = matrix[j, i] = coefficient
    return solution[0], solution[1 : 1 + n], matrix


def dense_product_fit(z, y, u, w, values, pairs):
    rows = np.hstack([np.repeat(z, len(y), axis=0), np.tile(y, (len(z), 1))])
    return dense_fit(rows, np.outer(u, w).ravel(), values.ravel(), pairs)


def assert_same(fit, expected, tolerance=1e-9):
    empty, main, pairs = expected
    assert fit.empty == pytest.approx(empty, abs=tolerance)
    np.testing.assert_allclose(fit.main, main, rtol=0, atol=tolerance)
    if fit.pairs is None:
        assert not pairs.any()
    else:
        np.testing.assert_allclose(fit.pairs, pairs, rtol=0, atol=tolerance)


ALL = [(i, j) for i in range(10) for j in range(i + 1, 10)]  # players 0 to 5 are patches, 6 to 9 tokens
ACROSS = [(i, j) for i, j in ALL if i < 6 <= j]


@pytest.fixture(params=range(5))
def case(request):
    """A random design with rows that repeat, random weights, and values of no structure at all."""
    rng = np.random.default_rng(request.param)
    z, y = rng.random((60, 6)) < 0.6, rng.random((40, 4)) < 0.4
    y[:16] = [[bool(row >> bit & 1) for bit in range(4)] for row in range(16)]
    return z, y, rng.random(60) + 0.1, rng.random(40) + 0.1, rng.normal(size=(60, 40))


def designs(case):
    z, y, u, w, _ = case
    return FactorDesign(z, u, "image"), FactorDesign(y, w, "text")


def test_the_closed_form_equals_the_dense_fit(case):
    assert_same(fit_product(*designs(case), ValueTable(case[4])), dense_product_fit(*case, ALL))


def test_moments_over_all_players_equal_the_dense_fit(case):
    assert_same(fit_selected(*designs(case), ValueTable(case[4]), np.arange(10)), dense_product_fit(*case, ALL))


@pytest.mark.parametrize("players", [[0, 2, 7], [1, 3], [6, 8, 9], [0, 1, 2, 3, 4, 5, 9]])
def test_moments_over_some_players_equal_the_dense_fit(case, players):
    pairs = [(i, j) for i, j in ALL if i in players and j in players]
    assert_same(fit_selected(*designs(case), ValueTable(case[4]), np.array(players)), dense_product_fit(*case, pairs))


def test_cross_pairs_alone_equal_the_dense_fit_and_the_cross_block_of_the_full_one(case):
    alone = fit_product(*designs(case), ValueTable(case[4]), pairs=(False, False))
    assert_same(alone, dense_product_fit(*case, ACROSS))
    full = fit_product(*designs(case), ValueTable(case[4]))
    np.testing.assert_allclose(alone.pairs[:6, 6:], full.pairs[:6, 6:], rtol=0, atol=1e-12)


def test_pairs_of_some_patches_beside_all_cross_pairs_equal_the_dense_fit(case):
    among = [(0, 2), (0, 5), (2, 5)]
    fit = fit_product(*designs(case), ValueTable(case[4]), pairs=(tuple(np.array(among).T), False))
    assert fit.notes["image_pairs"]
    assert_same(fit, dense_product_fit(*case, sorted(ACROSS + among)))


def test_the_decoupled_form_is_the_joint_solution_on_64_patches_and_10_tokens():
    image, text = sample_coalitions(64, 220, p=0.4, seed=1), sample_coalitions(10, 40, p=0.6, seed=2)
    values = np.random.default_rng(0).normal(size=(len(image), len(text)))
    sides = FactorDesign(image.kept, image.weights, "image"), FactorDesign(text.kept, text.weights, "text")
    fit = fit_product(*sides, ValueTable(values), pairs=(False, False))
    again = fit_product(*sides, ValueTable(values), pairs=(False, False))
    assert fit.empty == again.empty
    np.testing.assert_array_equal(fit.pairs, again.pairs)

    # All columns at once, 1, patches, tokens and their products: the normal equations of 8,800 rows and 715 unknowns.
    z = np.hstack([np.ones((len(image), 1)), image.kept])
    y = np.hstack([np.ones((len(text), 1)), text.kept])
    design, weights = np.kron(z, y), np.outer(image.weights, text.weights).ravel()
    joint = np.linalg.solve((design.T * weights) @ design, (design.T * weights) @ values.ravel()).reshape(65, 11)
    # The general form: Gram entries are products of the two sides' moments, and nothing has a row for each value.
    grams = [(columns.T * weights) @ columns for columns, weights in ((z, image.weights), (y, text.weights))]
    moments = (z.T * image.weights) @ values @ (text.weights[:, None] * y)
    alpha, beta = (index.ravel() for index in np.indices((65, 11)))
    general = np.linalg.solve(grams[0][np.ix_(alpha, alpha)] * grams[1][np.ix_(beta, beta)], moments[alpha, beta])
    for other in (joint, general.reshape(65, 11)):
        np.testing.assert_allclose(fit.pairs[:64, 64:], other[1:, 1:], rtol=0, atol=1e-8)
        np.testing.assert_allclose(fit.main, [*other[1:, 0], *other[0, 1:]], rtol=0, atol=1e-8)
        assert fit.empty == pytest.approx(other[0, 0], abs=1e-8)


def test_the_direct_first_order_fit_equals_the_dense_fit(case):
    assert_same(fit_product(*designs(case), ValueTable(case[4]), order=1), dense_product_fit(*case, []))


@pytest.mark.parametrize("order", [1, 2])
def test_embeddings_give_what_their_table_of_values_gives(case, order):
    rng = np.random.default_rng(9)
    images, texts = rng.normal(size=(60, 5)), rng.normal(size=(40, 5))
    written_out = fit_product(*designs(case), ValueTable(3 * images @ texts.T + 2), order=order)
    fit = fit_product(*designs(case), EmbeddingTable(images, texts, 3.0, 2.0), order=order)
    assert_same(fit, (written_out.empty, written_out.main, np.zeros((10, 10)) if order == 1 else written_out.pairs))
    if order == 2:
        selected = fit_selected(*designs(case), EmbeddingTable(images, texts, 3.0, 2.0), np.arange(10))
        assert_same(selected, (fit.empty, fit.main, fit.pairs))


def test_a_joint_fit_equals_the_dense_fit():
    rng = np.random.default_rng(0)
    rows, weights, values = rng.random((200, 10)) < 0.5, rng.random(200), rng.normal(size=200)
    for pairs in (ALL, ACROSS):
        index = tuple(np.array(pairs).T)
        assert_same(fit_joint(FactorDesign(rows, weights, "joint"), values, index), dense_fit(rows, weights, values, pairs))
    assert_same(fit_joint(FactorDesign(rows, weights, "joint"), values, None), dense_fit(rows, weights, values, []))


@pytest.mark.parametrize("budget", [120, 1024])
def test_an_efficient_fit_is_the_dense_fit_with_heavy_ends_and_exact_there(budget):
    rng = np.random.default_rng(1)
    design = sample_coalitions(10, budget, kernel="shapley", seed=2)
    values = rng.normal(size=len(design))
    for pairs in (ALL, []):
        fit = fit_efficient(design.kept, design.weights, values, tuple(np.array(pairs).T) if pairs else None)
        assert_same(fit, dense_fit(design.kept, design.weights, values, pairs), tolerance=1e-4)
        folded = 0 if fit.pairs is None else fit.pairs.sum() / 2
        assert fit.empty == values[0]
        assert fit.empty + fit.main.sum() + folded == pytest.approx(values[1], abs=1e-10)


def test_pairs_that_the_rows_do_not_identify_are_left_out_and_said_to_be():
    rng = np.random.default_rng(3)
    z, y = rng.random((40, 12)) < 0.5, rng.random((40, 4)) < 0.5
    z[20:] = z[:20]  # enough rows, but only 20 different ones for 79 coefficients
    z = np.vstack([z, z, z])
    values = rng.normal(size=(120, 40))
    fit = fit_product(FactorDesign(z, np.ones(120), "image"), FactorDesign(y, np.ones(40), "text"), ValueTable(values))
    assert not fit.notes["image_pairs"]
    assert not fit.pairs[:12, :12].any()
    pairs = [(i, j) for i in range(16) for j in range(i + 1, 16) if j >= 12]
    assert fit.notes["text_pairs"]
    assert_same(fit, dense_product_fit(z, y, np.ones(120), np.ones(40), values, pairs))


def test_players_that_cannot_be_told_apart_are_refused():
    rows = np.random.default_rng(4).random((50, 5)) < 0.5
    constant, twin = rows.copy(), rows.copy()
    constant[:, 2] = True
    twin[:, 3] = twin[:, 1]
    for design in (constant, twin, rows[:4]):
        with pytest.raises(InvalidInput, match="do not tell the 5 image players apart"):
            FactorDesign(design, np.ones(len(design)), "image")


def test_a_refusal_names_the_players_that_cause_it():
    rows = np.random.default_rng(4).random((50, 5)) < 0.5
    constant, twin, mirrored = rows.copy(), rows.copy(), rows.copy()
    constant[:, 2] = True
    twin[:, 3] = twin[:, 1]
    mirrored[:, 4] = ~mirrored[:, 0]
    for design, sentence in (
        (constant, "player 2 is kept in all of them or in none"),
        (twin, "players 1 and 3 always change together"),
        (mirrored, "players 0 and 4 always change together"),
        (np.eye(5, dtype=bool), "apart; a fit needs at least 6 different ones"),
    ):
        with pytest.raises(InvalidInput, match=sentence):
            FactorDesign(design, np.ones(len(design)), "image")
        assert coalition_condition(design, np.ones(len(design))) == np.inf


def test_selected_pairs_that_are_not_identified_are_refused():
    rng = np.random.default_rng(5)
    image = FactorDesign(rng.random((20, 10)) < 0.5, np.ones(20), "image")
    text = FactorDesign(rng.random((20, 3)) < 0.5, np.ones(20), "text")
    with pytest.raises(InvalidInput, match="do not identify 45 pairs of 10 players"):
        fit_selected(image, text, ValueTable(np.zeros((20, 20))), np.arange(10))


@pytest.mark.parametrize("weights", [[1.0, -1.0, 1.0, 1.0], [0.0] * 4, [1.0, np.nan, 1.0, 1.0]])
def test_impossible_weights_are_refused(weights):
    rows = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=bool)
    with pytest.raises(InvalidInput, match="weight"):
        FactorDesign(rows, np.array(weights), "image")


def test_conditioning_stays_low_for_unequal_inclusion():
    design = sample_coalitions(49, 4096, p=0.1)
    assert FactorDesign(design.kept, design.weights, "image").system.condition < 1e3


def test_the_condition_number_is_that_of_correlations_and_follows_the_law_of_random_designs():
    design = sample_coalitions(200, 1000, p=0.3, seed=3)
    columns = np.sqrt(design.weights)[:, None] * (design.kept - design.weights @ design.kept / design.weights.sum())
    known = np.linalg.cond(columns / np.linalg.norm(columns, axis=0)) ** 2
    side = FactorDesign(design.kept, design.weights, "image")
    assert side.condition == pytest.approx(known)
    assert coalition_condition(design.kept, design.weights) == pytest.approx(known)
    root = np.sqrt(200 / 1000)
    assert known == pytest.approx(((1 + root) / (1 - root)) ** 2, rel=0.15)
    assert condition_number(np.eye(3)) == 1.0
    everything = sample_coalitions(6, 64, p=0.2)
    assert coalition_condition(everything.kept, everything.weights) == pytest.approx(1.0)
