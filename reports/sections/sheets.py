"""Pictures: what was retrieved, what TIR restored, what pruning left of captions.

Reads what `harness.store.pictures` keeps, of the data that a cell was evaluated on; a run without any has
no such chapter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from harness.store.pictures import read_pruned, read_restorations
from reports.cell_views import CellView
from reports.context import ReportContext
from reports.document import Block, Section, TemplateBlock, picture
from reports.formatting import listed, plural
from reports.sections.retrieval import reference_cell, sheets, side_by_side

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
        rows = [] if cell.stored is None else read_restorations(cell.stored.directory)
        if rows:
            return [
                TemplateBlock(
                    "restorations.html",
                    {
                        "title": f"What {cell.method} restores, seed {cell.seed}, {cell.dataset}",
                        "link": cell.anchor,
                        "finding": _finding(rows),
                        "rows": [_restored(row) for row in rows[:RESTORED]],
                    },
                )
            ]
    return []


def _finding(rows: Sequence[Mapping[str, Any]]) -> str:
    """Whether the caption helps to restore: the mean error with its own, a foreign and an empty caption."""
    kinds = [("right", "its own caption"), ("wrong", "somebody else’s"), ("none", "no caption")]
    errors = {kind: [row[f"error_{kind}"] for row in rows if f"error_{kind}" in row] for kind, _ in kinds}
    shown = [f"{mean(errors[kind]):.3f} with {text}" for kind, text in kinds if errors[kind]]
    better = sum(row["error_right"] < row["error_wrong"] for row in rows)
    return (
        f"Mean error over {plural(len(rows), 'test image')}: {listed(shown)}. An image’s own caption "
        f"restores it better than somebody else’s in {better} of {len(rows)} (chance: half)."
    )


def _restored(row: Mapping[str, Any]) -> dict[str, Any]:
    kinds = [("right", "its caption"), ("wrong", "somebody else’s"), ("none", "no caption")]
    pictures = [("seen", picture(row.get("masked")), "")]
    pictures += [
        (label, picture(row[kind]), f"{row[f'error_{kind}']:.3f}") for kind, label in kinds if kind in row
    ]
    pictures.append(("original", picture(row.get("original")), ""))
    return {"pictures": pictures, "caption": row["caption"], "wrong_caption": row["wrong_caption"]}


def _pruned(context: ReportContext) -> list[Block]:
    blocks: list[Block] = []
    for dataset in context.stored_runs.datasets:
        drawn_from = {
            (cell.run.path, str(cell.parts["dataset"]["fingerprint"])): None
            for cell in context.stored_runs.cells
            if cell.dataset == dataset and cell.parts
        }
        kept = (read_pruned(directory, dataset, data) for directory, data in drawn_from)
        for tagger, examples in (pair for pair in kept if pair is not None):
            title = f"Captions of {dataset} before and after pruning, tagged by {tagger}"
            blocks.append(TemplateBlock("pruned.html", {"title": title, "examples": examples[:PRUNED]}))
            break
    return blocks
