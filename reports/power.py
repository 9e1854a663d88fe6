"""Which difference could be seen: before a study runs from stated assumptions, afterwards from what it
measured.

The detectable difference is the true difference in R1 that a comparison of two methods would call significant
in 80 % of studies: (t(1 − α/2) + t(0.8)) · SE with Satterthwaite's degrees of freedom, the same standard
error as in :mod:`reports.statistics`. Corrected for m comparisons, α is divided by m (Bonferroni), the
strictest step of Holm's rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from reports.comparison import METRICS, ComparisonGroup
from reports.context import ReportContext
from reports.document import Block, Column, Prose, Section, Table, TableCell
from reports.formatting import mean_of, missing, number, plural
from reports.statistics import ALPHA, FEW_SEEDS, MethodSummary

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


def plan(design: Design, comparisons: int = 1, by: Assumptions = Assumptions()) -> float | None:
    """Detectable difference in points of R1 before anything was measured (what ``check`` prints).

    ``comparisons`` are corrected for. None with a single seed, which allows no verdict.
    """
    if design.seeds < 2:
        return None
    return assumed(design, by).detectable(design.seeds, design.people, ALPHA / comparisons)


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


def section(context: ReportContext) -> Section | None:
    """What this study could see, what more of everything would bring, and where the variance comes from."""
    homes = [group for group in context.same_dataset if group.reference in group.methods]
    if not homes:
        return None
    blocks: list[Block] = [
        Prose(
            "Detectable difference: the true difference in R1 that a comparison with these seeds and this "
            "test set would call significant in four studies out of five. From the variances these runs "
            "measured; the median over the comparisons with the reference."
        ),
        *([outlook] if (outlook := _outlook(homes)) is not None else []),
        Prose(
            "Where the uncertainty of one method’s R1 comes from. Test people: which people, with their "
            "captions, happen to be in the test set. Choice of epoch: the spread of the test score over the "
            "epochs that validation cannot tell from the best one; it is part of what seeds differ by."
        ),
        *(_decomposition(context, group) for group in homes),
    ]
    return Section("power", "What this study could see", tuple(blocks))


def _outlook(groups: Sequence[ComparisonGroup]) -> Table | None:
    """Detectable difference as the study is, corrected, and with more seeds or more people."""
    columns = (Column("Design", "left"), *(Column(group.evaluation.title) for group in groups))
    rows = [
        (TableCell("this study, one comparison"), *(_size(group) for group in groups)),
        (
            TableCell("this study, corrected for its comparisons"),
            *(_size(group, comparisons=comparisons(group)) for group in groups),
        ),
        *(
            (TableCell(f"{seeds} seeds, one comparison"), *(_size(group, seeds=seeds) for group in groups))
            for seeds in (3, 5, 10)
        ),
        (
            TableCell("four times the test people, one comparison"),
            *(_size(group, people=4 * group.people) for group in groups),
        ),
    ]
    if all(value.sort is None for value in rows[0][1:]):
        return None
    return Table("power", "Detectable difference, points of R1", columns, tuple(rows))


def _size(group: ComparisonGroup, **design: int) -> TableCell:
    size = detectable(group, **design)
    link = f"table-variance-{group.evaluation.key}"
    if size is None:
        return missing("needs two methods with two seeds", link)
    few = [one.spread.seeds for one in _trained(group) if one.spread.seeds < FEW_SEEDS]
    return TableCell(number(size), size, link, flag=plural(min(few), "seed") if few else "")


def _trained(group: ComparisonGroup) -> list[MethodSummary]:
    arms = (group.bootstrap.arms[f"R1/{method}"] for method in group.methods)
    return [arm for arm in arms if not arm.spread.seedless]


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


def _decomposition(context: ReportContext, group: ComparisonGroup) -> Table:
    """The standard error of a method's mean R1, its two parts, and what single runs differ by."""
    columns = (
        Column("Method", "left"),
        Column("Standard error", help="of the mean R1 over all seeds, everything together"),
        Column("from test people", help="and its share of the variance"),
        Column("from seeds", help="and its share of the variance"),
        Column("Single runs: seeds", help="standard deviation between seeds beyond noise on single people"),
        Column("Single runs: choice of epoch", help="standard deviation over epochs tied on validation"),
    )
    rows = tuple(_uncertainty(context, group, method) for method in group.methods)
    title = f"Where the uncertainty comes from on {group.evaluation.title}"
    note = "Points of R1. 0.00 from seeds: they differ by no more than noise on single people explains."
    return Table(f"variance-{group.evaluation.key}", title, columns, rows, (note,))


def _uncertainty(context: ReportContext, group: ComparisonGroup, method: str) -> tuple[TableCell, ...]:
    spread = group.bootstrap.arms[f"R1/{method}"].spread
    link = context.link(group, method)
    people, seeds = spread.people, spread.seed_only
    few = spread.seeds < FEW_SEEDS and not spread.seedless
    whole = _points(np.sqrt(people + (seeds if spread.seeds > 1 else 0.0)), link)
    if spread.seedless or spread.seeds < 2:
        why = "does not train" if spread.seedless else "one seed tells nothing about seeds"
        of_people, of_seeds, single = _points(np.sqrt(people), link), missing(why, link), missing(why, link)
    else:
        of_people, of_seeds = (_share(part, people + seeds, link) for part in (people, seeds))
        single = _points(np.sqrt(seeds * spread.seeds), link)
    flagged = TableCell(whole.text, whole.sort, link, flag=plural(spread.seeds, "seed") if few else "")
    return (
        TableCell(method, method, link),
        flagged,
        of_people,
        of_seeds,
        single,
        _epoch_choice(group, method, link),
    )


def _points(fraction: float, link: str) -> TableCell:
    return TableCell(number(100 * fraction, 2), 100 * fraction, link)


def _share(part: float, whole: float, link: str) -> TableCell:
    root, share = 100 * float(np.sqrt(part)), 100 * part / whole if whole > 0 else 0.0
    return TableCell(f"{number(root, 2)} ({number(share, 0)} %)", root, link)


def _epoch_choice(group: ComparisonGroup, method: str, link: str) -> TableCell:
    widths = [
        width for cell in group.methods[method].cells if (width := epoch_spread(cell.history)) is not None
    ]
    mean = mean_of(widths)
    if mean is None:
        return missing("the history holds no test scores for several epochs tied on validation", link)
    return TableCell(number(mean, 2), mean, link, f"mean over {plural(len(widths), 'run')}")


def epoch_spread(history: Sequence[Mapping[str, object]]) -> float | None:
    """Standard deviation of test R1 over the epochs whose validation R1 is within a standard error of the
    best.

    The standard error is the binomial one of the validation queries; without their number, one point is
    taken. None when fewer than two epochs qualify.
    """
    pairs = [(_score(line, "val"), _score(line, "test"), line.get("val")) for line in history]
    both = [(val, test, of) for val, test, of in pairs if val is not None and test is not None]
    if not both:
        return None
    best = max(val for val, _, _ in both)
    queries = next((of.get("queries") for _, _, of in both if isinstance(of, Mapping)), None)
    width = (
        float(np.sqrt(max(best * (100 - best), 1.0) / queries))
        if isinstance(queries, int) and queries
        else 1.0
    )
    tied = [test for val, test, _ in both if val >= best - width]
    return float(np.std(tied, ddof=1)) if len(tied) > 1 else None


def _score(line: Mapping[str, object], split: str) -> float | None:
    scores = line.get(split)
    value = scores.get("R1") if isinstance(scores, Mapping) else None
    return float(value) if isinstance(value, (int, float)) and value == value else None
