"""Intervals, tests and verdicts, against brute force and against simulations whose truth is known."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from reports import permutation
from reports.estimates import Estimate
from reports.single_runs import single_runs
from reports.statistics import (
    MARGIN,
    Sample,
    compare_each,
    compare_methods,
    corrected,
    drop,
    holm,
    judge,
    permutation_p,
    retention,
    score_block,
)

PAIR = {"a": 1.0, "b": -1.0}


def simulated(
    rng: np.random.Generator, people: int, seeds: int, seed_sd: float, shift: float = 0.0
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Hits of two methods on 4 captions a person; people, captions, seeds and runs vary (probit)."""
    person = np.repeat(np.arange(people), 4)
    ease = rng.normal(0, 0.6, people)[person] + rng.normal(0, 0.5, len(person))
    scores = {}
    for name, better in (("a", shift), ("b", 0.0)):
        taste = rng.normal(0, 0.5, people)[person]
        run = rng.normal(0, 0.4, (seeds, people))[:, person] + rng.normal(0, 0.8, (seeds, len(person)))
        luck = rng.normal(0, seed_sd, (seeds, 1))
        scores[name] = (0.5 + better + ease + taste + run + luck > 0).astype(float)
    return scores, person


def true_difference(seed_sd: float, shift: float) -> float:
    """The population's difference in hit rate: a probit's mean is a normal probability."""
    spread = np.sqrt(0.6**2 + 0.5**2 + 0.5**2 + 0.4**2 + 0.8**2 + seed_sd**2)
    return float(stats.norm.cdf((0.5 + shift) / spread) - stats.norm.cdf(0.5 / spread))


@pytest.mark.parametrize(
    ("seeds", "seed_sd", "most"),
    # With 2 seeds the interval errs on the wide side, which is why they are flagged.
    [(2, 0.05, 0.985), (3, 0.02, 0.97), (3, 0.05, 0.97), (3, 0.1, 0.97), (3, 0.2, 0.97), (5, 0.1, 0.97)],
)
def test_95_percent_intervals_cover_the_truth_in_93_to_97_of_100_studies(
    seeds: int, seed_sd: float, most: float
) -> None:
    rng = np.random.default_rng(11)
    truth, studies, covered = 100 * true_difference(seed_sd, 0.1), 600, 0
    for _ in range(studies):
        scores, person = simulated(rng, 100, seeds, seed_sd, shift=0.1)
        found = score_block(scores, person).contrast(PAIR)
        covered += found.low <= truth <= found.high
    assert 0.93 <= covered / studies <= most


def test_an_interval_that_takes_captions_for_independent_would_be_too_narrow() -> None:
    """What clustering by person buys: treating every caption as its own person understates the error."""
    scores, person = simulated(np.random.default_rng(5), 300, 3, 0.0)
    by_person = score_block(scores, person).contrast(PAIR)
    by_caption = score_block(scores, np.arange(len(person))).contrast(PAIR)
    assert by_caption.se < 0.85 * by_person.se


def test_without_seed_effects_the_standard_error_is_that_of_a_plain_loop_over_resampled_people() -> None:
    rng = np.random.default_rng(3)
    person = np.repeat(np.arange(40), rng.integers(1, 6, 40))
    one, other = rng.random((1, len(person))), rng.random((1, len(person)))
    found = score_block({"a": one, "b": other}, person).contrast(PAIR)
    differences = []
    for _ in range(4000):
        drawn = rng.integers(40, size=40)
        rows = np.concatenate([np.flatnonzero(person == who) for who in drawn])
        differences.append(one[0, rows].mean() - other[0, rows].mean())
    assert found.value == pytest.approx(100 * (one.mean() - other.mean()))
    assert found.se == pytest.approx(100 * float(np.std(differences)) * np.sqrt(40 / 39), rel=0.05)


def test_people_are_shared_by_all_methods_so_that_what_they_share_cancels() -> None:
    shared = np.random.default_rng(0).random((2, 200)) / 2
    block = score_block({"a": shared, "b": shared + 0.1}, np.arange(200))
    assert block.over_people(PAIR) < 0.5  # two pseudo-people alone
    assert block.over_people({"a": 1.0}) > 0.5


