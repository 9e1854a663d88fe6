"""Claims on simulated studies: what is true is reproduced, what is not is not; how many seeds it needs."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pytest
from scipy import stats
from simulated_studies import Regime, study

from reports.claim_rules import ClaimTest, chance_of_reproducing, judge_claim, seeds_needed
from reports.estimates import Estimate
from reports.power import Components, beside_untrained
from reports.score_block import ScoreBlock, score_block
from reports.single_runs import single_runs

SIZE, SEEDS, STUDIES = 1.62, 10, 400
# No lasting tastes for people: the planted difference is then the one on this very test set.
BENCHMARK = Regime(person=0.0, run=0.43, seed=0.85, people=60)


@cache
def estimates(truth: float, methods: int = 2) -> list[tuple[Estimate, Estimate]]:
    """Of every study the difference on this benchmark and for new people, where m1 is better by `truth`."""
    found = []
    for number in range(STUDIES):
        gains = np.zeros(methods)
        gains[1] = truth
        scores = study(BENCHMARK, gains, SEEDS, np.random.default_rng([5, number]))
        block = score_block(scores, np.arange(BENCHMARK.people))
        pair = {"m1": 1.0, "m0": -1.0}
        found.append((block.contrast(pair, scope="benchmark"), block.contrast(pair)))
    return found


def shares(truth: float, size: float | None, methods: int = 2) -> dict[str, float]:
    """How often each judgement is made on this benchmark."""
    made = Counter(judge_claim(here, size, 1.0)[0] for here, _ in estimates(truth, methods))
    return {judgement: count / STUDIES for judgement, count in made.items()}


@pytest.mark.parametrize("methods", [2, 6])
def test_a_true_claim_of_1_62_points_is_reproduced_with_ten_seeds_in_two_thirds_of_studies(
    methods: int,
) -> None:
    found = shares(SIZE, SIZE, methods)
    assert found["reproduced"] >= 2 / 3
    assert found.get("not reproduced", 0) <= 0.05


@pytest.mark.parametrize("size", [SIZE, 0.5, None])
def test_a_claim_of_a_difference_where_there_is_none_is_reproduced_in_at_most_5_of_100_studies(
    size: float | None,
) -> None:
    found = shares(0.0, size)
    assert found.get("reproduced", 0) + found.get("real but smaller than the margin", 0) <= 0.05


def test_a_claim_of_1_62_points_is_reproduced_in_at_most_7_of_100_studies_where_the_truth_is_0_62() -> None:
    assert 0.02 <= shares(SIZE - 1.0, SIZE)["reproduced"] <= 0.07


def test_a_real_difference_of_half_a_point_is_seldom_called_not_reproduced() -> None:
    found = shares(0.5, None)
    assert found.get("not reproduced", 0) <= 0.07
    assert found["reproduced"] + found.get("real but smaller than the margin", 0) >= 0.1


def test_a_published_size_that_is_the_difference_of_two_single_runs_is_contradicted_in_5_of_100_studies() -> (
    None
):
    """Both the published pair and ours are drawn from the same truth."""
    rng, wrong = np.random.default_rng(3), 0
    for here, _ in estimates(SIZE):
        published = SIZE + rng.normal(0, np.sqrt(2) * np.hypot(0.85, 0.43))
        wrong += judge_claim(here, published, 1.0)[0] == "not reproduced"
    assert 0.02 <= wrong / STUDIES <= 0.08


def test_one_more_pair_of_single_runs_lies_in_its_interval_in_95_of_100_studies() -> None:
    rng, inside = np.random.default_rng(4), 0
    for here, _ in estimates(SIZE):
        inside += single_runs(here, here).holds(SIZE + rng.normal(0, np.sqrt(2) * np.hypot(0.85, 0.43)))
    assert 0.92 <= inside / STUDIES <= 0.98


def test_a_pair_of_runs_on_new_people_varies_more_than_one_on_this_benchmark() -> None:
    here = Estimate(0.0, -1.0, 1.0, 0.4, 18.0, SEEDS)
    people = Estimate(0.0, -2.0, 2.0, 0.6, 30.0, SEEDS)
    on_benchmark, for_people = single_runs(here, here), single_runs(people, here)
    assert on_benchmark.high == pytest.approx(2.1009 * 0.4 * np.sqrt(11), rel=1e-4)
    assert for_people.high == pytest.approx(2.1009 * np.sqrt(0.6**2 + 10 * 0.4**2), rel=1e-4)


def test_the_corrected_p_decides_a_direction_and_a_size_within_the_margin() -> None:
    one = Estimate(0.5, 0.1, 0.9, 0.2, 100.0, 10)
    for size in (None, 0.5):
        assert judge_claim(one, size, 1.0, p=0.02)[0] != "underpowered"
        assert judge_claim(one, size, 1.0, p=0.08)[0] == "underpowered"


def judged_from_means(methods: int, seeds: int, test: ClaimTest, studies: int = 2000) -> tuple[float, float]:
    """How often a true claim comes out as reproduced, and a claim's pooled t-test alone would find it.

    Runs of m0 and m1 differ by the claim and by seeds with a standard deviation of 0.85.
    """
    rng, truth = np.random.default_rng(6), test.margin if test.size is None else test.size
    names, nobody = tuple(f"m{number}" for number in range(methods)), np.zeros((methods, seeds, 2))
    reproduced = pooled = 0
    for _ in range(studies):
        means = 50 + rng.normal(0, 0.85, (methods, seeds))
        means[1] += truth
        block = ScoreBlock(names, (), np.ones(2), means, nobody, np.zeros(0), np.zeros((0, 2)))
        here = block.contrast({"m1": 1.0, "m0": -1.0}, scope="benchmark")
        runs = single_runs(here, here, test.alpha / test.sized)
        p = min(1.0, here.p * test.directions)
        judgement = judge_claim(here, test.size, test.margin, p=p, runs=runs, alpha=test.alpha)[0]
        reproduced += judgement in ("reproduced", "real but smaller than the margin")
        part = block.variances.pooled(np.array([-1.0, 1.0, *[0.0] * (methods - 2)]), seeds)
        assert part is not None
        alone = Estimate.of(here.value, part.variance, part.df, seeds)
        pooled += alone.value > 0 and alone.p * test.directions < test.alpha
    return reproduced / studies, pooled / studies


@pytest.mark.parametrize("methods", [2, 3, 6])
@pytest.mark.parametrize("test", [ClaimTest(SIZE, 1.0), ClaimTest(None, 1.0, 3), ClaimTest(0.9, 1.0, 2, 4)])
def test_the_seeds_that_check_asks_for_reproduce_a_true_claim_in_80_of_100_simulated_studies(
    methods: int, test: ClaimTest
) -> None:
    parts = Components(person=0.0, run=0.0, seed=2 * 0.85**2, methods=methods)
    needed = seeds_needed(parts, 100, test)
    assert needed is not None
    chances = [chance_of_reproducing(parts, seeds, 100, test) for seeds in (needed - 1, needed)]
    assert chances[0] < 0.8 <= chances[1]
    found, _ = judged_from_means(methods, needed, test)
    assert found == pytest.approx(chances[1], abs=0.025)
    assert found >= 0.78


@pytest.mark.parametrize("margin", [1.0, 2.0])
@pytest.mark.parametrize("methods", [2, 6])
def test_a_claim_beside_an_untrained_method_needs_fewer_seeds_and_is_reproduced_with_those(
    methods: int, margin: float
) -> None:
    pair, test = Components(0.0, 0.0, 2 * 0.85**2, methods), ClaimTest(None, margin)
    needed = seeds_needed(beside_untrained(pair), 100, test)
    of_a_pair = seeds_needed(pair, 100, test)
    assert needed is not None
    assert of_a_pair is not None
    assert needed < of_a_pair
    rng, reproduced = np.random.default_rng(8), 0
    names, nobody = tuple(f"m{number}" for number in range(methods)), np.zeros((methods, needed, 2))
    for _ in range(1000):
        means = 50 + margin + rng.normal(0, 0.85, (methods, needed))
        block = ScoreBlock(names, ("still",), np.ones(2), means, nobody, np.array([50.0]), np.zeros((1, 2)))
        here = block.contrast({"m1": 1.0, "still": -1.0}, scope="benchmark")
        judgement = judge_claim(here, None, margin)[0]
        reproduced += judgement in ("reproduced", "real but smaller than the margin")
    assert reproduced / 1000 >= 0.78


@pytest.mark.parametrize("seeds", [2, 3, 4, 10])
def test_the_chance_that_check_computes_counts_that_the_widest_of_several_intervals_is_kept(
    seeds: int,
) -> None:
    test = ClaimTest(None, 2.0, 2)
    found, pooled = judged_from_means(6, seeds, test)
    chance = chance_of_reproducing(Components(0.0, 0.0, 2 * 0.85**2, 6), seeds, 100, test)
    assert chance == pytest.approx(found, abs=0.025)
    assert found <= pooled


@pytest.mark.parametrize(("size", "tests"), [(SIZE, 1), (0.9, 1), (None, 12)])
def test_more_people_make_no_claim_about_this_benchmark_need_fewer_seeds_than_runs_do(
    size: float | None, tests: int
) -> None:
    """Noise of single people averages out over them; what seeds differ by beyond it does not."""
    parts = Components(person=300.0, run=370.0, seed=2 * 0.85**2, methods=6)
    needed = [seeds_needed(parts, people, ClaimTest(size, 1.0, tests)) or 0 for people in (1000, 100_000)]
    assert needed[0] >= needed[1] > 2


def test_a_direction_among_twelve_claims_is_found_at_a_twelfth_of_the_level_and_needs_more_seeds() -> None:
    parts = Components(person=300.0, run=370.0, seed=2 * 0.85**2, methods=6)
    se, df = parts.standard_error(8, 1000, "benchmark")
    for tests in (1, 12):
        bound, spread = stats.t.isf(0.025 / tests, df), np.random.default_rng(0)
        draws = (1.0 + se * spread.normal(size=100_000)) / (se * np.sqrt(spread.chisquare(df, 100_000) / df))
        by_the_pooled_variance = (draws > bound).mean()
        chance = chance_of_reproducing(parts, 8, 1000, ClaimTest(None, 1.0, tests))
        assert by_the_pooled_variance - 0.08 < chance < by_the_pooled_variance
    alone, among = (seeds_needed(parts, 1000, ClaimTest(None, 1.0, tests)) or 0 for tests in (1, 12))
    assert alone < among


def test_with_planned_looks_a_claim_needs_more_seeds() -> None:
    parts = Components(person=300.0, run=370.0, seed=2 * 0.85**2, methods=6)
    once, at_each_look = (
        seeds_needed(parts, 1000, ClaimTest(SIZE, 1.0, alpha=level)) or 0 for level in (0.05, 0.0221)
    )
    assert once < at_each_look


@pytest.mark.parametrize("methods", [2, 6])
def test_the_chance_that_check_computes_is_that_of_simulated_studies(methods: int) -> None:
    parts = Components(0.0, BENCHMARK.people * 2 * 0.43**2, 2 * 0.85**2, methods)
    expected = chance_of_reproducing(parts, SEEDS, BENCHMARK.people, ClaimTest(SIZE, 1.0))
    assert shares(SIZE, SIZE, methods)["reproduced"] == pytest.approx(expected, abs=0.06)
