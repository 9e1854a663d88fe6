"""What every section of a report is given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from reports.comparison import ComparisonGroup, ComparisonOptions
from reports.document import TableCell
from reports.figures import FigureWriter
from reports.formatting import missing, plural
from reports.published import Published
from reports.stored_runs import ALTERED, CellView, StoredRuns

REASONS: Mapping[str, str] = {
    "oom": "ran out of memory",
    "nan": "diverged (a loss was not a number)",
    "data": "its data could not be used",
    "timeout": "ran out of time",
    "error": "stopped with an error",
}

_STATES = {
    "running": "still running",
    "pruned": "stopped early by a search",
    ALTERED: "left out, its results are not as they were written",
}


@dataclass(frozen=True)
class ReportContext:
    """The runs, what the statistics say of them, and where figures are drawn."""

    frames: StoredRuns
    arenas: tuple[ComparisonGroup, ...]
    options: ComparisonOptions
    published: Published
    studio: FigureWriter = field(default_factory=FigureWriter)

    @cached_property
    def homes(self) -> tuple[ComparisonGroup, ...]:
        """Arenas where methods are tested on the dataset they were trained on."""
        return tuple(arena for arena in self.arenas if arena.place.home)

    @cached_property
    def away(self) -> tuple[ComparisonGroup, ...]:
        """Arenas of transfer."""
        return tuple(arena for arena in self.arenas if not arena.place.home)

    def methods_of(self, arena: ComparisonGroup) -> tuple[str, ...]:
        """Every method meant for an arena's training set, finished or not, in the study's order."""
        meant = {
            cell.method for cell in self.frames.cells if arena.place.holds(cell) or self._planned(arena, cell)
        }
        return tuple(name for name in self.frames.methods if name in meant)

    def _planned(self, arena: ComparisonGroup, cell: CellView) -> bool:
        return not cell.parts and (cell.preset, cell.dataset) == (arena.place.preset, arena.place.source)

    def cells_of(self, arena: ComparisonGroup, method: str) -> tuple[CellView, ...]:
        """A method's cells behind an arena, by seed, whatever their status."""
        place = arena.place
        return tuple(
            cell
            for cell in self.frames.of(method, place.source, place.preset)
            if place.holds(cell) or not cell.parts
        )

    def link(self, arena: ComparisonGroup, method: str) -> str:
        """Anchor of the runs behind a method's number."""
        return runs_anchor(arena.place.preset, arena.place.source, method, arena.place.population)

    def gap(self, arena: ComparisonGroup, method: str) -> TableCell:
        """An empty place that says what became of the method's runs."""
        return missing(why_missing(self.cells_of(arena, method)), self.link(arena, method))


def runs_anchor(preset: str, source: str, method: str, population: str = "") -> str:
    """Anchor of a method's runs on a dataset."""
    return "runs-" + slug("-".join(filter(None, (preset, source, population, method))))


def slug(text: str) -> str:
    """Text as an anchor or a file name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-")


def state(cell: CellView) -> str:
    """A cell's status in words."""
    if cell.status == "queued":
        return "not finished" if cell.detail else "not started"
    if cell.status == "failed":
        return f"failed, {REASONS.get(cell.reason, cell.reason or 'no reason recorded')}"
    return _STATES.get(cell.status, cell.status)


def why_missing(cells: Sequence[CellView]) -> str:
    """Why a method has no number."""
    if not cells:
        return "not part of this study"
    states = [state(cell) for cell in cells]
    return "; ".join(f"{plural(states.count(text), 'run')} {text}" for text in dict.fromkeys(states))