def test_seeds_that_differ_widen_the_interval_by_their_unbiased_variance() -> None:
    """Every query alike and no noise: the only uncertainty is the seeds', s² ÷ S for each method."""
    levels = {"a": np.array([0.2, 0.4, 0.6]), "b": np.array([0.1, 0.1, 0.4])}
    scores = {name: np.repeat(values[:, None], 50, axis=1) for name, values in levels.items()}
    found = score_block(scores, np.arange(50)).contrast(PAIR, scope="benchmark")
    expected = np.sqrt(sum(np.var(values, ddof=1) / 3 for values in levels.values()))
    assert found.se == pytest.approx(100 * float(expected))
    assert found.df == pytest.approx(4)


def test_what_a_seed_does_to_all_methods_alike_does_not_widen_a_difference() -> None:
    rng = np.random.default_rng(6)
    hits = {f"m{number}": rng.random((3, 300)) / 2 for number in range(4)}
    moved = {name: matrix + np.array([[0.0], [0.2], [0.4]]) for name, matrix in hits.items()}
    still, shifted = (score_block(one, np.arange(300)) for one in (hits, moved))
    difference = {"m1": 1.0, "m0": -1.0}
    assert shifted.contrast(difference).se == pytest.approx(still.contrast(difference).se)
    assert shifted.contrast({"m1": 1.0}).se > 5 * still.contrast({"m1": 1.0}).se


def test_the_same_seed_gives_the_same_digits_and_another_does_not() -> None:
    scores, person = simulated(np.random.default_rng(1), 60, 3, 0.1)
    first, again, other = (compare_methods(scores, person, reference="b", seed=seed)[0] for seed in (7, 7, 8))
    assert first == again
    assert first.estimate == other.estimate
    assert first.p_permutation != other.p_permutation


def test_the_permutation_test_agrees_with_the_enumeration_of_all_swaps() -> None:
    gains = np.array([0.5, -0.2, 0.9, 0.4, 0.1, 0.3, -0.1, 0.6])
    totals = [abs(float(np.dot(signs, gains))) for signs in product((-1, 1), repeat=len(gains))]
    exact = np.mean([total >= abs(gains.sum()) - 1e-12 for total in totals])
    found = permutation_p(np.column_stack([gains, -gains]), permutations=40_000, seed=2)
    assert found == pytest.approx([exact, exact], abs=0.005)


def test_a_permutation_p_value_is_never_zero() -> None:
    assert permutation_p(np.full((500, 1), 1.0), permutations=99)[0] == pytest.approx(0.01)


def test_holm_is_the_step_down_rule_spelt_out() -> None:
    values = [0.04, 0.001, 0.03, 0.2]
    # Sorted: 0.001×4, 0.03×3, 0.04×2 (raised to the one before), 0.2×1 (likewise none).
    assert holm(values) == pytest.approx([0.09, 0.004, 0.09, 0.2])
    assert holm([]) == []
    assert max(holm([0.9, 0.8])) == 1.0


def of(value: float, half: float, seeds: int = 3) -> Estimate:
    return Estimate(value, value - half, value + half, half / 2, 100.0, seeds)


@pytest.mark.parametrize(
    ("estimate", "p", "verdict"),
    [
        (of(3.0, 1.5), 0.001, "better"),
        (of(-3.0, 1.5), 0.001, "worse"),
        (of(0.1, 0.6), 0.7, "tied"),
        (of(0.5, 0.4), 0.01, "tied"),
        (of(0.1, 2.0), 0.9, "cannot tell"),
        (of(3.0, 1.5), 0.08, "cannot tell"),
        (of(9.0, 0.5, seeds=1), 1e-6, "cannot tell"),
        (of(9.0, float("nan")), 1e-6, "cannot tell"),
    ],
)
def test_a_verdict_needs_significance_or_an_interval_within_the_margin(
    estimate: Estimate, p: float, verdict: str
) -> None:
    assert judge(estimate, p, estimate.p_within(MARGIN)) == verdict


