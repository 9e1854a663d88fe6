"""The verb `report`: finds the runs, calls the reports room, prints where things are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.machine.errors import StudyError

RUNS = Path("runs")


def run_folders(runs: Sequence[Path]) -> list[Path]:
    """These folders, or all below `runs`. Raises `StudyError` when there is none, or one holds no run."""
    directories = list(runs) or sorted(path.parent for path in RUNS.glob("*/study.yaml"))
    if not directories:
        raise StudyError([f"{RUNS}: no run here; name the folder that `run --out` wrote"])
    missing = [path for path in directories if not (path / "study.yaml").is_file()]
    if missing:
        raise StudyError([f"{path}: no run here (no study.yaml)" for path in missing])
    return directories


def write_report(runs: Sequence[Path], out: Path | None, *, check: bool = False) -> int:
    """Write the report of these runs, or of all below `runs`; the exit code.

    The page of one run lies in it; that of several in the folder above the first, so that it replaces none
    of theirs. Raises `StudyError` when a folder holds no run, its study or claims cannot be read, or there
    is no claim to `check`.
    """
    directories = run_folders(runs)
    if out is None and len(directories) > 1:
        out = directories[0].absolute().parent / "report.html"
    from reports.assemble import build

    made = build(directories, out, check=check)
    if check and not made.verdicts:
        named = ", ".join(map(str, directories))
        raise StudyError([f"{named}: there is no claim to check; a study names a file of them by `claims:`"])
    print(made.table_text)
    print(f"report: {made.path}")
    for claim, verdict in made.verdicts.items():
        print(f"{claim}: {verdict}")
    return made.exit_code
