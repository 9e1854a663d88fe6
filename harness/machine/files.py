"""Writing files so that a crash at any moment leaves the old one or the new one, never a half."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import socket
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from harness.machine.errors import LockedError, StoreError, StudyError


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write that appears under `path` when the block ends well, and never otherwise.

    It is flushed to the disk before it is renamed, and the folder after. Raises OSError (a full disk, a
    read-only folder) with nothing left behind.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o666 & ~_umask())
        os.replace(name, path)
    except IsADirectoryError as error:
        os.unlink(name)
        # Not of the temporary file: a person has to find what stands in the way.
        raise IsADirectoryError(error.errno, error.strerror, str(path)) from None
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        raise
    sync_folder(path.parent)


def nearest_folder(path: Path) -> Path:
    """A path, or the nearest of its parents that exists: where a file below it will be made."""
    nearest = path.absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    return nearest


def why_not_writable(folder: Path) -> str:
    """Why no file can be made below a folder, tried in its nearest parent that exists; empty when one can."""
    nearest = nearest_folder(folder)
    if not nearest.is_dir():
        return f"{nearest} is a file, not a folder"
    try:
        with tempfile.TemporaryFile(dir=nearest):
            return ""
    except OSError as error:
        why = f"{nearest} cannot be written: {error.strerror or error}"
        return why if nearest == folder.absolute() else f"{folder} cannot be made: {why}"


def refuse_unwritable(folder: Path, remedy: str) -> None:
    """Raise `StudyError` with the folder, the reason and what to do, where no file can be made in it."""
    if why := why_not_writable(folder):
        raise StudyError([f"{why}; {remedy}"])


def put_aside(path: Path) -> Path:
    """Give something damaged, file or folder, another name beside its own; which one."""
    aside = path.with_name(f"{path.name}.damaged")
    if os.path.lexists(aside):
        aside = path.with_name(f"{aside.name}-{time.time_ns()}")
    os.replace(path, aside)
    return aside


def atomic_write(path: Path, data: bytes | str) -> None:
    """Replace the content of `path` in one step."""
    with atomic_file(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


def atomic_json(path: Path, value: Any) -> None:
    """Replace `path` by a value as indented JSON with sorted keys."""
    atomic_write(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """A JSON file's value. Raises `StoreError` when it is missing or damaged."""
    try:
        # As bytes: reading as text takes as long again as what JSON does with it.
        with open(path, "rb", buffering=0) as file:
            return json.loads(str(file.read(), "utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise StoreError(f"{path}: {error}") from error


def sha256(path: Path) -> str:
    """SHA-256 of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make sure that a rename in `folder` survives a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _umask() -> int:
    current = os.umask(0)
    os.umask(current)
    return current


@dataclass(frozen=True)
class Lines:
    """The records of a file of JSON lines, and what had to be left out."""

    records: list[dict[str, Any]]
    dropped: list[str]
    """One sentence per line that cannot be read, with its number."""


def json_line(record: Mapping[str, Any]) -> str:
    """A record as one line of JSON that knows whether it is still as it was written."""
    return _line({**record, "crc32": _checksum(record)}) + "\n"


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, sort_keys=True, ensure_ascii=False)


def _checksum(record: Mapping[str, Any]) -> str:
    return f"{zlib.crc32(_line(record).encode()):08x}"


def append_line(path: Path, record: Mapping[str, Any]) -> None:
    """Append one JSON line and flush it to the disk; a torn last line is closed first and harms no other."""
    line = json_line(record)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":
                line = "\n" + line
        file.write(line.encode())
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> Lines:
    """Every JSON line that is as it was written; the others are named in `dropped`.

    Lines before the first with a checksum are an older version's, which wrote none.
    """
    records, dropped, older = [], [], True
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return Lines([], [])
    for number, line in enumerate(raw.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            if not isinstance(record, dict):
                raise ValueError("not a record")
            older = older and "crc32" not in record
            if not older and record.pop("crc32", None) != _checksum(record):
                raise ValueError("not as it was written")
            records.append(record)
        except (ValueError, RecursionError):
            dropped.append(f"{path.name}: line {number} is damaged and left out")
    return Lines(records, dropped)


@contextlib.contextmanager
def lock(path: Path, patience: float = 1.0) -> Iterator[None]:
    """Hold an exclusive lock for the block; the system drops it when the process dies, however it dies.

    Raises `LockedError` when another process keeps it for `patience` seconds (a mere look at the lock, as
    `is_locked` takes, is outwaited).
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        deadline = time.monotonic() + patience
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                raise LockedError(f"{path}: held by another process")
            time.sleep(0.02)
        with contextlib.suppress(OSError):  # who holds it is for people; a full disk does not matter
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)


def lock_holder(path: Path) -> str | None:
    """Who holds a lock: `pid 4711`, on another machine `pid 4711 on node7`; empty where not known.

    None of a lock that nobody holds.
    """
    if not is_locked(path):
        return None
    try:
        pid, host = path.read_text("utf-8").split()
    except (OSError, ValueError):
        return ""
    return f"pid {pid}" if host == socket.gethostname() else f"pid {pid} on {host}"


def is_locked(path: Path) -> bool:
    """Whether some process holds the lock now."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return not _try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def remove_leftovers(folder: Path) -> None:
    """Delete temporary files of writers that were killed. Only for whoever holds the folder's lock."""
    for path in folder.rglob(".*.tmp"):
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
