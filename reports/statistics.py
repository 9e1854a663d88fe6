"""Is one method better than another? Verdicts from per-query scores, by person and by seed.

A score matrix is `[seeds, queries]` (a hit at rank 1 or an average precision, 0 to 1), every row one training
run, every column the same query for every method. Methods × seeds form a randomised block, with the test
people crossed with it (`reports.variance_components` has the formulas): what a seed does to all methods alike
cancels in a difference, and the noise that is left is estimated from all methods together. For a difference
over S seeds

    V  =  V_people  +  max(0, 2/S · (MS_res − MS_int))

* `V_people` is the variance over people of the mean over seeds. It already holds the run-to-run noise on
  single people (the interaction), so the noise's mean square MS_int is taken off the runs' MS_res.
* The interval is value ± t · √V with Satterthwaite's degrees of freedom. Where seed variances differ between
  methods a lower bound by Grubbs's estimator widens it, and a method whose seeds vary significantly more than
  the others' (F test, 10 % over all methods) is judged by its own seeds as well; the widest interval is kept.
* Near 0 and 100 % two pseudo-people are added, because a sample that agrees does not mean that all people do.
* A difference *for new people* has V; one *on this benchmark*, where only runs vary, 2/S · MS_res.
* p is the larger of the t-test's and that of a permutation test that swaps two methods' scores person by
  person. *better* and *worse* need Holm's correction over the family, *tied* needs two one-sided tests
  against the margin with Holm's correction over the same family.

Assumed: people are independent, runs are roughly normal, and seed effects on different methods differ by
independent noise of equal variance. Nothing here reads a file; all draws come from a seed.

Simulated (`make simulations`, here with 600 to 1,000 studies a setting, six methods, 2, 3 and 5 seeds, with
and without seed effects common to all methods): intervals of differences cover 95.0–97.1 %; any false
difference in 1.5–4.0 % of studies; any false *tied* in 1.7–4.5 %; the detectable difference is found in
78–81 %, by two and three methods too; the seeds that `check` asks for reproduce a true claim in 78 % or more.
Where seeds dominate and 0.9 of their effect is common, intervals cover 95.0–96.3 % and any false difference
comes in at most 4.5 %. With two seeds and common effects half-widths are 0.77 (noise of people dominates),
0.71 (a benchmark) and 0.33 (seeds dominate) of those that independent seeds give. One method with twice
the seed deviation of the others is covered in 90.8, 93.2 and 93.7 %: with two seeds nothing tried holds 95 %.
Looks at 3, 5 and 10 seeds, at Pocock's level, find any false difference in 2.8–3.8 % (7.8 % at 0.05 each).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from harness.machine.terms import TIED_WITHIN
from reports.estimates import (
    ALPHA,
    FEW_SEEDS,
    Estimate,
    Floats,
    Integers,
    Scope,
    VarianceParts,
)
from reports.permutation import PERMUTATIONS, holm, permutation_p
from reports.score_block import ScoreBlock, score_block
from reports.transfer_change import Sample, drop, retention

__all__ = [
    "ALPHA",
    "FEW_SEEDS",
    "MARGIN",
    "PERMUTATIONS",
    "Comparison",
    "Estimate",
    "Finding",
    "Floats",
    "Integers",
    "Sample",
    "Scope",
    "ScoreBlock",
    "VarianceParts",
    "Verdict",
    "compare_each",
    "compare_methods",
    "corrected",
    "drop",
    "find",
    "holm",
    "judge",
    "measure",
    "permutation_p",
    "retention",
    "score_block",
]

Verdict = Literal["better", "worse", "tied", "cannot tell"]

MARGIN = TIED_WITHIN


@dataclass(frozen=True)
class Finding:
    """A contrast in points with everything a reader needs to judge it."""

    estimate: Estimate
    p: float
    """The larger of the p-values of the t-test and the permutation test."""
    p_permutation: float
    p_holm: float
    p_tost: float
    """The larger p-value of two one-sided tests against the margin, before Holm's correction."""
    verdict: Verdict
    note: str = ""
    """Why no verdict is possible, or what it has to be read with."""
    obstacle: bool = False
    """Whether no verdict is possible, however large the difference."""

    @property
    def value(self) -> float:
        """The estimated contrast."""
        return self.estimate.value

    @property
    def low(self) -> float:
        """Lower bound of its interval."""
        return self.estimate.low

    @property
    def high(self) -> float:
        """Upper bound of its interval."""
        return self.estimate.high

    @property
    def se(self) -> float:
        """Its standard error."""
        return self.estimate.se

    @property
    def df(self) -> float:
        """Degrees of freedom of the standard error."""
        return self.estimate.df

    @property
    def few_seeds(self) -> bool:
        """Whether a method had fewer than 3 seeds."""
        return self.estimate.seeds < FEW_SEEDS


