"""Caption noise: best and last epoch of every method, and which of the moved captions a method distrusts."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from reports.cell_views import CellView
from reports.comparison import JUDGED_METRICS, ComparisonGroup
from reports.context import ReportContext
from reports.document import Column, Prose, Section, Table, TableCell
from reports.formatting import missing, number
from reports.stored_runs import caption_noise

TRUST = "trust"
"""The hook's value that says which pairs take part in the loss."""


def section(context: ReportContext) -> Section | None:
    """One table for each noisy training set; None where no run has caption noise."""
    tables = [table for group in context.same_dataset if (table := _table(context, group)) is not None]
    if not tables:
        return None
    text = (
        "A share of the training captions was moved to other images; tests are on the captions as they are. "
        "Where a method fits the wrong captions in the end, its last epoch can fall behind its best. "
        "Verdicts are in the results above."
    )
    return Section("caption-noise", "Caption noise", (Prose(text), *tables))


def _table(context: ReportContext, group: ComparisonGroup) -> Table | None:
    methods = [name for name in context.methods_of(group) if name in group.methods]
    cells = {
        name: [
            cell for cell in context.stored_runs.cells if cell.method == name and group.evaluation.holds(cell)
        ]
        for name in methods
    }
    shares = {caption_noise(cell) for listed in cells.values() for cell in listed}
    if not any(shares):
        return None
    columns = [Column("Method", "left")]
    for metric in JUDGED_METRICS:
        columns += [
            Column(f"{metric}, best epoch", help="the epoch chosen on validation; mean of the seeds"),
            Column(f"{metric}, last epoch", help="mean of the seeds"),
        ]
    columns += [
        Column("Moved captions found", help="share of them that the last division does not trust"),
        Column("Others lost", help="share of the captions in place that it does not trust either"),
    ]
    return Table(
        f"caption-noise-{group.evaluation.key}",
        f"Best and last epoch, {group.evaluation.title}",
        tuple(columns),
        tuple(_row(context, group, name, cells[name]) for name in methods),
        data_notes=context.data_notes(group),
    )


def _row(
    context: ReportContext, group: ComparisonGroup, method: str, cells: Sequence[CellView]
) -> tuple[TableCell, ...]:
    link = context.link(group, method)
    row = [TableCell(method, method, link)]
    for metric in JUDGED_METRICS:
        row += [_score(cells, metric, selection, link) for selection in ("val", "last")]
    for rows in ("moved", "in_place"):
        distrusted = [100 * (1 - value) for cell in cells if (value := _trusted(cell, rows)) is not None]
        row.append(
            TableCell(f"{number(fmean(distrusted))} %", fmean(distrusted), link)
            if distrusted
            else missing("it divides no pairs", link)
        )
    return tuple(row)


def _score(cells: Sequence[CellView], metric: str, selection: str, link: str) -> TableCell:
    found = [
        float(row[metric])
        for cell in cells
        for row in cell.results
        if (row["target"], row["selection"], row["direction"]) == (cell.dataset, selection, "t2i")
    ]
    return TableCell(number(fmean(found)), fmean(found), link) if found else missing("no result", link)


def _trusted(cell: CellView, rows: str) -> float | None:
    """Share of the moved captions, or of those in place, that the last epoch trusted; None without a hook."""
    if not cell.history:
        return None
    value = cell.history[-1].get("pairs", {}).get(TRUST, {}).get(rows)
    return None if value is None else float(value)
