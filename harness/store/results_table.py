"""`results.csv`: what every cell of a store scored, one row per target, selection and direction."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.machine.errors import StoreError
from harness.machine.files import atomic_file
from harness.machine.terms import METRICS
from harness.store.cell_run import CellRun
from harness.store.data_notes import data_sentences
from harness.store.runs import RunStore

COUNTS = ("queries", "gallery")
RESULT_COLUMNS = (
    *("method", "dataset", "target", "seed", "preset", "selection", "direction", "status", "reason"),
    *METRICS,
    *COUNTS,
    "cell",
    "data",
)


def write_results_table(store: RunStore) -> Path:
    """Write `results.csv`, sorted and free of times, so that two runs compare with `diff`."""
    path = store.directory / "results.csv"
    with atomic_file(path) as file:
        began = os.fstat(file.fileno()).st_mtime_ns
        text = io.StringIO()
        writer = csv.DictWriter(text, RESULT_COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(results_rows(store))
        file.write(text.getvalue().encode())
        file.flush()
        # As old as what it says: a cell may end while the others are read.
        os.utime(file.fileno(), ns=(began, began))
    return path


def results_rows(store: RunStore) -> list[dict[str, Any]]:
    """One row per cell, target, selection and direction, sorted; a cell without results has one, unscored."""
    rows = [row for run in store.cells() for row in _rows_of(run)]
    keys = ("dataset", "method", "seed", "target", "selection", "direction", "cell")
    return sorted(rows, key=lambda row: [(isinstance(row[key], str), row[key]) for key in keys])


def results_sha256(store: RunStore) -> str:
    """Hash of all that `results.csv` says: whether something said about a store is still about this one."""
    return hashlib.sha256(json.dumps(results_rows(store), sort_keys=True).encode()).hexdigest()


def _rows_of(run: CellRun) -> Iterator[dict[str, Any]]:
    try:
        cell = run.cell
    except StoreError:
        return
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
    for result in scored:
        scores = {name: f"{result[name]:.4f}" for name in METRICS}
        evaluated = {name: result[name] for name in ("target", "selection", "direction", *COUNTS)}
        yield common | evaluated | scores | {"data": _said(result)}
    if not scored:
        blank = dict.fromkeys(("target", "selection", "direction", *METRICS, *COUNTS, "data"), "")
        yield common | blank | {"target": cell.dataset}


def _said(result: Mapping[str, Any]) -> str:
    """What the loader had to say of the data of a result, in one line."""
    data = result.get("data")
    known = {**data, "skipped": result.get("skipped")} if isinstance(data, Mapping) else {}
    return " ".join(" ".join(data_sentences(str(result["target"]), known)).split())
