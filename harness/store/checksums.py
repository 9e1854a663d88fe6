"""Whether files are still as they were written: by size, time and SHA-256."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.machine.files import sha256

Checksums = Mapping[str, Mapping[str, Any]]
"""By a file's path below its folder: its `bytes`, its `sha256`, and when it was last `written`."""
ALTERED = "is not as it was written"
_KEYS = {"bytes", "sha256"}
fits = lru_cache(maxsize=10_000)(fnmatchcase)
"""Whether a name fits a pattern; the files of thousands of cells have the same few names."""
_TIME = "written"


def checksums_of(folder: Path, patterns: Iterable[str]) -> Checksums:
    """The checksums of every file below `folder` that fits one of the patterns."""
    paths = sorted(path for pattern in patterns for path in folder.glob(pattern))
    return {path.relative_to(folder).as_posix(): _checksum_of(path) for path in paths}


def _checksum_of(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {"bytes": status.st_size, "sha256": sha256(path), _TIME: status.st_mtime_ns}


def are_well_formed(kept: Any, patterns: Collection[str]) -> bool:
    """Whether a value that was read has the form of `checksums_of`'s, of files that fit the patterns."""
    return isinstance(kept, dict) and all(
        any(fits(name, pattern) for pattern in patterns)
        and ".." not in name
        and isinstance(checksum, dict)
        and checksum.keys() - {_TIME} == _KEYS
        for name, checksum in kept.items()
    )


def altered(folder: Path, kept: Checksums, *, thorough: bool) -> dict[str, str]:
    """The files that are not as they were written, each with what is wrong.

    Unless `thorough`, one of the same size and time is taken for the same. Of another time, earlier or later
    (it was copied; a clock was wrong), it is read.
    """
    # Paths as text: a store of thousands of cells has tens of thousands of files, and asks often.
    root = os.fspath(folder)
    wrongs = {name: _what_is_wrong(f"{root}/{name}", kept[name], thorough) for name in kept}
    return {name: wrong for name, wrong in wrongs.items() if wrong}


@lru_cache(maxsize=100_000)
def _sha256_of(inode: int, size: int, written: int, path: str) -> str:
    """Read once in a process: every file of a store that was copied without its times is asked for often."""
    return sha256(Path(path))


def _what_is_wrong(path: str, kept: Mapping[str, Any], thorough: bool) -> str:
    try:
        status = os.stat(path)
        same = status.st_size == kept["bytes"]
        if same and (thorough or status.st_mtime_ns != kept.get(_TIME)):
            version = (status.st_ino, status.st_size, status.st_mtime_ns)
            found = sha256(Path(path)) if thorough else _sha256_of(*version, path)
            same = found == kept["sha256"]
    except FileNotFoundError:
        return "is gone"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if same else ALTERED
