"""What is known, and what is not, of methods that were trained elsewhere and only judged here."""

from __future__ import annotations

from reports.context import ReportContext
from reports.document import Column, Prose, Section, Table, TableCell
from reports.formatting import listed, naming_cells

MARK = "trained elsewhere"
_CHECKED = {
    "dataset": "the dataset's files",
    "records": "records of this run",
    "file": "nothing but itself",
}


def remarks(context: ReportContext) -> list[str]:
    """A sentence that names these methods and what is not known of them; nothing without any."""
    methods = context.elsewhere
    if not methods:
        return []
    return [
        f"Trained elsewhere: {listed(methods)}. The scores were computed here from imported files; how the "
        "epoch was chosen, what the model was trained on, its settings and what its seeds set is not known."
    ]


def marked(context: ReportContext, method: str, cell: TableCell) -> TableCell:
    """A table's cell that names a method, with the mark where it was trained elsewhere."""
    if method not in context.elsewhere:
        return cell
    return TableCell(cell.text, cell.sort, cell.link, cell.note, MARK, cell.kind, cell.word)


def section(context: ReportContext) -> Section | None:
    """Every imported run: its file, what it was checked against, and its checksum; None without any."""
    cells = [cell for cell in context.stored_runs.cells if cell.imported]
    if not cells:
        return None
    columns = (
        *(Column(name, "left") for name in ("Method", "Dataset")),
        Column("Seed"),
        Column("File", "text"),
        Column("Checked against", "text"),
        Column("SHA-256", "left"),
    )
    rows = tuple(
        (
            *naming_cells(cell),
            TableCell(str(cell.recorded.get("file", ""))),
            TableCell(_CHECKED.get(str(cell.recorded.get("checked_against")), "not recorded")),
            TableCell(str(cell.parts.get("imported", ""))[:16]),
        )
        for cell in cells
    )
    said = Prose(" ".join(remarks(context)))
    return Section(
        "elsewhere", "Trained elsewhere", (said, Table("elsewhere", "Imported runs", columns, rows))
    )
