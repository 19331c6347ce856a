from collections.abc import Callable, Mapping
from itertools import combinations
from time import process_time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmark.errors import InvalidInput
from benchmark.explanations import Players
from benchmark.metrics.perturbation import (
    KeepSets,
    chance_scores,
    curve_area,
    curve_scores,
    first_order_sets,
    greedy_chain,
    greedy_sets,
    interleave,
    keep_sets,
    normalised_curve,
    random_keep_sets,
    removal_orders,
)

Golden = Callable[[str], Mapping[str, np.ndarray]]
Game = Callable[[np.ndarray], np.ndarray]
GREEDY = [greedy_sets, greedy_chain]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def additive(weights: np.ndarray) -> Game:
    return lambda kept: kept @ weights


def saturating(weights: np.ndarray) -> Game:
    return lambda kept: 1 - np.exp(-6 * kept @ weights)


def random_pairs(n: int, rng: np.random.Generator) -> np.ndarray:
    pairs = np.triu(rng.standard_normal((n, n)), 1)
    return pairs + pairs.T


def area(sets: KeepSets, game: Game) -> float:
    mif, lif = sets.curves(game(sets.coalitions))
    return curve_scores(mif, lif, variant="joint", chance=0.0)["area_joint"].value


# Orders and sets


def test_players_leave_by_descending_signed_score(rng: np.random.Generator) -> None:
    assert removal_orders(np.array([0.1, -5.0, 2.0]), rng).tolist() == [[2, 0, 1]]


def test_ties_come_as_permutations_and_their_reverses(rng: np.random.Generator) -> None:
    orders = removal_orders(np.array([0.0, 7.0, 0.0, 0.0, -1.0]), rng)
    assert orders.shape == (6, 5)
    assert (orders[:, 0] == 1).all()
    assert (orders[:, 4] == 4).all()
    assert (orders[::2, 1:4] == orders[1::2, 3:0:-1]).all()


