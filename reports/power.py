"""Which difference could be seen.

Before a study runs from stated assumptions, afterwards from what it measured.

The detectable difference is the true difference in R1 that a comparison of two methods would call significant
in 80 % of studies, with the standard errors and degrees of freedom that `reports.statistics` would have: by
draws, because the widest of several intervals is kept (`reports.power_draws`); by the noncentral
t-distribution where runs do not vary. Corrected for m comparisons, α is divided by m (Bonferroni), the
strictest step of Holm's rule.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from reports.comparison import ComparisonGroup
from reports.estimates import SeedVariance
from reports.formatting import number, plural
from reports.power_draws import KeptIntervals, detectable_by_draws, kept_intervals
from reports.statistics import ALPHA, Scope
from reports.variance_components import FEW_DF

POWER = 0.8


@dataclass(frozen=True)
class Assumptions:
    """What a study is expected to vary by while nothing has been measured; see `sentence`.

    `seed`: standard deviation between seeds of one method, in points of R1. Users of this family of methods
    report a spread of about 2 points (`published.yaml`, notes); five draws span 2.3 standard deviations on
    average, hence 0.85.
    `disagreement`: the share of captions that two runs of different methods do not agree on at rank 1, half
    of it lasting differences of the methods, half noise of single runs. Nobody published it; a guess.
    `people`: how alike captions of a person are in that (intraclass correlation). A guess likewise.
    """

    seed: float = 0.85
    disagreement: float = 0.20
    people: float = 0.25

    @property
    def sentence(self) -> str:
        """The assumptions and where they come from."""
        return (
            f"seeds differ by {self.seed:g} points of R1 (standard deviation, from the spread of about 2 "
            f"points that users of such methods report); two runs disagree on {100 * self.disagreement:g} % "
            f"of captions, whose intraclass correlation within a person is {self.people:g} (both guessed)"
        )


@dataclass(frozen=True)
class Design:
    """The size of a study: test captions, the people they belong to, seeds per method, trained methods."""

    queries: int
    people: int
    seeds: int
    methods: int = 2


@dataclass(frozen=True)
class Components:
    """Variances behind a difference of two methods among `methods`, in squared points of R1.

    `person`: of one person's lasting part in the difference; `run`: of the noise of single runs on one
    person; `seed`: of what a single seed does to the difference beyond that noise.
    """

    person: float
    run: float
    seed: float
    methods: int = 2

    def standard_error(self, seeds: int, people: int, scope: Scope = "people") -> tuple[float, float]:
        """Standard error of the difference in points of R1 with so many of both, and its degrees of freedom.

        The degrees of freedom are those that `reports.statistics` would have.
        """
        df = (self.methods - 1) * (seeds - 1)
        df = df if df >= FEW_DF else max(1, self.methods * (seeds - 1))
        of_runs, noise = (self.seed + self.run / people) / seeds, self.run / people / seeds
        part = SeedVariance(of_runs, noise, of_runs**2 / df)
        if scope == "benchmark":
            return float(np.sqrt(part.variance)), part.df
        variance, both = part.with_people((self.person + self.run / seeds) / people, max(people - 1, 1))
        return float(np.sqrt(variance)), both

    def kept_intervals(self, seeds: int, people: int, scope: Scope = "people") -> KeptIntervals | None:
        """Draws of the interval of the difference, the widest of several; None where runs do not vary."""
        runs, noise = (self.seed + self.run / people) / seeds, self.run / people / seeds
        if not runs > 0 or seeds < 2:
            return None
        if scope == "benchmark":
            return kept_intervals(self.methods, seeds, runs=runs)
        return kept_intervals(
            self.methods,
            seeds,
            runs=runs,
            people=(self.person + self.run / seeds) / people,
            noise=noise,
            people_df=max(people - 1, 1),
        )

    def detectable(self, seeds: int, people: int, alpha: float = ALPHA, scope: Scope = "people") -> float:
        """Detectable difference with so many seeds and people: what the widest interval kept still finds."""
        return _detectable(self, seeds, people, alpha, scope)


@cache
def _detectable(parts: Components, seeds: int, people: int, alpha: float, scope: Scope) -> float:
    kept = parts.kept_intervals(seeds, people, scope)
    if kept is None:
        return detectable_difference(*parts.standard_error(seeds, people, scope), alpha)
    return detectable_by_draws(kept, alpha, POWER)


def detectable_difference(se: float, df: float, alpha: float = ALPHA, power: float = POWER) -> float:
    """The smallest true difference found with probability `power`, in the unit of `se`.

    Its t-value has a noncentral t-distribution, because the standard error is estimated with `df`
    degrees of freedom.
    """
    if not se > 0:
        return 0.0
    from scipy import optimize, special  # not `stats`, which takes longer to import than reports to compute

    critical = -float(special.stdtrit(df, alpha / 2))

    def excess(shift: float) -> float:
        return 1.0 - float(special.nctdtr(df, shift, critical)) - power

    return se * float(optimize.brentq(excess, 0.0, 3 * critical + 10))


def assumed(design: Design, by: Assumptions = Assumptions()) -> Components:
    """The variances that the assumptions amount to on a test set.

    Captions of a person count as fewer: design effect 1 + (captions per person − 1) · intraclass correlation.
    """
    captions = design.queries / design.people
    half = 1e4 * by.disagreement / 2 * (1 + (captions - 1) * by.people) / captions
    return Components(half, half, 2 * by.seed**2, design.methods)


def plan(
    design: Design, comparisons: int = 1, by: Assumptions = Assumptions(), alpha: float = ALPHA
) -> float | None:
    """Detectable difference in points of R1 before anything was measured (what `check` prints).

    `comparisons` are corrected for. None with a single seed, which allows no verdict.
    """
    if design.seeds < 2:
        return None
    return assumed(design, by).detectable(design.seeds, design.people, alpha / comparisons)


def detectable(
    group: ComparisonGroup,
    seeds: int | None = None,
    people: int | None = None,
    comparisons: int = 1,
    methods: int | None = None,
) -> float | None:
    """Detectable difference to the reference from measured variances: the median over its comparisons.

    `seeds`, `people` and trained `methods` ask for another design than the study's own, `comparisons` for a
    correction. None when no two methods have two seeds.
    """
    alpha = group.options.verdict_level / comparisons
    asked = [
        (replace(parts, methods=methods or parts.methods), seeds or own, people or group.people)
        for own, parts in measured(group)
    ]
    # The size rises with the standard error, so only the middle ones need be computed.
    ordered = sorted(asked, key=lambda design: design[0].standard_error(design[1], design[2])[0])
    middle = ordered[(len(ordered) - 1) // 2 : len(ordered) // 2 + 1]
    sizes = [parts.detectable(number_of_seeds, tested, alpha) for parts, number_of_seeds, tested in middle]
    return float(np.mean(sizes)) if sizes else None


def sentence(alone: float, corrected: float, count: int, where: str = "") -> str:
    """What a study can find, in the words that `check`, the summary and the page share."""
    among = f" ({number(corrected)} when corrected for {plural(count, 'comparison')})" if count > 1 else ""
    on = f" on {where}" if where else ""
    return (
        f"This study finds a true difference of {number(alone)} points of R1{among}{on} four times out of "
        "five."
    )


def measured(group: ComparisonGroup) -> list[tuple[int, Components]]:
    """Seeds and variances of every comparison with the reference that has seeds to tell them by."""
    block, reference = group.blocks["R1"], group.reference
    measurements = []
    if reference not in block.trained or group.people < 2:
        return []
    for method in block.trained:
        weights = {method: 1.0, reference: -1.0}
        seeds = block.shared_seeds(weights)
        single = block.variances.pooled(block.vector(weights), 1)
        if method == reference or seeds < 2 or single is None:
            continue
        run, whole = group.people * single.noise, group.people * block.over_people(weights)
        seed = max(0.0, single.variance - single.noise)
        measurements.append((seeds, Components(max(0.0, whole - run / seeds), run, seed, len(block.trained))))
    return measurements


def beside_untrained(parts: Components) -> Components:
    """The variances of a difference to a method that does not train: of the two runs one alone varies."""
    return replace(parts, run=parts.run / 2, seed=parts.seed / 2)


def measured_beside_untrained(group: ComparisonGroup) -> list[Components]:
    """Variances of the difference of every trained method to every untrained one, where seeds tell them."""
    block = group.blocks["R1"]
    measurements = []
    for method in block.trained:
        single = block.variances.pooled(block.vector({method: 1.0}), 1)
        seeds = block.shared_seeds({method: 1.0})
        if seeds < 2 or single is None or group.people < 2:
            continue
        run, seed = group.people * single.noise, max(0.0, single.variance - single.noise)
        for other in block.untrained:
            whole = group.people * block.over_people({method: 1.0, other: -1.0})
            measurements.append(Components(max(0.0, whole - run / seeds), run, seed, len(block.trained)))
    return measurements


def comparisons(group: ComparisonGroup) -> int:
    """How many comparisons of R1 with the reference are corrected together: those of every dataset."""
    return max(1, group.family_size("R1"))
