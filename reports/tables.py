"""Tables as text: Markdown, LaTeX (booktabs), CSV and the terminal, all from the same `Table`."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from reports.document import Table, TableCell, visible

if TYPE_CHECKING:
    from rich.table import Table as RichTable

_TERMINAL = {
    "yes": "green",
    "no": "red",
    "alert": "red",
    "better": "green",
    "worse": "red",
    "tied": "cyan",
    "unknown": "yellow",
    "missing": "dim",
    "quiet": "dim",
}
_LATEX_COLUMNS = {"right": "r", "left": "l", "text": "p{4cm}"}
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}":
    r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "−": "$-$", "→": r"$\rightarrow$", "×": r"$\times$", "Δ": r"$\Delta$", "≥": r"$\geq$", "≤":
    r"$\leq$", "…": r"\ldots{}", "—": "---", "–": "--", "²": r"$^2$", "σ": r"$\sigma$", "÷": r"$\div$", "‹":
    r"$\langle$", "›": r"$\rangle$", "·": r"$\cdot$", "³": r"$^3$", "▲": r"$\bigtriangleup$", "▼":
    r"$\bigtriangledown$", "’": "'", "|": r"\textbar{}", '"': "''", "[": "{[}", "*": "{*}",
}  # fmt: skip


def markdown(table: Table) -> str:
    """A GitHub-flavoured Markdown table with its title and notes."""
    lines = [f"### {escaped(table.title)}", ""]
    lines.append("| " + " | ".join(escaped(column.label) for column in table.columns) + " |")
    lines.append(
        "|" + "|".join("---:" if column.align == "right" else ":---" for column in table.columns) + "|"
    )
    lines += ["| " + " | ".join(escaped(value.plain) for value in row) + " |" for row in table.rows]
    lines += ["", *(escaped(note) + "  " for note in (*table.notes, *table.data_notes))]
    return "\n".join(lines).rstrip() + "\n"


def escaped(text: str) -> str:
    """Text that Markdown takes literally."""
    for char in "\\`*_[]<>|":
        text = text.replace(char, "\\" + char)
    return visible(text).replace("\n", " ")


def latex(table: Table) -> str:
    """A floating `table` with booktabs rules, never wider than the text.

    Needs the packages booktabs and graphicx.
    """
    alignment = "".join(_LATEX_COLUMNS[column.align] for column in table.columns)
    head = " & ".join(_latex(column.label) for column in table.columns)
    body = "\n".join(f"    {_latex_row(table, row)} \\\\" for row in table.rows)
    notes = "".join(
        f"\n  \\par\\smallskip\\footnotesize {_latex(note)}" for note in (*table.notes, *table.data_notes)
    )
    return (
        "\\begin{table}\n  \\centering\n"
        f"  \\caption{{{_latex(table.title)}}}\n  \\label{{tab:{table.key}}}\n"
        "  \\resizebox{\\ifdim\\width>\\linewidth\\linewidth\\else\\width\\fi}{!}{%\n"
        f"  \\begin{{tabular}}{{{alignment}}}\n    \\toprule\n    {head} \\\\\n    \\midrule\n{body}\n"
        f"    \\bottomrule\n  \\end{{tabular}}}}{notes}\n\\end{{table}}\n"
    )


def _latex_row(table: Table, row: Sequence[TableCell]) -> str:
    texts = [_latex(value.plain) for value in row]
    # A group of its own, for \\raggedright changes what ends a row.
    return " & ".join(
        rf"{{\raggedright {text}\par}}" if column.align == "text" else text
        for column, text in zip(table.columns, texts, strict=True)
    )


def _latex(text: str) -> str:
    """Text that pdfLaTeX sets without further packages; letters it does not know are named by their code."""
    characters = (_LATEX.get(char, char) for char in visible(text).replace("\n", " "))
    return "".join(part if max(part, default="") < "\u0180" else f"U+{ord(part):04X}" for part in characters)


def comma_separated(table: Table) -> str:
    """CSV of what the table shows, one line per row; a last column `data` holds what is noted of the data."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    noted = [visible(" ".join(table.data_notes))] if table.data_notes else []
    writer.writerow([*(column.label for column in table.columns), *(["data"] if noted else [])])
    writer.writerows([[*map(_csv, row), *noted] for row in table.rows])
    return buffer.getvalue()


def _csv(value: TableCell) -> str:
    """The text; foreign text that a spreadsheet would take for a formula gets a quote before it."""
    text = visible(value.plain)
    is_number = isinstance(value.sort, (int, float))
    return f"'{text}" if text[:1] in ("=", "+", "@", "-") and not is_number else text


def terminal(table: Table) -> RichTable:
    """The table for a terminal, coloured by verdict; foreign text is never taken for markup."""
    from rich.table import Table as Rich
    from rich.text import Text

    drawn = Rich(title=Text(table.title), title_justify="left", title_style="bold", box=None, pad_edge=False)
    for column in table.columns:
        side: Literal["left", "right"] = "right" if column.align == "right" else "left"
        drawn.add_column(Text(column.label), justify=side, header_style="bold", no_wrap=True)
    for row in table.rows:
        drawn.add_row(*(Text(visible(value.plain), style=_TERMINAL.get(value.kind, "")) for value in row))
    return drawn
