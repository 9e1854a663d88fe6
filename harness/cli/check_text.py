"""What `check` prints for a person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from harness.cli.check import CheckResult
from harness.cli.claims_check import look_lines, outlook_lines
from harness.cli.memory_check import memory_lines
from harness.launch.disk import GIGABYTE
from harness.machine.words import plural
from harness.study.cell import Cell
from harness.study.study import Study


def render(result: CheckResult, study: Study) -> None:
    """Print the cells, the cost and the notes for a person."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    table = Table("method", "dataset", "seeds", "targets", "epochs", "status", box=None)
    groups: dict[tuple[str, str], list[Cell]] = {}
    for cell in result.cells:
        groups.setdefault((cell.dataset, cell.method), []).append(cell)
    for (dataset, method), cells in groups.items():
        states = Counter(result.states.get(cell.key, "queued") for cell in cells)
        table.add_row(
            method,
            dataset,
            ", ".join(str(cell.seed) for cell in cells),
            ", ".join(cells[0].targets),
            str(cells[0].train.epochs if cells[0].trains else 0),
            ", ".join(f"{count} {state}" for state, count in states.items()),
        )
    console.print(table)
    costs = ", ".join(_costs(result)) or "cost unknown until what is missing is there"
    console.print(f"{study.name} ({study.preset}, recipe {study.recipe}): {costs}")
    for line in result.time.sentences() if result.time is not None else ():
        console.print(line, markup=False, highlight=False)
    if result.disk:
        finished, needed = (result.disk[name] / GIGABYTE for name in ("finished", "needed"))
        console.print(f"disk: {finished:.3f} GB when finished; what is left needs {needed:.3f} GB")
    for line in memory_lines(result.memory):
        console.print(line, markup=False, highlight=False)
    for line in reach_lines(study):
        console.print(line, markup=False, highlight=False)
    for line in (*look_lines(study), *_power(result), *outlook_lines(result.claims)):
        console.print(line, markup=False, highlight=False)
    for note in result.notes:
        console.print(f"note: {note}", markup=False)


def reach_lines(study: Study) -> Iterator[str]:
    """Which methods each key of `train:` reaches, keys of the same methods on one line."""
    by_methods: dict[tuple[str, ...], list[str]] = {}
    for name, labels in study.reach().items():
        by_methods.setdefault(labels, []).append(name)
    for labels, names in by_methods.items():
        everyone = labels == study.methods
        reached = "every method" if everyone else f"only {', '.join(labels)}" if labels else "no method"
        these = "this train: key reaches" if len(names) == 1 else "these train: keys reach"
        yield f"{these} {reached}: {', '.join(names)}"


def _power(result: CheckResult) -> Iterator[str]:
    """What the study could see, dataset by dataset, and what that rests on."""
    from reports.power import sentence

    for name, size in result.detectable.items():
        if size.points is None:
            yield f"{name}: one seed allows no verdict, however large a difference"
        else:
            corrected = size.points if size.corrected is None else size.corrected
            yield f"{name}: {sentence(size.points, corrected, size.comparisons)}"
    for text in dict.fromkeys(size.variances for size in result.detectable.values()):
        yield f"variances {text}"


_COSTS = {
    "cells": ("cell",),
    "epochs": ("epoch",),
    "training_pairs": ("training pair",),
    "trials": ("trial",),
    "trial_epochs_at_most": ("epoch of trials at most", "epochs of trials at most"),
}


def _costs(result: CheckResult) -> list[str]:
    return [plural(value, *_COSTS.get(name, (name, name))) for name, value in result.cost.items()]
