"""Learning curves as TensorBoard's event files: a folder for each cell."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import isfinite
from pathlib import Path
from typing import Any

from harness.exchange.page_export import PageExport
from reports.cell_views import CellView

FIRST = "brain.Event:2"
"""The version that an event file begins with."""


def write(export: PageExport) -> None:
    """Write an event file for every cell with a history; its folder is named like the cell's.

    Scores on the test split are left out: the page shows curves of validation alone. TensorBoard keeps
    scalars in single precision. Times count from the start of training.
    """
    for cell in export.context.stored_runs.cells:
        if cell.history:
            _write_curves(cell, export.folder / cell.directory)


def _write_curves(cell: CellView, folder: Path) -> None:
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder.mkdir(parents=True)
    seconds = 0.0
    with (folder / "events.out.tfevents.0.harness").open("wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(wall_time=seconds, file_version=FIRST).SerializeToString())
        for line in cell.history:
            seconds += float(line.get("seconds") or 0.0)
            values = [Summary.Value(tag=tag, simple_value=value) for tag, value in scalars(line)]
            event = Event(wall_time=seconds, step=int(line["epoch"]), summary=Summary(value=values))
            writer.write(event.SerializeToString())


def scalars(line: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Tag and value of everything in a line of a history that is drawn over epochs."""
    for part, prefix in (("val", "val"), ("losses", "loss")):
        for name, value in dict(line.get(part) or {}).items():
            if name not in ("queries", "gallery", "excluded") and _is_number(value):
                yield f"{prefix}/{name}", float(value)
    if _is_number(line.get("lr")):
        yield "lr", float(line["lr"])


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and isfinite(value)
