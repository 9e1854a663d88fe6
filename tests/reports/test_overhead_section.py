"""What the chart of costs shows is what the table beside it says."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from reports.cell_views import Run
from reports.comparison import ComparisonOptions
from reports.context import ReportContext
from reports.document import Figure, Table
from reports.figures import FigureWriter
from reports.published import published
from reports.sections import overhead
from reports.stored_runs import StoredRuns

RATIOS = {
    ("uit", "training step"): (1.4, 1.2, 1.9),
    ("uit", "compute per pair"): (1.3, 1.3, 1.3),
    ("irra", "training step"): (0.8, 0.7, 0.95),
    ("irra", "peak memory"): (1.1, None, None),
}
"""Ratio to the baseline and its interval, by method and quantity."""


@dataclass(frozen=True)
class WatchedFigures(FigureWriter):
    """Keeps what was drawn: of each line its label, colour, marker and points."""

    lines: list[tuple[str, str, str, list[tuple[float, float]]]] = field(default_factory=list)
    ticks: dict[float, str] = field(default_factory=dict)

    def finish(self, drawing: Any, key: str, alt: str, caption: str) -> Figure:
        (axes,) = drawing.axes
        for line in axes.lines:
            points = [(float(x), float(y)) for x, y in line.get_xydata()]
            self.lines.append((line.get_label(), line.get_color(), line.get_marker(), points))
        self.ticks.update(zip(axes.get_yticks(), (t.get_text() for t in axes.get_yticklabels()), strict=True))
        return super().finish(drawing, key, alt, caption)


@pytest.fixture
def drawn(tmp_path: Path) -> tuple[WatchedFigures, Table]:
    entries = [
        {"method": method, "against": "baseline", "quantity": quantity, "unit": "ms", "value": 10.0}
        | {"ratio": ratio, "low": low, "high": high}
        for (method, quantity), (ratio, low, high) in RATIOS.items()
    ]
    (tmp_path / overhead.OVERHEAD).write_text(json.dumps(entries))
    figures = WatchedFigures()
    runs = StoredRuns((Run(tmp_path, {}, {}),), ())
    section = overhead.section(
        ReportContext(runs, (), ComparisonOptions(resamples=500), published(), figure_writer=figures)
    )
    assert section is not None
    (table,) = (block for block in section.blocks if isinstance(block, Table))
    return figures, table


def test_every_mark_has_its_interval_in_the_row_of_its_quantity_and_the_colour_of_its_method(
    drawn: tuple[WatchedFigures, Table],
) -> None:
    figures, _ = drawn
    legend = {label: (colour, marker) for label, colour, marker, points in figures.lines if not points}
    assert set(legend) == {"uit", "irra"}
    assert len(set(legend.values())) == 2
    named = {look: method for method, look in legend.items()}
    method_of_colour = {colour: method for method, (colour, _) in legend.items()}
    marks: dict[tuple[str, str], float] = {}
    intervals: dict[tuple[str, str], tuple[float, float]] = {}
    for _, colour, marker, points in figures.lines:
        rows = {y for _, y in points}
        if len(rows) != 1 or colour not in method_of_colour:
            continue  # the legend's own entries, and the line at 1
        nearest = min(figures.ticks, key=lambda tick: abs(tick - points[0][1]))
        assert abs(nearest - points[0][1]) < 0.5
        quantity = figures.ticks[nearest]
        if len(points) == 1:
            marks[named[colour, marker], quantity] = points[0][0]
        else:
            intervals[method_of_colour[colour], quantity] = (points[0][0], points[1][0])
    assert marks == {key: ratio for key, (ratio, _, _) in RATIOS.items()}
    assert intervals == {key: (low or ratio, high or ratio) for key, (ratio, low, high) in RATIOS.items()}


def test_the_table_has_the_same_ratios_and_intervals(drawn: tuple[WatchedFigures, Table]) -> None:
    _, table = drawn
    texts = [[value.text for value in row] for row in table.rows]
    shown = {(row[1], row[0]): (row[3], row[4]) for row in texts}
    assert shown["uit", "training step"] == ("1.400×", "[1.200, 1.900]")
    assert shown["irra", "training step"] == ("0.800×", "[0.700, 0.950]")
    assert shown["irra", "peak memory"][0] == "1.100×"
