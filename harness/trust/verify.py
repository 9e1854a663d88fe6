"""The verb `verify`: run a few finished cells again and compare, number by number.

Three things are looked at. Every finished cell's per-query records must still be the files that were written
and give the scores that are stored. Some cells, trained ones first and of as many methods as possible, are
trained again from nothing, or with `evaluate_only` their models are evaluated again, and every record is
compared. What was found becomes `certificate.json` of the store, which the report shows.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from harness.launch.cell import run_cell
from harness.launch.context import Context, prepare_process
from harness.launch.kept_plugins import register_plugins_of
from harness.machine.environment import Machine
from harness.machine.errors import DataError, HarnessError, StoreError, StudyError
from harness.machine.files import atomic_json
from harness.machine.progress import Progress
from harness.machine.terms import SELECTIONS, Selection
from harness.store.bundled import is_bundled
from harness.store.cell_run import CellRun, evaluation_key
from harness.store.run_files import CERTIFICATE
from harness.store.runs import RunStore
from harness.store.stored_cell import NAMED, machine_of
from harness.study.cell import Cell
from harness.trust import run_comparison
from harness.trust.audit import audit, edited_table, models_left_out
from harness.trust.certificate import Certificate, CheckedCell
from harness.trust.missing_cells import missing_cells
from harness.trust.run_comparison import Expectation
from harness.trust.why import against_present
from reports.lost_seeds import lost_seeds
from reports.stored_runs import read

WITHOUT_MODELS = (
    "the bundle was written without models, so none can be evaluated again; leave out --evaluate-only, and "
    "cells are trained again"
)


def verify(
    directories: Sequence[Path],
    machine: Machine,
    *,
    cells: int = 2,
    named: Sequence[str] = (),
    seed: int = 0,
    evaluate_only: bool = False,
    progress: Progress | None = None,
) -> list[Certificate]:
    """Verify each store and leave a certificate in it.

    Args:
        directories: The stores.
        machine: Where to run; each cell's own devices, threads and determinism are taken.
        cells: How many finished cells of each store to draw and run again.
        named: Cells that are run again beside those, by their folders, or how the names of these start.
        seed: Of the draw.
        evaluate_only: Evaluate the stored models again and train nothing.
        progress: Shown while it runs.

    Raises:
        StudyError: A store has no finished cell; `named` names none, or several.
    """
    stores = [RunStore(directory.absolute()) for directory in directories]
    asked = named_cells([run for store in stores for run in store.cells() if run.was_finished], named)
    work = {store.directory: _work(store, asked, cells, seed, evaluate_only) for store in stores}
    return [
        _verified(store, machine, work[store.directory], seed, progress or Progress()) for store in stores
    ]


def named_cells(finished: Sequence[CellRun], names: Sequence[str]) -> list[CellRun]:
    """The finished cells that are named: by folder, or by how the folder's name starts.

    Raises:
        StudyError: a name is the one of no cell, or of several.
    """
    asked, mistakes = [], []
    for name in names:
        start = Path(name).name
        # `uit.1` is not `uit.10`: a whole part of the name goes before a part of one.
        whole = [run for run in finished if f"{run.name}.".startswith(f"{start}.")]
        matching = whole or [run for run in finished if run.name.startswith(start)]
        if len(matching) == 1:
            asked += matching
        elif matching:
            some = ", ".join(run.name for run in matching[:NAMED])
            mistakes.append(f"--cell {name}: {len(matching)} finished cells start like this: {some}, …")
        else:
            mistakes.append(f"--cell {name}: no finished cell starts like this; give a folder below cells/")
    if mistakes:
        raise StudyError(mistakes)
    return asked


Work = Mapping[str, tuple[CellRun, bool]]
"""By name the cells that are run again, each with whether it is only evaluated."""


def _work(store: RunStore, asked: Sequence[CellRun], cells: int, seed: int, evaluate_only: bool) -> Work:
    finished = [run for run in store.cells() if run.was_finished]
    if not finished:
        raise StudyError([f"{store.directory}: no finished cell, so nothing can be verified yet"])
    described = _described([run for run in finished if not run.is_imported])
    here = {run.name for run, _ in described}
    of_this = [run for run in asked if run.directory.parent.parent == store.directory]
    if refused := [run.name for run in of_this if run.name not in here]:
        raise StudyError([f"--cell {name}: imported or damaged: it cannot be run again" for name in refused])
    chosen = [run for run, _ in described if run.name in {each.name for each in of_this}]
    drawn = pick([each for each in described if each[0] not in chosen], cells, seed)
    work = {run.name: (run, evaluate_only) for run in (*chosen, *drawn)}
    # Without checksums, only evaluating a cell's models again tells whether its records are theirs.
    for run, _ in described:
        if not run.checksums and not models_left_out(run):
            work.setdefault(run.name, (run, True))
    for run, only_evaluate in work.values():
        register_plugins_of(run)
        if only_evaluate and models_left_out(run):
            raise StudyError([f"{store.directory}: {WITHOUT_MODELS}"])
    return work


def _verified(store: RunStore, machine: Machine, work: Work, seed: int, progress: Progress) -> Certificate:
    finished = [run for run in store.cells() if run.was_finished]
    imported = [run for run in finished if run.is_imported]
    described = _described([run for run in finished if not run.is_imported])
    trained = sum(cell.trains for _, cell in described)
    # A cell whose description is damaged is counted with the trained ones: it is among the differences.
    untrained = len(described) - trained
    here = len(finished) - len(imported)
    certificate = Certificate(store.directory, seed, here - untrained, untrained, len(imported))
    certificate.models_left_out = sum(bool(models_left_out(run)) for run in finished)
    for number, run in enumerate(finished, 1):
        certificate.damaged += [f"{run.name}: {text}" for text in audit(run)]
        progress.working("checking stored records", number, len(finished))
    missing = missing_cells(store)
    certificate.damaged += _lost_seeds(store)
    certificate.damaged += [*map(str, missing), *edited_table(store, [cell.name for cell in missing])]
    progress.begin_study(len(work), 0)
    for run, only_evaluate in work.values():
        certificate.checked.append(_run_again(store, run, machine, only_evaluate, progress))
    try:
        atomic_json(store.directory / CERTIFICATE, certificate.plain())
    except OSError as error:
        certificate.not_written = f"{store.directory}: the certificate cannot be written: {error.strerror}"
    return certificate


def _lost_seeds(store: RunStore) -> list[str]:
    """What the page says of seeds that an earlier look had finished; nothing where it cannot be read."""
    try:
        return [text.rstrip(".") for text in lost_seeds(read([store.directory]))]
    except (HarnessError, FileNotFoundError):
        return []


def _described(finished: Sequence[CellRun]) -> list[tuple[CellRun, Cell]]:
    """The runs whose description can be read, each with its cell; `audit` names the others."""
    described = []
    for run in finished:
        try:
            described.append((run, run.cell))
        except StoreError:
            continue
    return described


def pick(finished: Sequence[tuple[CellRun, Cell]], cells: int, seed: int) -> list[CellRun]:
    """So many cells, drawn at random: trained ones first, one of each method before a second of any.

    The same for the same seed and store.
    """
    order = np.random.default_rng(seed).permutation(len(finished))
    turns: dict[str, int] = {}
    drawn = []
    for index in order:
        run, cell = finished[index]
        turn = turns[cell.method] = turns.get(cell.method, 0) + 1
        drawn.append((not cell.trains, turn, run))
    drawn.sort(key=lambda each: each[:2])  # stable: within a turn the drawn order stays
    return [run for *_, run in drawn[:cells]]


def _run_again(
    store: RunStore, run: CellRun, machine: Machine, evaluate_only: bool, progress: Progress
) -> CheckedCell:
    """Run a cell in a store of its own, and compare; a cell that cannot be run again counts as different."""
    cell = run.cell
    here = machine_of(run, machine)
    prepare_process(here)
    context = Context(here, progress)
    only_evaluated = evaluate_only or not cell.trains
    # Evaluated again are the models that were kept; trained again, all of them are there.
    kept = run.kept_models
    cell = replace(cell, keep=SELECTIONS)
    selections = kept if evaluate_only else SELECTIONS
    with tempfile.TemporaryDirectory(prefix="verify-") as folder:
        expected = run_comparison.expectation(run, context, cell, evaluate_only=only_evaluated)
        checked = CheckedCell(
            run.name,
            expected,
            cell.trains,
            "evaluated again" if only_evaluated else "trained again",
            notes=_changed_since(run, machine),
            has_checksums=bool(run.checksums),
        )
        scratch = RunStore(Path(folder))
        try:
            if evaluate_only:
                _copy_models(run, context.open_run(scratch, cell))
            status = run_cell(cell, scratch, context, selections=selections)
            repeated = context.open_run(scratch, cell)
        except DataError as error:
            checked.differences += [f"cannot be run again: {problem}" for problem in error.lines]
            return checked
        except FileNotFoundError as error:
            checked.differences.append(f"cannot be run again: {error.filename} is gone")
            return checked
        if status.state != "done":
            checked.differences.append(f"cannot be run again: {status.reason}: {status.detail}")
            return checked
        if not only_evaluated:  # which kernels ran is known only now
            checked.expected = _expected_after_training(run, repeated, context, cell)
        checked.differences += _compared(
            store, run, repeated, cell, checked.expected, only_evaluated, selections
        )
        _count(checked, store, run, repeated)
    return checked


def _count(checked: CheckedCell, store: RunStore, then: CellRun, now: CellRun) -> None:
    """Note how many records were compared, and what a bundle left out, so that it was not."""
    compared = {evaluation_key(row) for row in then.results}
    rows = [row for row in now.results if evaluation_key(row) in compared]
    checked.compared = sum(int(row["queries"]) for row in rows)
    checked.kinds = {noun: len({row[noun] for row in rows}) for noun in ("target", "direction", "selection")}
    if is_bundled(store.directory):
        checked.not_compared += run_comparison.lacking(then, now)


def _expected_after_training(run: CellRun, again: CellRun, context: Context, cell: Cell) -> Expectation:
    trained_on = again.recorded.get("trained_on")
    return run_comparison.expectation(run, context, cell, evaluate_only=False, trained_on=trained_on)


def _compared(
    store: RunStore,
    run: CellRun,
    again: CellRun,
    cell: Cell,
    expected: Expectation,
    evaluate_only: bool,
    selections: Sequence[Selection],
) -> Iterator[str]:
    if expected.exact and not evaluate_only:
        yield from run_comparison.histories(run.history, again.history)
        yield from run_comparison.models(run, again)
    if expected.exact or evaluate_only:
        yield from run_comparison.cells_closely(run, again, expected, selections)
    else:
        yield from run_comparison.scores_loosely(store, run, again, cell)


def _changed_since(run: CellRun, machine: Machine) -> list[str]:
    answer = against_present(run, machine)
    return [change.text for change in answer.changes] + answer.beside


def _copy_models(run: CellRun, scratch: CellRun) -> None:
    """Give the scratch cell the stored models, as if it had been trained and not yet evaluated."""
    for selection in run.kept_models:
        shutil.copyfile(run.model_path(selection), scratch.model_path(selection))
    scratch.describe(**{name: run.recorded[name] for name in ("identities",) if name in run.recorded})
    scratch.set_status("done")
