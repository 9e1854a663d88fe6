"""Where the cells of a study run: in this process, or on workers that may die."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from harness.data.splits import file_list
from harness.launch.cell import is_finished, outcome, run_cell, runtime_record
from harness.launch.changes import reasons_not_reused, reproduced
from harness.launch.context import Context, prepare_process
from harness.launch.fork_server import start_server
from harness.launch.illustrations import restore_beside_training, restored_cells
from harness.launch.launchers import open_launcher
from harness.launch.local import progress_of_worker, worker_environment
from harness.launch.plugin_files import keep_plugins, plugins_behind, plugins_of
from harness.launch.units import Resources, WorkerDied
from harness.machine import environment
from harness.machine.accelerator_faults import process_has_fault
from harness.machine.environment import Machine
from harness.machine.errors import StoreError, is_of_the_machine, reason_of
from harness.machine.files import atomic_json
from harness.registry import described
from harness.store.cell_run import CellRun
from harness.store.cell_status import Status
from harness.store.look_history import record_plan
from harness.store.results_table import write_results_table
from harness.store.reuse import copy_finished
from harness.store.runs import RunStore
from harness.study.cell import Cell
from harness.study.study import Study

RESULTS_SECONDS = 10.0
"""Between two writings of `results.csv` while cells end: with thousands of cells each takes a second."""

MOST_WORKERS = 8
"""Processes started on a CPU without being asked for a number: each takes a gigabyte of memory."""


class Stopped(KeyboardInterrupt):
    """The process was asked to stop; the store resumes. `code` is 128 + the signal's number, to exit with."""

    def __init__(self, signal_number: int) -> None:
        self.code = 128 + signal_number
        super().__init__(signal.Signals(signal_number).name)


