"""A seal in a JSON object: whether one of its values was changed by hand after it was written."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from harness.machine.errors import StoreError
from harness.machine.files import atomic_json, read_json
from harness.store.checksums import ALTERED

SEAL = "seal"


def write_sealed(path: Path, values: Mapping[str, Any]) -> None:
    """Replace `path` by these values and the seal that belongs to them."""
    # As they will be read again: keys are texts there, and tuples lists.
    atomic_json(path, {**values, SEAL: _seal_of(json.loads(json.dumps(values)))})


def change_sealed(path: Path, **changes: Any) -> None:
    """Change some values of a sealed file. A seal that was broken before stays broken.

    Raises:
        StoreError: the file is missing or damaged.
    """
    before = read_json(path)
    after = {**before, **changes}
    if is_broken(before):
        atomic_json(path, after)
    else:
        write_sealed(path, after)


def broken_seal(path: Path) -> str:
    """What is wrong with a file whose values are not the ones of its seal, by its name; else empty.

    One without a seal was written by an older version. A damaged one is left to its readers.
    """
    try:
        status = path.stat()
    except OSError:
        return ""
    broken = _is_broken_file(status.st_ino, status.st_size, status.st_mtime_ns, path)
    return f"{path.name} {ALTERED}" if broken else ""


@lru_cache(maxsize=100_000)
def _is_broken_file(inode: int, size: int, written: int, path: Path) -> bool:
    """Read once in a process, for how a cell stands is asked for often."""
    try:
        return is_broken(read_json(path))
    except StoreError:
        return False


def is_broken(values: Any) -> bool:
    """Whether an object has a seal that does not belong to its other values."""
    return isinstance(values, dict) and SEAL in values and values[SEAL] != _seal_of(values)


def _seal_of(values: Mapping[str, Any]) -> str:
    """The seal of an object as JSON gives it."""
    others = {name: value for name, value in values.items() if name != SEAL}
    return hashlib.sha256(json.dumps(others, sort_keys=True).encode()).hexdigest()
