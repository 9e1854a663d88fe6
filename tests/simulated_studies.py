"""Studies whose truth is known, drawn from a model with people, seeds and single runs as random effects."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from reports.statistics import Comparison, Floats, compare, score_block


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
        yield compare(block, [(name, "m0") for name in names[1:]], permutations=permutations, seed=number)


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
            found = compare(block, pairs, permutations=199, seed=number)
            smallest[number] = min(smallest[number], *(item.p_holm for item in found))
    return [100 * float((smallest < level).mean()) for level in levels]
