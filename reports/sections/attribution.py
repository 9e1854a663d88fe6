"""The chapter on attribution: what each ablated switch adds by itself and along the best path, in a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.machine.grids import Levels
from reports.attribution import ablation_path, design, shapley_weights
from reports.comparison import JUDGED_METRICS, ComparisonGroup
from reports.context import ReportContext
from reports.document import Block, Column, Prose, Section, Table, TableCell
from reports.formatting import interval, signed
from reports.statistics import Estimate


def section(context: ReportContext) -> Section | None:
    """A table per dataset and metric; None without a study that says `ablate`."""
    switches = next((names for run in context.stored_runs.runs if (names := run.study.get("ablate"))), ())
    blocks: list[Block] = []
    for group in context.same_dataset:
        if runs := runs_in(group, switches):
            blocks += [_table(group, switches, runs, metric) for metric in JUDGED_METRICS]
    if not blocks:
        return None
    text = (
        "The Shapley value of a switch is what turning it on adds, averaged over every order in which the "
        "switches can be turned on. The path turns on, one after another, the switch that raises the score "
        "most. Both sum to what all of them add together."
    )
    return Section("attribution", "What each switch is worth", (Prose(text), *blocks))


def runs_in(group: ComparisonGroup, switches: Sequence[str]) -> dict[Levels, str] | None:
    """The methods that attribute the score to the switches, by what they have on; None if one is missing."""
    methods: dict[Levels, str] = {}
    for method, scores in group.methods.items():
        settings = scores.cells[0].settings
        if switches and all(isinstance(settings.get(name), bool) for name in switches):
            methods.setdefault(tuple(settings[name] for name in switches), method)
    runs = design(list(methods))
    return {run: methods[run] for run in runs} if runs else None


def _table(group: ComparisonGroup, switches: Sequence[str], runs: Mapping[Levels, str], metric: str) -> Table:
    means = {run: 100 * float(group.methods[name].scores[metric].mean()) for run, name in runs.items()}
    path = {step.switch: (number, step) for number, step in enumerate(ablation_path(means), 1)}
    rows = [
        (
            TableCell(name, name),
            *_estimated(_contrast(group, runs, weights, metric)),
            TableCell(str(path[index][0]), path[index][0]),
            *_estimated(_contrast(group, runs, path[index][1].weights, metric)),
        )
        for index, (name, weights) in enumerate(zip(switches, shapley_weights(list(runs)), strict=True))
    ]
    every = {(True,) * len(switches): 1.0, (False,) * len(switches): -1.0}
    total = _estimated(_contrast(group, runs, every, metric))
    rows.append((TableCell("together", "together"), *total, TableCell(""), *total))
    columns = (
        Column("Switch", "left"),
        Column("Shapley value"),
        Column("95 % interval"),
        Column("Step of the path"),
        Column("Gain there"),
        Column("95 % interval"),
    )
    title = f"What each switch adds to {metric}, {group.evaluation.title}"
    note = f"From {len(runs)} of {2 ** len(switches)} combinations; points."
    key = f"attribution-{metric.lower()}-{group.evaluation.key}"
    return Table(key, title, columns, tuple(rows), (note,))


def _contrast(
    group: ComparisonGroup, runs: Mapping[Levels, str], weights: Mapping[Levels, float], metric: str
) -> Estimate:
    return group.contrast({runs[run]: weight for run, weight in weights.items()}, metric)


def _estimated(estimate: Estimate) -> tuple[TableCell, TableCell]:
    return (
        TableCell(signed(estimate.value, 2), estimate.value),
        TableCell(interval(estimate, 2), estimate.low),
    )
