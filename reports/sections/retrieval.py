"""What methods retrieved: sheets of queries with their first ten images, alone and side by side.

Reads what `harness.store.pictures` keeps of the data that a cell was evaluated on; pictures of other data
are never shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.machine.errors import StoreError
from harness.store.pictures import Gallery, found_only_by, read_gallery
from reports.cell_views import CellView, Evaluation
from reports.comparison import SELECTED_ON_VAL, ComparisonGroup
from reports.document import Block, TemplateBlock, picture
from reports.formatting import plural

WORST = 6
FOUND_WITHIN = 10
"""A query that ranks deeper is not shown on a sheet: it counts as not found there."""


@dataclass(frozen=True)
class Retrieval:
    """What one cell retrieved on a test split, with the pictures that were kept of it."""

    cell: CellView
    gallery: Gallery
    answers: Mapping[int, Mapping[str, Any]]
    """By caption index: rank, top and person_id, of the queries whose picture and caption were kept."""

    @property
    def chosen(self) -> list[int]:
        """The queries that are shown for every method, drawn once."""
        return [query for query in self.answers if self.gallery.queries[query]["chosen"]]

    @property
    def worst(self) -> list[int]:
        """Those whose first right image ranks deepest."""
        missed = [query for query, answer in self.answers.items() if answer["rank"] > 1]
        return sorted(missed, key=lambda query: (-self.answers[query]["rank"], query))[:WORST]

    def shown(self, query: int) -> dict[str, Any]:
        """A query with its first ten images, for the templates."""
        row, answer = self.gallery.queries[query], self.answers[query]
        rank = int(answer["rank"])
        return {
            "caption": row["caption"],
            "rank": rank,
            "own": picture(self.gallery.images.get(int(row["image"]), {}).get("webp")),
            "shown": [
                self._hit(int(index), row["person_id"], rank, position)
                for position, index in enumerate(answer["top"], 1)
            ],
        }

    def _hit(self, index: int, person: str, rank: int, position: int) -> dict[str, Any]:
        image = self.gallery.images.get(index, {})
        return {
            "position": position,
            "right": image.get("person_id") == person if image else position == rank,
            "source": picture(image.get("webp")),
            "name": image.get("name", "not kept"),
        }


def retrieval(evaluation: Evaluation, cell: CellView) -> Retrieval | None:
    """What a cell retrieved; None when it was not evaluated there, or no picture of that data was kept."""
    row = cell.row(evaluation, SELECTED_ON_VAL)
    if row is None or cell.stored is None:
        return None
    gallery = read_gallery(cell.run.path, evaluation.target, str(row.get("fingerprint")))
    try:
        kept = cell.stored.records_of(
            evaluation.target, SELECTED_ON_VAL, evaluation.direction, gallery.queries
        )
    except StoreError:
        return None
    answers = {
        int(answer["query"]): answer
        for answer in kept
        # A caption that belongs to somebody else was not drawn from this split.
        if answer["positives"] > 0
        and str(answer["person_id"]) == str(gallery.queries[int(answer["query"])]["person_id"])
    }
    return Retrieval(cell, gallery, answers) if answers else None


def reference_cell(group: ComparisonGroup) -> CellView:
    """The first seed of the reference, or of the first method where the reference has not finished."""
    method = group.reference if group.reference in group.methods else next(iter(group.methods))
    return group.methods[method].cells[0]


def first_query(group: ComparisonGroup) -> list[Block]:
    """One query with its ranks, for the first screen: the first of the chosen ones that was found."""
    retrieved = retrieval(group.evaluation, reference_cell(group))
    if retrieved is None or not retrieved.chosen:
        return []
    answered = [query for query in retrieved.chosen if retrieved.answers[query]["rank"] <= FOUND_WITHIN]
    query = (answered or retrieved.chosen)[0]
    title = f"What {retrieved.cell.method} retrieves"
    return [TemplateBlock("first_query.html", {"title": title, "query": retrieved.shown(query)})]


def sheets(group: ComparisonGroup) -> list[Block]:
    """The chosen queries and the worst ones of the reference."""
    retrieved = retrieval(group.evaluation, reference_cell(group))
    if retrieved is None or not retrieved.chosen:
        return []
    whose = f"{retrieved.cell.method}, seed {retrieved.cell.seed}, on {group.evaluation.title}"
    kinds = (
        ("Queries drawn at random", "The same captions for every method and report.", retrieved.chosen),
        ("Worst queries", "Those whose first right image ranks deepest.", retrieved.worst),
    )
    return [
        TemplateBlock(
            "sheet.html",
            {
                "title": f"{title}: {whose}",
                "note": note,
                "link": retrieved.cell.anchor,
                "queries": [retrieved.shown(query) for query in queries],
            },
        )
        for title, note, queries in kinds
        if queries
    ]


def side_by_side(group: ComparisonGroup) -> list[Block]:
    """The reference beside another method, on the queries that only one of them finds at rank 1."""
    other = _most_different(group)
    if not other:
        return []
    reference, compared = (
        retrieval(group.evaluation, group.methods[name].cells[0]) for name in (group.reference, other)
    )
    if reference is None or compared is None:
        return []
    parts = [
        {
            "title": f"Only {a.cell.method} finds",
            "queries": [
                {
                    "caption": a.gallery.queries[query]["caption"],
                    "rows": [_row(reference, query), _row(compared, query)],
                }
                for query in _only(a, b)
            ],
        }
        for a, b in ((reference, compared), (compared, reference))
    ]
    shown = [part for part in parts if part["queries"]]
    if not shown:
        return []
    values = {
        "title": f"{group.reference} beside {other} on {group.evaluation.title}, where they differ most",
        "finding": _who_finds(group, other),
        "parts": shown,
    }
    return [TemplateBlock("side_by_side.html", values)]


def _most_different(group: ComparisonGroup) -> str:
    """The method whose R1 differs most from the reference's: of those that train, where any does."""
    judged = {method: item for (method, metric), item in group.against_reference.items() if metric == "R1"}
    trained = {method: item for method, item in judged.items() if not group.methods[method].untrained}
    among = trained or judged
    return max(among, key=lambda method: abs(among[method].estimate.value), default="")


def _who_finds(group: ComparisonGroup, other: str) -> str:
    """How many captions both first runs find at rank 1, and how many only one of them."""
    pair = [group.methods[name] for name in (group.reference, other)]
    first, second = (scores.scores["R1"][0] == 1 for scores in pair)
    seeds = [scores.cells[0].seed for scores in pair]
    names = [f"{scores.label} (seed {seed})" for scores, seed in zip(pair, seeds, strict=True)]
    return (
        f"Of {plural(group.queries, 'caption')}, only {names[0]} finds {int((first & ~second).sum()):,} at "
        f"rank 1, only {names[1]} {int((second & ~first).sum()):,}, both {int((first & second).sum()):,}."
    )


def _only(one: Retrieval, other: Retrieval) -> Sequence[int]:
    """Queries that `one` finds first and `other` ranks deepest, among those whose pictures were kept."""
    ranks = [
        {query: float(answer["rank"]) for query, answer in side.answers.items()} for side in (one, other)
    ]
    return found_only_by(*ranks)


def _row(retrieved: Retrieval, query: int) -> dict[str, Any]:
    return {"method": retrieved.cell.method, "link": retrieved.cell.anchor, **retrieved.shown(query)}
