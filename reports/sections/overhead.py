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

from harness.store.run_files import OVERHEAD as FILE
from harness.store.run_files import read_entries
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
    found = [
        replace(one, link=_link(context, run, one.method))
        for run in context.stored_runs.runs
        for one in measurements(run.path / FILE)
    ]
    if not found:
        return None
    blocks: list[Block] = [
        Prose(
            "Ratios of cost, method ÷ reference, with 95 % intervals over repeated measurements; above 1 is "
            "dearer. Counts, such as parameters, are exact: their interval is the ratio itself. Peak memory "
            "is measured once, and has none."
        )
    ]
    order = list(dict.fromkeys(one.quantity for one in found))
    for against in dict.fromkeys(one.against for one in found):
        here = [one for one in found if one.against == against]
        here.sort(key=lambda one: order.index(one.quantity))  # methods side by side, in their order
        blocks.append(_table(against, here))
        if any(one.ratio is not None for one in here):
            blocks.append(_figure(context, against, here))
    return Section("overhead", "What it costs", tuple(blocks))


def _link(context: ReportContext, run: Run, method: str) -> str:
    for cell in context.stored_runs.cells:
        if cell.run.path == run.path and cell.label == method:
            return runs_anchor(cell.preset, cell.dataset, cell.method, cell.population)
    return ""


def _table(against: str, found: Sequence[Measurement]) -> Table:
    devices = list(dict.fromkeys(one.device for one in found if one.device))
    columns = (
        Column("Quantity", "left"),
        Column("Method", "left"),
        Column("Value"),
        Column(f"÷ {against}" if against else "Ratio"),
        Column("95 % interval"),
        *([Column("Device", "text")] if len(devices) > 1 else []),
        *([Column("Note", "text")] if any(one.note for one in found) else []),
    )
    rows = tuple(_row(one, len(devices) > 1, any(other.note for other in found)) for one in found)
    title = f"Cost against {against}" if against else "Cost"
    notes = (f"Measured on {devices[0]}.",) if len(devices) == 1 else ()
    return Table(f"overhead-{against or 'alone'}", title, columns, rows, notes)


def _row(one: Measurement, with_device: bool, with_note: bool) -> tuple[TableCell, ...]:
    none = missing("not measured", one.link)
    span = none if one.ratio is None else missing("measured once", one.link)
    if one.low is not None and one.high is not None:
        span = TableCell(f"[{number(one.low, 3)}, {number(one.high, 3)}]", one.low, one.link)
    value = none
    if one.value is not None:
        value = TableCell(f"{number(one.value, _digits(one.value))} {one.unit}".strip(), one.value, one.link)
    return (
        TableCell(one.quantity, one.quantity),
        TableCell(one.method, one.method, one.link),
        value,
        none if one.ratio is None else TableCell(f"{number(one.ratio, 3)}×", one.ratio, one.link),
        span,
        *([TableCell(one.device or NOTHING, one.device or None)] if with_device else []),
        *([TableCell(one.note, one.note or None, kind="quiet")] if with_note else []),
    )


def _digits(value: float) -> int:
    """Three significant digits, and no decimals for large numbers."""
    return 0 if value == 0 or abs(value) >= 100 else max(0, 2 - math.floor(math.log10(abs(value))))


def _figure(context: ReportContext, against: str, found: Sequence[Measurement]) -> Figure:
    shown = [one for one in found if one.ratio is not None]
    names = list(dict.fromkeys(one.method for one in shown))
    quantities = list(dict.fromkeys(one.quantity for one in shown))
    height = 0.9 + 0.3 * len(quantities) * max(1.0, 0.6 * len(names))
    with context.figure_writer.axes(1, 1, (7.2, height)) as (drawing, grid):
        axes = grid[0][0]
        for place, name in enumerate(names):
            colour, marker = PALETTE[place % len(PALETTE)], "os^vDPX*"[place % 8]
            shift = (place - (len(names) - 1) / 2) * 0.7 / max(1, len(names))
            for one in (one for one in shown if one.method == name):
                row = quantities.index(one.quantity) + shift
                axes.plot([one.low or one.ratio, one.high or one.ratio], [row, row], color=colour, lw=1.4)
                axes.plot([one.ratio], [row], marker, color=colour, ms=5)
            axes.plot([], [], marker, color=colour, label=visible(name))
        axes.axvline(1, color=MUTED, lw=0.8)
        _scale(axes, [one.ratio for one in shown if one.ratio])
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
