"""Which difference could be seen: before a study runs from stated assumptions, afterwards from what it
measured.

The detectable difference is the true difference in R1 that a comparison of two methods would call significant
(before Holm's correction) in 80 % of studies: (t(1 − α/2) + t(0.8)) · SE with Satterthwaite's degrees of
freedom, the same standard error as in :mod:`reports.statistics`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from reports.comparison import Arena
from reports.context import Context
from reports.document import Block, Column, Prose, Section, Table, Value
from reports.phrases import mean_of, missing, number, plural
from reports.statistics import ALPHA

POWER = 0.8


@dataclass(frozen=True)
class Assumptions:
    """What a study is expected to vary by; standard deviations in points of R1.

    ``seed``: between seeds of one method. Users of this family of methods report a spread of about 2 points
    (``published.yaml``, notes); five draws span 2.3 standard deviations on average, hence 0.85.
    ``disagreement``: the share of captions that two runs of different methods do not agree on at rank 1.
    ``people``: how alike captions of a person are in that (intraclass correlation).
    """

    seed: float = 0.85
    disagreement: float = 0.20
    people: float = 0.25


@dataclass(frozen=True)
class Design:
    """The size of a comparison: test captions, the people they belong to, seeds per method."""

    queries: int
    people: int
    seeds: int


def standard_error(design: Design, assumed: Assumptions = Assumptions()) -> tuple[float, float]:
    """Standard error of a difference in points of R1, and its degrees of freedom.

    Two single runs differ on a caption with variance ``disagreement``; averaging over seeds removes the run's
    own noise, taken as half of it. Captions of a person count as fewer: design effect 1 + (captions − 1) ·
    people.
    """
    per_person = design.queries / design.people
    effect = 1 + (per_person - 1) * assumed.people
    lasting = assumed.disagreement * (0.5 + 0.5 / design.seeds)
    people = 1e4 * lasting * effect / design.queries
    seed = assumed.seed**2 / design.seeds
    total = people + 2 * seed
    doubt = people**2 / max(design.people - 1, 1)
    if design.seeds > 1:
        doubt += 2 * seed**2 / (design.seeds - 1)
    return float(np.sqrt(total)), total**2 / doubt


def detectable_difference(se: float, df: float, alpha: float = ALPHA, power: float = POWER) -> float:
    """The smallest true difference found with probability ``power``, in the unit of ``se``."""
    return se * (float(stats.t.isf(alpha / 2, df)) + float(stats.t.isf(1 - power, df)))


def plan(design: Design, assumed: Assumptions = Assumptions()) -> float:
    """Detectable difference in points of R1 before a study runs (what ``check`` prints)."""
    return detectable_difference(*standard_error(design, assumed))


def detectable(arena: Arena) -> float | None:
    """Detectable difference to the reference as measured: the median over its comparisons, if any."""
    sizes = [
        detectable_difference(item.estimate.se, item.estimate.df, arena.options.alpha)
        for (_, metric), item in arena.planned.items()
        if metric == "R1" and item.estimate.seeds > 1 and np.isfinite(item.estimate.se)
    ]
    return float(np.median(sizes)) if sizes else None


def section(context: Context) -> Section | None:
    """What this study could see, what more of everything would bring, and where the variance comes from."""
    homes = [arena for arena in context.homes if arena.reference in arena.methods]
    if not homes:
        return None
    blocks: list[Block] = [
        Prose(
            "Detectable difference: the true difference in R1 that a comparison with these seeds and this "
            "test set "
            "would call significant in four studies out of five, before correcting for several comparisons."
        ),
        *(table for arena in homes if (table := _outlook(arena)) is not None),
        Prose(
            "Where the uncertainty of one method's R1 comes from. Choice of epoch: the spread of the test "
            "score "
            "over the epochs that validation cannot tell from the best one. It is part of what seeds differ "
            "by, "
            "so the shares need not add up."
        ),
        *(_decomposition(context, arena) for arena in homes),
    ]
    return Section("power", "What this study could see", tuple(blocks))


def _outlook(arena: Arena) -> Table | None:
    """Detectable difference as the study is, and with more seeds or more people."""
    parts = _components(arena)
    if parts is None:
        return None
    seeds, people = parts.seeds, arena.people
    cases = [("this study", seeds, people), *((f"{n} seeds", n, people) for n in (3, 5, 10) if n > seeds)]
    cases += [(f"{4 * people:,} people", seeds, 4 * people)]
    rows = tuple(
        (
            Value(name),
            Value(str(count), count),
            Value(f"{size:,}", size),
            _detectable_value(parts, count, size),
        )
        for name, count, size in cases
    )
    columns = (Column("Design", "left"), Column("Seeds"), Column("Test people"), Column("Detectable R1"))
    return Table(f"power-{arena.place.key}", f"Detectable difference on {arena.place.title}", columns, rows)


@dataclass(frozen=True)
class Components:
    """Variances of a difference for one person and one seed, in squared points; medians over comparisons."""

    person: float
    run: float
    seed: float
    seeds: int

    def detectable(self, seeds: int, people: int) -> float:
        """Detectable difference with another number of seeds and people."""
        shared = (self.person + self.run / seeds) / people
        luck = self.seed / seeds
        doubt = shared**2 / max(people - 1, 1) + luck**2 / max(2 * (seeds - 1), 1)
        total = shared + luck
        return detectable_difference(float(np.sqrt(total)), max(1.0, total**2 / doubt))


def _detectable_value(parts: Components, seeds: int, people: int) -> Value:
    size = parts.detectable(seeds, people)
    return Value(number(size), size)


def _components(arena: Arena) -> Components | None:
    """Split the variance of the differences to the reference into persons, single runs and seeds."""
    base = arena.bootstrap.arms[f"R1/{arena.reference}"]
    found = []
    for method in arena.methods:
        other = arena.bootstrap.arms[f"R1/{method}"]
        seeds = min(base.spread.seeds, other.spread.seeds)
        if method == arena.reference or seeds < 2 or arena.contestants[method].seedless:
            continue
        profile = base.profile - other.profile
        whole = 1e4 * float(np.var(profile, ddof=1))
        run = 1e4 * arena.people * sum(arm.spread.interaction * arm.spread.seeds for arm in (base, other))
        luck = 1e4 * sum(arm.spread.seed_only * arm.spread.seeds for arm in (base, other))
        found.append((max(0.0, whole - run / seeds), run, luck, seeds))
    if not found:
        return None
    middle = np.median(np.array(found), axis=0)
    return Components(float(middle[0]), float(middle[1]), float(middle[2]), int(middle[3]))


def _decomposition(context: Context, arena: Arena) -> Table:
    """Standard deviations of a method's mean R1 by source."""
    columns = (
        Column("Method", "left"),
        Column("Test people", help="standard error of the mean due to which people are in the test set"),
        Column("Seeds", help="standard deviation between single runs, beyond noise on single people"),
        Column("Choice of epoch", help="standard deviation of test R1 over epochs tied on validation"),
        Column("Standard error", help="of the mean over all seeds, everything together"),
    )
    rows = []
    for method in arena.methods:
        spread = arena.bootstrap.arms[f"R1/{method}"].spread
        link = context.link(arena, method)
        rows.append(
            (
                Value(method, method, link),
                _points(np.sqrt(spread.people), link),
                _points(np.sqrt(spread.seed_only * spread.seeds), link)
                if spread.seeds > 1 and not spread.seedless
                else missing(
                    "one seed tells nothing about seeds" if not spread.seedless else "does not train", link
                ),
                _epoch_choice(arena, method, link),
                _points(arena.mean(method, "R1").se / 100, link),
            )
        )
    title = f"Where the uncertainty comes from on {arena.place.title}"
    return Table(f"variance-{arena.place.key}", title, columns, tuple(rows), ("Points of R1.",))


def _points(fraction: float, link: str) -> Value:
    return Value(number(100 * fraction, 2), 100 * fraction, link)


def _epoch_choice(arena: Arena, method: str, link: str) -> Value:
    widths = [
        width for cell in arena.contestants[method].cells if (width := epoch_spread(cell.history)) is not None
    ]
    mean = mean_of(widths)
    if mean is None:
        return missing("the history holds no test scores for several epochs tied on validation", link)
    return Value(number(mean, 2), mean, link, f"mean over {plural(len(widths), 'run')}")


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
