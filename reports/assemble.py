"""From run directories to everything a report consists of."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from harness.machine.errors import ExitCode
from harness.machine.files import atomic_write
from harness.store.results_table import write_results_table
from harness.store.runs import RunStore
from reports import html, ledger, tables
from reports.comparison import ComparisonOptions, comparison_groups
from reports.context import ReportContext
from reports.document import Section, Table
from reports.figures import FigureWriter
from reports.look_record import record_looks
from reports.lost_seeds import lost_seeds
from reports.own_files import remove_outdated
from reports.published import published as published_numbers
from reports.sections import (
    ablation,
    attribution,
    caption_noise,
    cells,
    claims,
    cost_benefit,
    curves,
    elsewhere,
    factorial,
    overhead,
    plan,
    pooled,
    power,
    provenance,
    published,
    search,
    sheets,
    summary,
    transfer,
    tuning,
)
from reports.stored_runs import StoredRuns, read
from reports.terminal import terminal_text
from reports.verdicts import report_json, verdicts_csv

Chapter = Callable[[ReportContext], Section | None]


@dataclass(frozen=True)
class ReportResult:
    """What `build` made."""

    path: Path
    verdicts: Mapping[str, str]
    """The judgement of every claim, by its id and the preset it was run under."""
    exit_code: ExitCode
    """With `check`: 0 when every claim was decided and none contradicted, 4 when one was, 5 when not all
    were decided; without it 0."""
    table_text: str
    title: str = ""
    headline: str = ""
    claims: str = ""
    """How many claims were decided, in a sentence."""
    plain: Mapping[str, object] = field(default_factory=dict)
    """What the page says, for programs: see `reports.verdicts.report_json`."""
    context: ReportContext | None = field(default=None, repr=False, compare=False)
    """What the page was made from."""


def build(
    run_dirs: Sequence[Path],
    out: Path | None = None,
    *,
    check: bool = False,
    allow_undecided: bool = False,
    now: datetime | None = None,
    options: ComparisonOptions | None = None,
    width: int = 120,
    wide: bool = False,
    write: bool = True,
) -> ReportResult:
    """Write the report of one or several runs, finished or not.

    Args:
        run_dirs: folders of runs, pooled into one page.
        out: the page's file; default: `report.html` in the first folder. Tables (CSV, Markdown, LaTeX) and
            figures (PNG, PDF) go to a folder named like it beside it.
        check: judge the claims into the exit code; a margin or claim changed after a lock counts as well.
        allow_undecided: with `check`, accept claims that are undecided, though not those that were not run.
        now: the date on the page.
        options: how methods are compared; default: within the margin that the study states.
        width: columns of the terminal.
        wide: print every column of the tables, however wide.
        write: write the files; without it the result alone is made, as of runs that may only be read.

    Raises:
        FileNotFoundError: a folder holds no run.
        RunError: a study cannot be read.
        ClaimsError: its claims cannot be read.
    """
    page = out or run_dirs[0] / "report.html"
    context = _context(run_dirs, page, options)
    title = " + ".join(dict.fromkeys(run.name for run in context.stored_runs.runs))
    if write:
        _write_files(context, title, page, run_dirs, now or datetime.now())
    ruled = context.rulings
    verdicts = {
        f"{ruling.claim.id} ({ruling.preset})" if ruling.preset else ruling.claim.id: ruling.judgement
        for ruling in ruled
    }
    code = _exit_code(context, allow_undecided) if check else ExitCode.DONE
    plain = report_json(context.groups, context.rulings, context.looks)
    said = (title, summary.headline(context), ledger.tally(ruled))
    return ReportResult(page, verdicts, code, terminal_text(context, width, wide=wide), *said, plain, context)


def _exit_code(context: ReportContext, allow_undecided: bool) -> ExitCode:
    """What `--check` ends with: a plan that was changed counts like a contradicted claim."""
    if plan.broken(context):
        return ExitCode.DIFFERS
    judgements = [ruling.judgement for ruling in context.rulings]
    return ledger.exit_code(judgements, allow_undecided=allow_undecided)


def _context(run_dirs: Sequence[Path], page: Path, options: ComparisonOptions | None = None) -> ReportContext:
    stored_runs = read(run_dirs)
    options = options or ComparisonOptions(margin=min(stored_runs.margins))
    for directory in run_dirs:
        with contextlib.suppress(OSError):  # a store on a read-only disk can still be reported on
            write_results_table(RunStore(directory))
    looks = record_looks(stored_runs, options.alpha)
    if options.level is None:
        options = replace(options, level=looks.level)
    groups = tuple(comparison_groups(stored_runs, options))
    figures = FigureWriter(page.with_suffix("") / "figures")
    return ReportContext(stored_runs, groups, options, published_numbers(), figures, looks)


def _write_files(
    context: ReportContext, title: str, page: Path, run_dirs: Sequence[Path], now: datetime
) -> None:
    """The page, `verdicts.csv`, and the tables beside it."""
    beside = page.with_suffix("")
    atomic_write(page.parent / "verdicts.csv", verdicts_csv(context.groups, context.looks.number))
    sections = _sections(context)
    atomic_write(
        page,
        html.page(
            title=title,
            description=_description(context.stored_runs),
            sections=sections,
            now=now,
            remarks=_remarks(context),
            facts=provenance.facts(context),
            downloads=_downloads(page, run_dirs),
        ),
    )
    everything = [table for section in sections for table in section.tables]
    written = _write_tables(beside / "tables", everything)
    atomic_write(beside / "report.md", _markdown(title, context, everything))
    remove_outdated(beside, [*written, *context.figure_writer.written])


CHAPTERS: tuple[Chapter, ...] = (
    elsewhere.section,
    plan.section,
    claims.section,
    pooled.section,
    factorial.section,
    attribution.section,
    transfer.section,
    caption_noise.section,
    overhead.section,
    cost_benefit.section,
    tuning.section,
    search.section,
    power.section,
    curves.section,
    sheets.section,
    published.section,
    cells.section,
    provenance.section,
    provenance.method_section,
)
"""The chapters behind the results, in order; each says None when a run has nothing for it."""


def _sections(context: ReportContext) -> list[Section]:
    made = (maker(context) for maker in CHAPTERS)
    rest = [section for section in made if section is not None and section.blocks]
    return [summary.section(context), *ablation.sections(context), *rest]


def _downloads(page: Path, run_dirs: Sequence[Path]) -> list[tuple[str, str]]:
    """Label and link, relative to the page, of what lies beside it."""
    named = [directory / name for directory in run_dirs for name in ("results.csv", "verdicts.csv")]
    files = [
        (path.name if len(run_dirs) == 1 else f"{path.parent.name}/{path.name}", path)
        for path in named
        if path.is_file()
    ]
    beside = page.with_suffix("")
    files += [
        ("tables (CSV, Markdown, LaTeX)", beside / "tables"),
        ("figures (PNG, PDF)", beside / "figures"),
    ]
    return [(label, Path(os.path.relpath(path, page.parent)).as_posix()) for label, path in files]


def _description(stored_runs: StoredRuns) -> str:
    return " ".join(
        dict.fromkeys(str(run.study.get("description") or "") for run in stored_runs.runs)
    ).strip()


def _remarks(context: ReportContext) -> list[str]:
    """What a reader must know before any number."""
    remarks = [provenance.broken_images(context), *summary.left_out(context)]
    remarks += [
        *lost_seeds(context.stored_runs),
        *plan.remarks(context),
        *elsewhere.remarks(context),
        *summary.ambiguities(context),
    ]
    if len(context.stored_runs.presets) > 1:
        remarks.append(
            "These runs were made under different protocols (one recipe for all methods, each its own, the "
            "released code); they are shown in separate tables and never compared."
        )
    return [remark for remark in remarks if remark]


def _write_tables(folder: Path, everything: Sequence[Table]) -> list[Path]:
    """Write each table in three formats; the files."""
    formats = {"csv": tables.comma_separated, "md": tables.markdown, "tex": tables.latex}
    written = []
    for table in everything:
        for ending, formatted in formats.items():
            written.append(folder / f"{table.key}.{ending}")
            atomic_write(written[-1], formatted(table))
    return written


def _markdown(title: str, context: ReportContext, everything: Sequence[Table]) -> str:
    """All tables in one Markdown file, for a repository or an issue."""
    said = (summary.headline(context), *elsewhere.remarks(context), *summary.left_out(context))
    parts = [f"# {tables.escaped(title)}", *map(tables.escaped, said)]
    return "\n\n".join([*parts, *(tables.markdown(table) for table in everything)])
