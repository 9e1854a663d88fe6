"""Images that two sets share: exact copies by hash, near copies by perceptual hash. Torch-free.

ICFG-PEDES and RSTPReid are both drawn from MSMT17 under other names and identities: a model trained on one
may have seen the test images of the other, and a transfer result is then invalid. A shared image is one of

* an exact file: the same bytes;
* exact pixels: other bytes (another name or header), the same decoded image;
* a near copy: recompressed or resized. Two independent 64-bit hashes must agree to within a few bits (the
  direction of brightness between neighbours, and the low frequencies), and 16×16 thumbnails must correlate.
"""

from __future__ import annotations

import hashlib
import logging
import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.data.dataset import Dataset
from harness.data.decoding import (
    BrokenImageError,
    ProgressCallback,
    decode,
    in_parallel,
    read_image,
)
from harness.machine.files import atomic_file, put_aside

FORMAT = "hashes-2"
NEAR_BITS = 10
"""Each of the two hashes may differ in this many of its 64 bits."""
NEAR_CORRELATION = 0.97
FLAT = 3.0
"""Images whose thumbnail has a smaller standard deviation, in grey levels, have no structure to compare."""
PAIRS_AT_ONCE = 4_000_000
EXAMPLES = 20

Hashes = NDArray[np.uint64]

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ImageHashes:
    """Hashes of a set of images; unreadable images are left out.

    Attributes:
        paths: the images, below the dataset's folder.
        files: [images] sha256 of the file, in hexadecimal.
        pixels: [images] sha256 of the decoded RGB pixels and their size.
        gradients: [images] 64 bits: is a pixel of the 8×9 image brighter than its right neighbour (dHash)?
        frequencies: [images] 64 bits: is a low frequency above the median (pHash)?
        thumbnails: [images, 256] uint8, the 16×16 grey image.
        unreadable: number of images left out.
    """

    paths: tuple[str, ...]
    files: NDArray[np.str_]
    pixels: NDArray[np.str_]
    gradients: Hashes
    frequencies: Hashes
    thumbnails: NDArray[np.uint8]
    unreadable: int


@dataclass(frozen=True)
class SharedImage:
    """One image found in both sets; `kind` is `file`, `pixels` or `near`, `bits` the larger distance."""

    left: str
    right: str
    kind: str
    bits: int


@dataclass(frozen=True)
class LeakageReport:
    """Numbers of images of the right set that are also in the left set, each counted under one kind."""

    left: str
    right: str
    left_images: int
    right_images: int
    exact_files: int
    exact_pixels: int
    near: int
    unreadable: int
    examples: tuple[SharedImage, ...]

    @property
    def shared(self) -> int:
        """Images of the right set that the left set also has, of any kind."""
        return self.exact_files + self.exact_pixels + self.near

    def sentence(self) -> str:
        """The result in one line, for a log or above a table."""
        if not self.shared:
            overlap = "none is in both"
        else:
            share = 100 * self.shared / self.right_images
            overlap = (
                f"{self.shared:,} ({share:.2f} %) are in both: {self.exact_files:,} as the same file, "
                f"{self.exact_pixels:,} with the same pixels, {self.near:,} nearly the same"
            )
        sizes = f"{self.left} ({self.left_images:,} images) against {self.right} ({self.right_images:,})"
        return f"{sizes}: {overlap}"

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "shared": self.shared, "sentence": self.sentence()}


def transfer_leakage(
    source: Dataset, target: Dataset, cache_dir: Path, progress: ProgressCallback | None = None
) -> LeakageReport:
    """Images of the target's test split that training and selection on the source use."""
    seen = [name for name in ("train", "val") if name in source.splits]
    left = _joined([split_hashes(source, name, cache_dir, progress) for name in seen])
    right = split_hashes(target, "test", cache_dir, progress)
    return find_leakage(left, right, f"{source.name} train and val", f"{target.name} test")


