"""How a claim is judged from a measured difference, and how many seeds a judgement needs. Pure.

A claim is judged on this benchmark (new runs on this very test set, which is what a published number is
about) and for new people. A published size is itself the difference of two single runs, so it is
contradicted only where one more pair of single runs would not show it: outside value ± t · √(V + 2 MS_res).

With a size, where size ± margin is what counts as the same:

* *reproduced*: the one-sided 95 % bound is at least size − margin and the value at most size + margin. A
  size of at most the margin needs a difference above zero too, by the corrected p.
* *not reproduced*: one more pair of single runs would not show the size.
* *smaller* or *larger than claimed*: beyond the margin, though a single pair of runs may well show the size.

Without a size (a direction):

* *reproduced*: better, by the p that is corrected over all claims of the kind.
* *real but smaller than the margin*: the same, and the one-sided 95 % bound is at most the margin.
* *not reproduced*: worse by the corrected p, or shown to be no more than half the margin: a true difference
  of half the margin or more is called so in at most 5 % of studies.

*underpowered* is everything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from reports.estimates import ALPHA, Estimate
from reports.formatting import number
from reports.power import POWER, Components
from reports.single_runs import SingleRuns, single_runs

Judgement = Literal[
    "reproduced",
    "real but smaller than the margin",
    "smaller than claimed",
    "larger than claimed",
    "not reproduced",
    "underpowered",
    "not run",
]
UNDECIDED = frozenset[Judgement]({"underpowered", "not run"})
MOST_SEEDS = 1000
"""More seeds than this are not asked for."""
ONE_SEED = "a single seed does not show how much seeds differ"


def needs_direction(size: float | None, margin: float) -> bool:
    """Whether a claim needs a difference above zero of its own: it has no size, or one within the margin."""
    return size is None or size <= margin


def judge_claim(
    estimate: Estimate,
    size: float | None,
    margin: float,
    *,
    p: float | None = None,
    runs: SingleRuns | None = None,
    alpha: float = ALPHA,
) -> tuple[Judgement, str]:
    """Judge a measured difference against a claim; the judgement and why.

    Args:
        estimate: the difference in points, in the scope that is judged.
        size: the claimed size; None for a direction only.
        margin: points that count as nothing.
        p: two-sided p of no difference, corrected over the claims; the estimate's own unless given.
        runs: where one more pair of single runs would lie; from the estimate's own variance unless given.
        alpha: the level of two-sided tests, and of each one-sided one.
    """
    if estimate.seeds < 2:
        return "underpowered", ONE_SEED
    if not np.isfinite(estimate.se):
        return "underpowered", "no seed that both methods ran with"
    p = estimate.p if p is None else p
    if size is None:
        return _judge_direction(estimate, margin, p, alpha)
    return _judge_size(estimate, size, margin, p, runs or single_runs(estimate, estimate, alpha), alpha)


def _judge_size(
    estimate: Estimate, size: float, margin: float, p: float, runs: SingleRuns, alpha: float
) -> tuple[Judgement, str]:
    low, high = estimate.interval(2 * alpha)
    claimed = number(size, 2)
    if not runs.holds(size):
        which = "smaller" if size > runs.high else "larger"
        return (
            "not reproduced",
            f"{which} than claimed: one more pair of single runs would not show {claimed}",
        )
    above_zero = size > margin or (p < alpha and estimate.value > 0)
    if above_zero and low >= size - margin and estimate.value <= size + margin:
        least = max(0.0, size - margin)
        return (
            "reproduced",
            f"shown to be more than {number(least, 2)}, the claimed {claimed} less the margin",
        )
    but = f"though one pair of single runs may show {claimed}"
    if high < size - margin:
        return "smaller than claimed", f"by more than the margin of {margin:g}, {but}"
    if low > size + margin:
        return "larger than claimed", f"by more than the margin of {margin:g}, {but}"
    return "underpowered", f"too wide to tell {claimed} ± {margin:g} from something else"


def _judge_direction(estimate: Estimate, margin: float, p: float, alpha: float) -> tuple[Judgement, str]:
    unsized = "no size is claimed"
    high = estimate.interval(2 * alpha)[1]
    if p < alpha and estimate.value > 0:
        if high <= margin:
            return "real but smaller than the margin", f"better, by less than {margin:g} points; {unsized}"
        return "reproduced", f"significantly better; {unsized}"
    if p < alpha:
        return "not reproduced", f"significantly worse; {unsized}"
    if high <= margin / 2:
        return "not reproduced", f"no better by more than {margin / 2:g} points; {unsized}"
    return "underpowered", f"neither better nor no better can be shown; {unsized}"


@dataclass(frozen=True)
class ClaimTest:
    """How one claim of a ledger is tested: what it says, and what it is corrected for.

    `directions` claims of the ledger are tested for a difference above zero, `sized` ones for their size.
    """

    size: float | None
    margin: float
    directions: int = 1
    sized: int = 1
    alpha: float = ALPHA


def chance_of_reproducing(parts: Components, seeds: int, people: int, claim: ClaimTest) -> float:
    """Chance that a claim that is true comes out as reproduced on this benchmark.

    A claim without a size is taken to be true by one margin. Directions are corrected for as Holm's rule does
    at its strictest step, so the chance is at least this. It is that of `judge_claim` over draws of the
    interval that is kept (`reports.power_draws`).
    """
    size, margin, alpha = claim.size, claim.margin, claim.alpha
    kept = parts.kept_intervals(seeds, people, "benchmark")
    if kept is None:
        return float(seeds > 1)
    low, high = np.full(len(kept.se), -np.inf), np.full(len(kept.se), np.inf)
    if needs_direction(size, margin):
        low = kept.half(alpha / (2 * claim.directions))
    if size is not None:
        of_a_pair = float(np.sqrt(1 + seeds)) * kept.half(alpha / (2 * claim.sized))
        low = np.maximum(low, np.maximum(size - margin + kept.half(alpha), size - of_a_pair))
        high = size + np.minimum(margin, of_a_pair)
    return kept.chance_between(low, high, margin if size is None else size)


def seeds_needed(parts: Components, people: int, claim: ClaimTest) -> int | None:
    """The fewest seeds that reproduce a true claim four times out of five; None where none do."""

    def enough(seeds: int) -> bool:
        return chance_of_reproducing(parts, seeds, people, claim) >= POWER

    if not enough(MOST_SEEDS):
        return None
    low, high = 1, 2
    while not enough(high):
        low, high = high, min(2 * high, MOST_SEEDS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    # Two methods with four seeds have fewer degrees of freedom than with three.
    while not enough(high + 1):
        high += 1
    return high
