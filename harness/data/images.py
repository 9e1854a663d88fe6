"""The cache of decoded images: a memory-mapped file of uint8 pixels per split and size.

The name of the file contains the dataset's fingerprint, not its path. It is built under a temporary name and
renamed when complete, so an interrupted build leaves no incomplete cache. Two processes never build the same
file: the second waits and uses the file of the first.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from harness.data.dataset import Split
from harness.data.decoding import (
    BrokenImageError,
    ProgressCallback,
    in_parallel,
    read_image,
    resized,
)
from harness.data.image_hashes import UNREADABLE
from harness.data.splits import without_images
from harness.machine.errors import DataError
from harness.machine.files import atomic_json, put_aside

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "pil-bilinear-2"
"""Version of the pixels: raised whenever the same image would be decoded to other values."""
ROWS_PER_TASK = 32
HASH_BLOCK = 16 * 2**20
NAMED_IMAGES = 50

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ImageCache:
    """The decoded images of one split.

    Attributes:
        path: the file of pixels.
        split: the split whose images are rows of `pixels`, in order: the one asked for, less its
            broken images.
        size: (height, width).
        broken: indices, in the split asked for, of images that could not be decoded and were left out.
        sha256: hash of the pixels.
    """

    path: Path
    split: Split
    size: tuple[int, int]
    broken: tuple[int, ...]
    sha256: str

    @cached_property
    def pixels(self) -> Tensor:
        """[images, 3, height, width] uint8, mapped from the file: it takes memory only where it is read."""
        import torch

        shape = (len(self.split.image_paths), 3, *self.size)
        flat = torch.from_file(str(self.path), shared=False, size=int(np.prod(shape)), dtype=torch.uint8)
        return flat.view(shape)

    @cached_property
    def digests(self) -> tuple[bytes, ...]:
        """[images] SHA-256 of each decoded image: equal for pictures that a model cannot tell apart."""

        def digest(image: int) -> bytes:
            return hashlib.sha256(self.pixels[image].numpy().data).digest()

        return tuple(in_parallel(digest, range(len(self.split.image_paths))))


@dataclass(frozen=True)
class _Label:
    """The JSON beside a pixel file: what it contains."""

    format: str
    fingerprint: str
    size: tuple[int, int]
    images: int
    broken: dict[str, str]
    sha256: str
    source_sha256: str


def image_cache(
    split: Split,
    size: tuple[int, int],
    cache_dir: Path,
    *,
    fingerprint: str,
    digests: Sequence[bytes],
    skip_broken: bool = False,
    workers: int | None = None,
    progress: ProgressCallback | None = None,
    resample: str = "bilinear",
) -> ImageCache:
    """The decoded images of a split at one size, decoded at first use.

    An existing file is hashed before use; a damaged one is set aside, reported in the log, and built again.

    Args:
        split: the images to decode.
        size: (height, width) of the result.
        cache_dir: folder of caches; `images/` below it is used.
        fingerprint: the dataset's fingerprint, which names the file.
        digests: the SHA-256 of every image file when the fingerprint was taken.
        skip_broken: leave out images that cannot be decoded, rather than refuse the dataset.
        workers: threads that decode; default: the cores available.
        progress: called with (images decoded, images in all) while building.
        resample: the filter that resizes, `bilinear` or `bicubic`.

    Raises:
        DataError: images that cannot be decoded, unless `skip_broken`, or that changed since the fingerprint.
        OSError: the cache folder cannot be written, or is full.
    """
    kind = f"{size[0]}x{size[1]}" + ("" if resample == "bilinear" else f"-{resample}")
    path = cache_dir / "images" / f"{fingerprint[:20]}-{split.name}-{kind}.pixels"
    label = _opened(path, split, size, fingerprint, digests)
    if label is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        decode = partial(resized, size=size, resample=resample)
        with FileLock(path.with_suffix(".lock")):
            label = _opened(path, split, size, fingerprint, digests) or _build(
                path, split, size, fingerprint, digests, decode, skip_broken, workers, progress
            )
    broken = {index: label.broken[str(index)] for index in sorted(map(int, label.broken))}
    if broken and not skip_broken:
        raise DataError(_named(split, broken))
    return ImageCache(path, without_images(split, list(broken)), size, tuple(broken), label.sha256)


def _opened(
    path: Path, split: Split, size: tuple[int, int], fingerprint: str, digests: Sequence[bytes]
) -> _Label | None:
    """The label of a usable cache; None where there is none, after a damaged one was set aside."""
    beside = path.with_suffix(".json")
    if not beside.exists():
        return None
    try:
        label = _Label(**json.loads(beside.read_text("utf-8")))
        reason = _unusable(label, path, split, size, fingerprint, digests)
    except (OSError, ValueError, TypeError) as error:
        reason = f"its label cannot be read ({error})"
    else:
        if not reason:
            return label
    log.warning("image cache %s: %s; set aside and built again", path, reason)
    for file in (beside, path):
        if file.exists():
            put_aside(file)
    return None


def _unusable(
    label: _Label, path: Path, split: Split, size: tuple[int, int], fingerprint: str, digests: Sequence[bytes]
) -> str:
    if (label.format, label.fingerprint, tuple(label.size)) != (FORMAT, fingerprint, size):
        return "it holds something else"
    rows = len(split.image_paths) - len(label.broken)
    if label.images != len(split.image_paths) or path.stat().st_size != rows * 3 * size[0] * size[1]:
        return "it has the wrong size"
    if label.source_sha256 != hashlib.sha256(b"".join(digests)).hexdigest():
        return "it was made from other images"
    if pixel_sha256(path) != label.sha256:
        return "its pixels are not the ones that were written"
    return ""


_verified: dict[tuple[str, int, int, int], str] = {}


def pixel_sha256(path: Path) -> str:
    """sha256 over the sha256 of the file's 16 MiB blocks, in parallel, once per process and file."""
    status = path.stat()
    key = (str(path), status.st_ino, status.st_size, status.st_mtime_ns)
    if key not in _verified:
        blocks = range(0, status.st_size, HASH_BLOCK)
        whole = hashlib.sha256()
        for digest in in_parallel(partial(_block_sha256, path), blocks):
            whole.update(digest)
        _verified[key] = whole.hexdigest()
    return _verified[key]


