"""Decoding of image files that may be damaged or harmful, one file at a time. Torch-free."""

from __future__ import annotations

import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from harness.machine.errors import HarnessError

# A person crop has less than a million pixels; more than this is a mistake or an attack.
MAX_PIXELS = 40_000_000
MAX_FILE_BYTES = 128 * 2**20
# Only plain raster formats: others hand the file to outside programs or to rarely exercised decoders.
FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "GIF", "TIFF")

# Of these modes `convert("RGB")` only cuts the values off at 0 and 255.
WIDE_MODES = ("I", "F", "I;16", "I;16L", "I;16B", "I;16N")
EXIF_ORIENTATION = 0x0112

Item = TypeVar("Item")
Result = TypeVar("Result")

ProgressCallback = Callable[[int, int], None]
"""Called with (images done, images in all)."""


class BrokenImageError(HarnessError):
    """An image file that cannot be used; the message says why, without its path."""

    reason = "data"


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


def decode(content: bytes, *, upright: bool = False) -> Image.Image:
    """The RGB image in an image file's `content`, as `Image.open(path).convert("RGB")` gives it.

    Grey images of 16 or 32 bits or of floating point are scaled from their own range to 0 … 255.

    Args:
        content: the file.
        upright: apply the EXIF orientation, as for a photograph from a phone.

    Raises:
        BrokenImageError: truncated, not an image, of a foreign format, or larger than `MAX_PIXELS`, which is
            known from the header, before anything is decoded.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise BrokenImageError(f"{width}×{height} pixels; at most {MAX_PIXELS:,} are decoded")
            shown = ImageOps.exif_transpose(image) if upright else image
            return _scaled(shown) if shown.mode in WIDE_MODES else shown.convert("RGB")
    except BrokenImageError:
        raise
    except Image.DecompressionBombError:
        raise BrokenImageError(f"a decompression bomb; at most {MAX_PIXELS:,} pixels are decoded") from None
    except UnidentifiedImageError:
        raise BrokenImageError(f"not an image ({', '.join(FORMATS)} are read)") from None
    except Exception as error:
        # Decoders raise many types (struct.error, SyntaxError, zlib.error …), all with this meaning.
        raise BrokenImageError(f"truncated or damaged ({error})") from error


def _scaled(image: Image.Image) -> Image.Image:
    """A grey image of a wide range, its smallest value black and its largest white."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise BrokenImageError("holds values that are no numbers (NaN or infinite)")
    low, high = float(values.min()), float(values.max())
    scaled = (values - low) * (255 / (high - low)) if high > low else np.zeros_like(values)
    return Image.fromarray(scaled.round().astype(np.uint8), "L").convert("RGB")


def resized(
    content: bytes, size: tuple[int, int], *, upright: bool = False, resample: str = "bilinear"
) -> NDArray[np.uint8]:
    """Pixels [3, height, width] of an image file, resized to `size` = (height, width).

    Bit for bit what torchvision's `Resize(size, BILINEAR)` (or BICUBIC) makes of the PIL image: PIL's filter,
    whose support grows with the reduction (antialiased).
    """
    height, width = size
    image = decode(content, upright=upright).resize((width, height), Image.Resampling[resample.upper()])
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


@dataclass(frozen=True)
class ImageFacts:
    """One image file: its pixel mode, whether it has an EXIF rotation, and why it cannot be decoded.

    `pixels` is the SHA-256 of the decoded image: equal for a picture that was saved again without loss.
    """

    path: Path
    mode: str = ""
    rotated: bool = False
    broken: str = ""
    pixels: bytes = b""


def examine_images(paths: Sequence[Path], progress: ProgressCallback | None = None) -> list[ImageFacts]:
    """Decode every image file; what was found, in the order of `paths`."""
    facts = []
    for done, fact in enumerate(in_parallel(_examine, paths), 1):
        facts.append(fact)
        if progress is not None:
            progress(done, len(paths))
    return facts


def _examine(path: Path) -> ImageFacts:
    try:
        content = read_image(path)
        image = decode(content)
    except BrokenImageError as error:
        return ImageFacts(path, broken=str(error))
    pixels = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).digest()
    with Image.open(io.BytesIO(content), formats=FORMATS) as file:
        return ImageFacts(path, file.mode, file.getexif().get(EXIF_ORIENTATION, 1) != 1, pixels=pixels)
