"""Pictures: what was retrieved, what TIR restored, what pruning left of captions.

Reads what `harness.store.pictures` keeps, of the data that a cell was evaluated on; a run without any has no
such chapter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from harness.store.pictures import read_pruned, read_restorations
from reports.cell_views import CellView
from reports.context import ReportContext
from reports.document import Block, Section, TemplateBlock
from reports.formatting import plural
from reports.sections.retrieval import picture, reference_cell, sheets, side_by_side

RESTORED = 6
PRUNED = 12


def section(context: ReportContext) -> Section | None:
    """What was retrieved on the training dataset, what TIR restored, and what pruning left of captions."""
    blocks: list[Block] = []
    for group in context.same_dataset:
        blocks += sheets(group)
        blocks += side_by_side(group)
        blocks += _restorations(group.methods[reference_cell(group).method].cells)
    blocks += _pruned(context)
    return Section("pictures", "Pictures", tuple(blocks)) if blocks else None


def _restorations(cells: tuple[CellView, ...]) -> list[Block]:
    for cell in cells:
        rows = ([] if cell.stored is None else read_restorations(cell.stored.directory))[:RESTORED]
        if rows:
            return [
                TemplateBlock(
                    "restorations.html",
                    {
                        "title": f"What {cell.method} restores, seed {cell.seed}, {cell.dataset}",
                        "link": cell.anchor,
                        "finding": _finding(rows),
                        "rows": [_restored(row) for row in rows],
                    },
                )
            ]
    return []


def _finding(rows: Sequence[Mapping[str, Any]]) -> str:
    """Whether the caption helps to restore: the mean error with the right and with a wrong one."""
    right, wrong = (mean(row[name] for row in rows) for name in ("error_right", "error_wrong"))
    shown = f"{right:.3f} with the right caption, {wrong:.3f} with somebody else’s"
    better = sum(row["error_right"] < row["error_wrong"] for row in rows)
    return (
        f"Mean error {shown}; the right caption restores better in {better} of {plural(len(rows), 'image')}."
    )


def _restored(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: picture(row.get(name)) for name in ("masked", "right", "wrong", "original")}
    errors = {name: f"{row[name]:.3f}" for name in ("error_right", "error_wrong")}
    return {**shown, **errors, "caption": row["caption"], "wrong_caption": row["wrong_caption"]}


def _pruned(context: ReportContext) -> list[Block]:
    blocks: list[Block] = []
    for dataset in context.stored_runs.datasets:
        drawn_from = {
            (cell.run.path, str(cell.parts["dataset"]["fingerprint"])): None
            for cell in context.stored_runs.cells
            if cell.dataset == dataset and cell.parts
        }
        kept = (read_pruned(directory, dataset, data) for directory, data in drawn_from)
        for tagger, examples in (found for found in kept if found is not None):
            title = f"Captions of {dataset} before and after pruning, tagged by {tagger}"
            blocks.append(TemplateBlock("pruned.html", {"title": title, "examples": examples[:PRUNED]}))
            break
    return blocks
