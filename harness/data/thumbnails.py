"""Small pictures for pages: the only place that makes them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.data.decoding import BrokenImageError, decode, read_image

QUALITY = 70
"""Of WebP, where 100 is best: at these sizes no difference is seen above it."""


def thumbnail(path: Path, height: int) -> Image.Image | None:
    """An image file at `height` pixels, at most twice as wide as high; None when it cannot be read."""
    try:
        image = decode(read_image(path))
    except BrokenImageError:
        return None
    width = max(1, min(2 * height, round(image.width * height / image.height)))
    return image.resize((width, height), Image.Resampling.LANCZOS)


def thumbnail_webp(path: Path, height: int) -> bytes | None:
    """`thumbnail` as the content of a WebP file; None when the image cannot be read."""
    image = thumbnail(path, height)
    return None if image is None else webp(image)


def webp(picture: Image.Image | NDArray[np.uint8]) -> bytes:
    """A picture, or its pixels `[height, width, 3]`, as the content of a WebP file."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=4)
    return buffer.getvalue()
