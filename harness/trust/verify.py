"""The verb `verify`: run a few finished cells again and compare, number by number.

Three things are looked at. Every finished cell's per-query records must still be the files that were written
and give the scores that are stored. The cells picked at random are trained again from nothing, or with
`evaluate_only` their models are evaluated again, and every record is compared. What was found becomes
`certificate.json` of the store, which the report shows.
"""

from __future__ import annotations

import csv
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.data.dataset import DataError
from harness.launch.cell import run_cell
from harness.launch.context import Context, prepare_process
from harness.machine import environment
from harness.machine.environment import Machine
from harness.machine.errors import StoreError, StudyError
from harness.machine.files import atomic_json
from harness.machine.progress import Progress
from harness.machine.terms import SELECTIONS
from harness.store.cell_run import HISTORY, RESULTS, CellRun, place_of
from harness.store.results_table import RESULT_COLUMNS, results_rows, results_sha256
from harness.store.runs import RunStore
from harness.store.stored_cell import machine_of, refuse_unregistered
from harness.trust import run_comparison
from harness.trust.run_comparison import Expectation
from harness.trust.why import against_present

if TYPE_CHECKING:
    from harness.study.cell import Cell

DONE, NOT_REPRODUCED = 0, 4
KEPT_DIFFERENCES = 200
"""Sentences kept in a certificate."""


@dataclass
class Checked:
    """One cell that was run again."""

    cell: str
    expected: Expectation
    compared: int = 0
    """Per-query records compared."""
    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What changed since the cell ran."""
    has_checksums: bool = True
    """Whether its files' checksums were kept when it finished; an older version kept none."""


@dataclass
class Certificate:
    """What a verification of one store found."""

    store: Path
    mode: str
    seed: int
    finished: int
    """Finished cells in the store; all their records were checked against their checksums and scores."""
    checked: list[Checked] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    """What is not as it was written, whichever cell it is in."""
    not_written: str = ""
    """Why the certificate could not be kept in the store."""

    @property
    def differences(self) -> list[str]:
        """Everything that differs, each naming its cell."""
        again = [f"{one.cell}: {text}" for one in self.checked for text in one.differences]
        return self.damaged + again

    def plain(self) -> dict[str, Any]:
        """As kept in the store and printed by `--json`."""
        differences = self.differences
        return {
            "verdict": "differs" if differences else "reproduced",
            "mode": self.mode,
            "seed": self.seed,
            "finished": self.finished,
            "cells": [
                {
                    "cell": one.cell,
                    "bit_for_bit": one.expected.exact,
                    "basis": one.expected.basis,
                    "records": one.compared,
                    "differences": len(one.differences),
                    "checksums": one.has_checksums,
                    "notes": one.notes,
                }
                for one in self.checked
            ],
            "differences": differences[:KEPT_DIFFERENCES],
            "results_sha256": results_sha256(RunStore(self.store)),
            "when": datetime.now(UTC).isoformat(timespec="seconds"),
            "commit": environment.commit(),
            "processor": environment.describe()["processor"],
        }


def verify(
    directories: Sequence[Path],
    machine: Machine,
    *,
    cells: int = 2,
    seed: int = 0,
    evaluate_only: bool = False,
    progress: Progress | None = None,
) -> list[Certificate]:
    """Verify each store and leave a certificate in it.

    `cells` finished ones of each store are drawn by `seed`. Raises `StudyError` for a store without
    a finished cell.
    """
    return [
        _verified(RunStore(directory.absolute()), machine, cells, seed, evaluate_only, progress or Progress())
        for directory in directories
    ]


def _verified(
    store: RunStore, machine: Machine, cells: int, seed: int, evaluate_only: bool, progress: Progress
) -> Certificate:
    finished = [run for run in store.cells() if run.was_finished]
    if not finished:
        raise StudyError([f"{store.directory}: no finished cell, so nothing can be verified yet"])
    # Without checksums, only evaluating a cell's models again tells whether its records are theirs.
    work = [(run, evaluate_only) for run in pick(finished, cells, seed)]
    work += [(run, True) for run in finished if not run.checksums]
    for run, _ in work:
        refuse_unregistered(run)
    mode = "evaluated again" if evaluate_only else "trained again"
    certificate = Certificate(store.directory, mode, seed, len(finished))
    for number, run in enumerate(finished, 1):
        certificate.damaged += [f"{run.name}: {text}" for text in audit(run)]
        progress.working("checking stored records", number, len(finished))
    certificate.damaged += _edited_table(store)
    progress.begin_study(len(dict.fromkeys(work)), 0)
    for run, only_evaluate in dict.fromkeys(work):
        certificate.checked.append(_run_again(store, run, machine, only_evaluate, progress))
    try:
        atomic_json(store.directory / "certificate.json", certificate.plain())
    except OSError as error:
        certificate.not_written = f"{store.directory}: the certificate cannot be written: {error.strerror}"
    return certificate


def pick(finished: Sequence[CellRun], cells: int, seed: int) -> list[CellRun]:
    """So many cells, drawn at random; the same for the same seed and store."""
    order = np.random.default_rng(seed).permutation(len(finished))[:cells]
    return [finished[index] for index in sorted(order)]


# -- what is stored -------------------------------------------------------------------------------


def audit(run: CellRun) -> Iterator[str]:
    """What of a finished cell is not as it was written, or contradicts itself.

    Its files are compared with their checksums, its identity with its parts, its scores with its records.
    """
    yield from (f"{name} {what}" for name, what in run.altered(thorough=True).items())
    yield from _lacking(run)
    yield from _misnamed(run)
    for row in run.results:
        place = place_of(row)
        try:
            yield from run_comparison.contradictions(run.records(*place), row)
        except StoreError as error:
            yield f"{run_comparison.named(place)}: its per-query records cannot be read: {error}"
        if row.get("epoch") != run.model_epoch(place[1]):
            yield f"{run_comparison.named(place)}: epoch {row.get('epoch')} is not the one of its model"


