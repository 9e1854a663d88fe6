"""From run directories to everything a report consists of."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from harness.files import atomic_write
from harness.store import RunStore
from reports import ablation, cells, html, power, provenance, summary, tables
from reports.comparison import Options, arenas
from reports.context import Context
from reports.document import Section, Table
from reports.figures import Studio
from reports.frames import Frames, read
from reports.published import published

SectionMaker = Callable[[Context], Section | None]

DONE, NOT_REPRODUCED = 0, 4


@dataclass(frozen=True)
class ReportResult:
    """What :func:`build` made. ``exit_code`` is 4 when claims were checked and one was not reproduced."""

    path: Path
    verdicts: dict[str, str]
    exit_code: int
    table_text: str


def build(
    run_dirs: Sequence[Path],
    out: Path | None = None,
    *,
    check: bool = False,
    now: datetime | None = None,
    options: Options | None = None,
    width: int = 120,
) -> ReportResult:
    """Write the report of one or several runs, finished or not.

    ``out`` is the page's file (default: ``report.html`` in the first run directory); tables (CSV, Markdown,
    LaTeX) and figures (PNG, PDF) go to a folder named like it beside it. ``check`` judges the claims into the
    exit code. Raises FileNotFoundError when a directory holds no run.
    """
    page = out or run_dirs[0] / "report.html"
    beside = page.with_suffix("")
    frames = read(run_dirs)
    for directory in run_dirs:
        with contextlib.suppress(OSError):  # a store on a read-only disk can still be reported on
            RunStore(directory).write_results()
    chosen = options or Options()
    context = Context(frames, tuple(arenas(frames, chosen)), chosen, published(), Studio(beside / "figures"))
    sections = _sections(context)
    title = " + ".join(dict.fromkeys(run.name for run in frames.runs))
    atomic_write(
        page,
        html.page(
            title=title,
            description=_description(frames),
            sections=sections,
            now=now or datetime.now(),
            remarks=_remarks(context),
        ),
    )
    everything = [table for section in sections for table in section.tables]
    _write_tables(beside / "tables", everything)
    return ReportResult(page, {}, DONE, _terminal(context, sections, width))


MAKERS: tuple[SectionMaker, ...] = (
    power.section,
    cells.section,
    provenance.section,
    provenance.method_section,
)


def _sections(context: Context) -> list[Section]:
    made = (maker(context) for maker in MAKERS)
    rest = [section for section in made if section is not None and section.blocks]
    return [summary.section(context), *ablation.sections(context), *rest]


def _description(frames: Frames) -> str:
    return " ".join(dict.fromkeys(str(run.study.get("description") or "") for run in frames.runs)).strip()


def _remarks(context: Context) -> list[str]:
    """What a reader must know before any number."""
    remarks = [provenance.broken_images(context)]
    if len(context.frames.presets) > 1:
        remarks.append(
            "These runs used different presets; they are shown in separate tables and never compared."
        )
    return [remark for remark in remarks if remark]


def _write_tables(folder: Path, everything: Sequence[Table]) -> None:
    for table in everything:
        atomic_write(folder / f"{table.key}.csv", tables.comma_separated(table))
        atomic_write(folder / f"{table.key}.md", tables.markdown(table))
        atomic_write(folder / f"{table.key}.tex", tables.latex(table))


def _terminal(context: Context, sections: Sequence[Section], width: int) -> str:
    """The overview as text for a terminal of ``width`` columns, without colours."""
    from rich.console import Console

    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    for table in sections[0].tables:
        console.print(tables.terminal(table))
    console.print(summary.headline(context), markup=False, highlight=False)
    text: str = console.file.getvalue()  # type: ignore[attr-defined]
    return text
