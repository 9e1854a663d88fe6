"""Studies whose truth is known, drawn from a model with people, seeds and single runs as random effects.

`make simulations` prints, at full size, every figure that the docstring of `reports.statistics` quotes: 2,000
studies a setting, so that a rate of 5 % has a standard error of 0.5. Tests call the same functions at a
moderate size.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reports.claim_rules import ClaimTest, judge_claim, seeds_needed
from reports.estimates import t_bound
from reports.looks import planned_level
from reports.power import Components
from reports.statistics import Comparison, Floats, compare_each, corrected, score_block


@dataclass(frozen=True)
class Regime:
    """What varies in a study, in points.

    `person`: standard error of a difference by lasting tastes of methods for people; `run`: standard
    deviation of a run's mean by noise on single people; `seed`: that between seeds, of which the share
    `common` is the same for all methods; `people`: test people, one caption each. `spread` multiplies the
    seed deviation of the last method.
    """

    person: float
    run: float
    seed: float
    people: int = 250
    common: float = 0.0
    spread: float = 1.0


@dataclass(frozen=True)
class Rates:
    """What happened over many studies, in percent (half-width: median, in points)."""

    coverage: float
    worst_coverage: float
    """Of the comparison that is covered least."""
    any_false: float
    any_tied: float
    any_found: float
    half_width: float


def study(
    regime: Regime, gains: Floats, seeds: int, rng: np.random.Generator, untrained: bool = False
) -> dict[str, Floats]:
    """Scores `[seeds, people]` in fractions of methods m0, m1, …, whose true means differ by `gains`.

    With `untrained` the last method has one row and no noise of runs.
    """
    methods, people = len(gains), regime.people
    root = np.sqrt(people)
    common = rng.normal(0, np.sqrt(regime.common), seeds)
    own = rng.normal(0, np.sqrt(1 - regime.common), (methods, seeds))
    own[-1] *= regime.spread
    luck = regime.seed * (common + own)
    taste = rng.normal(0, regime.person / np.sqrt(2) * root, (methods, 1, people))
    noise = rng.normal(0, regime.run * root, (methods, seeds, people))
    points = 50 + gains[:, None, None] + rng.normal(0, 20, people) + luck[:, :, None] + taste + noise
    scores = {f"m{number}": points[number] / 100 for number in range(methods)}
    if untrained:
        scores[f"m{methods - 1}"] = (50 + gains[-1] + taste[-1]) / 100
    return scores


def judged(
    regime: Regime,
    gains: Floats,
    seeds: int,
    studies: int,
    *,
    untrained: bool = False,
    permutations: int = 199,
    draw: int = 0,
) -> Iterator[list[Comparison]]:
    """The comparisons with m0 of every study; `gains [methods]` are true means, those of m0 first."""
    person = np.arange(regime.people)
    names = [f"m{number}" for number in range(len(gains))]
    still = frozenset(names[-1:]) if untrained else frozenset()
    for number in range(studies):
        rng = np.random.default_rng([draw, number])
        block = score_block(study(regime, gains, seeds, rng, untrained), person, still)
        pairs = [(name, "m0") for name in names[1:]]
        yield corrected(compare_each(block, pairs, permutations=permutations, seed=number))


def rates(
    regime: Regime, gains: Floats, seeds: int, studies: int, *, untrained: bool = False, draw: int = 0
) -> Rates:
    """Coverage and error rates; a difference of exactly 0 is the null hypothesis, one of 1 the margin."""
    truth = gains[1:] - gains[0]
    covered, widths = [], []
    false = tied = found = 0
    for items in judged(regime, gains, seeds, studies, untrained=untrained, draw=draw):
        covered.append([one.low <= true <= one.high for one, true in zip(items, truth, strict=True)])
        widths.append([(one.high - one.low) / 2 for one in items])
        significant = [one.p_holm < 0.05 for one in items]
        false += any(is_so for is_so, true in zip(significant, truth, strict=True) if true == 0)
        found += any(is_so for is_so, true in zip(significant, truth, strict=True) if true != 0)
        tied += any(one.verdict == "tied" for one, true in zip(items, truth, strict=True) if abs(true) >= 1)
    each = 100 * np.mean(covered, axis=0)
    share = 100 / studies
    return Rates(
        float(each.mean()),
        float(each.min()),
        share * false,
        share * tied,
        share * found,
        float(np.median(widths)),
    )


def any_false_over_looks(
    regime: Regime, looks: Sequence[int], levels: Sequence[float], studies: int, *, draw: int = 0
) -> list[float]:
    """How often any look at a growing study finds any difference where there is none, in percent by level.

    Six methods, five of them compared with the first; the seeds of a look begin with those of the last one.
    """
    person, gains = np.arange(regime.people), np.zeros(6)
    pairs = [(f"m{number}", "m0") for number in range(1, 6)]
    smallest = np.ones(studies)
    for number in range(studies):
        scores = study(regime, gains, looks[-1], np.random.default_rng([draw, number]))
        for seeds in looks:
            block = score_block({name: matrix[:seeds] for name, matrix in scores.items()}, person)
            found = corrected(compare_each(block, pairs, permutations=1999, seed=number))
            smallest[number] = min(smallest[number], *(item.p_holm for item in found))
    return [100 * float((smallest < level).mean()) for level in levels]


DEMO = Regime(0.2, 0.78, 0.4)
BENCHMARK = Regime(0.61, 0.43, 0.85)
SEEDS_DOMINATE = Regime(0.3, 0.2, 2.0)
NOISE_ALONE = Regime(0.0, 1.2, 0.0)
"""Runs vary by noise on single people and by nothing else."""
NULL = np.zeros(6)
AT_THE_MARGIN = np.array([0.0, *[1.0] * 5])
"""Five methods exactly one margin better than the first."""


def components(regime: Regime, methods: int = 6) -> Components:
    """The variances of a regime as `reports.power` counts them."""
    return Components(
        regime.people * regime.person**2,
        2 * regime.people * regime.run**2,
        2 * regime.seed**2 * (1 - regime.common),
        methods,
    )


def power_at_the_detectable_difference(regime: Regime, seeds: int, studies: int, methods: int = 6) -> float:
    """How often a difference as large as the detectable one is found, in percent."""
    gains = np.zeros(methods)
    gains[1] = components(regime, methods).detectable(seeds, regime.people)
    found = sum(items[0].p < 0.05 for items in judged(regime, gains, seeds, studies))
    return 100 * found / studies


def half_width_with_independent_seeds(scores: dict[str, Floats]) -> float:
    """Half-width of m1 − m0 as an estimator gives it that takes the seeds of methods for independent.

    What this project used before: every method's own variance between seeds less the noise of single
    people, with Satterthwaite's degrees of freedom.
    """
    one, other = 100 * scores["m1"], 100 * scores["m0"]
    seeds, people = one.shape
    variance = np.var((one - other).mean(axis=0), ddof=1) / people
    doubt = variance**2 / (people - 1)
    for runs in (one, other):
        of_seeds = np.var(runs.mean(axis=1), ddof=1) / seeds
        left = runs - runs.mean(axis=0) - runs.mean(axis=1, keepdims=True) + runs.mean()
        noise = np.square(left).sum() / ((seeds - 1) * (people - 1) * people * seeds)
        if of_seeds > noise:
            variance += of_seeds - noise
            doubt += (of_seeds**2 + noise**2 / (people - 1)) / (seeds - 1)
    return float(np.sqrt(variance)) * t_bound(0.025, max(1.0, float(variance**2 / doubt)))


def median_half_width_with_independent_seeds(regime: Regime, seeds: int, studies: int) -> float:
    """Its median over the studies that `rates` draws for the same regime."""
    drawn = (study(regime, NULL, seeds, np.random.default_rng([0, number])) for number in range(studies))
    return float(np.median([half_width_with_independent_seeds(scores) for scores in drawn]))


def claims(truth: float, size: float, seeds: int, studies: int, methods: int = 6) -> Counter[str]:
    """Judgements on this benchmark of a claim of `size` points, in percent."""
    regime, gains = replace(BENCHMARK, person=0.0, people=100), np.zeros(methods)
    gains[1] = truth
    counts = Counter[str]()
    for number in range(studies):
        scores = study(regime, gains, seeds, np.random.default_rng([5, number]))
        block = score_block(scores, np.arange(regime.people))
        here = block.contrast({"m1": 1.0, "m0": -1.0}, scope="benchmark")
        counts[judge_claim(here, size, 1.0)[0]] += 1
    return Counter({judgement: 100 * count / studies for judgement, count in counts.items()})


def print_intervals(studies: int) -> None:
    """Coverage, false differences and widths where nothing differs."""
    named = {"demo": DEMO, "benchmark": BENCHMARK, "seeds dominate": SEEDS_DOMINATE}
    settings = [(name, common, seeds) for name in named for common in (0.0, 0.6, 0.9) for seeds in (2, 3, 5)]
    print(f"{studies} studies a setting, six methods, five comparisons with the first; percent", flush=True)
    for name, common, seeds in settings:
        regime = replace(named[name], common=common)
        null = rates(regime, NULL, seeds, studies)
        old = median_half_width_with_independent_seeds(regime, seeds, studies)
        print(
            f"{name}, common {common:g}, {seeds} seeds: covered {null.coverage:.1f}, any false difference "
            f"{null.any_false:.1f}, half-width {null.half_width:.2f}, relative to independent seeds "
            f"{null.half_width / old:.2f}",
            flush=True,
        )


def print_decisions(studies: int) -> None:
    """False *tied*, power, unequal seed variances and looks."""
    for seeds in (2, 3, 5):
        for common in (0.0, 0.6):
            regime = replace(DEMO, common=common, seed=0.2, run=0.3)
            tied = rates(regime, AT_THE_MARGIN, seeds, studies).any_tied
            power = power_at_the_detectable_difference(replace(BENCHMARK, common=common), seeds, studies)
            print(
                f"common {common:g}, {seeds} seeds: any false tied {tied:.1f}; power at the detectable "
                f"difference {power:.1f}",
                flush=True,
            )
        wild = rates(replace(BENCHMARK, spread=2.0), NULL, seeds, studies)
        print(
            f"one method with twice the seed deviation, {seeds} seeds: covered {wild.coverage:.1f}, that "
            f"method {wild.worst_coverage:.1f}, any false difference {wild.any_false:.1f}",
            flush=True,
        )
    for methods in (2, 3):
        for regime in (BENCHMARK, NOISE_ALONE):
            power = power_at_the_detectable_difference(regime, 3, studies, methods)
            print(f"{methods} methods, 3 seeds: power at the detectable difference {power:.1f}", flush=True)
    for common in (0.0, 0.6):
        planned, full = any_false_over_looks(
            replace(BENCHMARK, common=common, people=100), (3, 5, 10), (planned_level(3), 0.05), studies
        )
        print(
            f"looks at 3, 5 and 10 seeds, common {common:g}: any false difference {planned:.1f} at "
            f"{planned_level(3):.4f} each, {full:.1f} at 0.05 each",
            flush=True,
        )


def print_claims(studies: int) -> None:
    """Whether the seeds that a true claim needs reproduce it, and judgements with ten seeds."""
    for methods in (2, 3, 6):
        parts = replace(components(BENCHMARK, methods), person=0.0)
        needed = seeds_needed(parts, BENCHMARK.people, ClaimTest(1.62, 1.0)) or 0
        found = claims(1.62, 1.62, needed, studies, methods)["reproduced"]
        print(
            f"claim of 1.62, {methods} methods: needs {needed} seeds, reproduced in {found:.1f}", flush=True
        )
    for methods in (2, 6):
        for truth in (1.62, 0.62, 0.0):
            made = claims(truth, 1.62, 10, studies, methods)
            shares = ", ".join(f"{judgement} {share:.1f}" for judgement, share in made.most_common())
            print(f"claim of 1.62, truth {truth:g}, ten seeds, {methods} methods: {shares}", flush=True)


if __name__ == "__main__":
    number_of_studies = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print_intervals(number_of_studies)
    print_decisions(number_of_studies)
    print_claims(number_of_studies)