def split_hashes(
    dataset: Dataset, split: str, cache_dir: Path, progress: ProgressCallback | None = None
) -> ImageHashes:
    """Hashes of a split's images; kept in `cache_dir`/hashes under the dataset's fingerprint."""
    images = dataset.splits[split].image_paths
    path = cache_dir / "hashes" / f"{dataset.fingerprint[:20]}-{split}-{FORMAT}.npz"
    names = tuple(os.path.relpath(image, dataset.root) for image in images)
    known = _read(path, names)
    if known is not None:
        return known
    hashes = hash_images(images, dataset.root, progress)
    with atomic_file(path) as file:
        np.savez(file, **{**asdict(hashes), "paths": np.array(hashes.paths), "asked": np.array(names)})
    return hashes


def _read(path: Path, names: tuple[str, ...]) -> ImageHashes | None:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            if tuple(arrays["asked"].tolist()) != names:
                return None
            content = {field.name: arrays[field.name] for field in fields(ImageHashes)}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        log.warning("image hashes %s: damaged (%s); set aside and computed again", path, error)
        put_aside(path)
        return None
    paths, unreadable = tuple(content["paths"].tolist()), int(content["unreadable"])
    return ImageHashes(**{**content, "paths": paths, "unreadable": unreadable})


def hash_images(paths: Sequence[Path], root: Path, progress: ProgressCallback | None = None) -> ImageHashes:
    """Decode and hash every image, in parallel, naming it from `root`; unreadable ones are counted."""
    rows = []
    for done, row in enumerate(in_parallel(_hash, paths), start=1):
        if row is not None:
            rows.append((os.path.relpath(paths[done - 1], root), *row))
        if progress is not None:
            progress(done, len(paths))
    return ImageHashes(
        paths=tuple(row[0] for row in rows),
        files=np.array([row[1] for row in rows], dtype="U64"),
        pixels=np.array([row[2] for row in rows], dtype="U64"),
        gradients=np.array([row[3] for row in rows], dtype=np.uint64),
        frequencies=np.array([row[4] for row in rows], dtype=np.uint64),
        thumbnails=np.array([row[5] for row in rows], dtype=np.uint8).reshape(-1, 256),
        unreadable=len(paths) - len(rows),
    )


_Row = tuple[str, str, np.uint64, np.uint64, NDArray[np.uint8]]


def _hash(path: Path) -> _Row | None:
    try:
        content = read_image(path)
        image = decode(content)
    except BrokenImageError:
        return None
    pixels = hashlib.sha256(f"{image.size}".encode() + image.tobytes()).hexdigest()
    grey = image.convert("L")
    return (
        hashlib.sha256(content).hexdigest(),
        pixels,
        gradient_hash(grey),
        frequency_hash(grey),
        np.asarray(grey.resize((16, 16), Image.Resampling.BILINEAR)).reshape(-1),
    )


def gradient_hash(grey: Image.Image) -> np.uint64:
    """dHash: in the image reduced to 8 rows of 9 pixels, is a pixel brighter than its right neighbour?"""
    small = np.asarray(grey.resize((9, 8), Image.Resampling.BILINEAR), dtype=np.int16)
    return _bits(small[:, :-1] > small[:, 1:])


def frequency_hash(grey: Image.Image) -> np.uint64:
    """pHash: of the lowest 8×8 cosine frequencies of the 32×32 image, which lie above their median."""
    from scipy.fft import dctn  # as slow to import as hundreds of images are to compare, and often cached

    small = np.asarray(grey.resize((32, 32), Image.Resampling.BILINEAR), dtype=np.float64)
    low = dctn(small, norm="ortho")[:8, :8]
    return _bits(low > np.median(low))


def _bits(flags: NDArray[np.bool_]) -> np.uint64:
    return np.uint64(np.packbits(flags.reshape(-1)).view(np.uint64)[0])


def _joined(parts: Sequence[ImageHashes]) -> ImageHashes:
    return ImageHashes(
        paths=tuple(path for part in parts for path in part.paths),
        files=np.concatenate([part.files for part in parts]),
        pixels=np.concatenate([part.pixels for part in parts]),
        gradients=np.concatenate([part.gradients for part in parts]),
        frequencies=np.concatenate([part.frequencies for part in parts]),
        thumbnails=np.concatenate([part.thumbnails for part in parts]),
        unreadable=sum(part.unreadable for part in parts),
    )


