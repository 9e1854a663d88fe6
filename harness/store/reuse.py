"""Finished cells of other runs: copied, where a study asks for the very same training."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

from harness.store.cell_run import CellRun


def copy_finished(place: Path, runs: Iterable[Path]) -> Path | None:
    """Copy a finished cell of the same identity to `place`, unless one is there.

    A copy is complete or absent. A cell whose files are not as they were when it finished is not copied.

    Args:
        place: where the cell lies in its own run; the folder's name holds its identity.
        runs: folders of other runs.

    Returns:
        The cell that was copied; None where there was none, or nothing to do.

    Raises:
        OSError: the copy cannot be written.
    """
    if place.exists():
        return None
    for run in runs:
        source = CellRun(run / "cells" / place.name)
        if not source.was_finished or source.altered(thorough=True):
            continue
        place.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent))
        try:
            shutil.copytree(source.directory, fresh / place.name)
            (fresh / place.name).rename(place)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return source.directory
    return None