@dataclass(frozen=True, kw_only=True)
class Comparison(Finding):
    """`one` minus `other`."""

    one: str
    other: str


def compare_methods(
    scores: Mapping[str, ArrayLike],
    person: ArrayLike,
    *,
    reference: str,
    untrained: frozenset[str] = frozenset(),
    margin: float = MARGIN,
    alpha: float = ALPHA,
    seed: int = 0,
) -> list[Comparison]:
    """Compare every method with the reference, for new people and new runs; one family of comparisons.

    Args:
        scores: by method, `[seeds, queries]` of 0 to 1: hits at rank 1 or average precisions. Row s of every
            trained method belongs to the same seed; a missing run is a row of NaN. An untrained method has
            one row.
        person: the person each query belongs to, `[queries]`.
        reference: the method all others are compared with.
        untrained: methods that do not train, so that seeds change nothing.
        margin: points within which two methods count as tied.
        alpha: chance of any false verdict, and 1 − the level of the intervals.
        seed: of the permutation test.

    Returns:
        One comparison for every other method, in the order of `scores`, in points.

    Raises:
        ValueError: the scores do not fit each other or `person`, or an option makes no sense.
    """
    matrices = {name: _matrix(name, matrix) for name, matrix in scores.items()}
    people = np.asarray(person)
    _check(matrices, people, reference, untrained)
    if not (margin > 0 and np.isfinite(margin) and 0 < alpha < 1):
        raise ValueError(f"margin must be above 0 and alpha between 0 and 1, got {margin} and {alpha}")
    block = score_block(matrices, people, untrained)
    pairs = [(name, reference) for name in scores if name != reference]
    return corrected(compare_each(block, pairs, seed=seed, margin=margin, alpha=alpha), alpha)


