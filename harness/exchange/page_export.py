"""What an export of a page is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from reports.context import ReportContext


@dataclass(frozen=True)
class PageExport:
    """One export of one page.

    Attributes:
        context: what the page was made from.
        folder: where to write; empty.
        place: where the folder will lie once everything is written.
        data_root: the folder below which datasets lie, if any.
    """

    context: ReportContext
    folder: Path
    place: Path
    data_root: Path | None = None
