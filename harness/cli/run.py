"""The verb `run`: a study from its file to its report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from harness.cli import check
from harness.cli.leakcheck import check_leakage
from harness.launch import cells
from harness.launch.cells import LaunchOptions, Stopped
from harness.launch.context import Context
from harness.launch.illustrations import illustrate
from harness.machine.errors import ExitCode, in_words, is_of_the_machine, shortage
from harness.machine.progress import Progress
from harness.store.cell_run import CellRun
from harness.store.runs import RunStore
from harness.study.arms import Tuned
from harness.study.cell import Cell
from harness.study.study import Study, StudyError


def run_study(study: Study, options: LaunchOptions, out: Path, progress: Progress) -> int:
    """Check, search, train, evaluate, measure, report; the exit code.

    Raises `StudyError` with everything that is wrong before anything is written.
    """
    context = Context(options.machine, progress)
    found = check.examine(study, context, options, out)
    if found.problems:
        raise StudyError(found.problems)
    for line in (*check.reach_lines(study), *found.notes):
        progress.say(line)
    store = RunStore(out)
    try:
        with cells.stopping_at_signals():
            cells.prepare_study(study, store, context)
            check_leakage(study, store, context)
            tuned = _search(study, store, context, options)
            runs = cells.run_cells(study.cells(tuned), store, context, options)
            _measure(study, store, context, tuned)
            illustrate(runs, store, context)
            progress.close()
            return _conclude(runs, store)
    except Stopped as stopped:
        progress.close()
        print(f"stopped; nothing finished is lost. To go on: {options.machine.command}", file=sys.stderr)
        return stopped.code
    except Exception as error:
        trouble = in_words(error) if is_of_the_machine(error) else shortage(error)
        if not trouble:
            raise
        progress.close()
        again = f"nothing finished is lost. Once that is mended: {options.machine.command}"
        print(f"{trouble}; {again}", file=sys.stderr)
        return ExitCode.ERROR


def _search(study: Study, store: RunStore, context: Context, options: LaunchOptions) -> Tuned | None:
    """The settings that won the searches; None when the study has no search."""
    if study.search is None:
        return None
    from harness.search.study import search_study

    return search_study(study, store, context, options)


def _measure(
    study: Study,
    store: RunStore,
    context: Context,
    tuned: Tuned | None,
) -> None:
    """What the methods cost, when the study asks for it."""
    if study.overhead is not None:
        from harness.speed.overhead import measure_study

        measure_study(study, store, context, tuned)


def _conclude(runs: Sequence[tuple[Cell, CellRun]], store: RunStore) -> ExitCode:
    """Table, report, and what did not work."""
    from reports.assemble import build
    from reports.stored_runs import RunError

    try:
        made = build([store.directory])
    except RunError as error:  # its study was damaged meanwhile
        print(f"{error}; nothing finished is lost: the next run writes it anew", file=sys.stderr)
        return ExitCode.ERROR
    print(made.table_text)
    print(f"results: {store.directory / 'results.csv'}\nreport:  {made.path}")
    unfinished = cells.failed(runs)
    for run in unfinished:
        status = run.status
        print(f"{run.name}: {status.state} {status.reason}: {status.detail}", file=sys.stderr)
    return ExitCode.INCOMPLETE if unfinished else ExitCode.DONE