@pytest.mark.parametrize("level", [0.05, 0.02])
def test_both_kinds_of_verdict_are_given_at_the_level_that_was_asked_for(level: float) -> None:
    for p, found in ((level * 0.9, ("worse", "tied")), (level * 1.1, ("cannot tell", "cannot tell"))):
        assert judge(of(-3.0, 1.5), p, 1.0, alpha=level) == found[0]
        assert judge(of(0.1, 0.6), 1.0, p, alpha=level) == found[1]


@pytest.mark.parametrize(("people", "verdict"), [(80, "cannot tell"), (20_000, "tied")])
def test_equal_methods_have_p_one_and_are_tied_where_enough_people_say_so(people: int, verdict: str) -> None:
    scores, person = simulated(np.random.default_rng(2), people, 3, 0.0)
    block = score_block({"a": scores["a"], "b": scores["a"]}, person)
    (found,) = corrected(compare_each(block, [("a", "b")]))
    assert (found.p_holm, found.estimate.value) == (1.0, 0)
    assert found.verdict == verdict


def test_the_larger_of_the_two_tests_counts() -> None:
    """One lucky seed: people by people the difference is plain, with seeds it is not."""
    rng = np.random.default_rng(9)
    person = np.repeat(np.arange(300), 4)
    base = rng.random((3, 1200)) < 0.5
    lucky = base.copy()
    lucky[1] |= rng.random(1200) < 0.25
    found = compare_methods({"a": lucky, "b": base}, person, reference="b")[0]
    assert found.p_permutation < 0.01 < 0.05 < found.p
    assert found.verdict == "cannot tell"


def test_an_untrained_method_needs_no_seeds() -> None:
    scores, person = simulated(np.random.default_rng(2), 200, 3, 0.0, shift=1.5)
    pair = {"a": scores["a"], "fixed": scores["b"][:1]}
    once = {**pair, "fixed": np.concatenate([pair["fixed"], np.full((2, len(person)), np.nan)])}
    plain = compare_methods(once, person, reference="fixed")[0]
    known = compare_methods(pair, person, reference="fixed", untrained=frozenset({"fixed"}))[0]
    assert (plain.verdict, known.verdict) == ("cannot tell", "better")
    assert plain.few_seeds
    assert not known.few_seeds


def test_a_contrast_is_the_weighted_sum_of_means() -> None:
    rng = np.random.default_rng(0)
    scores = {name: rng.random((3, 40)) for name in "abcd"}
    block = score_block(scores, np.repeat(np.arange(10), 4))
    weights = {"a": 0.5, "b": 0.5, "c": -0.5, "d": -0.5}
    expected = 100 * sum(weight * scores[name].mean() for name, weight in weights.items())
    assert block.contrast(weights).value == pytest.approx(expected)


def test_scores_that_do_not_fit_the_people_are_refused() -> None:
    with pytest.raises(ValueError, match="queries"):
        score_block({"a": np.ones((3, 5))}, np.arange(4))


def test_drop_and_retention_cover_the_truth_when_seeds_move_both_places() -> None:
    rng, covered, studies = np.random.default_rng(4), np.zeros(2), 400
    for _ in range(studies):
        luck = rng.normal(0, 0.02, (3, 1))
        home = Sample(
            (0.6 + luck + rng.normal(0, 0.3, 60)[None] + rng.normal(0, 0.1, (3, 60))), np.arange(60)
        )
        away = Sample(
            (0.3 + luck + rng.normal(0, 0.3, 80)[None] + rng.normal(0, 0.1, (3, 80))), np.arange(80)
        )
        lost, kept = drop(home, away), retention(home, away)
        covered += [lost.low <= 0.3 <= lost.high, kept.low <= 0.5 <= kept.high]
    assert (covered / studies >= 0.92).all()
    assert (covered / studies <= 0.98).all()


def constant(*per_seed: float) -> Sample:
    """Runs in which every query of every person has the same score, so that seeds alone vary."""
    return Sample(np.repeat(np.array([per_seed]).T, 10, axis=1), np.arange(10))


