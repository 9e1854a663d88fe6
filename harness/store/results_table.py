"""`results.csv`: what every cell of a store scored, one row per target, selection and direction."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from harness.machine.errors import StoreError
from harness.machine.files import atomic_file
from harness.machine.terms import METRICS
from harness.store.cell_run import CellRun
from harness.store.data_notes import data_sentences
from harness.store.runs import RunStore
from harness.study.cell import Cell

COUNTS = ("queries", "gallery")
RESULT_COLUMNS = (
    *("method", "dataset", "target", "seed", "preset", "selection", "direction", "status", "reason"),
    *METRICS,
    *COUNTS,
    "cell",
    "data",
)
_in_a_cell = itemgetter("target", "selection", "direction", "cell")


def write_results_table(store: RunStore) -> Path:
    """Write `results.csv`, sorted and free of times, so that two runs compare with `diff`."""
    path = store.directory / "results.csv"
    with atomic_file(path) as file:
        began = os.fstat(file.fileno()).st_mtime_ns
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(RESULT_COLUMNS)
        writer.writerows([row[name] for name in RESULT_COLUMNS] for row in _rows_of_store(store))
        file.write(text.getvalue().encode())
        file.flush()
        # As old as what it says: a cell may end while the others are read.
        os.utime(file.fileno(), ns=(began, began))
    return path


def results_rows(store: RunStore) -> list[dict[str, Any]]:
    """One row per cell, target, selection and direction, sorted; a cell without results has one, unscored."""
    return list(_rows_of_store(store))


def _rows_of_store(store: RunStore) -> Iterator[dict[str, Any]]:
    cells = []
    for run in store.cells():
        with suppress(StoreError):
            cell = run.cell
            cells.append((_in_order(cell.dataset, cell.method, cell.seed), run, cell))
    cells.sort(key=itemgetter(0))
    # One group at a time: the rows of thousands of cells would take a hundred megabytes.
    for _, group in groupby(cells, itemgetter(0)):
        rows = [row for _, run, cell in group for row in _rows_of(run, cell)]
        yield from sorted(rows, key=lambda row: _in_order(*_in_a_cell(row)))


def _in_order(*values: Any) -> list[tuple[bool, Any]]:
    """To sort by: of a damaged file a number may stand where a text belongs."""
    return [(isinstance(value, str), value) for value in values]


def results_sha256(store: RunStore) -> str:
    """Hash of all that `results.csv` says: whether something said about a store is still about this one."""
    return hashlib.sha256(json.dumps(results_rows(store), sort_keys=True).encode()).hexdigest()


def _rows_of(run: CellRun, cell: Cell) -> Iterator[dict[str, Any]]:
    status = run.status
    common: dict[str, Any] = {
        "method": cell.method,
        "dataset": cell.dataset,
        "seed": cell.seed,
        "preset": cell.protocol,
        "status": status.state,
        "reason": status.reason,
        "cell": run.name,
    }
    scored = run.results if status.state == "done" else []
    known, sentences = None, ""
    for result in scored:
        if known != (known := _known(result)):
            sentences = " ".join(" ".join(data_sentences(*known)).split())
        scores = {name: f"{result[name]:.4f}" for name in METRICS}
        evaluated = {name: result[name] for name in ("target", "selection", "direction", *COUNTS)}
        yield common | evaluated | scores | {"data": sentences}
    if not scored:
        blank = dict.fromkeys(("target", "selection", "direction", *METRICS, *COUNTS, "data"), "")
        yield common | blank | {"target": cell.dataset}


def _known(result: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The target of a result, and what the loader had to say of its data."""
    data = result.get("data")
    said = {**data, "skipped": result.get("skipped")} if isinstance(data, Mapping) else {}
    return str(result["target"]), said
