"""The chapter over all datasets: each method's mean difference, and what a further dataset would show."""

from __future__ import annotations

from reports.comparison import JUDGED_METRICS, ComparisonGroup
from reports.context import ReportContext
from reports.document import Block, Column, Prose, Section, Table, TableCell
from reports.formatting import number, p_value, signed
from reports.pooling import PooledDifference, pooled


def section(context: ReportContext) -> Section | None:
    """A table per preset and metric; None where no method was compared on two datasets."""
    blocks: list[Block] = []
    for preset in context.stored_runs.presets:
        groups = [group for group in context.same_dataset if group.evaluation.preset == preset]
        blocks += [
            table
            for metric in JUDGED_METRICS
            if (table := _table(context, groups, preset, metric)) is not None
        ]
    if not blocks:
        return None
    text = (
        "Random effects: the datasets are taken for a sample of datasets. The mean difference has the "
        "interval of Hartung and Knapp; the last column says where the difference on a further dataset would "
        "lie. With two or three datasets both are wide, for little is known of how datasets differ. "
        "Exploratory."
    )
    return Section("pooled", "Over all datasets", (Prose(text), *blocks))


def _table(context: ReportContext, groups: list[ComparisonGroup], preset: str, metric: str) -> Table | None:
    rows = []
    for method in context.stored_runs.methods:
        of = [group for group in groups if (method, metric) in group.against_reference]
        items = [group.against_reference[method, metric] for group in of]
        known = [item for item in items if not item.obstacle]
        if len(known) > 1:
            found = pooled([item.value for item in known], [item.se for item in known])
            rows.append(_row(method, context.link(of[0], method), found))
    if not rows:
        return None
    columns = (
        Column("Method", "left"),
        Column("Datasets"),
        Column(f"Difference to {groups[0].reference}", help="mean over datasets with its 95 % interval"),
        Column("p", help="t-test with datasets − 1 degrees of freedom, not corrected"),
        Column("Spread between datasets", help="standard deviation of true differences"),
        Column("A further dataset", help="95 % prediction interval"),
    )
    key = f"pooled-{metric.lower()}" + ("" if preset == "clean" else f"-{preset}")
    return Table(key, f"{metric} over all datasets, for new people", columns, tuple(rows))


def _row(method: str, link: str, found: PooledDifference) -> tuple[TableCell, ...]:
    interval = f"[{signed(found.low)}, {signed(found.high)}]"
    further = f"[{signed(found.further_low)}, {signed(found.further_high)}]"
    return (
        TableCell(method, method, link),
        TableCell(str(found.datasets), found.datasets, link),
        TableCell(f"{signed(found.value)} {interval}", found.value, link),
        TableCell(p_value(found.p), found.p, link),
        TableCell(number(found.spread), found.spread, link),
        TableCell(further, found.further_low, link),
    )