def test_where_people_are_alike_the_error_of_a_drop_is_the_unbiased_one_of_the_runs_drops() -> None:
    found = drop(constant(0.5, 0.6, 0.8), constant(0.2, 0.2, 0.1))
    assert found.se == pytest.approx(np.std([0.3, 0.4, 0.7], ddof=1) / np.sqrt(3))
    assert found.df == pytest.approx(2)


@pytest.mark.parametrize("away", [(0.3, 0.25, 0.36), (0.36, 0.31, 0.28)])
def test_retentions_bounds_are_the_shares_whose_difference_is_just_significant(
    away: tuple[float, ...],
) -> None:
    home = np.array([0.58, 0.61, 0.64])
    found = retention(constant(*home), constant(*away))
    for share in (found.low, found.high):
        left = np.array(away) - share * home
        error = left.std(ddof=1) / np.sqrt(3)
        assert abs(left.mean()) == pytest.approx(stats.t.isf(0.025, 2) * error)
    unexplained = np.array(away) - found.value * home
    assert found.se == pytest.approx(unexplained.std(ddof=1) / np.sqrt(3) / home.mean())


@pytest.mark.parametrize("share", [0.1, 0.34, 0.5, 0.77, 1.0])
def test_where_every_run_keeps_exactly_the_same_share_it_is_known_and_no_rounding_makes_it_unknown(
    share: float,
) -> None:
    home = np.array([0.58, 0.61, 0.64, 0.6, 0.63])
    found = retention(constant(*home), constant(*(share * home)))
    assert (found.value, found.low, found.high) == pytest.approx((share, share, share))
    assert found.low <= found.value <= found.high
    rng = np.random.default_rng(1)
    people = rng.random((3, 200))
    found = retention(Sample(people, np.arange(200)), Sample(share * people, np.arange(200)))
    assert 0 < found.low < share < found.high


def test_retention_is_known_wherever_home_is_clearly_above_zero_and_never_below_zero() -> None:
    rng = np.random.default_rng(2)
    for _ in range(300):
        seeds, people = int(rng.integers(2, 6)), int(rng.integers(20, 60))
        luck, person = rng.normal(0, 0.03, (2, seeds, 1)), np.arange(people)
        of_home = np.clip(0.7 + luck[0] + rng.normal(0, 0.02, (seeds, people)), 0, 1)
        of_away = np.clip(rng.uniform(0, 0.05) + luck[1] + rng.normal(0, 0.02, (seeds, people)), 0, 1)
        found = retention(Sample(of_home, person), Sample(of_away, person))
        if seeds > 2:
            assert np.isfinite(found.low)
        assert np.isnan(found.low) or 0 <= found.low <= found.value <= found.high


def test_a_test_set_where_all_are_found_says_less_of_new_people_than_that_none_will_be_lost() -> None:
    home, away = (Sample(np.ones((3, 40)), np.arange(40)) for _ in range(2))
    assert drop(home, away).low < 0 < drop(home, away).high
    assert retention(home, away).low < 1


