"""The table of all tests on a dataset: every comparison with its standard error and every p-value."""

from __future__ import annotations

from math import isfinite
from typing import get_args

from reports.comparison import JUDGED_METRICS, ComparisonGroup
from reports.context import ReportContext
from reports.document import Column, Table, TableCell
from reports.families import family_of
from reports.formatting import difference_value, missing, number, p_value, verdict_value
from reports.single_runs import chance_of_beating
from reports.statistics import Comparison, Scope

SCOPES: dict[Scope, str] = {"people": "new people", "benchmark": "this benchmark"}
"""What a statement is about, in words."""


def tests_table(context: ReportContext, group: ComparisonGroup) -> Table:
    """A row for every method, metric and scope, with nothing left to a tooltip."""
    columns = (
        *(Column(name, "left") for name in ("Method", "Metric", "Scope", "Family")),
        Column("Difference", help="with its 95 % interval"),
        Column("Standard error"),
        Column("Degrees of freedom"),
        Column("p, t-test"),
        Column("p, permutation", help="only for new people"),
        Column("p, Holm", help="of the larger of the two"),
        Column("p, tied", help="the larger of two one-sided tests against the margin, not corrected"),
        Column("Verdict", "left"),
        Column("A run beats one", help="chance that one more run scores above one of the reference, here"),
    )
    rows = [
        _row(context, group, item, metric, scope)
        for metric in JUDGED_METRICS
        for scope in get_args(Scope)
        for (_, of), item in group.judged(scope).items()
        if of == metric
    ]
    remarks = {
        f"{item.one}: {item.note}."
        for scope in get_args(Scope)
        for item in group.judged(scope).values()
        if item.note
    }
    title = f"All tests on {group.evaluation.title}"
    return Table(
        f"tests-{group.evaluation.key}", title, columns, tuple(rows), tuple(sorted(remarks)), folded=True
    )


def _row(
    context: ReportContext, group: ComparisonGroup, item: Comparison, metric: str, scope: Scope
) -> tuple[TableCell, ...]:
    link = context.link(group, item.one)
    family = family_of(group, metric, scope)

    def p_cell(p: float) -> TableCell:
        return TableCell(p_value(p), p, link)

    return (
        TableCell(item.one, item.one, link),
        TableCell(metric, metric),
        TableCell(SCOPES[scope], scope),
        TableCell(family, family),
        difference_value(item, link),
        TableCell(number(item.se, 2), item.se, link),
        TableCell(number(item.df, 1), item.df, link),
        p_cell(item.estimate.p),
        p_cell(item.p_permutation) if scope == "people" else TableCell("not used", None, kind="quiet"),
        p_cell(item.p_holm),
        p_cell(item.p_tost),
        verdict_value(item, group.options.margin),
        _beats(item, scope, link),
    )


def _beats(item: Comparison, scope: Scope, link: str) -> TableCell:
    """How often a single run of the method would beat one of the reference on this test set."""
    if scope == "people":
        return TableCell("see this benchmark", None, kind="quiet")
    chance = 100 * chance_of_beating(item.estimate)
    if not isfinite(chance):
        return missing("nothing is known of how runs vary", link)
    return TableCell(f"{number(chance, 0)} %", chance, link)
