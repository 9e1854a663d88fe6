"""The report for a terminal: results and claims in tables that fit, the outcome, and what to know of it."""

from __future__ import annotations

import io
import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from reports import tables
from reports.context import ReportContext
from reports.document import Table, visible
from reports.sections import ablation, claims, elsewhere, plan, summary

if TYPE_CHECKING:
    from rich.console import Console

SHOWN = 5
"""Columns of the result table that are printed: method, score, verdict, difference, p."""
UNMARKED = (2, 3)
"""The columns of verdict and difference: their seeds stand beside the score, or below the table."""
PRESET = "Preset"
MORE = "Verdicts are for new people. On this benchmark, other epochs and optimism:"


def terminal_text(context: ReportContext, width: int, *, wide: bool = False) -> str:
    """Tables and sentences of at most `width` columns; `wide` prints every column, however many there are.

    A table that is wider than the terminal is printed row by row, so that no number is cut.
    """
    from rich.console import Console

    buffer = io.StringIO()
    console = Console(file=buffer, width=width, force_terminal=False)
    results = [ablation.result_table(context, group, "R1") for group in context.same_dataset]
    reading = [ablation.reading_notes(group, "R1") for group in context.same_dataset]
    shown = list(zip(results if wide else map(_narrow, results), reading, strict=True))
    for table, notes in [*shown, *((table, []) for table in _claims(context, wide))]:
        _print(console, table, width, wide)
        for note in (*notes, *table.data_notes):
            console.print(note, markup=False, highlight=False)
        console.print()
    remarks = (
        *([] if wide or not results else [MORE, _wide_command(context)]),
        *plan.remarks(context),
        *elsewhere.remarks(context),
        *summary.left_out(context),
        *summary.ambiguities(context),
        *summary.same_methods(context),
        *summary.unlike_recipes(context),
    )
    for line in (*remarks, summary.headline(context)):
        console.print(line, markup=False, highlight=False)
    return "\n".join(line.rstrip() for line in buffer.getvalue().splitlines()) + "\n"


def _wide_command(context: ReportContext) -> str:
    """What prints every column, as it can be typed."""
    folders = (str(run.path) for run in context.stored_runs.runs)
    return f"  {shlex.join(['python', '-m', 'harness', 'report', *folders, '--wide'])}"


def _narrow(table: Table) -> Table:
    rows = tuple(
        tuple(replace(cell, flag="") if index in UNMARKED else cell for index, cell in enumerate(row[:SHOWN]))
        for row in table.rows
    )
    return replace(table, columns=table.columns[:SHOWN], rows=rows)


def _claims(context: ReportContext, wide: bool) -> list[Table]:
    """The ledger; the preset is left out where there is one."""
    short = claims.short_tables(context)
    if wide or len(context.stored_runs.presets) > 1:
        return short
    return [_without(table, PRESET) for table in short]


def _without(table: Table, label: str) -> Table:
    kept = [index for index, column in enumerate(table.columns) if column.label != label]
    columns = tuple(table.columns[index] for index in kept)
    return replace(
        table, columns=columns, rows=tuple(tuple(row[index] for index in kept) for row in table.rows)
    )


def _print(console: Console, table: Table, width: int, wide: bool) -> None:
    from rich.measure import Measurement

    drawn = tables.terminal(table)
    needed = Measurement.get(console, console.options.update(max_width=10_000), drawn).maximum
    if needed <= width or wide:
        console.width = max(width, needed)
        console.print(drawn)
        console.width = width
        return
    for line in _row_by_row(table, width):
        console.print(line, markup=False, highlight=False)


def _row_by_row(table: Table, width: int) -> Sequence[str]:
    """The table's title, and each row as its name with labelled values below it."""
    lines = [visible(table.title)]
    for row in table.rows:
        values = [
            f"{column.label} {visible(cell.plain)}"
            for column, cell in zip(table.columns[1:], row[1:], strict=True)
            if cell.plain
        ]
        lines.append(visible(row[0].plain))
        lines += textwrap.wrap(", ".join(values), width, initial_indent="  ", subsequent_indent="  ")
    return lines