def find_leakage(left: ImageHashes, right: ImageHashes, left_name: str, right_name: str) -> LeakageReport:
    """Which images of `right` are also in `left`; time grows with the product, memory with the sum."""
    by_file, by_pixels = _partners(left.files, right.files), _partners(left.pixels, right.pixels)
    exact = (by_file >= 0) | (by_pixels >= 0)
    by_near, bits = _near_partners(left, right, np.flatnonzero(~exact))
    shared = []
    for image in np.flatnonzero(exact | (by_near >= 0)).tolist():
        partners = {"file": by_file[image], "pixels": by_pixels[image], "near": by_near[image]}
        kind = next(kind for kind, partner in partners.items() if partner >= 0)
        distance = int(bits[image]) if kind == "near" else 0
        shared.append(SharedImage(left.paths[partners[kind]], right.paths[image], kind, distance))
    kinds = [pair.kind for pair in shared]
    return LeakageReport(
        left=left_name,
        right=right_name,
        left_images=len(left.paths),
        right_images=len(right.paths),
        exact_files=kinds.count("file"),
        exact_pixels=kinds.count("pixels"),
        near=kinds.count("near"),
        unreadable=left.unreadable + right.unreadable,
        examples=tuple(shared[:EXAMPLES]),
    )


def _partners(left: NDArray[np.str_], right: NDArray[np.str_]) -> NDArray[np.int64]:
    """For each entry of `right` [right], the first index of the same entry in `left`, or −1."""
    first_index = {value: index for index, value in reversed(list(enumerate(left.tolist())))}
    return np.array([first_index.get(value, -1) for value in right.tolist()], dtype=np.int64)


def _near_partners(
    left: ImageHashes, right: ImageHashes, asked: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """For each image of `right` in `asked`, its nearest near copy in `left` or −1, and its distance."""
    partner = np.full(len(right.paths), -1, dtype=np.int64)
    bits = np.full(len(right.paths), 65, dtype=np.int64)
    left_shape, right_shape = _shapes(left.thumbnails), _shapes(right.thumbnails)
    # Flat images have no structure to compare, and repeated ones give the same pairs again.
    asked = asked[right_shape[asked].any(axis=1)]
    candidates = np.unique(left.pixels, return_index=True)[1]
    candidates = np.sort(candidates[left_shape[candidates].any(axis=1)])
    step = max(1, PAIRS_AT_ONCE // max(1, len(asked)))
    for start in range(0, len(candidates), step):
        rows = candidates[start : start + step]
        lefts, rights, distance = _close_pairs(left, right, rows, asked)
        agreement = _agreement(left_shape, right_shape, lefts, rights)
        alike = agreement >= NEAR_CORRELATION
        # Writing the farthest first leaves the nearest in place.
        order = np.argsort(-distance[alike], kind="stable")
        lefts, rights, distance = lefts[alike][order], rights[alike][order], distance[alike][order]
        better = distance < bits[rights]
        partner[rights[better]], bits[rights[better]] = lefts[better], distance[better]
    return partner, bits


def _close_pairs(
    left: ImageHashes, right: ImageHashes, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of which both hashes agree within `NEAR_BITS`: left index, right index, larger distance."""
    gradient = np.bitwise_count(left.gradients[rows, None] ^ right.gradients[columns])
    row, column = np.nonzero(gradient <= NEAR_BITS)
    lefts, rights = rows[row], columns[column]
    frequency = np.bitwise_count(left.frequencies[lefts] ^ right.frequencies[rights])
    larger = np.maximum(gradient[row, column], frequency).astype(np.int64)
    close = larger <= NEAR_BITS
    return lefts[close], rights[close], larger[close]


def _agreement(
    left: NDArray[np.float32],
    right: NDArray[np.float32],
    lefts: NDArray[np.int64],
    rights: NDArray[np.int64],
) -> NDArray[np.float32]:
    """Correlation of the thumbnails of each pair, a bounded number at a time."""
    parts = [
        np.einsum("ij,ij->i", left[lefts[at : at + 8192]], right[rights[at : at + 8192]])
        for at in range(0, len(lefts), 8192)
    ]
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)


def _shapes(thumbnails: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Thumbnails centred and scaled to unit length; zeros for flat ones, which correlate with nothing."""
    centred = thumbnails.astype(np.float32)
    centred -= centred.mean(axis=1, keepdims=True)
    deviation = centred.std(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    return np.where(deviation >= FLAT, centred / np.maximum(length, 1e-6), 0).astype(np.float32)
