"""One cell, from its lock to its results, in whichever process and on whatever machine."""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import os
import pickle
import socket
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from harness import registry
from harness.launch.cell_evaluation import evaluate_cell, lacks_models, missing_evaluations
from harness.launch.context import Context, prepare_process
from harness.launch.plugin_files import plugins_of
from harness.machine import environment
from harness.machine.accelerator_faults import note_fault, process_has_fault
from harness.machine.environment import Machine
from harness.machine.errors import (
    ExitCode,
    HarnessError,
    LockedError,
    Pruned,
    in_words,
    is_of_the_machine,
    reason_of,
)
from harness.machine.files import atomic_write, read_json
from harness.machine.progress import Progress
from harness.machine.seeds import seed_for
from harness.machine.terms import SELECTIONS, Selection
from harness.registry import described
from harness.store.cell_run import CellRun
from harness.store.cell_status import HISTORY, Status
from harness.store.runs import RunStore
from harness.study.cell import Cell

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from harness.train.loop import AfterEpoch

log = logging.getLogger(__name__)

_PROCESS_FAILURE = "process-failure.json"


class ProcessFailed(HarnessError):
    """One of several processes that train a cell together failed; says how, with that failure's reason."""

    exit_code = ExitCode.ERROR


class StopTraining(Exception):
    """What `after_epoch` raised: no failure of the cell."""

    def __init__(self, error: Exception) -> None:
        self.error = error


def run_cell(
    cell: Cell,
    store: RunStore,
    context: Context,
    *,
    after_epoch: AfterEpoch | None = None,
    selections: Sequence[Selection] = SELECTIONS,
) -> Status:
    """Train a cell and evaluate it on every target, or do what is left of that; how it stands afterwards.

    A finished cell is not touched, one that was cut off resumes from its checkpoint, one that failed before
    is tried again. A failure becomes the cell's status. A cell that another process trains is left to it.

    Raises what `after_epoch` raises (`Pruned` leaves the cell as pruned, another exception as queued),
    `DataError` when the dataset cannot even be read, and OSError when the machine fails (a full disk), which
    is no failure of the cell: it stays queued.
    """
    run = context.open_run(store, cell, **runtime_record(context, plugins_of(cell)))
    if not is_finished(run, cell, context, selections):
        try:
            with run.lock():
                if not is_finished(run, cell, context, selections):
                    try:
                        _attempt(cell, run, context, after_epoch, selections)
                    finally:
                        release_memory()
        except LockedError:
            log.info("%s: another process trains it", run.name)
    return run.status


def is_finished(
    run: CellRun, cell: Cell, context: Context, selections: Sequence[Selection] = SELECTIONS
) -> bool:
    """Whether a cell is done, as it was when it finished, with results on the targets as they are now."""
    return run.is_intact and not missing_evaluations(run, cell, context, selections)


def _set_aside_altered(run: CellRun) -> bool:
    """Set aside what of a finished cell is not as it was when it finished; whether its history was.

    Models and history come back from the last checkpoint, or from training again where that is gone too.
    """
    altered = run.altered()
    for name, what in altered.items():
        if (run.directory / name).exists():
            run.set_aside(run.directory / name, what)
        else:
            run.note(f"{name} {what}; made again")
    return HISTORY in altered


