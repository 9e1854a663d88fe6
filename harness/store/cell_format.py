"""The format of a cell's description, `cell.json`: which versions of it this program reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.machine.errors import NewerFormatError, StoreError

FORMAT = 1
"""Of the cells that this version writes, and the newest that it reads."""


def described(values: Any, path: Path) -> dict[str, Any]:
    """The description that a file's values are.

    Args:
        values: as JSON gave them.
        path: of the file, for messages.

    Raises:
        NewerFormatError: a later version wrote it.
        StoreError: it is no description.
    """
    if not isinstance(values, dict):
        raise StoreError(f"{path}: not a description of a cell")
    written = values.get("format", FORMAT)
    if isinstance(written, int) and written > FORMAT:
        raise NewerFormatError(
            f"{path}: of format {written}, and this version reads up to {FORMAT}; update it"
        )
    return values
