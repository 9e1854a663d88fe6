"""The chapter of quoted numbers: what others published on these datasets, and where it was read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.machine.terms import METRICS
from reports.comparison import ComparisonGroup
from reports.context import ReportContext
from reports.document import Column, Figure, Prose, Section, Table, TableCell, visible
from reports.figures import MUTED, PALETTE
from reports.formatting import NOTHING, missing, number
from reports.published import KEY, Published, epoch_choice_of, source_of


def section(context: ReportContext) -> Section | None:
    """Where the published numbers of these datasets were read; None for datasets nobody published on."""
    here = {*context.stored_runs.datasets, *(group.evaluation.target for group in context.groups)}
    entries = [entry for entry in context.published.in_domain if entry["dataset"] in here]
    entries += [
        entry
        for entry in context.published.transfer
        if {entry["source_dataset"], entry["target_dataset"]} <= here
    ]
    if not entries:
        return None
    labels = ("Method", "Backbone", "Pre-training", "Inference", "Trained on", "Tested on")
    columns = (
        *(Column(label, "left") for label in labels),
        *(Column(metric) for metric in METRICS),
        Column("Protocol", "text"),
        Column("Source", "text"),
    )
    rows = tuple(_row(entry, context.published) for entry in entries)
    note = f"Nobody of this project has read: {'; '.join(context.published.unread)}. Those places stay empty."
    table = Table(KEY, "Numbers others published, in percent", columns, rows, (note,), folded=True)
    text = "Quoted beside our numbers, never used in a verdict."
    others = _replications(context, here)
    figures = [figure for group in context.groups if (figure := _dots(context, group)) is not None]
    return Section("published-numbers", "Published numbers", (Prose(text), table, *others, *figures))


def _replications(context: ReportContext, here: set[str]) -> list[Table]:
    """What other groups got for the same methods on these datasets; none where nothing is known."""
    known = [
        one
        for one in context.published.replications
        if {one["source_dataset"], one["target_dataset"]} <= here
    ]
    columns = (
        *(Column(label, "left") for label in ("Method", "Trained on", "Tested on", "By")),
        Column("R1"),
        Column("Source", "text"),
    )
    rows = tuple(
        (
            *(TableCell(str(one[key]), str(one[key])) for key in _REPLICATION_KEYS),
            TableCell(number(one["R1"], 2), one["R1"]),
            TableCell(source_of({"second_hand": False, **one}), one["source"], kind="quiet"),
        )
        for one in known
    )
    title = "What other groups got for the same methods, R1 in percent"
    return [Table("replications", title, columns, rows, folded=True)] if rows else []


_REPLICATION_KEYS = ("method", "source_dataset", "target_dataset", "by")


def _dots(context: ReportContext, group: ComparisonGroup) -> Figure | None:
    """Our R1 beside published and replicated ones, for the methods of which others got a number."""
    found = []
    for method in group.methods:
        base, conditions = context.conditions(group, method)
        published = context.published
        quote = published.value if group.evaluation.same_dataset else published.transferred
        theirs = quote(base, conditions, "R1")
        dots = [float(one["R1"]) for one in published.replicated(base, conditions, "R1")]
        if dots:
            found.append((method, theirs.sort if isinstance(theirs.sort, float) else None, dots))
    if not found:
        return None
    with context.figure_writer.axes(1, 1, (7.2, 1.2 + 0.4 * len(found))) as (drawing, grid):
        axes = grid[0][0]
        for row, (method, quoted, dots) in enumerate(found):
            ours = group.mean(method, "R1")
            label = _LABELS if row == 0 else ("", "", "")
            axes.plot([ours.low, ours.high], [row, row], color=PALETTE[0], lw=1.4)
            axes.plot([ours.value], [row], "s", color=PALETTE[0], ms=6, label=label[0])
            if quoted is not None:
                axes.plot([quoted], [row], "D", mfc="none", color=MUTED, ms=6, label=label[1])
            axes.plot(dots, [row] * len(dots), "o", color=PALETTE[1], ms=5, label=label[2])
        axes.set_yticks(range(len(found)), [visible(method) for method, _, _ in found])
        axes.set_xlabel("Rank-1, percent")
        axes.grid(visible=True, axis="x")
        drawing.legend(loc="outside upper left", ncols=3)
        return context.figure_writer.finish(
            drawing,
            f"replications-{group.evaluation.key}",
            "Rank-1 measured here beside published and replicated numbers; those are in the tables",
            f"Rank-1 here (with its 95 % interval), as published, and as other groups got it, "
            f"{group.evaluation.title}.",
        )


_LABELS = ("here", "published", "other groups")


def _row(entry: Mapping[str, Any], published: Published) -> tuple[TableCell, ...]:
    named = (
        entry["method"],
        entry.get("backbone", NOTHING),
        entry.get("pretraining", published.pretraining),
        entry.get("inference", published.inference),
        entry.get("source_dataset", entry.get("dataset")),
        entry.get("target_dataset", entry.get("dataset")),
    )
    scores = (entry.get(metric) for metric in METRICS)
    return (
        *(TableCell(str(name), str(name)) for name in named),
        *(missing("not given") if score is None else TableCell(number(score, 2), score) for score in scores),
        TableCell(epoch_choice_of(entry), epoch_choice_of(entry)),
        TableCell(source_of(entry), source_of(entry), kind="quiet"),
    )
