"""The chapter of quoted numbers: what others published on these datasets, and where it was read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reports.context import ReportContext
from reports.document import Column, Prose, Section, Table, TableCell
from reports.formatting import NOTHING, missing, number
from reports.published import KEY, protocol_of, source_of

_METRICS = ("R1", "R5", "R10", "mAP", "mINP")


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
    labels = ("Method", "Backbone", "Trained on", "Tested on")
    columns = (
        *(Column(label, "left") for label in labels),
        *(Column(metric) for metric in _METRICS),
        Column("Protocol", "text"),
        Column("Source", "text"),
    )
    rows = tuple(_row(entry) for entry in entries)
    note = f"Nobody of this project has read: {'; '.join(context.published.unread)}. Those places stay empty."
    table = Table(KEY, "Numbers others published, in percent", columns, rows, (note,), folded=True)
    text = "Quoted beside our numbers, never used in a verdict."
    return Section("published-numbers", "Published numbers", (Prose(text), table))


def _row(entry: Mapping[str, Any]) -> tuple[TableCell, ...]:
    named = (
        entry["method"],
        entry.get("backbone", NOTHING),
        entry.get("source_dataset", entry.get("dataset")),
        entry.get("target_dataset", entry.get("dataset")),
    )
    scores = (entry.get(metric) for metric in _METRICS)
    return (
        *(TableCell(str(name), str(name)) for name in named),
        *(missing("not given") if score is None else TableCell(number(score, 2), score) for score in scores),
        TableCell(protocol_of(entry), protocol_of(entry)),
        TableCell(source_of(entry), source_of(entry), kind="quiet"),
    )
