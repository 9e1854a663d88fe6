"""The verb `run`: a study from its file to its report."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.cli import check
from harness.cli.answers import print_lines
from harness.cli.check_text import reach_lines
from harness.cli.report import terminal_width
from harness.data.leakage import transfer_leakage
from harness.launch import cells
from harness.launch.cells import LaunchOptions, Stopped
from harness.launch.context import Context
from harness.launch.illustrations import illustrate
from harness.machine import paths
from harness.machine.errors import ExitCode, in_words, is_of_the_machine, shortage
from harness.machine.files import atomic_json, lock_holder
from harness.machine.progress import Progress
from harness.machine.words import plural_are
from harness.store.cell_run import CellRun
from harness.store.cell_status import LOCK
from harness.store.run_files import LEAKAGE
from harness.store.runs import RunStore
from harness.study.arms import Tuned
from harness.study.cell import Cell
from harness.study.shipped import shipped_studies
from harness.study.study import Study, StudyError

BENCHMARKS = "-benchmarks"
"""Ends the name of a shipped study that needs the published datasets; without it another one runs here."""


def run_study(study: Study, options: LaunchOptions, out: Path, progress: Progress) -> int:
    """Check, search, train, evaluate, measure, report; the exit code.

    Raises `StudyError` with everything that is wrong before anything is written.
    """
    context = Context(options.machine, progress)
    store = RunStore(out)
    cells.start_importing(study, store, options)
    checked = check.examine(study, context, options, out)
    if checked.problems:
        raise StudyError(instead(study, options.machine.data_root) or checked.problems)
    for line in (*reach_lines(study), *checked.notes):
        progress.say(line)
    try:
        with cells.stopping_at_signals():
            cells.prepare_study(study, store, context)
            check_leakage(study, store, context)
            tuned = _search(study, store, context, options)
            runs = cells.run_cells(study.cells(tuned), store, context, options, meanwhile=_import_report)
            _measure(study, store, context, tuned)
            illustrate(runs, store, context)
            progress.close()
            return _conclude(runs, store)
    except Stopped as stopped:
        progress.close()
        kept = "finished cells are kept, steps since a cell's last checkpoint are trained again"
        print(f"stopped; {kept}. To resume: {options.machine.command}", file=sys.stderr)
        return stopped.code
    except Exception as error:
        trouble = in_words(error) if is_of_the_machine(error) else shortage(error)
        if not trouble:
            raise
        progress.close()
        again = f"nothing finished is lost. Once that is repaired: {options.machine.command}"
        print(f"{trouble}; {again}", file=sys.stderr)
        return ExitCode.ERROR


def instead(study: Study, data_root: Path | None) -> list[str]:
    """Two lines for a shipped study of benchmarks that is run without data: what it needs, what runs here.

    Empty for any other study, and where a folder of data is named: then its problems say more.
    """
    name = study.source.stem
    here = shipped_studies().get(name.removesuffix(BENCHMARKS))
    if data_root is not None or not name.endswith(BENCHMARKS) or here is None:
        return []
    needed = ", ".join(dict.fromkeys(study.targets))
    return [
        f"{study.source}: nothing was started: it needs data that is not here ({needed}; their owners "
        f"distribute them, --data-root DATA names their folder); `check {name}` lists all that is missing",
        f"the same question on rendered people runs here: python -m harness run {here.stem}",
    ]


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


def _import_report() -> None:
    """Import what the report needs: never in a thread, since matplotlib may be used half imported."""
    for name in ("matplotlib.pyplot", "matplotlib.backends.backend_svg", "reports.assemble"):
        importlib.import_module(name)


def _conclude(runs: Sequence[tuple[Cell, CellRun]], store: RunStore) -> ExitCode:
    """Table, report, and what did not work."""
    from reports.assemble import build
    from reports.stored_runs import RunError

    unfinished = cells.failed(runs)  # as the page will show them: a cell may end while it is written
    try:
        made = build([store.directory], width=terminal_width())
    except RunError as error:  # its study was damaged meanwhile
        print(f"{error}; nothing finished is lost: the next run writes it anew", file=sys.stderr)
        return ExitCode.ERROR
    print(made.table_text)
    data = [store.directory / name for name in ("results.csv", "verdicts.csv")]
    print(f"report: {made.path}", *(f"data:   {path}" for path in data), sep="\n")
    print_lines(_why_unfinished(unfinished))
    return ExitCode.INCOMPLETE if unfinished else ExitCode.DONE


def _why_unfinished(unfinished: Sequence[CellRun]) -> Iterator[str]:
    """A line for each cell that failed, and one for those that another process trains."""
    holders = {run.name: lock_holder(run.directory / LOCK) for run in unfinished}
    held = {name: holder for name, holder in holders.items() if holder is not None}
    if held:
        who = ", ".join(dict.fromkeys(filter(None, held.values())))
        by = f" ({who})" if who else ""
        yield f"{plural_are(len(held), 'cell')} being trained by another process{by}: {', '.join(held)}"
    for run in unfinished:
        if run.name not in held:
            status = run.status
            yield f"{run.name}: {status.state} {status.reason}: {status.detail}"


def check_leakage(study: Study, store: RunStore, context: Context) -> None:
    """Compare what each source trains on with each other target's test images; the findings go to the store.

    DIR/leakage.json is a list of `{"source", "target", **LeakageReport.as_dict()}`. Hashes of images are
    cached, so a second run costs seconds. Nothing is stopped: a report prints what was found.

    Images that cannot be read are counted, not compared. Raises `DataError` when a dataset cannot be used.
    """
    crossings = {
        (cell.dataset, target): cell.subset
        for cell in study.cells()
        for target in cell.targets
        if target != cell.dataset
    }
    findings = []
    for (source, target), subset in crossings.items():
        report = transfer_leakage(
            context.dataset(source, subset), context.dataset(target, subset), paths.cache_dir()
        )
        context.progress.say(report.sentence())
        findings.append({"source": source, "target": target, **report.as_dict()})
    if findings:
        atomic_json(store.directory / LEAKAGE, findings)
