"""`verify BUNDLE`: every number, verdict and claim computed again from the records, without torch."""

from __future__ import annotations

import csv
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.cli.answers import answer, refusals
from harness.exchange.archives import unpack
from harness.exchange.bundling import bundled_runs
from harness.machine.errors import ExitCode, StudyError
from harness.machine.words import plural
from harness.store.runs import RunStore
from harness.trust.audit import audit, edited_table

LAST_DIGIT = 2e-9
"""By how much numbers of ten digits may differ, relative: the last digit on another processor."""


@dataclass
class BundleCheck:
    """What a verification of a bundle found."""

    path: Path
    runs: list[str] = field(default_factory=list)
    cells: int = 0
    records: int = 0
    verdicts: int = 0
    claims: int = 0
    differences: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """As printed by `--json`."""
        return {
            **vars(self),
            "path": str(self.path),
            "verdict": "differs" if self.differences else "reproduced",
        }


def verify_bundle(path: Path) -> BundleCheck:
    """Unpack a bundle aside and compute again what it says.

    Raises:
        BundleError: it is damaged or unsafe.
    """
    check = BundleCheck(path)
    with tempfile.TemporaryDirectory(prefix="bundle-") as folder:
        check.differences += unpack(path, Path(folder))
        for run in bundled_runs(Path(folder)):
            check.runs.append(run.name)
            differences = (text.replace(f"{run}/", "") for text in _differences(run, check))
            check.differences += [f"{run.name}/{text}" for text in differences]
    return check


def _differences(run: Path, check: BundleCheck) -> Iterator[str]:
    from reports.assemble import build

    store = RunStore(run)
    for cell in store.cells():
        if not cell.was_finished:
            continue
        check.cells += 1
        check.records += sum(int(row.get("queries") or 0) for row in cell.results)
        yield from (f"cells/{cell.name}: {text}" for text in audit(cell, models=False))
    yield from edited_table(store)
    with tempfile.TemporaryDirectory(prefix="again-") as folder:
        again = Path(folder)
        made = build([run], again / "report.html")
        check.claims += len(made.verdicts)
        check.verdicts += len(_rows(again / "verdicts.csv")[1:])
        for new in [again / "verdicts.csv", *sorted((again / "report" / "tables").glob("*.csv"))]:
            yield from _compared(run / new.relative_to(again), new, new.relative_to(again).as_posix())
        for old in sorted((run / "report" / "tables").glob("*.csv")):
            if not (again / old.relative_to(run)).exists():
                yield f"{old.relative_to(run).as_posix()}: the records give no such table"


def _compared(old: Path, new: Path, name: str) -> Iterator[str]:
    """Values of a table that the records do not give, each with its line and column."""
    if not old.is_file():
        yield f"{name} is gone"
        return
    before, after = _rows(old), _rows(new)
    if len(before) != len(after) or before[:1] != after[:1]:
        yield f"{name}: other rows or columns than the records give"
        return
    for number, (first, second) in enumerate(zip(before, after, strict=True), 1):
        if len(first) != len(second):
            yield f"{name}: line {number}: {len(first)} values, the records give {len(second)}"
            continue
        for column, written, computed in zip(before[0], first, second, strict=False):
            if not _same(written, computed):
                yield f"{name}: line {number}: {column} is {written}, the records give {computed}"


def _rows(path: Path) -> list[list[str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def _same(first: str, second: str) -> bool:
    if first == second:
        return True
    try:
        return math.isclose(float(first), float(second), rel_tol=LAST_DIGIT, abs_tol=1e-12)
    except ValueError:
        return False


def render(check: BundleCheck) -> None:
    """Print what was found for a person."""
    print(
        f"{check.path}: {', '.join(check.runs)}; {plural(check.cells, 'finished cell')}, "
        f"{plural(check.records, 'record')}, "
        f"{plural(check.verdicts, 'verdict')} and {plural(check.claims, 'claim')} computed again"
    )
    for text in check.differences:
        print(f"  differs: {text}")
    print(f"  {'differs' if check.differences else 'reproduced'}")


def _unpack_first(path: Path) -> str:
    unpacked = f"{path.with_name(path.stem)}-bundle/RUN"
    return (
        f"{path}: nothing of a bundle is run; unpack it with `report {path}`, then `verify {unpacked}` "
        "with these options trains cells again"
    )


def verify_bundles(paths: Sequence[Path], as_json: bool, *, asks_to_run: bool = False) -> ExitCode:
    """Verify bundles and print what was found. They must be alone: runs are verified by running them.

    `asks_to_run`: cells were asked to be run again, which is refused.
    """
    with refusals():
        if asks_to_run:
            raise StudyError([_unpack_first(path) for path in paths if path.suffix == ".zip"])
        if others := [path for path in paths if path.suffix != ".zip"]:
            raise StudyError([f"{path}: a run; verify it apart from bundles" for path in others])
        checked = [verify_bundle(path) for path in paths]

    def shown() -> None:
        for check in checked:
            render(check)

    answer({str(check.path): check.plain() for check in checked}, as_json, shown)
    return ExitCode.DIFFERS if any(check.differences for check in checked) else ExitCode.DONE
