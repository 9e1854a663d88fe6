"""What a page says of each method, as plain numbers for other tools: scores, means, comparisons.

Nothing is computed here that the page does not show: means and deviations are those of its tables,
comparisons those of its verdicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from harness.machine.terms import METRICS
from reports.cell_views import CellView
from reports.comparison import SELECTED_ON_VAL, ComparisonGroup
from reports.context import ReportContext
from reports.formatting import mean_of, signed, spread
from reports.statistics import Comparison, Scope

SCOPES: Mapping[Scope, str] = {"people": "for new people", "benchmark": "on this benchmark"}
"""What a verdict is about, in words."""


@dataclass(frozen=True)
class TargetOutcome:
    """What is said of a method on one test split.

    Attributes:
        group: the methods it is compared with.
        method: its label.
        by_seed: by metric, the score of every cell that has one, in percent.
        comparisons: its difference to the reference, by (metric, scope); none for the reference itself.
        data_notes: what the loader had to say of the data.
    """

    group: ComparisonGroup
    method: str
    by_seed: Mapping[str, Mapping[int, float]]
    comparisons: Mapping[tuple[str, Scope], Comparison]
    data_notes: tuple[str, ...]

    @property
    def target(self) -> str:
        """The dataset whose test split was searched."""
        return self.group.evaluation.target

    @property
    def means(self) -> dict[str, float]:
        """By metric, the mean over seeds."""
        found = {metric: mean_of(list(scores.values())) for metric, scores in self.by_seed.items()}
        return {metric: mean for metric, mean in found.items() if mean is not None}

    @property
    def deviations(self) -> dict[str, float]:
        """By metric, the standard deviation over seeds; none below two seeds, or without training."""
        if self.group.methods[self.method].untrained:
            return {}
        found = {metric: spread(list(scores.values())) for metric, scores in self.by_seed.items()}
        return {metric: width for metric, width in found.items() if width is not None}

    def in_words(self, metric: str, scope: Scope) -> str:
        """The verdict with its difference, or why there is none."""
        if self.method == self.group.reference:
            return "the reference"
        item = self.comparisons.get((metric, scope))
        if item is None:
            return f"no verdict: {self.group.why_not_compared(self.method)}"
        bounds = f"[{signed(item.low)}, {signed(item.high)}]"
        return f"{item.verdict} ({signed(item.value)} {bounds} points against {item.other})"


@dataclass(frozen=True)
class MethodOutcome:
    """A method trained on one dataset, and what is said of it.

    Attributes:
        method: its label.
        preset: `clean`, `own` or `released`.
        dataset: what it was trained on.
        population: which version of the dataset, when the runs used several.
        cells: its finished cells, by seed.
        targets: where it was tested, its own dataset first.
        elsewhere: whether other code trained it.
    """

    method: str
    preset: str
    dataset: str
    population: str
    cells: tuple[CellView, ...]
    targets: tuple[TargetOutcome, ...]
    elsewhere: bool

    @property
    def selection(self) -> str:
        """How the epoch of the quoted scores was chosen."""
        return "not known, trained elsewhere" if self.elsewhere else "on validation"

    @property
    def name(self) -> str:
        """A name fit for folders, distinct among the outcomes of a report."""
        parts = [self.dataset, self.method, *([] if self.preset == "clean" else [self.preset])]
        parts += [self.population.replace(",", "")] if self.population else []
        return "-".join(".".join(parts).split())


def outcomes(context: ReportContext) -> list[MethodOutcome]:
    """Every method and training dataset with a finished run, in the order of the page."""
    found: dict[tuple[str, str, str, str], list[TargetOutcome]] = {}
    for group in (*context.same_dataset, *context.transfer):
        place = group.evaluation.preset, group.evaluation.source, group.evaluation.population
        for method in group.methods:
            found.setdefault((*place, method), []).append(_target_outcome(context, group, method))
    return [
        MethodOutcome(
            method, preset, dataset, population, _cells(targets), tuple(targets), method in context.elsewhere
        )
        for (preset, dataset, population, method), targets in found.items()
    ]


def _target_outcome(context: ReportContext, group: ComparisonGroup, method: str) -> TargetOutcome:
    cells = group.methods[method].cells
    by_seed: dict[str, dict[int, float]] = {
        metric: {
            cell.seed: score
            for cell in cells
            if (score := cell.score(group.evaluation, SELECTED_ON_VAL, metric)) is not None
        }
        for metric in METRICS
    }
    comparisons = {
        (metric, scope): item
        for scope in SCOPES
        for (name, metric), item in group.judged(scope).items()
        if name == method
    }
    return TargetOutcome(group, method, by_seed, comparisons, context.data_notes(group))


def _cells(targets: list[TargetOutcome]) -> tuple[CellView, ...]:
    """The cells behind any target, each once, by seed."""
    found = {cell.directory: cell for of in targets for cell in of.group.methods[of.method].cells}
    return tuple(sorted(found.values(), key=lambda cell: cell.seed))
