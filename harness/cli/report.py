"""The verb `report`: finds the runs, has their pages written, prints where they are."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.cli.answers import answer, print_lines
from harness.machine.errors import ExitCode, StudyError
from harness.machine.files import why_not_writable
from harness.machine.paths import RUNS

if TYPE_CHECKING:
    from reports.assemble import ReportResult


def run_folders(runs: Sequence[Path]) -> list[Path]:
    """These folders, each once, or all below `runs`; a bundle stands for its runs, unpacked beside it.

    Raises:
        StudyError: there is none, or one holds no run.
    """
    named: dict[Path, Path] = {}
    for folder in (folder for path in runs for folder in _unpacked(path)):
        named.setdefault(folder.resolve(), folder)
    listed = list(named.values())
    directories = listed or sorted(path.parent for path in RUNS.glob("*/study.yaml"))
    if not directories:
        raise StudyError([f"{RUNS}: no run here; name the folder that `run --out` wrote"])
    missing = [path for path in directories if not (path / "study.yaml").is_file()]
    if missing:
        raise StudyError([f"{path}: no run here (no study.yaml)" for path in missing])
    return directories


def terminal_width() -> int:
    """Columns of the terminal on standard output; of a file or pipe 80, as wide as a README."""
    return shutil.get_terminal_size((80, 24)).columns if sys.stdout.isatty() else 80


def _unpacked(path: Path) -> list[Path]:
    """The runs of a bundle, unpacked into a folder of its name; any other path is itself."""
    if path.suffix != ".zip":
        return [path]
    from harness.exchange.archives import unpack_beside
    from harness.exchange.bundling import bundled_runs

    folder, altered = unpack_beside(path)
    for text in altered:
        print(f"{path}: {text}", file=sys.stderr)
    return bundled_runs(folder)


def write_report(
    runs: Sequence[Path],
    out: Path | None,
    *,
    check: bool = False,
    allow_undecided: bool = False,
    wide: bool = False,
    as_json: bool = False,
    exports: Sequence[str] = (),
    data_root: Path | None = None,
) -> int:
    """Write the report of these runs, and its exports; the exit code.

    Runs are pooled into one page only when their folders are named together; it lies above the first of them,
    so that it replaces none of theirs. Without `runs`, every run below `runs/` gets its own page, and
    `runs/index.html` lists them. Raises `StudyError` when a folder holds no run, its study or claims cannot
    be read, or there is no claim to `check`.
    """
    directories = run_folders(runs)
    pooled = bool(runs) or out is not None or len(directories) == 1
    if pooled and out is None and len(directories) > 1:
        out = directories[0].absolute().parent / "report.html"
    from reports.assemble import build
    from reports.index_page import write_index

    pages = [directories] if pooled else [[directory] for directory in directories]
    folders = [(out or each[0] / "report.html").parent for each in pages] + ([] if pooled else [RUNS])
    writes = _writes(folders, needed=bool(exports) or not as_json)
    asked: dict[str, Any] = {"check": check, "allow_undecided": allow_undecided, "wide": wide}
    made = [build(each, out, width=terminal_width(), write=writes, **asked) for each in pages]
    with_claims = [report for report in made if report.verdicts]
    broken = [report for report in made if report.exit_code == ExitCode.DIFFERS]
    if check and not with_claims and not broken:
        named = ", ".join(map(str, directories))
        raise StudyError([f"{named}: there is no claim to check; a study names a file of them by `claims:`"])
    index = None if pooled or not writes else write_index(RUNS / "index.html", made)
    written = [_exported(report, exports, data_root) for report in made]
    answer(_plain(made, index, written, writes=writes), as_json, lambda: _render(made, index, written))
    # A claim that is contradicted (4) says more than one that is undecided (5).
    codes = {report.exit_code for report in (*with_claims, *broken)}
    return min(codes - {0}, default=0)


def _writes(folders: Sequence[Path], *, needed: bool) -> bool:
    """Whether pages can be written to these folders; where they are not `needed`, says that none is.

    Raises:
        StudyError: one cannot be written and is needed.
    """
    refused = dict.fromkeys(why for folder in folders if (why := why_not_writable(folder)))
    if refused and needed:
        raise StudyError(
            [f"{why}; have the page written elsewhere: --out FOLDER/report.html" for why in refused]
        )
    print_lines([f"{why}; no page is written" for why in refused])
    return not refused


def _exported(report: ReportResult, names: Sequence[str], data_root: Path | None) -> Mapping[str, Path]:
    """Where each export of a report lies."""
    if not names:
        return {}
    from harness.exchange.report_exports import write_exports

    assert report.context is not None
    return write_exports(names, report.context, report.path, data_root)


def _render(made: Sequence[ReportResult], index: Path | None, written: Sequence[Mapping[str, Path]]) -> None:
    """Print tables, paths and claims for a person."""
    for report, exports in zip(made, written, strict=True):
        print(report.table_text)
        print(f"report: {report.path}")
        for name, folder in exports.items():
            from harness.exchange.report_exports import how_to_show

            print(how_to_show(name, folder))
        for claim, verdict in report.verdicts.items():
            print(f"{claim}: {verdict}")
    if index is not None:
        print(f"index: {index}")


def _plain(
    made: Sequence[ReportResult], index: Path | None, written: Sequence[Mapping[str, Path]], *, writes: bool
) -> dict[str, Any]:
    """The JSON object of `report --json`; `report` is null where no page was written."""
    return {
        "reports": [
            {
                "title": report.title,
                "report": str(report.path) if writes else None,
                "headline": report.headline,
                "claims_in_words": report.claims,
                "exports": {name: str(folder) for name, folder in exports.items()},
                **report.plain,
            }
            for report, exports in zip(made, written, strict=True)
        ],
        "index": None if index is None else str(index),
    }