@dataclass(frozen=True)
class LaunchOptions:
    """How a study is run."""

    machine: Machine
    workers: int | None = None
    launcher: str = "local"
    cells_per_device: int = 1
    accelerators: tuple[str, ...] = ()
    """Entries of `CUDA_VISIBLE_DEVICES` that workers share; empty on a CPU."""
    gpus_per_cell: float | None = None
    """GPUs that a cell asks of Ray or Slurm; None: one where this machine has one, else none."""
    reuse: tuple[Path, ...] = ()
    """Folders of other runs, whose finished cells of the same identity are copied."""

    @property
    def resources(self) -> Resources:
        """What the launcher may use."""
        workers = self.workers
        if workers is None and not self.accelerators and self.launcher == "local":
            workers = max(1, min((os.cpu_count() or 1) // self.machine.threads, MOST_WORKERS))
        gpus = None if self.launcher == "local" else self.gpus_per_cell
        return Resources(workers, self.accelerators, self.cells_per_device, gpus=gpus)

    @property
    def worker_machine(self) -> Machine:
        """The machine as a unit of work sees it: a worker has one accelerator, whose number there is 0."""
        in_process = self.launcher == "local" and self.resources.slots == 1
        asked = self.machine.device
        if in_process:  # also after a fault: `InProcess` sees to it that the number stays
            return self.machine
        if self.gpus_per_cell and self.launcher != "local":
            return replace(self.machine, device="cuda")
        return replace(self.machine, device="cuda") if asked.startswith("cuda:") else self.machine


# -- all cells ------------------------------------------------------------------------------------


def run_cells(
    cells: Sequence[Cell],
    store: RunStore,
    context: Context,
    options: LaunchOptions,
    meanwhile: Callable[[], None] | None = None,
) -> list[tuple[Cell, CellRun]]:
    """Run every cell that is not finished, here or on workers; each cell with its place in the store.

    `results.csv` is kept up to date as cells end. Raises `Stopped` when asked to stop; the store resumes.
    `meanwhile` is called once where workers have got their first cells, and this process waits for them.
    """
    for cell in cells if options.reuse else ():
        found = copy_finished(store.path_of(cell, context.identity(cell)), options.reuse)
        if found is not None:
            context.progress.say(f"{found.name}: finished in {found.parent.parent}, copied")
    with _uncollected():
        opened = [
            (cell, context.open_run(store, cell, **runtime_record(context, plugins_of(cell))))
            for cell in cells
        ]
        store.make_current(opened)
        left = [(cell, run) for cell, run in opened if not is_finished(run, cell, context)]
        write_results_table(store)
    context.progress.begin_study(len(opened), len(opened) - len(left))
    for sentence in (*reasons_not_reused(store, [run for _, run in left]), *reproduced(left, context)):
        context.progress.say(sentence)
    written = time.monotonic()
    for _ in _outcomes([cell for cell, _ in left], store, context, options, meanwhile):
        if time.monotonic() - written > RESULTS_SECONDS:
            write_results_table(store)
            written = time.monotonic()
    if left:
        write_results_table(store)
    return opened


@contextmanager
def _uncollected() -> Iterator[None]:
    """Look for no reference cycles meanwhile.

    Reading thousands of cells makes none, and looking took a fifth of the time.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _outcomes(
    cells: Sequence[Cell],
    store: RunStore,
    context: Context,
    options: LaunchOptions,
    meanwhile: Callable[[], None] | None,
) -> Iterator[Status | None]:
    if options.launcher == "local" and (options.resources.slots == 1 or len(cells) == 1):
        waiting = list(cells)
        while waiting and not process_has_fault():
            yield run_cell(waiting.pop(0), store, context)
        cells = waiting
    if cells:
        yield from _on_launcher(cells, store, context, options, meanwhile)


def start_importing(study: Study, store: RunStore, options: LaunchOptions) -> None:
    """Let the imports of workers begin while a study is still checked, where it will need several of them.

    How many cells are finished is only guessed here: a wrong guess costs processor time, no more.
    """
    if options.launcher != "local" or options.resources.slots == 1:
        return
    done = 0
    with suppress(StoreError, OSError):
        done = sum(run.status.state == "done" for run in store.cells())
    if len(study.cells()) - done > 1:
        start_server(worker_environment(0, options.resources)["OMP_NUM_THREADS"])


def _on_launcher(
    cells: Sequence[Cell],
    store: RunStore,
    context: Context,
    options: LaunchOptions,
    meanwhile: Callable[[], None] | None,
) -> Iterator[Status | None]:
    launcher = open_launcher(options.launcher, options.resources, context.progress.relay)
    pictured = restored_cells(cells)
    running: dict[Future[Status], Cell] = {}
    deaths: Counter[str] = Counter()
    waiting = list(reversed(cells))
    try:
        while waiting or running:
            while waiting and len(running) < getattr(launcher, "slots", 1):
                cell = waiting.pop()
                identity = context.identity(cell)
                pictures = cell.key in pictured and not deaths[cell.key]  # a finished cell dies of none
                unit = (cell, identity, store.directory, options.worker_machine, pictures)
                running[launcher.submit(_in_worker, *unit)] = cell
            if meanwhile is not None:
                meanwhile()
                meanwhile = None
            ended, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in ended:
                cell = running.pop(future)
                yield _status_of(future, cell, deaths, waiting, store, context)
        launcher.shutdown()
    except BaseException:
        launcher.shutdown(wait=False, cancel_futures=True)
        raise


DEATHS_ALLOWED = 3


def _status_of(
    future: Future[Status],
    cell: Cell,
    deaths: Counter[str],
    waiting: list[Cell],
    store: RunStore,
    context: Context,
) -> Status | None:
    """A cell's status; one whose worker was killed is queued again, and fails when that happens too often."""
    run = context.open_run(store, cell)
    try:
        status = future.result()
    except WorkerDied as death:
        deaths[cell.key] += 1
        if deaths[cell.key] < DEATHS_ALLOWED:
            context.progress.say(f"{run.name}: {death}; it resumes from its checkpoint")
            waiting.append(cell)
            return None
        run.fail(
            "oom", f"its worker was killed {deaths[cell.key]} times ({death}); the memory may be too small"
        )
        status = run.status
    except Exception as error:
        if is_of_the_machine(error):
            raise
        run.fail(reason_of(error), described(error))
        status = run.status
    context.progress.end_cell(run.name, outcome(run, cell))
    return status


_contexts: dict[Machine, Context] = {}


def _in_worker(
    cell: Cell, identity: str, directory: Path, machine: Machine, pictures: bool = False
) -> Status:
    """Run a cell in a worker's process, which keeps its context for the next one; with its restorations."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers itself
    if machine not in _contexts:
        prepare_process(machine)
        _contexts[machine] = Context(machine, progress_of_worker())
    context = _contexts[machine]
    if context.identity(cell) != identity:
        raise RuntimeError("code, data or weights changed while the study was running; run it again")
    store = RunStore(directory)
    status = run_cell(cell, store, context)
    if pictures:
        restore_beside_training(cell, context.open_run(store, cell), context)
    return status


@contextmanager
def stopping_at_signals() -> Iterator[None]:
    """Turn SIGINT and SIGTERM into `Stopped`, so that whatever runs can leave the store as it should be."""

    def stop(number: int, frame: object) -> None:
        raise Stopped(number)

    kinds = (signal.SIGINT, signal.SIGTERM)
    before = {kind: signal.signal(kind, stop) for kind in kinds}
    try:
        yield
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def write_environment(store: RunStore, context: Context, plugins: Sequence[Path]) -> None:
    """Keep what this run ran on, and its plugins; earlier runs of the store are kept beside it."""
    described = {**environment.describe(), **runtime_record(context, plugins), "pid": os.getpid()}
    described["tagger"] = f"{context.tagger.name} {context.tagger.version}"
    atomic_json(store.directory / "environment.json", described)


def failed(cells: Iterable[tuple[Cell, CellRun]]) -> list[CellRun]:
    """The cells that have no results."""
    return [run for _, run in cells if not run.was_finished]


def prepare_study(study: Study, store: RunStore, context: Context) -> None:
    """Write down what is about to run, on which files. Raises OSError when the folder cannot be written."""
    store.write_study(study)
    record_plan(store.directory, study.seeds, study.looks)
    plugins = plugins_behind((cell.base for cell in study.cells()), study.targets)
    keep_plugins(store.directory, plugins)
    for name in study.targets:
        dataset = context.dataset(name, study.file.subset)
        store.keep_files(dataset.fingerprint, file_list(dataset))
    write_environment(store, context, plugins)


def accelerators(device: str, devices: int) -> tuple[str, ...]:
    """What workers may find in `CUDA_VISIBLE_DEVICES`: an entry per device, or the one that `cuda:N` names.

    Where the variable is set already, number N is its N-th entry. Empty on a CPU, and where several devices
    train one cell together.
    """
    if device == "cpu" or devices > 1 or (device == "auto" and environment.surely_without_gpu()):
        return ()
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    named = [entry.strip() for entry in visible.split(",") if entry.strip()]
    count = torch.cuda.device_count()
    entries = named if len(named) == count else [str(index) for index in range(count)]
    index = device.partition(":")[2]
    if not index:
        return tuple(entries)
    return (entries[int(index)] if index.isdigit() and int(index) < len(entries) else index,)
