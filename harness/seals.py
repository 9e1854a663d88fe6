"""Whether files are still what they were when they were sealed: by size, time and SHA-256."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from harness.files import sha256

Seals = Mapping[str, Mapping[str, Any]]
"""By a file's path below the sealed folder: its `bytes` and its `sha256`."""


ALTERED = "is not as it was sealed"


def seal(folder: Path, patterns: Iterable[str]) -> Seals:
    """The seals of every file below `folder` that fits one of the patterns."""
    paths = sorted(path for pattern in patterns for path in folder.glob(pattern))
    return {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in paths
    }


def is_sound(sealed: Any, patterns: Iterable[str]) -> bool:
    """Whether a value that was read has the form of `seal`'s, of files that fit the patterns."""
    allowed = tuple(patterns)
    return isinstance(sealed, dict) and all(
        any(fnmatchcase(name, pattern) for pattern in allowed)
        and ".." not in name
        and isinstance(kept, dict)
        and kept.keys() == {"bytes", "sha256"}
        for name, kept in sealed.items()
    )


def broken(folder: Path, sealed: Seals, since: Path | None = None) -> dict[str, str]:
    """The files that are not as they were sealed, each with what is wrong.

    Of a file that was last written before `since` was, the size alone is looked at; without `since` every
    file is read.
    """
    began = None if since is None else since.stat().st_mtime_ns
    found = {name: _what_is_wrong(folder / name, kept, began) for name, kept in sealed.items()}
    return {name: wrong for name, wrong in found.items() if wrong}


def _what_is_wrong(path: Path, kept: Mapping[str, Any], began: int | None) -> str:
    try:
        status = path.stat()
        same = status.st_size == kept["bytes"] and (
            (began is not None and status.st_mtime_ns <= began) or sha256(path) == kept["sha256"]
        )
    except FileNotFoundError:
        return "is gone"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if same else ALTERED
