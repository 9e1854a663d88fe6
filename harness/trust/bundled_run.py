"""One run of an unpacked bundle against itself: its cells, then what follows from their records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from harness.machine.files import sha256
from harness.store.cell_run import CellRun
from harness.store.runs import RunStore
from harness.trust import made_again
from harness.trust.audit import audit, edited_table
from harness.trust.made_again import OTHER_ROWS
from harness.trust.missing_cells import missing_cells, not_begun

if TYPE_CHECKING:
    from reports.assemble import ReportResult

PAGE, VERDICTS, TABLES = "report.html", "verdicts.csv", "report/tables"
RESULTS_TABLE = "results.csv"
NAMED = 3
"""Files that a sentence names."""
LISTED = 20
"""Differences of one file that are listed; the others are counted."""
TRUSTED: Mapping[str, str] = {
    "environment.json": "environment.json",
    "cells": "host, commit, command and times in cell.json, status.json and history.jsonl",
    "cells/*/history.jsonl": "losses and scores of the epochs in history.jsonl",
    "leakage.json": "leakage.json",
    "overhead.json": "overhead.json",
    "search.json": "search.json",
    "certificate.json": "certificate.json",
    "data/*": "lists of files in data/",
    "plugins/*": "sources of plugins",
    "pictures/*": "pictures",
    "cells/*/restorations.parquet": "restored pictures",
    PAGE: "drawings and dates of report.html",
}
"""By the files that must be there, what cannot be computed again from the records."""


@dataclass
class RunCheck:
    """What was found in one run of a bundle."""

    name: str
    cells: int = 0
    records: int = 0
    verdicts: int = 0
    claims: int = 0
    differences: list[str] = field(default_factory=list)
    """Of files of the run, each named first."""
    about: list[str] = field(default_factory=list)
    """Differences of the run as a whole."""
    notes: list[str] = field(default_factory=list)
    """What is not compared, or only planned."""
    trusted: list[str] = field(default_factory=list)


def check_run(run: Path, *, other_version: bool) -> RunCheck:
    """Check one run; its report is made again in place.

    Where a cell is missing or damaged, what follows from it is counted and not printed: numbers made again
    would rest on fewer cells than those that are quoted.

    Args:
        run: its folder in the unpacked bundle.
        other_version: the bundle was written by other code than this, whose words may differ.
    """
    from reports.assemble import build

    store, check = RunStore(run), RunCheck(run.name)
    stored_under = _stored_under(store)
    for cell in store.cells():
        if cell.was_finished:
            check.cells += 1
            check.records += sum(int(row.get("queries") or 0) for row in cell.results)
            found = [f"cells/{cell.name}: {text}" for text in audit(cell, models=False)]
            check.differences += _restored(found, cell, stored_under)
    missing = missing_cells(store)
    check.differences += [str(cell) for cell in missing]
    check.notes += [f"cells/{slot} is planned and was not begun" for slot in not_begun(store, missing)]
    check.differences += [f"{name} is gone" for name in (RESULTS_TABLE,) if not (run / name).is_file()]
    check.differences += edited_table(store, [cell.name for cell in missing])
    check.trusted = [text for pattern, text in TRUSTED.items() if next(run.glob(pattern), None)]
    written = _texts(run)
    made = build([run])
    check.claims, check.verdicts = len(made.verdicts), max(0, len(_rows(run / VERDICTS)) - 1)
    check.about += _lost(made)
    fewer = len(missing) + _left_out_of_report(made)
    _compare(check, written, _texts(run), fewer=fewer, other_version=other_version)
    return check


def _lost(made: ReportResult) -> list[str]:
    """What the page says of seeds that an earlier look had finished and the study has not now."""
    from reports.lost_seeds import lost_seeds

    return [] if made.context is None else [text.rstrip(".") for text in lost_seeds(made.context.stored_runs)]


def _left_out_of_report(made: ReportResult) -> int:
    """How many cells the report left out, for their scores or records were altered."""
    from reports.cell_views import ALTERED

    cells = () if made.context is None else made.context.stored_runs.cells
    return sum(cell.status == ALTERED for cell in cells)


def _compare(
    check: RunCheck, written: Mapping[str, str], again: Mapping[str, str], *, fewer: int, other_version: bool
) -> None:
    """Compare what the bundle has with what was made again, file by file."""
    followed: dict[str, int] = {}
    other_words = []
    for name in sorted({*written, *again}):
        found = _apart(name, written, again, other_version)
        if fewer:
            followed |= {name: len(found)} if found and name in written else {}
        elif found and other_version and (not name.endswith(".csv") or OTHER_ROWS in found[0]):
            other_words.append(f"{name} ({len(found)})")
        else:
            more = len(found) - LISTED
            check.differences += [*found[:LISTED], *([f"{name}: and {more} more"] if more > 0 else [])]
    if followed:
        cells = "the cell" if fewer == 1 else f"the {fewer} cells"
        check.about.append(
            f"{sum(followed.values()):,} values or passages that follow from it differ, in {len(followed)} "
            f"files ({', '.join(list(followed)[:NAMED])} …): they rest on {cells} named above, or were "
            "changed as well"
        )
    if other_words:
        check.notes.append(
            "not in the words of this version of the harness, so not compared; read what `report` writes: "
            + ", ".join(other_words)
        )


def _apart(name: str, written: Mapping[str, str], again: Mapping[str, str], other_version: bool) -> list[str]:
    """How one file differs from the one made again; the verdicts are numbers in any version."""
    if name not in again:
        return [f"{name}: the records give no such table"]
    if name not in written:
        return [f"{name} is not there, and the records give it"]
    kind: Callable[..., Iterator[str]] = made_again.tables if name.endswith(".csv") else made_again.passages
    in_other_words = other_version and name != VERDICTS
    return list(kind(written[name], again[name], name, other_version=in_other_words))


def _texts(run: Path) -> dict[str, str]:
    """The page, the verdicts and the tables of a run, by their paths."""
    paths = [run / PAGE, run / VERDICTS, *sorted((run / TABLES).glob("*"))]
    return {
        path.relative_to(run).as_posix(): path.read_text("utf-8", errors="replace")
        for path in paths
        if path.is_file() and path.suffix in (".html", ".csv", ".md", ".tex")
    }


def _rows(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines() if path.is_file() else []


def _stored_under(store: RunStore) -> dict[str, list[str]]:
    """By SHA-256 the records, as `CELL/FILE`, that had this content when their cells finished."""
    found: dict[str, list[str]] = {}
    for cell in store.cells():
        for name, kept in sorted(cell.checksums.items()):
            if name.endswith(".parquet"):
                found.setdefault(str(kept.get("sha256")), []).append(f"{cell.name}/{name}")
    return found


def _restored(found: list[str], cell: CellRun, stored_under: Mapping[str, list[str]]) -> Iterator[str]:
    """The sentences about a cell, where a table of records that is stored once is not called gone."""
    explained = set()
    for name, kept in cell.checksums.items():
        if (cell.directory / name).exists() or not name.endswith(".parquet"):
            continue
        others = stored_under.get(str(kept.get("sha256")), ())
        there = [path for other in others if (path := cell.directory.parent / other).exists()]
        if there:
            explained.add(name)
            why = (
                "the manifest says otherwise"
                if sha256(there[0]) == kept.get("sha256")
                else "that was changed"
            )
            stored = there[0].relative_to(cell.directory.parent).as_posix()
            yield f"cells/{cell.name}: {name}: stored once with equal ones, as cells/{stored}, and {why}"
    gone = {f"{name} is gone" for name in explained}
    unread = [f"{run_name(name)}: its per-query records cannot be read" for name in explained]
    for text in found:
        said = text.removeprefix(f"cells/{cell.name}: ")
        if said not in gone and not any(said.startswith(start) for start in unread):
            yield text


def run_name(record: str) -> str:
    """The evaluation of a file of records, in words: `records/TARGET.SELECTION.DIRECTION.parquet`."""
    target, selection, direction = Path(record).name.removesuffix(".parquet").rsplit(".", 2)
    return f"{target} {direction}, selected on {selection}"