@pytest.mark.parametrize("seed", range(20))
def test_every_interval_of_a_percentage_lies_within_0_and_100_and_every_difference_within_100(
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    people, seeds = int(rng.integers(2, 6)), int(rng.integers(1, 4))
    scores = {name: (rng.random((seeds, 2 * people)) < rng.random()).astype(float) for name in "abcd"}
    block = score_block(scores, np.repeat(np.arange(people), 2))
    for scope in ("people", "benchmark"):
        mean = block.contrast({"a": 1.0}, scope=scope)
        step = block.contrast({"a": 1.0, "b": -1.0}, scope=scope)
        effect = block.contrast({"a": 0.5, "b": 0.5, "c": -0.5, "d": -0.5}, scope=scope)
        for item, least in ((mean, 0.0), (step, -100.0), (effect, -100.0)):
            for low, high in ((item.low, item.high), *(item.interval(alpha) for alpha in (0.001, 0.1))):
                assert np.isnan(low) or least <= low <= item.value <= high <= 100.0
            scaled = item.scaled(0.01)
            assert np.isnan(scaled.low) or scaled.interval(0.001)[1] <= 1.0
        runs = single_runs(step, block.contrast({"a": 1.0, "b": -1.0}, scope="benchmark"))
        assert np.isnan(runs.low) or -100.0 <= runs.low <= runs.high <= 100.0


def test_bounds_change_neither_an_interval_inside_them_nor_any_p() -> None:
    bounded, free = (
        Estimate.of(99.0, 4.0, 5.0, 3, bounds=bounds) for bounds in ((0.0, 100.0), (-np.inf, np.inf))
    )
    assert (bounded.low, bounded.high) == (free.low, 100.0)
    assert (bounded.se, bounded.df, bounded.p) == (free.se, free.df, free.p)


def test_a_difference_of_the_whole_margin_is_not_within_it_even_where_nothing_varies() -> None:
    def certain(value: float) -> Estimate:
        return Estimate(value, value, value, 0.0, 1.0, 3)

    assert [certain(value).p_within(1.0) for value in (0.99, 1.0, -1.0, 1.01)] == [0.0, 1.0, 1.0, 1.0]


def test_memory_stays_bounded_when_there_are_many_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """Permutations come in chunks, and the chunk size changes nothing but the order of the draws."""
    gains = np.random.default_rng(1).normal(0.1, 1.0, (90, 2))
    whole = permutation_p(gains, permutations=3000)
    monkeypatch.setattr(permutation, "_CHUNK", 90 * 7)
    assert permutation_p(gains, permutations=3000) == pytest.approx(whole, abs=0.04)


# -- bad input: a ValueError that says what is wrong, or no verdict -----------------------------------

PERSON = np.repeat(np.arange(20), 4)


def hits(seeds: int = 3, queries: int = 80, draw: int = 0, level: float = 0.6) -> np.ndarray:
    """Random hits `[seeds, queries]`."""
    return (np.random.default_rng(draw).random((seeds, queries)) < level).astype(float)


def spoiled(value: float) -> np.ndarray:
    """Hits of which one is replaced."""
    scores = hits(draw=1)
    scores[1, 3] = value
    return scores


def gaps(*rows: np.ndarray | None) -> np.ndarray:
    """Runs of 80 queries; None is a missing one."""
    return np.stack([np.full(80, np.nan) if row is None else row for row in rows])


@pytest.mark.parametrize(
    ("scores", "person", "options", "says"),
    [
        ({"a": hits(), "b": hits(queries=79)}, PERSON, {}, "b: scores must be .* with 80 queries"),
        ({"a": hits()[0], "b": hits()}, PERSON, {}, "a: scores must be"),
        ({"a": hits(seeds=2), "b": hits()}, PERSON, {}, "need the same seeds"),
        ({"a": spoiled(np.nan), "b": hits()}, PERSON, {}, "a: NaN in part of a run"),
        ({"a": spoiled(1.5), "b": hits()}, PERSON, {}, "a: scores must lie between 0 and 1"),
        ({"a": spoiled(np.inf), "b": hits()}, PERSON, {}, "a: scores must lie between 0 and 1"),
        ({"a": np.full((3, 80), "hit"), "b": hits()}, PERSON, {}, "a: scores must be numbers"),
        ({"a": [[1.0], [1.0, 0.0]], "b": hits()}, PERSON, {}, "a: scores must be numbers"),
        ({"a": hits()}, PERSON, {}, "reference 'b' has no scores"),
        ({"a": hits(), "b": hits()}, PERSON, {"untrained": frozenset({"c"})}, "without scores: c"),
        ({"a": hits(), "b": hits()}, PERSON, {"untrained": frozenset({"a"})}, "exactly one row"),
        ({"a": hits(), "b": hits()}, PERSON[:0], {}, "whole numbers"),
        ({"a": hits(), "b": hits()}, PERSON.astype(float), {}, "whole numbers"),
        ({"a": hits(), "b": hits()}, PERSON, {"margin": 0.0}, "margin must be above 0"),
        ({"a": hits(), "b": hits()}, PERSON, {"alpha": 1.0}, "alpha between 0 and 1"),
    ],
)
def test_scores_that_make_no_sense_are_refused_with_what_is_wrong(
    scores: dict[str, np.ndarray], person: np.ndarray, options: dict[str, object], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        compare_methods(scores, person, reference="b", **options)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("error")
def test_methods_of_which_none_trains_are_compared_without_any_seed() -> None:
    scores = {"a": hits(1, level=0.9), "b": hits(1, level=0.2), "c": hits(1, level=0.2, draw=1)}
    found = compare_methods(scores, PERSON, reference="b", untrained=frozenset("abc"))
    assert [one.verdict for one in found] == ["better", "cannot tell"]
    assert all(one.df == len(np.unique(PERSON)) - 1 for one in found)


HIGH, LOW = hits(1, level=0.9), hits(1, level=0.2)


@pytest.mark.parametrize(
    ("one", "other", "person", "says"),
    [
        (hits(level=0.9), hits(level=0.2), PERSON * 0, "single person"),
        (np.ones((3, 1)), np.zeros((3, 1)), PERSON[:1], "single person"),
        (HIGH, LOW, PERSON, "single seed"),
        (hits() * 0 + 1, hits() * 0 + 1, PERSON, "every query is a hit, or none is"),
        (hits() * 0, hits() * 0, PERSON, "every query is a hit, or none is"),
        (hits() * 0 + 1, hits() * 0, PERSON, "every query is a hit, or none is"),
        (hits() * np.nan, hits(), PERSON, "no seed that all of its methods ran with"),
        (gaps(HIGH[0], HIGH[0], None), gaps(None, None, LOW[0]), PERSON, "no seed that all"),
        (gaps(HIGH[0], None, None), hits(level=0.2), PERSON, "single seed"),
    ],
)
def test_scores_that_can_carry_no_verdict_get_none_and_say_why(
    one: np.ndarray, other: np.ndarray, person: np.ndarray, says: str
) -> None:
    (found,) = compare_methods({"a": one, "b": other}, person, reference="b")
    assert found.verdict == "cannot tell"
    assert (found.p, found.p_holm, found.p_tost) == (1.0, 1.0, 1.0)
    assert says in found.note


def test_twenty_people_who_nearly_all_agree_are_not_called_tied() -> None:
    one, other = np.ones((3, 20)), np.ones((3, 20))
    one[0, 0] = 0.0
    (found,) = compare_methods({"a": one, "b": other}, np.arange(20), reference="b")
    assert found.verdict == "cannot tell"
    assert found.low < -1.0
    assert found.high > 1.0


def test_a_method_whose_seeds_vary_far_more_is_named_and_judged_by_its_own_seeds() -> None:
    rng = np.random.default_rng(0)
    scores = {f"m{number}": 0.4 + 0.2 * rng.random((5, 300)) for number in range(5)}
    scores["wild"] = scores["m1"] + np.array([[-0.2], [0.2], [-0.1], [0.1], [0.0]])
    found = {one.one: one for one in compare_methods(scores, np.arange(300), reference="m0")}
    own = np.var(100 * scores["wild"].mean(axis=1), ddof=1) / 5
    assert "wild" in found["wild"].note
    assert found["wild"].se > 0.95 * np.sqrt(own)
    assert not found["m1"].note


def test_a_missing_run_leaves_the_comparison_to_the_seeds_both_methods_have() -> None:
    scores = {name: hits(3, 400, draw) for draw, name in enumerate("abc")}
    scores["a"][1] = np.nan
    found = {one.one: one for one in compare_methods(scores, np.repeat(np.arange(100), 4), reference="b")}
    expected = 100 * (scores["a"][[0, 2]].mean() - scores["b"][[0, 2]].mean())
    assert found["a"].value == pytest.approx(expected)
    assert (found["a"].estimate.seeds, found["c"].estimate.seeds) == (2, 3)