def _attempt(
    cell: Cell,
    run: CellRun,
    context: Context,
    after_epoch: AfterEpoch | None,
    selections: Sequence[Selection] = SELECTIONS,
) -> None:
    was_finished = run.was_finished
    lost_history = _set_aside_altered(run)
    to_train = not was_finished or lost_history or lacks_models(cell, run, context, selections)
    rows = run.results if was_finished else []
    run.set_status("running")
    run.describe(**runtime_record(context, plugins_of(cell)))
    context.progress.begin_cell(run.name, cell.train.epochs if cell.trains else 0)
    try:
        if to_train:
            _train(cell, run, context, after_epoch)
        evaluate_cell(cell, run, context, rows, selections)
        (run.directory / "error.txt").unlink(missing_ok=True)
        run.finish(cell.kept_models, checkpoint="checkpoint" in cell.keep)
    except StopTraining as ended:
        pruned = isinstance(ended.error, Pruned)
        run.set_status("pruned" if pruned else "queued", detail=str(ended.error))
        raise ended.error from None
    except KeyboardInterrupt:
        run.set_status("queued", detail="stopped; resumes from its last checkpoint")
        raise
    except Exception as error:
        if is_of_the_machine(error):
            # Where even this cannot be written, the cell stays cut off, and resumes just the same.
            with suppress(OSError):
                run.set_status("queued", detail=f"{in_words(error)}; resumes from its last checkpoint")
            raise
        note_fault(error)
        atomic_write(run.directory / "error.txt", traceback.format_exc())
        run.fail(reason_of(error), described(error), registry.plugin_line(error))
    context.progress.end_cell(run.name, outcome(run, cell))


def outcome(run: CellRun, cell: Cell) -> str:
    """How a cell ended, in words: of a finished one with the epoch that is quoted, and its score."""
    status = run.status
    if status.state == "failed":
        return f"failed ({status.reason}): {status.detail}"
    if status.state != "done" or not cell.trains:
        return f"{status.state} {status.detail}".strip()
    split, metric = cell.select.split, cell.select.metric
    chosen = run.model_epoch(split)
    line = next((line for line in run.history if line.get("epoch") == chosen), {})
    measured = "val" if split == "last" else split
    score = (line.get(measured) or {}).get(metric)
    shown = f", {measured} {metric} {score:.1f}" if isinstance(score, (int, float)) else ""
    return f"done, {'last epoch' if split == 'last' else f'chosen on {split}: epoch'} {chosen}{shown}"


def runtime_record(context: Context, plugins: Sequence[Path]) -> dict[str, Any]:
    """What is kept beside an identity and never part of it; `plugins` are those behind what ran."""
    machine = context.machine
    return {
        "host": socket.gethostname(),
        "data_root": str(machine.data_root or ""),
        "device": machine.device,
        "devices": machine.devices,
        "deterministic": machine.deterministic,
        "plugins": [str(plugin) for plugin in plugins],
        "command": machine.command,
        "commit": environment.commit(),
    }


def _train(cell: Cell, run: CellRun, context: Context, after_epoch: AfterEpoch | None) -> None:
    fabric = context.fabric(cell)
    if not cell.trains:
        _keep_initial_weights(fabric, cell, run, context)
        return
    if context.machine.devices > 1:
        _train_on_several(fabric, cell, run, context.machine)
        return
    from torch import OutOfMemoryError

    try:
        _train_here(fabric, cell, run, context, after_epoch)
    except OutOfMemoryError:
        if not context.drop_resident_pixels():
            raise
        context.progress.say(f"{run.name}: out of memory; resumes with its images in main memory")
        release_memory()
        _train_here(fabric, cell, run, context, after_epoch)


def _keep_initial_weights(fabric: Fabric, cell: Cell, run: CellRun, context: Context) -> None:
    """Leave the models of a method that is not trained, as epoch 0; the dataset may be a test split alone."""
    from harness.machine.devices import to_precision

    method = context.method(cell).to(fabric.device)
    to_precision(method, cell.train.precision)
    run.describe(identities=context.identities(cell), trained_on=_trained_on(run, fabric, compiled=False))
    for selection in SELECTIONS:
        run.save_model(selection, method.state_dict(), 0)


