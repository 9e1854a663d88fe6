"""Files beside a page that its earlier versions wrote and this one does not: they are removed.

A table of cells that were unfinished then would otherwise lie beside a page of a finished study, and the
verification of its bundle would find a table that the records do not give.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from harness.machine.errors import StoreError
from harness.machine.files import atomic_json, read_json, sha256

WRITTEN = "written.json"
"""By path in the folder beside the page, the SHA-256 of what the page's last version wrote."""


def remove_outdated(folder: Path, written: Iterable[Path]) -> None:
    """Remove what an earlier page left in `folder` and is not in `written`; then remember what is.

    A file that was changed since, or that no page wrote, is the user's and stays.
    """
    now = {path.relative_to(folder).as_posix(): sha256(path) for path in written if path.is_file()}
    for name, digest in _written_before(folder).items():
        path = folder / name
        if name not in now and _lies_in(folder, path) and path.is_file() and sha256(path) == digest:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()
    atomic_json(folder / WRITTEN, now)


def _lies_in(folder: Path, path: Path) -> bool:
    """Whether a path that a file names leads nowhere else."""
    return path.resolve().is_relative_to(folder.resolve())


def _written_before(folder: Path) -> Mapping[str, str]:
    try:
        before = read_json(folder / WRITTEN)
    except StoreError:
        return {}
    return {str(name): str(digest) for name, digest in before.items()} if isinstance(before, dict) else {}