def _matrix(name: str, scores: ArrayLike) -> Floats:
    try:
        return np.asarray(scores, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: scores must be numbers, as many in every row: {error}") from error


def _check(scores: Mapping[str, Floats], person: Integers, reference: str, untrained: frozenset[str]) -> None:
    if person.ndim != 1 or not len(person) or person.dtype.kind not in "iu":
        raise ValueError(
            f"person must be a list of whole numbers, one a query, got {person.dtype} {person.shape}"
        )
    if reference not in scores:
        raise ValueError(f"reference {reference!r} has no scores; there are {', '.join(scores) or 'none'}")
    if not untrained <= set(scores):
        raise ValueError(f"untrained methods without scores: {', '.join(sorted(untrained - set(scores)))}")
    for name, matrix in scores.items():
        if matrix.ndim != 2 or matrix.shape[1] != len(person) or not len(matrix):
            raise ValueError(
                f"{name}: scores must be [seeds, queries] with {len(person)} queries, got {matrix.shape}"
            )
        empty = np.isnan(matrix)
        if (empty.any(axis=1) & ~empty.all(axis=1)).any():
            raise ValueError(f"{name}: NaN in part of a run; a missing run is a row of NaN alone")
        if ((matrix < 0) | (matrix > 1)).any():
            raise ValueError(f"{name}: scores must lie between 0 and 1")
        if name in untrained and (len(matrix) != 1 or empty.any()):
            raise ValueError(f"{name}: an untrained method has exactly one row of scores")


def compare_each(
    block: ScoreBlock,
    pairs: Sequence[tuple[str, str]],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    margin: float = MARGIN,
    alpha: float = ALPHA,
    scope: Scope = "people",
) -> list[Comparison]:
    """Compare `pairs` of methods, the first minus the second, each without a verdict; see `measure`."""
    contrasts = [{one: 1.0, other: -1.0} for one, other in pairs]
    findings = measure(
        block, contrasts, permutations=permutations, seed=seed, margin=margin, alpha=alpha, scope=scope
    )
    return [
        Comparison(**vars(finding), one=one, other=other)
        for (one, other), finding in zip(pairs, findings, strict=True)
    ]


def find(
    block: ScoreBlock,
    contrasts: Sequence[Mapping[str, float]],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    margin: float | Sequence[float] = MARGIN,
    alpha: float = ALPHA,
    level: float | None = None,
    scope: Scope = "people",
) -> list[Finding]:
    """Estimate and test weighted sums of methods as one family; see `measure` and `corrected`.

    `level` is the chance of any false verdict where it is not `alpha` (a look at a growing study).
    """
    findings = measure(
        block, contrasts, permutations=permutations, seed=seed, margin=margin, alpha=alpha, scope=scope
    )
    return corrected(findings, alpha if level is None else level)


def measure(
    block: ScoreBlock,
    contrasts: Sequence[Mapping[str, float]],
    *,
    permutations: int = PERMUTATIONS,
    seed: int = 0,
    margin: float | Sequence[float] = MARGIN,
    alpha: float = ALPHA,
    scope: Scope = "people",
) -> list[Finding]:
    """Estimate and test weighted sums of methods, each by itself: no verdict yet, `p_holm` is `p`.

    Args:
        block: the scores.
        contrasts: weights by method.
        permutations: number of random arrangements of the permutation test.
        seed: of these arrangements.
        margin: points within which a contrast counts as nothing, one for all or one each.
        alpha: 1 − the level of the intervals.
        scope: `people` for new people and new runs, with the permutation test; `benchmark` for new runs on
            this test set, where people do not vary and nothing is permuted.
    """
    if not contrasts:
        return []
    margins = [margin] * len(contrasts) if isinstance(margin, (int, float)) else list(margin)
    swaps = [0.0] * len(contrasts)
    if scope == "people":
        gains = np.column_stack([np.nan_to_num(block.gains(weights)) for weights in contrasts])
        swaps = permutation_p(gains, permutations=permutations, seed=seed)
    return [
        _measured(block, weights, block.contrast(weights, alpha, scope), swap, size)
        for weights, swap, size in zip(contrasts, swaps, margins, strict=True)
    ]


def _measured(
    block: ScoreBlock, weights: Mapping[str, float], estimate: Estimate, swap: float, margin: float
) -> Finding:
    why = _obstacle(block, weights, estimate)
    if why:
        # Nothing can be decided, so p is 1; the comparison counts in its family all the same.
        return Finding(estimate, 1.0, swap, 1.0, 1.0, "cannot tell", why, obstacle=True)
    p = max(estimate.p, swap)
    return Finding(estimate, p, swap, p, estimate.p_within(margin), "cannot tell", _caution(block, weights))


AnyFinding = TypeVar("AnyFinding", bound=Finding)


def corrected(findings: Sequence[AnyFinding], level: float = ALPHA) -> list[AnyFinding]:
    """The findings as one family, with verdicts: Holm's correction for differences and for *tied* alike.

    `level` bounds the chance of any false difference in the family, and of any false *tied*.
    """
    differ, within = holm([finding.p for finding in findings]), holm([finding.p_tost for finding in findings])
    return [
        replace(finding, p_holm=p, verdict=judge(finding.estimate, p, tost, alpha=level))
        for finding, p, tost in zip(findings, differ, within, strict=True)
    ]


def _obstacle(block: ScoreBlock, weights: Mapping[str, float], estimate: Estimate) -> str:
    """Why a contrast allows no verdict; empty where it may."""
    named = [name for name, weight in weights.items() if weight]
    if not np.isfinite(estimate.value):
        return "no seed that all of its methods ran with"
    if estimate.seeds < 2:
        return "a single seed does not show how much seeds differ"
    if block.people < 2:
        return "a single person says nothing about people"
    if all(block.averages[name] in (0.0, 100.0) for name in named):
        return "every query is a hit, or none is"
    return "" if np.isfinite(estimate.se) and estimate.se > 0 else "nothing varies"


def _caution(block: ScoreBlock, weights: Mapping[str, float]) -> str:
    """What a verdict has to be read with."""
    named = [name for name in block.unequal if weights.get(name)]
    return f"seeds of {' and '.join(named)} vary far more than those of the others" if named else ""


def judge(estimate: Estimate, p_holm: float, p_tost: float, *, alpha: float = ALPHA) -> Verdict:
    """Put a difference into words.

    *tied*: `p_tost`, corrected, rejects a difference beyond the margin, also when the difference is
    significant, for the margin is what was declared too small to matter. *better* and *worse*: significant
    after Holm's correction. *cannot tell*: neither, and always with a single seed, which does not
    show how much seeds differ.
    """
    if estimate.seeds < 2 or not np.isfinite(estimate.se):
        return "cannot tell"
    if p_tost < alpha:
        return "tied"
    if p_holm < alpha:
        return "better" if estimate.value > 0 else "worse"
    return "cannot tell"