def _lacking(run: CellRun) -> Iterator[str]:
    """Files that every finished cell has, which are gone together with their checksums, or lack theirs."""
    trained = run.model_epoch("last") != 0
    models = [run.model_path(selection).name for selection in SELECTIONS]
    for name in (RESULTS, *models, *([HISTORY] if trained else [])):
        if name not in run.checksums:
            if not (run.directory / name).exists():
                yield f"{name} is gone"
            elif run.checksums:
                yield f"{name} has no checksum"


def _misnamed(run: CellRun) -> Iterator[str]:
    """Whether `cell.json` describes the cell whose folder it lies in."""
    try:
        run.checked_identity()
    except StoreError as error:
        yield str(error)


def _edited_table(store: RunStore) -> Iterator[str]:
    """Rows of `results.csv` that the cells do not have, or lacks; a table that is only out of date is not
    edited."""
    path = store.directory / "results.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            written = [tuple(str(row.get(name)) for name in RESULT_COLUMNS) for row in csv.DictReader(file)]
        since = path.stat().st_mtime_ns
    except (OSError, ValueError, csv.Error) as error:
        if not isinstance(error, FileNotFoundError):
            yield f"results.csv cannot be read: {error}"
        return
    cells = {run.name: run for run in store.cells()}
    known = {tuple(str(row[name]) for name in RESULT_COLUMNS): row for row in results_rows(store)}
    # The scores of a cell with an altered file do not stand now, whatever the table says.
    unsound = {name for name, run in cells.items() if run.was_finished and run.status.state != "done"}
    for number, values in enumerate(written, 2):
        row = dict(zip(RESULT_COLUMNS, values, strict=True))
        if row["cell"] in unsound:
            continue
        if values not in known and (row["status"] == "done" or row["cell"] not in cells):
            yield f"results.csv: line {number} is not what the store holds"
    lacked = known.keys() - set(written)
    for cell in sorted({known[values]["cell"] for values in lacked} - unsound):
        if (cells[cell].directory / "status.json").stat().st_mtime_ns < since:
            yield f"results.csv: lacks rows of {cell}"


# -- running again --------------------------------------------------------------------------------


def _run_again(
    store: RunStore, run: CellRun, machine: Machine, evaluate_only: bool, progress: Progress
) -> Checked:
    """Run a cell in a store of its own, and compare; a cell that cannot be run again counts as different."""
    cell = run.cell
    here = machine_of(run, machine)
    prepare_process(here)
    context = Context(here, progress)
    again = evaluate_only or not cell.trains
    with tempfile.TemporaryDirectory(prefix="verify-") as folder:
        expected = run_comparison.expectation(run, context, cell, evaluate_only=again)
        checked = Checked(
            run.name, expected, notes=_changed_since(run, machine), has_checksums=bool(run.checksums)
        )
        scratch = RunStore(Path(folder))
        try:
            if evaluate_only:
                _lend_models(run, context.open_run(scratch, cell))
            status = run_cell(cell, scratch, context)
            repeated = context.open_run(scratch, cell)
        except DataError as error:
            checked.differences += [f"cannot be run again: {problem}" for problem in error.problems]
            return checked
        except FileNotFoundError as error:
            checked.differences.append(f"cannot be run again: {error.filename} is gone")
            return checked
        if status.state != "done":
            checked.differences.append(f"cannot be run again: {status.reason}: {status.detail}")
            return checked
        checked.differences += _compared(store, run, repeated, cell, expected, again)
        checked.compared = sum(int(row["queries"]) for row in repeated.results)
    return checked


def _compared(
    store: RunStore, run: CellRun, again: CellRun, cell: Cell, expected: Expectation, evaluate_only: bool
) -> Iterator[str]:
    if expected.exact and not evaluate_only:
        yield from run_comparison.histories(run.history, again.history)
        yield from run_comparison.models(run, again)
    if expected.exact or evaluate_only:
        yield from run_comparison.cells_closely(run, again, expected)
    else:
        yield from run_comparison.scores_loosely(store, run, again, cell)


def _changed_since(run: CellRun, machine: Machine) -> list[str]:
    answer = against_present(run, machine)
    return [change.text for change in answer.changes] + answer.beside


def _lend_models(run: CellRun, scratch: CellRun) -> None:
    """Give the scratch cell the stored models, as if it had been trained and not yet evaluated."""
    for selection in SELECTIONS:
        shutil.copyfile(run.model_path(selection), scratch.model_path(selection))
    scratch.describe(**{name: run.recorded[name] for name in ("identities",) if name in run.recorded})
    scratch.set_status("done")


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def render(certificates: Sequence[Certificate]) -> None:
    """Print what was found for a person."""
    for certificate in certificates:
        print(
            f"{certificate.store}: {len(certificate.checked)} of "
            f"{_counted(certificate.finished, 'finished cell')} {certificate.mode}; "
            "the stored records of all of them checked"
        )
        for one in certificate.checked:
            verdict = _counted(len(one.differences), "difference") if one.differences else "the same"
            print(f"  {one.cell}: {verdict}, {one.compared:,} queries compared ({one.expected.basis})")
            if not one.has_checksums:
                print(
                    "    without checksums: an older version finished it, so its models were evaluated again"
                )
            for note in one.notes:
                print(f"    since then: {note}")
        for text in certificate.differences:
            print(f"  differs: {text}")
        print(f"  {certificate.plain()['verdict']}")
