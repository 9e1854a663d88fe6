"""A seal in a JSON object: whether one of its values was changed by hand after it was written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Generic, TypeVar

from harness.machine.errors import StoreError
from harness.machine.files import atomic_json, read_json
from harness.store.checksums import ALTERED

SEAL = "seal"
_encode = json.JSONEncoder(sort_keys=True).encode
Value = TypeVar("Value")


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


class SealedFile(Generic[Value]):
    """A sealed file that is read again only when it was replaced: what it means, and whether it was edited.

    Args:
        path: of the file.
        parse: what its values mean; raises `StoreError` for a damaged one.
    """

    def __init__(self, path: Path, parse: Callable[[Any], Value]) -> None:
        self._path, self._parse = path, parse
        self._version: tuple[int, int, int] | None = None
        self._value: Any = None
        self._is_broken = False

    def read(self) -> Any:
        """Its values, read now. Raises `StoreError` when it is missing or no JSON."""
        self._version, self._is_broken = None, False
        version = self._version_now()  # before it is read: one that is replaced meanwhile is read again
        values = read_json(self._path)
        self._is_broken = is_broken(values)
        with suppress(StoreError):
            self._value, self._version = self._parse(values), version
        return values

    def value(self) -> Value:
        """What it means. Raises `StoreError` when it is missing or damaged."""
        if self._version is None or self._version != self._version_now():
            values = self.read()
            if self._version is None:
                return self._parse(values)
        value: Value = self._value
        return value

    def problem(self) -> str:
        """What is wrong with it if its values are not the ones of its seal, by its name; else empty.

        One without a seal was written by an older version. A missing or damaged one is left to its readers.
        """
        with suppress(StoreError):
            self.value()
        return self.problem_when_read

    @property
    def problem_when_read(self) -> str:
        """`problem` as it was when the values were read last, where they were read just now."""
        return f"{self._path.name} {ALTERED}" if self._is_broken else ""

    def _version_now(self) -> tuple[int, int, int]:
        try:
            status = os.stat(self._path)
        except OSError as error:
            raise StoreError(f"{self._path}: {error}") from error
        return status.st_ino, status.st_mtime_ns, status.st_size


def is_broken(values: Any) -> bool:
    """Whether an object has a seal that does not belong to its other values."""
    return isinstance(values, dict) and SEAL in values and values[SEAL] != _seal_of(values)


def _seal_of(values: Mapping[str, Any]) -> str:
    """The seal of an object as JSON gives it."""
    others = {name: value for name, value in values.items() if name != SEAL}
    return hashlib.sha256(_encode(others).encode()).hexdigest()
