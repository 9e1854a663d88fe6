"""The index of several runs: a line and a link for each one's page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.machine.files import atomic_write
from reports.html import rendered

if TYPE_CHECKING:
    from reports.assemble import ReportResult


def write_index(path: Path, reports: Sequence[ReportResult]) -> Path:
    """Write a page that links to every report, each with its outcome; nothing is compared across them."""
    entries = [
        {
            "title": report.title,
            "folder": report.path.parent.name,
            "link": Path(os.path.relpath(report.path, path.parent)).as_posix(),
            "headline": report.headline,
            "claims": report.claims,
        }
        for report in reports
    ]
    atomic_write(path, rendered("index.html", entries=entries))
    return path
