"""What every section of a report is given."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from reports.cell_views import ALTERED, CellView
from reports.comparison import ComparisonGroup, ComparisonOptions
from reports.data_notes import data_notes
from reports.document import TableCell
from reports.figures import FigureWriter
from reports.formatting import missing, plural
from reports.ledger import Ruling, rulings
from reports.looks import Looks
from reports.published import Conditions, Published
from reports.stored_runs import StoredRuns

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

    stored_runs: StoredRuns
    groups: tuple[ComparisonGroup, ...]
    options: ComparisonOptions
    published: Published
    figure_writer: FigureWriter = field(default_factory=FigureWriter)
    looks: Looks = field(default_factory=Looks)
    """How often the study was looked at while its seeds grew, and at which levels."""

    @cached_property
    def same_dataset(self) -> tuple[ComparisonGroup, ...]:
        """Groups where methods are tested on the dataset they were trained on."""
        return tuple(group for group in self.groups if group.evaluation.same_dataset)

    @cached_property
    def transfer(self) -> tuple[ComparisonGroup, ...]:
        """Groups of transfer."""
        return tuple(group for group in self.groups if not group.evaluation.same_dataset)

    @cached_property
    def rulings(self) -> Sequence[Ruling]:
        """What these runs say of every claim."""
        return rulings(self.stored_runs, self.groups)

    @cached_property
    def elsewhere(self) -> tuple[str, ...]:
        """Methods that another code base trained, in the order of all methods."""
        imported = {cell.method for cell in self.stored_runs.cells if cell.imported}
        return tuple(name for name in self.stored_runs.methods if name in imported)

    @property
    def chosen(self) -> str:
        """How the epoch behind quoted numbers was chosen, as a part of a title."""
        return "chosen on validation" + (" where trained here" if self.elsewhere else "")

    def methods_of(self, group: ComparisonGroup) -> tuple[str, ...]:
        """Every method meant for a group's training set, finished or not, in the study's order."""
        meant = {
            cell.method
            for cell in self.stored_runs.cells
            if group.evaluation.holds(cell) or self._planned(group, cell)
        }
        return tuple(name for name in self.stored_runs.methods if name in meant)

    def _planned(self, group: ComparisonGroup, cell: CellView) -> bool:
        return not cell.parts and (cell.preset, cell.dataset) == (
            group.evaluation.preset,
            group.evaluation.source,
        )

    def cells_of(self, group: ComparisonGroup, method: str) -> tuple[CellView, ...]:
        """A method's cells behind a group, by seed, whatever their status."""
        evaluation = group.evaluation
        return tuple(
            cell
            for cell in self.stored_runs.of(method, evaluation.source, evaluation.preset)
            if evaluation.holds(cell) or not cell.parts
        )

    def link(self, group: ComparisonGroup, method: str) -> str:
        """Anchor of the runs behind a method's number."""
        return runs_anchor(
            group.evaluation.preset, group.evaluation.source, method, group.evaluation.population
        )

    def data_notes(self, group: ComparisonGroup) -> tuple[str, ...]:
        """What was recorded of the data that a group's methods were trained and tested on."""
        names = dict.fromkeys((group.evaluation.source, group.evaluation.target))
        return data_notes((cell for scores in group.methods.values() for cell in scores.cells), names)

    def conditions(self, group: ComparisonGroup, method: str) -> tuple[str, Conditions]:
        """The registered method behind a label, and the conditions of its numbers in a group."""
        cells = self.cells_of(group, method)
        source, target = group.evaluation.source, group.evaluation.target
        if not cells:
            return method, Conditions(source, target, "")
        cell = next((cell for cell in cells if cell.status == "done"), cells[0])
        settings, data = cell.settings, (cell.data(source), cell.data(target))
        official = [each.get("official") for each in data if each]
        subsets = [each["subset"] for each in data if each.get("subset")]
        return cell.base, Conditions(
            source,
            target,
            str(settings.get("backbone", "")),
            tuple(settings.get("image_size") or ()),
            cell.start,
            all(official) if official else None,
            next(iter(subsets), None),
        )

    def gap(self, group: ComparisonGroup, method: str) -> TableCell:
        """An empty evaluation that says what became of the method's runs."""
        return missing(why_missing(self.cells_of(group, method)), self.link(group, method))


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
