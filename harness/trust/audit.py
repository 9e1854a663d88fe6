"""Whether what a store holds is what was written, and agrees with itself. Nothing is run."""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterator

from harness.machine.errors import StoreError
from harness.store.bundled import left_out
from harness.store.cell_run import CellRun, evaluation_key
from harness.store.cell_status import HISTORY, RESULTS
from harness.store.results_table import RESULT_COLUMNS, results_rows
from harness.store.runs import RunStore
from harness.trust import run_comparison
from harness.trust.contradictions import impossible_records, other_losses


def audit(run: CellRun, *, models: bool = True) -> Iterator[str]:
    """What of a finished cell is not as it was written, or contradicts itself.

    Its files are compared with their checksums, its identity with its parts, its scores with its records.
    The models that its bundle left out are compared with nothing; without `models`, which need torch, the
    epochs of the others are not read.
    """
    gone = models_left_out(run)
    yield from (f"{name} {what}" for name, what in run.altered(thorough=True).items() if name not in gone)
    yield from _lacking(run, gone)
    yield from _misdescribed(run)
    yield from other_losses(run)
    for row in run.results:
        key = evaluation_key(row)
        try:
            frame = run.records(*key)
            yield from run_comparison.contradictions(frame, row)
            yield from impossible_records(frame, row, run_comparison.named(key))
        except StoreError as error:
            yield f"{run_comparison.named(key)}: its per-query records cannot be read: {error}"
        kept = models and key[1] in run.kept_models and run.model_path(key[1]).exists()
        if kept and row.get("epoch") != run.model_epoch(key[1]):
            yield f"{run_comparison.named(key)}: epoch {row.get('epoch')} is not the one of its model"


def models_left_out(run: CellRun) -> frozenset[str]:
    """The files of models that a cell kept and its bundle left out; empty of a cell in no bundle."""
    return left_out(run.directory, [run.model_path(selection).name for selection in run.kept_models])


def _lacking(run: CellRun, gone: frozenset[str]) -> Iterator[str]:
    """Files that every finished cell has, which are gone together with their checksums, or lack theirs."""
    trained = any(row.get("epoch") != 0 for row in run.results) or not run.results
    models = [run.model_path(selection).name for selection in run.kept_models]
    left = (RESULTS,) if run.is_imported else (RESULTS, *models, *([HISTORY] if trained else []))
    for name in left:
        if name not in run.checksums and name not in gone:
            if not (run.directory / name).exists():
                yield f"{name} is gone"
            elif run.checksums:
                yield f"{name} has no checksum"


def _misdescribed(run: CellRun) -> Iterator[str]:
    """Whether `cell.json` describes the cell whose folder it lies in, and was not edited, nor the status."""
    try:
        run.checked_identity()
    except StoreError as error:
        yield str(error)
    else:
        if run.edited:
            yield run.edited


def edited_table(store: RunStore, missing: Collection[str] = ()) -> Iterator[str]:
    """Rows that `results.csv` has and the cells have not, or the other way round.

    A table that is only out of date is not edited. Rows of `missing` cells are left to whoever names these.
    """
    path = store.directory / "results.csv"
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            # A table of an older version lacks the last column, and says nothing untrue.
            columns = [name for name in RESULT_COLUMNS if name != "data" or name in (reader.fieldnames or ())]
            written = [tuple(str(row.get(name)) for name in columns) for row in reader]
        since = path.stat().st_mtime_ns
    except (OSError, ValueError, csv.Error) as error:
        if not isinstance(error, FileNotFoundError):
            yield f"results.csv cannot be read: {error}"
        return
    cells = {run.name: run for run in store.cells()}
    known = {tuple(str(row[name]) for name in columns): row for row in results_rows(store)}
    # The scores of a cell with an altered file do not stand now, whatever the table says.
    unsound = {*missing} | {
        name for name, run in cells.items() if run.was_finished and run.status.state != "done"
    }
    for number, values in enumerate(written, 2):
        row = dict(zip(columns, values, strict=True))
        if row["cell"] in unsound:
            continue
        if values not in known and (row["status"] == "done" or row["cell"] not in cells):
            yield f"results.csv: line {number} is not what the store holds"
    lacked = known.keys() - set(written)
    for cell in sorted({known[values]["cell"] for values in lacked} - unsound):
        if (cells[cell].directory / "status.json").stat().st_mtime_ns < since:
            yield f"results.csv: lacks rows of {cell}"
