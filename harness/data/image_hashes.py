"""SHA-256 of image files; a file is read again only when its size or one of its times changed.

Names and sizes do not identify a dataset: an image may be replaced by another of the same size. Reading every
image at every start would take minutes for a benchmark, so the hashes are kept in the cache folder, with the
size and times of each file.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness.data.decoding import BrokenImageError, ProgressCallback, in_parallel, read_image
from harness.machine import files, paths

UNREADABLE = b"unreadable"
"""The digest of a file that cannot be read."""
FRESH = 2 * 10**9
"""Nanoseconds within which two writings of a file may have the same time: the coarsest file system clock."""

_Index = dict[str, tuple[str, str]]
"""By a file's path: its size and times when it was read, and the SHA-256 of its content."""

_indexes: dict[Path, _Index] = {}


def image_digests(
    images: Sequence[Path], root: Path, progress: ProgressCallback | None = None
) -> tuple[bytes, ...]:
    """The SHA-256 of every image file of the dataset in `root`; `UNREADABLE` for one that cannot be read.

    Args:
        images: the files.
        root: the dataset's folder, for which one index is kept.
        progress: called with (files read, files to read); not at all when every file is known.
    """
    index_file = (
        paths.cache_dir() / "contents" / f"{hashlib.sha256(str(root).encode()).hexdigest()[:20]}.json"
    )
    index = _index(index_file)
    now, stamps = time.time_ns(), [_stamp(image) for image in images]
    digests = [
        bytes.fromhex(known[1]) if stamp and (known := index.get(str(image), ("", "")))[0] == stamp else None
        for image, stamp in zip(images, stamps, strict=True)
    ]
    unknown = [number for number, digest in enumerate(digests) if digest is None]
    read = in_parallel(digest_of, [images[number] for number in unknown])
    learned: _Index = {}
    for done, (number, digest) in enumerate(zip(unknown, read, strict=True), 1):
        digests[number] = digest
        # A file written just now may be written again without a change of its time.
        if stamps[number] and digest != UNREADABLE and _newest(stamps[number]) < now - FRESH:
            learned[str(images[number])] = stamps[number], digest.hex()
        if progress is not None:
            progress(done, len(unknown))
    if learned:
        index.update(learned)
        # Where the folder cannot be written, the next process reads the files again.
        with suppress(OSError):
            files.atomic_write(index_file, files.json_line({"files": index}))
    return tuple(digest for digest in digests if digest is not None)


def digest_of(image: Path) -> bytes:
    """The SHA-256 of an image file as it is now."""
    try:
        return hashlib.sha256(read_image(image)).digest()
    except BrokenImageError:
        return UNREADABLE


def _stamp(image: Path) -> str:
    """Size, time of the last writing, and of the last change of any kind, which no program can set."""
    try:
        status = os.stat(image)
    except (OSError, ValueError):
        return ""
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}"


def _newest(stamp: str) -> int:
    return max(map(int, stamp.split()[1:]))


def _index(path: Path) -> _Index:
    """The stored hashes of a dataset's files; empty where the index is missing or damaged."""
    if path not in _indexes:
        try:
            (record,) = files.read_lines(path).records
            rows = {str(name): (str(stamp), str(digest)) for name, (stamp, digest) in record["files"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            rows = {}
        _indexes[path] = rows
    return _indexes[path]
