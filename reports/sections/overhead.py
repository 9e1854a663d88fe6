"""What methods cost beside each other, from what studies measured.

A run that measured leaves `overhead.json` in its directory: a list of measurements, each a mapping of

* `method`, `against`: labels; `quantity`: what was measured, such as `training step`, `peak
  memory`, `parameters used`, `compute per pair`, `image encoding`;
* `value`: for the method, in `unit`; `reference`: the same for `against`, if known;
* `ratio`, `low`, `high`: method ÷ against with its 95 % interval (bounds equal the ratio for exact
  counts, and are missing for what was measured once);
* `device`, and `note` for anything a reader must know.

Unknown keys are ignored; a measurement without a ratio is shown with its value alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.store.run_files import OVERHEAD, read_entries
from reports.cell_views import Run
from reports.context import ReportContext, runs_anchor
from reports.document import Block, Column, Figure, Prose, Section, Table, TableCell, visible
from reports.figures import MUTED, PALETTE
from reports.formatting import NOTHING, missing, number


@dataclass(frozen=True)
class Measurement:
    """One quantity of one method beside another."""

    method: str
    against: str
    quantity: str
    value: float | None
    unit: str
    ratio: float | None
    low: float | None
    high: float | None
    device: str
    note: str
    link: str = ""
    """Anchor of the method's runs."""


def measurements(path: Path) -> list[Measurement]:
    """The measurements a run left; none when there is no file or it is damaged."""
    return [_measurement(entry) for entry in read_entries(path)]


def _measurement(entry: Mapping[str, Any]) -> Measurement:
    words = {
        name: str(entry.get(name) or "")
        for name in ("method", "against", "quantity", "unit", "device", "note")
    }
    numbers = {name: _number(entry.get(name)) for name in ("value", "ratio", "low", "high")}
    return Measurement(**words, **numbers)  # type: ignore[arg-type]


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def section(context: ReportContext) -> Section | None:
    """One table and figure for each method that others are measured against."""
    entries = [
        replace(entry, link=_link(context, run, entry.method))
        for run in context.stored_runs.runs
        for entry in measurements(run.path / OVERHEAD)
    ]
    if not entries:
        return None
    blocks: list[Block] = [
        Prose(
            "Ratios of cost, method ÷ reference, with 95 % intervals over repeated measurements; above 1 is "
            "dearer. Counts, such as parameters, are exact: their interval is the ratio itself. Peak memory "
            "is measured once, and has none."
        )
    ]
    order = list(dict.fromkeys(entry.quantity for entry in entries))
    for against in dict.fromkeys(entry.against for entry in entries):
        here = [entry for entry in entries if entry.against == against]
        here.sort(key=lambda entry: order.index(entry.quantity))  # methods side by side, in their order
        blocks.append(_table(against, here))
        if any(entry.ratio is not None for entry in here):
            blocks.append(_figure(context, against, here))
    return Section("overhead", "What it costs", tuple(blocks))


def _link(context: ReportContext, run: Run, method: str) -> str:
    for cell in context.stored_runs.cells:
        if cell.run.path == run.path and cell.label == method:
            return runs_anchor(cell.preset, cell.dataset, cell.method, cell.population)
    return ""


def _table(against: str, entries: Sequence[Measurement]) -> Table:
    devices = list(dict.fromkeys(entry.device for entry in entries if entry.device))
    columns = (
        Column("Quantity", "left"),
        Column("Method", "left"),
        Column("Value"),
        Column(f"÷ {against}" if against else "Ratio"),
        Column("95 % interval"),
        *([Column("Device", "text")] if len(devices) > 1 else []),
        *([Column("Note", "text")] if any(entry.note for entry in entries) else []),
    )
    rows = tuple(_row(entry, len(devices) > 1, any(other.note for other in entries)) for entry in entries)
    title = f"Cost against {against}" if against else "Cost"
    notes = (f"Measured on {devices[0]}.",) if len(devices) == 1 else ()
    return Table(f"overhead-{against or 'alone'}", title, columns, rows, notes)


def _row(entry: Measurement, with_device: bool, with_note: bool) -> tuple[TableCell, ...]:
    none = missing("not measured", entry.link)
    span = none if entry.ratio is None else missing("measured once", entry.link)
    if entry.low is not None and entry.high is not None:
        span = TableCell(f"[{number(entry.low, 3)}, {number(entry.high, 3)}]", entry.low, entry.link)
    value = none
    if entry.value is not None:
        value = TableCell(
            f"{number(entry.value, _digits(entry.value))} {entry.unit}".strip(), entry.value, entry.link
        )
    return (
        TableCell(entry.quantity, entry.quantity),
        TableCell(entry.method, entry.method, entry.link),
        value,
        none if entry.ratio is None else TableCell(f"{number(entry.ratio, 3)}×", entry.ratio, entry.link),
        span,
        *([TableCell(entry.device or NOTHING, entry.device or None)] if with_device else []),
        *([TableCell(entry.note, entry.note or None, kind="quiet")] if with_note else []),
    )


def _digits(value: float) -> int:
    """Three significant digits, and no decimals for large numbers."""
    return 0 if value == 0 or abs(value) >= 100 else max(0, 2 - math.floor(math.log10(abs(value))))


def _figure(context: ReportContext, against: str, entries: Sequence[Measurement]) -> Figure:
    shown = [entry for entry in entries if entry.ratio is not None]
    names = list(dict.fromkeys(entry.method for entry in shown))
    quantities = list(dict.fromkeys(entry.quantity for entry in shown))
    height = 0.9 + 0.3 * len(quantities) * max(1.0, 0.6 * len(names))
    with context.figure_writer.axes(1, 1, (7.2, height)) as (drawing, grid):
        axes = grid[0][0]
        for index, name in enumerate(names):
            colour, marker = PALETTE[index % len(PALETTE)], "os^vDPX*"[index % 8]
            shift = (index - (len(names) - 1) / 2) * 0.7 / max(1, len(names))
            for entry in (entry for entry in shown if entry.method == name):
                row = quantities.index(entry.quantity) + shift
                axes.plot(
                    [entry.low or entry.ratio, entry.high or entry.ratio], [row, row], color=colour, lw=1.4
                )
                axes.plot([entry.ratio], [row], marker, color=colour, ms=5)
            axes.plot([], [], marker, color=colour, label=visible(name))
        axes.axvline(1, color=MUTED, lw=0.8)
        _scale(axes, [entry.ratio for entry in shown if entry.ratio])
        axes.set_yticks(range(len(quantities)), [visible(name) for name in quantities])
        axes.set_ylim(len(quantities) - 0.4, -0.6)
        axes.set_xlabel(f"ratio to {visible(against)}")
        axes.grid(axis="x")
        drawing.legend(loc="outside upper left", ncols=4)
        alt = f"Cost of each method as a ratio to {against}; the numbers are in the table"
        return context.figure_writer.finish(
            drawing,
            f"overhead-{against or 'alone'}",
            alt,
            "Ratio of cost with 95 % intervals, on a logarithmic scale; intervals that leave the figure are "
            "in the table.",
        )


def _scale(axes: Any, ratios: Sequence[float]) -> None:
    """A logarithmic scale around the ratios: one noisy interval must not squeeze everything else together."""
    from matplotlib.ticker import FixedLocator, NullLocator

    low, high = min(1.0, *ratios) / 1.6, max(1.0, *ratios) * 1.6
    axes.set_xscale("log", base=2)
    axes.set_xlim(low, high)
    ticks = [step for step in (2.0**power for power in range(-10, 11)) if low <= step <= high]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticklabels([f"{tick:g}×" for tick in ticks])
