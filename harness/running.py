"""The verb `run`: a study from its file to its report."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import checking, launch
from harness.context import Context
from harness.illustrating import illustrate
from harness.launch import Options, Stopped
from harness.leakcheck import check_leakage
from harness.progress import Progress
from harness.refusing import in_words, is_of_the_machine, shortage
from harness.store.cellrun import CellRun
from harness.store.runs import RunStore
from harness.study import Cell, Study, StudyError

DONE, ERROR, BAD_INPUT, INCOMPLETE = 0, 1, 2, 3


def run_study(study: Study, options: Options, out: Path, progress: Progress) -> int:
    """Check, search, train, evaluate, measure, report; the exit code.

    Raises `StudyError` with everything that is wrong before anything is written.
    """
    context = Context(options.machine, progress)
    found = checking.examine(study, context, options, out)
    if found.problems:
        raise StudyError(found.problems)
    for note in found.notes:
        progress.say(note)
    store = RunStore(out)
    try:
        with launch.stopping_at_signals():
            launch.prepare_study(study, store, context)
            check_leakage(study, store, context)
            tuned = _search(study, store, context, options)
            runs = launch.run_cells(study.cells(tuned), store, context, options)
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
        return ERROR


def _search(
    study: Study, store: RunStore, context: Context, options: Options
) -> Mapping[tuple[str, str], Mapping[str, Any]] | None:
    """The settings that a search found, by method and dataset; None when the study has no search."""
    if study.search is None:
        return None
    from harness.search.study import search_study

    return search_study(study, store, context, options)


def _measure(
    study: Study,
    store: RunStore,
    context: Context,
    tuned: Mapping[tuple[str, str], Mapping[str, Any]] | None,
) -> None:
    """What the methods cost, when the study asks for it."""
    if study.overhead is not None:
        from harness.speed.overhead import measure_study

        measure_study(study, store, context, tuned)


def _conclude(runs: Sequence[tuple[Cell, CellRun]], store: RunStore) -> int:
    """Table, report, and what did not work."""
    from reports.assemble import build
    from reports.frames import RunError

    try:
        made = build([store.directory])
    except RunError as error:  # its study was damaged meanwhile
        print(f"{error}; nothing finished is lost: the next run writes it anew", file=sys.stderr)
        return ERROR
    print(made.table_text)
    print(f"results: {store.directory / 'results.csv'}\nreport:  {made.path}")
    unfinished = launch.failed(runs)
    for run in unfinished:
        status = run.status
        print(f"{run.name}: {status.state} {status.reason}: {status.detail}", file=sys.stderr)
    return INCOMPLETE if unfinished else DONE
