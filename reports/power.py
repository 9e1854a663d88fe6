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


def detectable(arena: Arena, seeds: int | None = None, people: int | None = None) -> float | None:
    """Detectable difference to the reference from measured variances: the median over its comparisons.

    ``seeds`` and ``people`` ask for another design than the study's own. None when no two methods have two
    seeds.
    """
    found = [
        parts.detectable(seeds or parts.seeds, people or arena.people, arena.options.alpha)
        for parts in _components(arena)
    ]
    return float(np.median(found)) if found else None


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
        *([outlook] if (outlook := _outlook(homes)) is not None else []),
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


def _outlook(arenas: Sequence[Arena]) -> Table | None:
    """Detectable difference as the study is, and with more seeds or more people."""
    columns = (Column("Design", "left"), *(Column(arena.place.title) for arena in arenas))
    designs = [("this study", None, 1), *((f"{seeds} seeds", seeds, 1) for seeds in (3, 5, 10))]
    designs.append(("four times the test people", None, 4))
    rows = [
        (Value(name), *(_size(detectable(arena, seeds, times * arena.people)) for arena in arenas))
        for name, seeds, times in designs
    ]
    if all(value.sort is None for value in rows[0][1:]):
        return None
    return Table("power", "Detectable difference, points of R1", columns, tuple(rows))


def _size(size: float | None) -> Value:
    return missing("needs two methods with two seeds") if size is None else Value(number(size), size)


@dataclass(frozen=True)
class Components:
    """Variances of a difference in squared points: of persons, of runs on persons, of each method's seeds."""

    person: float
    run: float
    luck: tuple[float, ...]
    seeds: int

    def detectable(self, seeds: int, people: int, alpha: float = ALPHA) -> float:
        """Detectable difference with so many seeds and people."""
        shared = (self.person + self.run / seeds) / people
        doubt = shared**2 / max(people - 1, 1)
        for luck in self.luck:
            doubt += (luck / seeds) ** 2 / max(seeds - 1, 1)
        total = shared + sum(self.luck) / seeds
        df = total**2 / doubt if doubt > 0 else 1.0
        return detectable_difference(float(np.sqrt(total)), max(1.0, df), alpha)


def _components(arena: Arena) -> list[Components]:
    """The variances behind every comparison with the reference that has seeds to tell them by."""
    base = arena.bootstrap.arms.get(f"R1/{arena.reference}")
    found = []
    for method in arena.methods:
        other = arena.bootstrap.arms[f"R1/{method}"]
        if base is None or method == arena.reference or arena.contestants[method].seedless:
            continue
        seeds = min(base.spread.seeds, other.spread.seeds)
        if seeds < 2 or arena.people < 2:
            continue
        whole = 1e4 * float(np.var(base.profile - other.profile, ddof=1))
        spreads = (base.spread, other.spread)
        run = 1e4 * arena.people * sum(part.interaction * part.seeds for part in spreads)
        luck = tuple(1e4 * part.seed_only * part.seeds for part in spreads)
        found.append(Components(max(0.0, whole - run / seeds), run, luck, seeds))
    return found


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