def test_the_same_seed_breaks_ties_the_same_way() -> None:
    first, second, other = (removal_orders(np.zeros(20), np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert (first == second).all()
    assert (first != other).any()


def test_one_player_leaves_at_a_time(rng: np.random.Generator) -> None:
    sets = first_order_sets(np.array([0.5, 3.0, 1.0]), rng)
    assert sets.mif[0].astype(int).tolist() == [[1, 1, 1], [1, 0, 1], [1, 0, 0], [0, 0, 0]]
    assert sets.lif[0].astype(int).tolist() == [[1, 1, 1], [0, 1, 1], [0, 1, 0], [0, 0, 0]]
    assert not sets.degenerate


def test_the_last_kept_of_one_direction_are_the_first_removed_of_the_other(rng: np.random.Generator) -> None:
    sets = first_order_sets(np.array([1.0, 1.0, 0.0, 2.0, 0.0, 0.0]), rng)
    assert (sets.mif == ~sets.lif[:, ::-1]).all()
    assert sets.tie_fraction == pytest.approx(5 / 6)


def test_values_return_to_the_curves_they_belong_to(rng: np.random.Generator) -> None:
    sets = first_order_sets(np.array([1.0, 1.0, 0.0]), rng)
    codes = np.array([1.0, 2.0, 4.0])
    mif, lif = sets.curves(sets.coalitions @ codes)
    assert (mif == sets.mif @ codes).all()
    assert (lif == sets.lif @ codes).all()


@given(scores=arrays(np.float64, st.integers(2, 8), elements=st.floats(-10, 10)), power=st.integers(-20, 20))
def test_positive_scaling_leaves_the_sets_alone(scores: np.ndarray, power: int) -> None:
    scores = scores.round(3)
    plain, scaled = (first_order_sets(s, np.random.default_rng(0)) for s in (scores, scores * 2.0**power))
    assert (plain.mif == scaled.mif).all()
    assert plain.degenerate == scaled.degenerate


def test_interleaving_spends_both_sides_at_the_same_rate(rng: np.random.Generator) -> None:
    joint = interleave(rng.standard_normal(40), 1000 * rng.standard_normal(8))
    order = removal_orders(joint, rng)[0]
    for share in (0.25, 0.5, 0.75):
        first = order[: round(48 * share)]
        assert abs((first >= 40).sum() - 8 * share) <= 1
        assert abs((first < 40).sum() - 40 * share) <= 1


def test_interleaving_keeps_ties_and_two_constant_sides_order_nothing(rng: np.random.Generator) -> None:
    assert interleave(np.array([1.0, 0.0, 0.0]), np.array([4.0])).tolist() == pytest.approx([5 / 6, 1 / 3, 1 / 3, 0.5])
    assert first_order_sets(interleave(np.zeros(5), np.full(3, 9.0)), rng).degenerate


# Areas


def test_the_area_of_a_flat_curve_is_its_height() -> None:
    assert curve_area(np.full((2, 5), 0.3)) == pytest.approx([0.3, 0.3])


def test_the_area_is_by_trapezoids() -> None:
    assert curve_area(np.array([1.0, 0.2, 0.6])) == pytest.approx((0.6 + 0.4) / 2)


def test_every_score_by_hand(rng: np.random.Generator) -> None:
    sets = first_order_sets(np.array([3.0, 1.0, 2.0]), rng)
    mif, lif = sets.curves(additive(np.array([0.5, 0.1, 0.2]))(sets.coalitions))
    scores = curve_scores(mif, lif, variant="image", chance=0.4, flags={"tie_fraction": 0.0})
    insertion, deletion = (0.4 + 0.7 + 0.5) / 3, (0.4 + 0.3 + 0.1) / 3
    assert scores["insertion_image"].value == pytest.approx(insertion)
    assert scores["deletion_image"].value == pytest.approx(deletion)
    assert scores["area_image"].value == pytest.approx(insertion - deletion)
    assert [scores[f"{name}_image"].chance for name in ("insertion", "deletion", "area")] == [0.4, 0.4, 0.0]
    flags = scores["area_image"].flags
    assert flags["range"] == pytest.approx(0.8)
    assert flags["normalised"] == pytest.approx((insertion - deletion) / 0.8)
    assert (flags["small_range"], flags["winsorised"], flags["orders"], flags["tie_fraction"]) == (0, 0, 1, 0)


def test_the_oracle_order_is_best_on_every_curve_and_its_opposite_worst(rng: np.random.Generator) -> None:
    weights = rng.random(6) / 6
    game = saturating(weights)

    def values(scores: np.ndarray) -> np.ndarray:
        sets = first_order_sets(scores, rng)
        return np.array(
            [score.value for score in curve_scores(*sets.curves(game(sets.coalitions)), variant="text", chance=0.0).values()]
        )

    best, worst = values(weights), values(-weights)
    others = np.array([values(rng.standard_normal(6)) for _ in range(100)])
    assert (best[[0, 2]] >= others[:, [0, 2]] - 1e-12).all()
    assert (best[1] <= others[:, 1] + 1e-12).all()
    assert worst[2] == pytest.approx(-best[2])


@pytest.mark.parametrize("build", [additive, saturating])
def test_random_maps_have_no_area_and_the_chance_areas(build: Callable[[np.ndarray], Game], rng: np.random.Generator) -> None:
    game = build(rng.exponential(size=12) / 12)
    found = []
    for _ in range(1000):
        sets = first_order_sets(rng.standard_normal(12), rng)
        found.append(
            [score.value for score in curve_scores(*sets.curves(game(sets.coalitions)), variant="image", chance=0.0).values()]
        )
    found = np.array(found)
    chance = curve_area(game(random_keep_sets(12, rng, permutations=500)))
    error = 4 * found.std(axis=0) / np.sqrt(len(found))
    assert abs(found[:, 2].mean()) < error[2]
    assert abs(found[:, 0].mean() - chance.mean()) < error[0] + 4 * chance.std() / np.sqrt(500)
    assert abs(found[:, 1].mean() - chance.mean()) < error[1] + 4 * chance.std() / np.sqrt(500)


def test_a_constant_map_has_an_area_of_exactly_zero_even_if_it_is_evaluated(rng: np.random.Generator) -> None:
    game = saturating(rng.exponential(size=49) / 49)
    for _ in range(20):
        sets = first_order_sets(np.full(49, 0.7), rng)
        assert sets.degenerate
        assert area(sets, game) == 0


def test_ties_of_a_sparse_map_do_not_leave_as_one_block(rng: np.random.Generator) -> None:
    """The table of protocols.md 1.8: under thresholding a saturating game gives this map -0.005, random ties 0.188."""
    areas = []
    for _ in range(100):
        weights = rng.exponential(size=49)
        weights /= weights.sum()
        scores = np.where(weights >= np.sort(weights)[-8], weights, 0)
        sets = first_order_sets(scores, rng)
        areas.append(area(sets, saturating(weights)) / (1 - np.exp(-6)))
    assert np.mean(areas) == pytest.approx(0.188, abs=0.02)


def test_a_map_that_orders_nothing_scores_chance() -> None:
    scores = chance_scores(variant="joint", chance=0.21, flags={"joint_scale": 0.0})
    assert {name: score.value for name, score in scores.items()} == {
        "insertion_joint": 0.21,
        "deletion_joint": 0.21,
        "area_joint": 0.0,
    }
    assert all(score.degenerate and score.value == score.chance for score in scores.values())


def test_a_single_player_can_be_scored_and_has_no_area(rng: np.random.Generator) -> None:
    sets = first_order_sets(np.array([4.0]), rng)
    assert sets.degenerate
    assert sets.coalitions.tolist() == [[True], [False], [True], [False]]
    assert area(sets, additive(np.array([0.5]))) == 0


def test_no_player_has_no_curve(rng: np.random.Generator) -> None:
    with pytest.raises(InvalidInput, match="empty"):
        first_order_sets(np.array([]), rng)
    with pytest.raises(InvalidInput, match="one point"):
        curve_area(np.array([[0.3]]))


def test_a_curve_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InvalidInput, match="LIF curve must be finite"):
        curve_scores(np.zeros((1, 3)), np.array([[0.0, np.nan, 1.0]]), variant="text", chance=0.0)


def test_normalising_ends_at_one_and_zero() -> None:
    scaled, winsorised = normalised_curve(np.array([[0.9, 0.4, 0.1]]))
    assert scaled == pytest.approx(np.array([[1, 0.375, 0]]))
    assert winsorised == 0


@pytest.mark.parametrize("full", [0.1001, 0.05])
def test_a_small_or_negative_range_neither_explodes_nor_flips_the_sign(full: float) -> None:
    mif, lif = np.array([[full, -0.3, 0.1]]), np.array([[full, 0.5, 0.1]])
    flags = curve_scores(mif, lif, variant="image", chance=0.0)["area_image"].flags
    assert flags["small_range"] == 1
    assert flags["normalised"] == pytest.approx((2 - -1) / 2)
    assert flags["winsorised"] >= 1 / 3


# Greedy sets


def subset_value(main: np.ndarray, pairs: np.ndarray, members: tuple[int, ...]) -> float:
    index = np.array(members)
    return float(main[index].sum() + pairs[np.ix_(index, index)].sum() / 2)


def test_greedy_sets_without_pairs_are_sorting(rng: np.random.Generator) -> None:
    main = rng.standard_normal(20)
    first = first_order_sets(main, rng)
    for greedy in GREEDY:
        sets = greedy(main, np.zeros((20, 20)))
        assert (sets.mif == first.mif).all()
        assert (sets.lif == first.lif).all()


def reference_greedy(main: np.ndarray, pairs: np.ndarray, sign: int) -> list[set[int]]:
    """The published search written plainly, one start and one look-up at a time; sets by size, from 1."""
    n = len(main)
    best: list[tuple[float, set[int]]] = [(-np.inf, set()) for _ in range(n)]
    for start in range(n):
        members = {start}
        for size in range(1, n + 1):
            value = sign * subset_value(main, pairs, tuple(sorted(members)))
            if value > best[size - 1][0] + 1e-12:
                best[size - 1] = (value, set(members))
            rest = [v for v in range(n) if v not in members]
            if rest:
                members.add(max(rest, key=lambda v: sign * (main[v] + sum(pairs[u, v] for u in members))))
    return [members for _, members in best]


def test_greedy_sets_agree_with_the_search_written_plainly(rng: np.random.Generator) -> None:
    for _ in range(5):
        main, pairs = rng.standard_normal(9), random_pairs(9, rng)
        sets = greedy_sets(main, pairs)
        for rows, sign in ((sets.lif[0], 1), (sets.mif[0], -1)):
            assert [set(np.flatnonzero(row)) for row in rows[-2::-1]] == reference_greedy(main, pairs, sign)


def test_greedy_sets_are_near_the_best_subsets_and_never_beat_them(rng: np.random.Generator) -> None:
    main, pairs = rng.standard_normal(8), random_pairs(8, rng)
    found = Players(main, pairs).predict(greedy_sets(main, pairs).lif[0])
    best = [max(subset_value(main, pairs, s) for s in combinations(range(8), size)) for size in range(8, 0, -1)]
    assert (found[:-1] <= np.array(best) + 1e-12).all()
    assert found[:-1].sum() > 0.95 * np.sum(best)


@pytest.mark.parametrize("greedy", GREEDY)
def test_greedy_sets_have_every_size_once(greedy: Callable[..., KeepSets], rng: np.random.Generator) -> None:
    sets = greedy(rng.standard_normal(15), random_pairs(15, rng), rng)
    for rows in (sets.mif, sets.lif):
        assert rows.sum(axis=2).tolist() == [list(range(15, -1, -1))]


def test_a_chain_is_nested_and_no_better_than_the_sets(rng: np.random.Generator) -> None:
    main, pairs = rng.standard_normal(15), random_pairs(15, rng)
    chain, free = greedy_chain(main, pairs), greedy_sets(main, pairs)
    assert (chain.lif[0, 1:] <= chain.lif[0, :-1]).all()
    assert (chain.mif[0, 1:] <= chain.mif[0, :-1]).all()
    players = Players(main, pairs)
    assert (players.predict(chain.lif[0]) <= players.predict(free.lif[0]) + 1e-12).all()
    assert (players.predict(chain.mif[0]) >= players.predict(free.mif[0]) - 1e-12).all()


def test_the_pairs_of_a_quadratic_game_give_a_larger_area_than_its_first_order(rng: np.random.Generator) -> None:
    players = Players(rng.standard_normal(12), random_pairs(12, rng))
    assert players.pairs is not None
    greedy, first = greedy_sets(players.main, players.pairs), first_order_sets(players.first_order(), rng)
    assert area(greedy, players.predict) > area(first, players.predict) > 0


@pytest.mark.parametrize("greedy", GREEDY)
def test_a_surrogate_that_orders_nothing_has_no_area(greedy: Callable[..., KeepSets], rng: np.random.Generator) -> None:
    pairs = 0.25 * (1 - np.eye(10))
    sets = greedy(np.full(10, 0.5), pairs, rng)
    assert sets.degenerate
    assert area(sets, saturating(rng.random(10) / 10)) == 0
    assert not greedy(np.full(10, 0.5), random_pairs(10, rng), rng).degenerate


@pytest.mark.parametrize("greedy", GREEDY)
def test_a_single_player_is_a_greedy_set(greedy: Callable[..., KeepSets]) -> None:
    sets = greedy(np.array([2.0]), np.zeros((1, 1)))
    assert sets.degenerate
    assert sets.mif.tolist() == sets.lif.tolist() == [[[True], [False]]]


def test_equal_gains_fall_at_random_with_a_generator_and_by_index_without() -> None:
    main, pairs = np.zeros(6), np.zeros((6, 6))
    assert greedy_sets(main, pairs).lif[0, -2].tolist() == [True] + [False] * 5
    firsts = {int(greedy_sets(main, pairs, np.random.default_rng(s)).lif[0, -2].argmax()) for s in range(50)}
    assert firsts == set(range(6))


@given(seed=st.integers(0, 1000), power=st.integers(-10, 10))
def test_positive_scaling_leaves_greedy_sets_alone(seed: int, power: int) -> None:
    rng = np.random.default_rng(seed)
    main, pairs = rng.standard_normal(7), random_pairs(7, rng)
    plain, scaled = greedy_sets(main, pairs), greedy_sets(main * 2.0**power, pairs * 2.0**power)
    assert (plain.mif == scaled.mif).all()
    assert (plain.lif == scaled.lif).all()


@pytest.mark.parametrize("pairs", [np.triu(np.ones((3, 3)), 1), np.ones((3, 3))], ids=["one triangle", "diagonal"])
def test_pairs_that_are_not_symmetric_with_an_empty_diagonal_are_refused(pairs: np.ndarray) -> None:
    with pytest.raises(InvalidInput, match="symmetric with a zero diagonal"):
        greedy_sets(np.ones(3), pairs)


def test_round_off_between_the_triangles_of_pairs_is_forgiven(rng: np.random.Generator) -> None:
    main, pairs = rng.standard_normal(9), random_pairs(9, rng)
    assert (greedy_sets(main, pairs + 1e-9 * np.triu(pairs, 1)).lif == greedy_sets(main, pairs).lif).all()


def test_212_players_are_searched_in_a_fifth_of_a_second(rng: np.random.Generator) -> None:
    main, pairs = rng.standard_normal(212), random_pairs(212, rng)
    started = process_time()
    greedy_sets(main, pairs)
    assert process_time() - started < 0.2


def test_inputs_stay_unchanged(rng: np.random.Generator) -> None:
    main, pairs = rng.standard_normal(5), random_pairs(5, rng)
    main.flags.writeable = pairs.flags.writeable = False
    greedy_sets(main, pairs)
    greedy_chain(main, pairs)
    first_order_sets(main, rng)


# Recorded outputs


def recorded_players(recorded: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    upper = recorded["fixlip_p0.5_pairs"]
    return recorded["fixlip_p0.5_main"], upper + upper.T


def test_the_recorded_greedy_sets_are_reproduced(golden: Golden) -> None:
    recorded = golden("clip_small_seed1")
    sets = greedy_sets(*recorded_players(recorded))
    assert (sets.mif[0, :-1] == recorded["greedy_mif"]).all()
    assert (sets.lif[0, :-1] == recorded["greedy_lif"]).all()


@pytest.mark.parametrize("kind", ["greedy", "first_order"])
def test_the_recorded_areas_are_reproduced_from_the_recorded_curves(golden: Golden, kind: str) -> None:
    """The recorded area is the plain mean over the 44 points: 43/44 of the trapezoid, as both curves share their ends."""
    recorded = golden("clip_small_seed1")
    mif, lif = (recorded[f"{kind}_{direction}_curve"][None].astype(float) for direction in ("mif", "lif"))
    score = curve_scores(mif, lif, variant="joint", chance=0.0, minimum_range=1.0)["area_joint"]
    raw, normalised = recorded[f"aid_{kind}"]
    assert score.value * 43 / 44 == pytest.approx(raw, abs=1e-5)
    assert score.value * 43 / 44 / score.flags["range"] == pytest.approx(normalised, abs=1e-5)
    assert score.flags["small_range"] == 1


@pytest.mark.parametrize("kind", ["greedy", "first_order"])
def test_the_recorded_curves_are_reproduced_with_the_golden_model(golden: Golden, rng: np.random.Generator, kind: str) -> None:
    from tests.metrics.golden_game import golden_logits

    recorded = golden("clip_small_seed1")
    main, pairs = recorded_players(recorded)
    sets = greedy_sets(main, pairs) if kind == "greedy" else first_order_sets(recorded["fixlip_p0.5_first_order"], rng)
    mif, lif = sets.curves(golden_logits(sets.coalitions))
    assert mif[0] == pytest.approx(recorded[f"{kind}_mif_curve"], abs=1e-4 * np.abs(mif).max() + 1e-6)
    assert lif[0] == pytest.approx(recorded[f"{kind}_lif_curve"], abs=1e-4 * np.abs(lif).max() + 1e-6)


def test_keep_sets_of_a_written_down_order() -> None:
    assert keep_sets(np.array([[2, 0, 1]])).astype(int).tolist() == [[[1, 1, 1], [1, 1, 0], [0, 1, 0], [0, 0, 0]]]
