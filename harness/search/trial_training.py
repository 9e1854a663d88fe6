"""What a trial trains: a cell with the trial's settings; its score is the best on validation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness import registry
from harness.launch.cell import run_cell
from harness.launch.context import Context, InputSpec, prepare_process
from harness.machine.environment import Machine
from harness.machine.errors import Pruned
from harness.machine.progress import Progress
from harness.machine.terms import SELECTIONS
from harness.search.plan import ReportEpoch, TrialFailed
from harness.search.space import Scalar
from harness.store.cell_run import CellRun
from harness.store.cell_status import HISTORY, Status
from harness.store.runs import RunStore
from harness.study.cell import Cell
from harness.study.method_plan import MethodPlan

if TYPE_CHECKING:
    from harness.train.loop import AfterEpoch

FOLDER = "trials"
"""Below the run's folder: a store of its own, so that no trial is taken for a result."""

_LOCKED_SECONDS = 1.0


class TrialContext(Context):
    """A context without test splits: the validation split stands in the place of each.

    Training records scores on the test split beside those on validation. A search must not even compute them,
    or somebody who reads a trial's history could choose by them.
    """

    def split(self, name: str, input_spec: InputSpec, split: str, device: Any) -> Any:
        """A split on the device, never the test split."""
        return super().split(name, input_spec, "val" if split == "test" else split, device)


class TrialProgress(Progress):
    """Shows the epochs of a trial; how the trial ended is shown by the search.

    `refresh` is called when something about the trial has changed.
    """

    def __init__(self, outer: Progress, refresh: Callable[[], None]) -> None:
        self._outer, self._refresh = outer, refresh
        self.on_step = outer.on_step  # type: ignore[method-assign]
        self.working = outer.working  # type: ignore[method-assign]

    def begin_cell(self, name: str, epochs: int) -> None:
        """A trial starts."""
        self._outer.begin_cell(name, epochs)
        self._refresh()

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        """An epoch is complete."""
        self._outer.on_epoch(record)
        self._refresh()


@dataclass(frozen=True)
class CellObjective:
    """Trains the cell `recipe`, which has no targets, with a trial's settings.

    Picklable: workers load the data themselves.
    """

    recipe: Cell
    directory: Path
    machine: Machine

    def cell(self, settings: Mapping[str, Scalar]) -> Cell:
        """The cell of a trial; equal settings have one identity, so a resumed trial finds its checkpoint."""
        recipe = self.recipe
        entry = registry.method(recipe.base)
        untuned = MethodPlan(recipe.method, entry, recipe.train, recipe.method_settings, recipe.overrides)
        plan = untuned.with_settings(settings)
        return replace(
            recipe,
            train=plan.train,
            method_settings=dict(plan.method_settings),
            overrides=dict(plan.overrides),
        )

    def __call__(self, settings: Mapping[str, Scalar], report_epoch: ReportEpoch) -> float:
        """The best validation score over the epochs, in percent."""
        context = _context(self.machine)
        cell, store = self.cell(settings), RunStore(self.directory / FOLDER)
        run = context.open_run(store, cell)
        reported: set[int] = set()

        def after_epoch(epoch: int, scores: Mapping[str, float]) -> None:
            # Epochs of an earlier worker come first: it may have died between its checkpoint and its report.
            for before, score in self._scores(run):
                if before < epoch and before not in reported:
                    _report_late(report_epoch, before, score)
                    reported.add(before)
            reported.add(epoch)
            report_epoch(epoch, float(scores[cell.select.metric]))

        # A finished cell may have lost its models: its worker died before the score was stored.
        status = run.status
        if status.state != "done" or HISTORY in run.altered(HISTORY):
            try:
                status = _trained(cell, store, context, after_epoch)
            except Pruned:
                # Not in `after_epoch`: there, training still writes the checkpoint that is to be deleted.
                _keep_numbers_only(run)
                raise
        _keep_numbers_only(run)
        if status.state != "done":
            detail = status.detail or f"its cell is {status.state}"
            raise TrialFailed(status.reason or "error", detail, status.plugin_line)
        scored = self._scores(run)
        for epoch, score in scored:
            if epoch not in reported:
                _report_late(report_epoch, epoch, score)
        return max((score for _, score in scored), default=float("nan"))

    def _scores(self, run: CellRun) -> list[tuple[int, float]]:
        metric = self.recipe.select.metric
        return [
            (int(line["epoch"]), float(line["val"][metric]))
            for line in run.history
            if metric in line.get("val", {})
        ]


def _trained(cell: Cell, store: RunStore, context: Context, after_epoch: AfterEpoch) -> Status:
    status = run_cell(cell, store, context, after_epoch=after_epoch)
    while status.state == "running":
        # The worker that had it is being killed, or trains on a machine cut off from the database.
        time.sleep(_LOCKED_SECONDS)
        status = run_cell(cell, store, context, after_epoch=after_epoch)
    return status


def _keep_numbers_only(run: CellRun) -> None:
    """Delete the models of an ended trial: nobody reads them, as the winner is trained anew."""
    run.drop_checkpoint()
    for selection in SELECTIONS:
        run.model_path(selection).unlink(missing_ok=True)


def _report_late(report_epoch: ReportEpoch, epoch: int, score: float) -> None:
    """Report an epoch of an earlier worker; the pruner's decision on it comes too late to matter."""
    with suppress(Pruned):
        report_epoch(epoch, score)


_contexts: dict[Machine, TrialContext] = {}


def _context(machine: Machine) -> TrialContext:
    """This process's context, cached for its next trial."""
    if machine not in _contexts:
        prepare_process(machine)
        _contexts[machine] = TrialContext(machine)
    return _contexts[machine]


def attach_progress(machine: Machine, progress: Progress, refresh: Callable[[], None]) -> None:
    """Let trials that run in this process show what they do on `progress`."""
    _context(machine).progress = TrialProgress(progress, refresh)
