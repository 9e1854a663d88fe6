"""Which difference could be seen: before a study runs from stated assumptions, afterwards from what it
measured.

The detectable difference is the true difference in R1 that a comparison of two methods would call significant
in 80 % of studies: (t(1 − α/2) + t(0.8)) · SE with Satterthwaite's degrees of freedom, the same standard
error as in :mod:`reports.statistics`. Corrected for m comparisons, α is divided by m (Bonferroni), the
strictest step of Holm's rule.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from reports.comparison import METRICS, ComparisonGroup
from reports.statistics import ALPHA

POWER = 0.8


@dataclass(frozen=True)
class Assumptions:
    """What a study is expected to vary by while nothing has been measured; see :attr:`sentence`.

    ``seed``: standard deviation between seeds of one method, in points of R1. Users of this family of methods
    report a spread of about 2 points (``published.yaml``, notes); five draws span 2.3 standard deviations on
    average, hence 0.85.
    ``disagreement``: the share of captions that two runs of different methods do not agree on at rank 1, half
    of it lasting differences of the methods, half noise of single runs. Nobody published it; a guess.
    ``people``: how alike captions of a person are in that (intraclass correlation). A guess likewise.
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
    """The size of a comparison: test captions, the people they belong to, seeds per method."""

    queries: int
    people: int
    seeds: int


@dataclass(frozen=True)
class Components:
    """Variances behind a difference of two methods, in squared points of R1.

    ``person``: of one person's lasting part in the difference; ``run``: of the noise of single runs on one
    person; ``luck``: of each method's single seeds.
    """

    person: float
    run: float
    luck: tuple[float, ...]

    def standard_error(self, seeds: int, people: int) -> tuple[float, float]:
        """Standard error of the difference in points of R1 with so many of both, and its degrees of
        freedom."""
        shared = (self.person + self.run / seeds) / people
        doubt = shared**2 / max(people - 1, 1)
        for luck in self.luck:
            doubt += (luck / seeds) ** 2 / max(seeds - 1, 1)
        total = shared + sum(self.luck) / seeds
        return float(np.sqrt(total)), max(1.0, total**2 / doubt) if doubt > 0 else 1.0

    def detectable(self, seeds: int, people: int, alpha: float = ALPHA) -> float:
        """Detectable difference with so many seeds and people."""
        return detectable_difference(*self.standard_error(seeds, people), alpha)


def detectable_difference(se: float, df: float, alpha: float = ALPHA, power: float = POWER) -> float:
    """The smallest true difference found with probability ``power``, in the unit of ``se``."""
    return se * (float(stats.t.isf(alpha / 2, df)) + float(stats.t.isf(1 - power, df)))


def assumed(design: Design, by: Assumptions = Assumptions()) -> Components:
    """The variances that the assumptions amount to on a test set.

    Captions of a person count as fewer: design effect 1 + (captions per person − 1) · intraclass correlation.
    """
    captions = design.queries / design.people
    half = 1e4 * by.disagreement / 2 * (1 + (captions - 1) * by.people) / captions
    return Components(half, half, (by.seed**2, by.seed**2))


def plan(design: Design, comparisons: int = 1) -> float | None:
    """Detectable difference in points of R1 before anything was measured (what ``check`` prints).

    ``comparisons`` are corrected for. None with a single seed, which allows no verdict.
    """
    if design.seeds < 2:
        return None
    return assumed(design).detectable(design.seeds, design.people, ALPHA / comparisons)


def detectable(
    group: ComparisonGroup, seeds: int | None = None, people: int | None = None, comparisons: int = 1
) -> float | None:
    """Detectable difference to the reference from measured variances: the median over its comparisons.

    ``seeds`` and ``people`` ask for another design than the study's own, ``comparisons`` for a correction.
    None when no two methods have two seeds.
    """
    found = [
        parts.detectable(seeds or own, people or group.people, group.options.alpha / comparisons)
        for own, parts in _measured(group)
    ]
    return float(np.median(found)) if found else None


def comparisons(group: ComparisonGroup) -> int:
    """How many comparisons with the reference a table of the group is corrected for."""
    return max(1, len(group.against_reference) // len(METRICS))


def _measured(group: ComparisonGroup) -> list[tuple[int, Components]]:
    """Seeds and variances of every comparison with the reference that has seeds to tell them by."""
    base = group.bootstrap.arms.get(f"R1/{group.reference}")
    found = []
    for method in group.methods:
        other = group.bootstrap.arms[f"R1/{method}"]
        if base is None or method == group.reference or group.methods[method].untrained:
            continue
        seeds = min(base.spread.seeds, other.spread.seeds)
        if seeds < 2 or group.people < 2:
            continue
        whole = 1e4 * float(np.var(base.profile - other.profile, ddof=1))
        spreads = (base.spread, other.spread)
        run = 1e4 * group.people * sum(part.interaction * part.seeds for part in spreads)
        luck = tuple(1e4 * part.seed_only * part.seeds for part in spreads)
        found.append((seeds, Components(max(0.0, whole - run / seeds), run, luck)))
    return found
