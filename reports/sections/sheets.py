"""Pictures: what was retrieved, what TIR restored, what pruning left of captions.

Reads what `harness.store.pictures` keeps, of the data that a cell was evaluated on; a run without any has no
such chapter.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.store.pictures import read_gallery, read_pruned, read_restorations
from reports.comparison import SELECTED_ON_VAL, ComparisonGroup
from reports.context import ReportContext
from reports.document import Block, Section, TemplateBlock
from reports.stored_runs import CellView

WORST = 6
RESTORED = 6
PRUNED = 12


def section(context: ReportContext) -> Section | None:
    """Sheets of the reference's retrievals at home, its restorations, and pruned captions."""
    blocks: list[Block] = []
    for group in context.same_dataset:
        method = group.reference if group.reference in group.methods else next(iter(group.methods))
        blocks += _retrieval(group, group.methods[method].cells[0])
        blocks += _restorations(group.methods[method].cells)
    blocks += _pruned(context)
    return Section("pictures", "Pictures", tuple(blocks)) if blocks else None


def _read(path: Path) -> list[dict[str, Any]]:
    """Rows of a table of pictures; none when the file is missing or damaged."""
    import pyarrow.parquet as parquet

    try:
        rows: list[dict[str, Any]] = parquet.read_table(path, page_checksum_verification=True).to_pylist()
    except (OSError, ValueError):
        return []
    return rows


def picture(webp: bytes | None) -> str:
    """A WebP as a data URL; empty for none and for what is no WebP."""
    if not isinstance(webp, bytes) or webp[:4] != b"RIFF" or webp[8:12] != b"WEBP":
        return ""
    return "data:image/webp;base64," + base64.b64encode(webp).decode()


def _retrieval(group: ComparisonGroup, cell: CellView) -> list[Block]:
    row = cell.row(group.evaluation, SELECTED_ON_VAL)
    if row is None:
        return []
    data = str(row.get("fingerprint"))
    gallery = read_gallery(cell.run.path, group.evaluation.target, data)
    answers = _answers(group, cell)
    captions = {
        query: kept
        for query, kept in gallery.queries.items()
        if query not in answers or str(answers[query]["person_id"]) == str(kept["person_id"])
    }
    images = gallery.images
    chosen = [query for query, row in captions.items() if row["chosen"] and query in answers]
    worst = sorted(
        (query for query in captions if query in answers and answers[query]["rank"] > 1),
        key=lambda query: (-answers[query]["rank"], query),
    )[:WORST]
    if not chosen:
        return []
    lead = f"{cell.method}, seed {cell.seed}, on {group.evaluation.title}"
    return [
        TemplateBlock(
            "sheet.html",
            {
                "title": f"{title}: {lead}",
                "note": note,
                "link": cell.anchor,
                "queries": list(_queries(picked, captions, images, answers)),
            },
        )
        for title, note, picked in (
            ("Queries drawn at random", "The same captions for every method and report.", chosen),
            ("Worst queries", "Those whose first right image ranks deepest.", worst),
        )
        if picked
    ]


def _answers(group: ComparisonGroup, cell: CellView) -> dict[int, dict[str, Any]]:
    rows = _read(cell.records_path(group.evaluation, SELECTED_ON_VAL))
    return {int(row["query"]): row for row in rows if row["rank"] is not None and row["positives"] > 0}


def _queries(
    picked: list[int],
    captions: Mapping[int, Mapping[str, Any]],
    images: Mapping[int, Mapping[str, Any]],
    answers: Mapping[int, Mapping[str, Any]],
) -> Iterator[dict[str, Any]]:
    for query in picked:
        row, answer = captions[query], answers[query]
        own = images.get(int(row["image"]), {})
        yield {
            "caption": row["caption"],
            "rank": int(answer["rank"]),
            "own": picture(own.get("webp")),
            "shown": [
                _hit(images.get(int(index), {}), row["person_id"], int(answer["rank"]), place)
                for place, index in enumerate(answer["top"], 1)
            ],
        }


def _hit(image: Mapping[str, Any], person: str, rank: int, place: int) -> dict[str, Any]:
    right = image.get("person_id") == person if image else place == rank
    return {
        "place": place,
        "right": right,
        "source": picture(image.get("webp")),
        "name": image.get("name", "not kept"),
    }


def _restorations(cells: tuple[CellView, ...]) -> list[Block]:
    for cell in cells:
        rows = read_restorations(cell.run.path / "cells" / cell.directory)[:RESTORED]
        if rows:
            return [
                TemplateBlock(
                    "restorations.html",
                    {
                        "title": f"What {cell.method} restores, seed {cell.seed}, {cell.dataset}",
                        "link": cell.anchor,
                        "rows": [_restored(row) for row in rows],
                    },
                )
            ]
    return []


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