def _train_on_several(fabric: Fabric, cell: Cell, run: CellRun, machine: Machine) -> None:
    """Train a cell by several processes.

    Raises:
        ProcessFailed: one of them failed; torch would keep nothing but the text of a traceback.
    """
    before = {name: os.environ.get(name) for name in ("MASTER_ADDR", "MASTER_PORT")}
    said = run.directory / _PROCESS_FAILURE
    said.unlink(missing_ok=True)
    try:
        # As bytes: Fabric looks into its arguments and cannot rebuild a frozen dataclass.
        unit = pickle.dumps((cell, run.directory, machine))
        fabric.launch(cast(Any, _train_process), unit)
    except Exception as error:
        if not said.exists():
            raise
        failure = read_json(said)
        said.unlink()
        raise ProcessFailed(failure["text"], reason=failure["reason"]) from error
    finally:
        # Fabric leaves its port in this process; the next cell must not meet the last one's.
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _train_process(fabric: Fabric, unit: bytes) -> None:
    """One of several processes that train a cell together; the lock is held by their parent."""
    cell, directory, machine = pickle.loads(unit)
    prepare_process(machine)
    try:
        _train_here(fabric, cell, CellRun(directory), Context(machine), None)
    except Exception as error:
        # The first to fail is the cause; the others fail for want of it.
        with suppress(FileExistsError), (directory / _PROCESS_FAILURE).open("x", encoding="utf-8") as file:
            json.dump({"text": described(error), "reason": reason_of(error)}, file)
        raise


def _train_here(
    fabric: Fabric, cell: Cell, run: CellRun, context: Context, after_epoch: AfterEpoch | None
) -> None:
    import numpy as np

    from harness.train import loop

    if fabric.is_global_zero:
        run.describe(identities=context.identities(cell))
    data = context.training_data(cell, fabric.device)
    if fabric.is_global_zero and data.moved is not None:
        moved = data.moved
        checksum = hashlib.sha256(np.flatnonzero(moved).astype("<i8").tobytes()).hexdigest()
        run.describe(moved_captions={"count": int(moved.sum()), "of": len(moved), "sha256": checksum})
    watch = _TrainingReporter(cell, run, context.progress, after_epoch)

    def started(compiled: bool) -> None:
        if fabric.is_global_zero:
            run.describe(trained_on=_trained_on(run, fabric, compiled))

    options = loop.TrainingOptions(
        metric=cell.select.metric,
        tie_order=cell.tie_order,
        progress=watch,
        after_epoch=watch.after_epoch,
        on_start=started,
    )
    loop.train(
        context.method(cell),
        data,
        cell.train,
        run,
        seed=seed_for(cell.seed, cell.dataset, cell.base, "training"),
        fabric=fabric,
        options=options,
    )


def release_memory() -> None:
    """Free what a cell leaves behind: a compiled model lies in a reference cycle, with gigabytes of a GPU."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized() and not process_has_fault():
        torch.cuda.empty_cache()


def _trained_on(run: CellRun, fabric: Fabric, compiled: bool) -> dict[str, Any]:
    """What the rounding depended on; `mixed` when a part of the run had another machine, or kernels."""
    now = {**environment.arithmetic(fabric.device), "compiled": compiled}
    before = run.recorded.get("trained_on")
    began_elsewhere = before is not None and before != now and bool(run.history)
    return {**now, "mixed": True} if began_elsewhere else now


class _TrainingReporter:
    """Forwards training's reports, keeps the cell's status, and ends a run that takes too long."""

    def __init__(self, cell: Cell, run: CellRun, progress: Progress, after_epoch: AfterEpoch | None) -> None:
        self._limit = cell.timeout_minutes
        self._run, self._progress, self._after_epoch = run, progress, after_epoch
        self._began = time.monotonic() - run.status.seconds

    def on_step(
        self, epoch: int, step: int, steps: int, losses: Mapping[str, float], pairs_per_second: float
    ) -> None:
        self._progress.on_step(epoch, step, steps, losses, pairs_per_second)
        seconds = time.monotonic() - self._began
        if self._limit is not None and seconds > 60 * self._limit:
            raise TimeoutError(f"gave up after {seconds / 60:.1f} minutes of training, in epoch {epoch}")

    def on_epoch(self, line: Mapping[str, Any]) -> None:
        seconds = round(time.monotonic() - self._began, 3)
        self._run.set_status("running", epoch=int(line["epoch"]), seconds=seconds)
        self._progress.on_epoch(line)

    def after_epoch(self, epoch: int, scores: Mapping[str, float]) -> None:
        if self._after_epoch is not None:
            try:
                self._after_epoch(epoch, scores)
            except Exception as error:
                raise StopTraining(error) from error
