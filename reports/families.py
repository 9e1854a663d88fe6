"""Which comparisons of a report belong together: one primary family, everything else exploratory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from reports.comparison import JUDGED_METRICS, PRIMARY_METRIC, ComparisonGroup
from reports.formatting import plural
from reports.statistics import Comparison, Scope

Family = Literal["primary", "exploratory"]


def family_of(group: ComparisonGroup, metric: str, scope: Scope) -> Family:
    """`primary`: R1, trained and tested on the same dataset, with the reference, for new people."""
    first = metric == PRIMARY_METRIC and scope == "people" and group.evaluation.same_dataset
    return "primary" if first else "exploratory"


@dataclass(frozen=True)
class FamilyCount:
    """How many comparisons there are, in how many families, and how many of them have a verdict."""

    comparisons: int
    families: int
    verdicts: int


def counted(groups: Sequence[ComparisonGroup], family: Family) -> FamilyCount:
    """The comparisons of one kind over all groups of a report."""
    found = [items for kind, items in _families(groups) if kind == family and items]
    verdicts = sum(item.verdict != "cannot tell" for items in found for item in items)
    return FamilyCount(sum(map(len, found)), len(found), verdicts)


def _families(groups: Sequence[ComparisonGroup]) -> Iterator[tuple[Family, list[Comparison]]]:
    """Every family with its comparisons; those that span datasets come once."""
    for group in groups:
        for metric in JUDGED_METRICS:
            members = group.family(metric)
            for scope in get_args(Scope) if members[0] is group else ():
                judged = (pair for one in members for pair in one.judged(scope).items())
                yield family_of(group, metric, scope), [item for (_, of), item in judged if of == metric]
            yield "exploratory", [item for (_, _, of), item in group.other_pairs.items() if of == metric]


def sentences(groups: Sequence[ComparisonGroup]) -> list[str]:
    """What the primary family is, and how many exploratory comparisons hold how many verdicts."""
    primary, rest = counted(groups, "primary"), counted(groups, "exploratory")
    lines = []
    if primary.comparisons:
        lines.append(
            f"Primary: {plural(primary.comparisons, 'comparison')} of R1 with the reference, trained and "
            "tested on the same dataset, for new people, corrected together."
        )
    if rest.comparisons:
        lines.append(
            f"Everything else is exploratory: {plural(rest.comparisons, 'comparison')} in "
            f"{plural(rest.families, 'family', 'families')}, each corrected by itself, hold "
            f"{plural(rest.verdicts, 'verdict')}; some of those may be false by chance."
        )
    return lines
