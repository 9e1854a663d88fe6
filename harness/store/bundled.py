"""An unpacked bundle of evidence: which of a cell's files it left out on purpose."""

from __future__ import annotations

import json
from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path

MANIFEST = "manifest.json"
"""At the top of a bundle: by path the SHA-256 of every other file."""
MODELS = "model-*.safetensors"
"""What a bundle may leave out of a finished cell. Its scores and records must be there."""


def is_bundled(run: Path) -> bool:
    """Whether the folder of a run lies in an unpacked bundle."""
    return (run.absolute().parent / MANIFEST).is_file()


def left_out(cell: Path, names: Iterable[str]) -> frozenset[str]:
    """Which of these files of a cell are not there because its bundle was written without them.

    Empty for a cell of any other folder, and for what the bundle's manifest names.

    Args:
        cell: folder of the cell, `BUNDLE/RUN/cells/CELL`.
        names: of files in it.
    """
    models = [name for name in names if fnmatchcase(name, MODELS) and not (cell / name).exists()]
    if not models:
        return frozenset()
    run = cell.absolute().parent.parent
    try:
        status = (run.parent / MANIFEST).stat()
    except OSError:
        return frozenset()
    bundled = _names_in(run.parent / MANIFEST, status.st_mtime_ns, status.st_size)
    return frozenset(name for name in models if f"{run.name}/cells/{cell.name}/{name}" not in bundled)


@lru_cache(maxsize=64)
def _names_in(manifest: Path, written: int, size: int) -> frozenset[str]:
    """Read once in a process: it is asked for every cell."""
    try:
        return frozenset(json.loads(manifest.read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return frozenset()
