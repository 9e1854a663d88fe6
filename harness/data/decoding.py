"""Decoding of image files that may be damaged or harmful, one file at a time. Torch-free."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

# A person crop has less than a million pixels; more than this is a mistake or an attack.
MAX_PIXELS = 40_000_000
MAX_FILE_BYTES = 128 * 2**20
# Only plain raster formats: others hand the file to outside programs or to rarely exercised decoders.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")

Item = TypeVar("Item")
Result = TypeVar("Result")

ProgressCallback = Callable[[int, int], None]
"""Called with (images done, images in all)."""


class BrokenImageError(Exception):
    """An image file that cannot be used; the message says why, without its path."""


def read_image(path: Path) -> bytes:
    """The bytes of an image file.

    Raises:
        BrokenImageError: it is no plain file, cannot be read, or is larger than `MAX_FILE_BYTES`.
    """
    try:
        status = os.stat(path)
        if not stat.S_ISREG(status.st_mode):
            raise BrokenImageError("not a file")
        if status.st_size > MAX_FILE_BYTES:
            raise BrokenImageError(f"{status.st_size:,} bytes; at most {MAX_FILE_BYTES:,} are read")
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise BrokenImageError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from error


def decode(content: bytes) -> Image.Image:
    """The RGB image in an image file's `content`, as `Image.open(path).convert("RGB")` gives it.

    Raises:
        BrokenImageError: truncated, not an image, of a foreign format, or larger than `MAX_PIXELS`, which is
            known from the header, before anything is decoded.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise BrokenImageError(f"{width}×{height} pixels; at most {MAX_PIXELS:,} are decoded")
            return image.convert("RGB")
    except BrokenImageError:
        raise
    except Image.DecompressionBombError:
        raise BrokenImageError(f"a decompression bomb; at most {MAX_PIXELS:,} pixels are decoded") from None
    except UnidentifiedImageError:
        raise BrokenImageError(f"not an image ({', '.join(FORMATS)} are read)") from None
    except Exception as error:
        # Decoders raise many types (struct.error, SyntaxError, zlib.error …), all with this meaning.
        raise BrokenImageError(f"truncated or damaged ({error})") from error


def resized(content: bytes, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Pixels [3, height, width] of an image file, resized to `size` = (height, width).

    Bit for bit what torchvision's `Resize(size, BILINEAR)` makes of the PIL image: PIL's bilinear filter,
    whose support grows with the reduction (antialiased).
    """
    height, width = size
    image = decode(content).resize((width, height), Image.Resampling.BILINEAR)
    return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))


def in_parallel(
    task: Callable[[Item], Result], items: Sequence[Item], workers: int | None = None
) -> Iterator[Result]:
    """Results of `task` in the order of `items`, by threads: decoders, filters and hashes release the GIL."""
    executor = ThreadPoolExecutor(workers or available_cores(), thread_name_prefix="decode")
    try:
        yield from executor.map(task, items)
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def available_cores() -> int:
    """Cores this process may use, which in a container or under Slurm are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def broken_images(paths: Sequence[Path], progress: ProgressCallback | None = None) -> dict[int, str]:
    """Decode every image; the reason for each that cannot be decoded, by its index."""
    broken: dict[int, str] = {}
    for index, reason in enumerate(in_parallel(_reason, paths)):
        if reason:
            broken[index] = reason
        if progress is not None:
            progress(index + 1, len(paths))
    return broken


def _reason(path: Path) -> str:
    try:
        decode(read_image(path))
    except BrokenImageError as error:
        return str(error)
    return ""