def _block_sha256(path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return hashlib.sha256(file.read(HASH_BLOCK)).digest()


def _build(
    path: Path,
    split: Split,
    size: tuple[int, int],
    fingerprint: str,
    digests: Sequence[bytes],
    decode: Callable[[bytes], NDArray[np.uint8]],
    skip_broken: bool,
    workers: int | None,
    progress: ProgressCallback | None,
) -> _Label:
    paths, row_bytes = split.image_paths, 3 * size[0] * size[1]
    building = path.with_suffix(".building")
    broken: dict[str, str] = {}
    changed: list[int] = []
    try:
        with building.open("wb+") as file:
            _reserve(file.fileno(), len(paths) * row_bytes)
            for start, read, failures in _decode_into(file.fileno(), paths, size, decode, workers):
                changed += [start + row for row, digest in enumerate(read) if digest != digests[start + row]]
                broken.update(failures)
                if progress is not None:
                    progress(min(start + ROWS_PER_TASK, len(paths)), len(paths))
            if broken and not skip_broken:
                raise DataError(_named(split, {int(index): why for index, why in broken.items()}))
            if changed:
                raise DataError(_changed_meanwhile(split, changed))
            _close_gaps(file.fileno(), {int(index) for index in broken}, len(paths), row_bytes)
            os.fsync(file.fileno())
        building.replace(path)
    except BaseException:
        building.unlink(missing_ok=True)
        raise
    sha256 = pixel_sha256(path)
    sources = hashlib.sha256(b"".join(digests)).hexdigest()
    label = _Label(FORMAT, fingerprint, size, len(paths), broken, sha256, sources)
    _write_label(path, label)
    return label


def _reserve(descriptor: int, size: int) -> None:
    """Reserve the disk space first, so that a full disk is an error before anything is decoded."""
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
            raise
        # Some network file systems cannot reserve space; there, writing fails.
        os.ftruncate(descriptor, size)


_Chunk = tuple[int, list[bytes], dict[str, str]]


def _decode_into(
    descriptor: int,
    paths: Sequence[Path],
    size: tuple[int, int],
    decode: Callable[[bytes], NDArray[np.uint8]],
    workers: int | None,
) -> Iterator[_Chunk]:
    """Decode all images, write each group of rows in its place, yield source hashes and failures in order."""

    def task(start: int) -> _Chunk:
        """Decode the group of images that begins at `start`."""
        group = paths[start : start + ROWS_PER_TASK]
        pixels = np.zeros((len(group), 3, *size), dtype=np.uint8)
        digests, failures = [], {}
        for row, image in enumerate(group):
            digest = UNREADABLE
            try:
                content = read_image(image)
                digest = hashlib.sha256(content).digest()
                pixels[row] = decode(content)
            except BrokenImageError as error:
                failures[str(start + row)] = str(error)
            digests.append(digest)
        _write_all(descriptor, pixels.tobytes(), start * pixels[0].nbytes)
        return start, digests, failures

    return in_parallel(task, range(0, len(paths), ROWS_PER_TASK), workers)


def _write_all(descriptor: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _close_gaps(descriptor: int, broken: set[int], images: int, row_bytes: int) -> None:
    """Move the rows behind broken images forward, so that rows and remaining images correspond."""
    if not broken:
        return
    target = 0
    for index in range(images):
        if index not in broken:
            _write_all(descriptor, os.pread(descriptor, row_bytes, index * row_bytes), target * row_bytes)
            target += 1
    os.ftruncate(descriptor, target * row_bytes)


def _write_label(path: Path, label: _Label) -> None:
    atomic_json(path.with_suffix(".json"), asdict(label))


def _named(split: Split, broken: dict[int, str]) -> list[str]:
    """One line per broken image, up to a number that can still be read."""
    lines = [f"{split.image_paths[index]}: {why}" for index, why in list(broken.items())[:NAMED_IMAGES]]
    if len(broken) > NAMED_IMAGES:
        lines.append(f"… and {len(broken) - NAMED_IMAGES:,} more broken images in {split.name}")
    return [*lines, "--skip-broken leaves these images out, and counts them"]


def _changed_meanwhile(split: Split, changed: list[int]) -> list[str]:
    """One line per image that was replaced after the dataset was read."""
    lines = [
        f"{split.image_paths[index]}: changed while it was in use; run again"
        for index in changed[:NAMED_IMAGES]
    ]
    if len(changed) > NAMED_IMAGES:
        lines.append(f"… and {len(changed) - NAMED_IMAGES:,} more changed images in {split.name}")
    return lines
