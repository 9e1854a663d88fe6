"""Annotated images that are not on disk, found before anything is decoded. Torch-free."""

from __future__ import annotations

import os
import stat
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.data.annotations import Complaints
from harness.data.dataset import Dataset

_ESCAPING = (
    "an image path that leaves the data root through a link (to keep images elsewhere, let the whole image "
    "folder be the link, or place them below the data root)"
)


@dataclass
class MissingImages:
    """The image files of a dataset that are missing, empty or outside its folder.

    Attributes:
        sizes: split → bytes of each image file, 0 where it is missing.
        missing: split → indices of images that are absent, empty or no files.
        escaping: problems with files that lie outside the data root; these are never skipped.
    """

    name: str
    sizes: dict[str, list[int]] = field(default_factory=dict)
    missing: dict[str, list[int]] = field(default_factory=dict)
    escaping: Complaints = field(default_factory=Complaints)
    _absent: Complaints = field(default_factory=Complaints)
    _folders: dict[Path, list[int]] = field(default_factory=dict)
    _names: dict[Path, dict[str, str]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """Number of images that are not there."""
        return sum(map(len, self.missing.values()))

    def lines(self, how_to_get: str = "") -> list[str]:
        """One line per problem; folders missing as a whole come first, with their number of images."""
        advice = f"; if the download lacks it, {how_to_get}" if how_to_get else ""
        gone = [
            f"{self.name}: the folder {folder} is missing, with {len(images):,} annotated images"
            f"{_doubled(folder)}{advice}"
            for folder, images in self._folders.items()
        ]
        return [*self.escaping.lines(self.name), *gone, *self._absent.lines(self.name)]

    def _note(self, path: Path, index: int, reason: str, root: Path) -> None:
        """Add an image that is not there, under its missing folder or with a file of nearly its name."""
        folder = _topmost_missing(path.parent, root)
        if folder is not None:
            self._folders.setdefault(folder, []).append(index)
        else:
            self._absent.add(f"an image {reason}", f"{path}{self._similar(path)}")

    def _similar(self, path: Path) -> str:
        """A file whose name differs only in upper case or Unicode form, which some file systems ignore."""
        if path.parent not in self._names:
            names = os.listdir(path.parent) if path.parent.is_dir() else []
            self._names[path.parent] = {_folded(name): name for name in names}
        other = self._names[path.parent].get(_folded(path.name))
        return "" if other in (None, path.name) else f" (there is {other!r}, of another spelling)"


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _doubled(folder: Path) -> str:
    """A hint where the annotated paths begin with the image folder's own name."""
    doubled = folder.name == folder.parent.name and folder.parent.is_dir()
    return (
        f" (the paths begin with {folder.name}/ already: let `images` be the folder above)" if doubled else ""
    )


def missing_images(dataset: Dataset, allowed: Sequence[Path] = ()) -> MissingImages:
    """Check every image file of `dataset`.

    The dataset's folder and its image folder may themselves be links: the user placed them there. A link
    further down came with the download, and may lead within these folders and `allowed`, not outside.
    """
    result = MissingImages(dataset.name)
    image_folder = dataset.image_folder or dataset.root / "imgs"
    inside = _Inside([dataset.root, image_folder, *allowed])
    for name, split in dataset.splits.items():
        sizes, missing = result.sizes.setdefault(name, []), result.missing.setdefault(name, [])
        for index, path in enumerate(split.image_paths):
            size, reason = _size(path)
            sizes.append(size)
            if reason:
                missing.append(index)
                result._note(path, index, reason, dataset.root)
            elif not inside.holds(path):
                result.escaping.add(_ESCAPING, str(path))
    return result


def _size(path: Path) -> tuple[int, str]:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return 0, "is missing"
    except (OSError, ValueError) as error:
        return 0, f"cannot be read ({getattr(error, 'strerror', None) or error})"
    if not stat.S_ISREG(status.st_mode):
        return 0, "is not a file"
    return status.st_size, "" if status.st_size else "is empty"


def _topmost_missing(folder: Path, root: Path) -> Path | None:
    """The highest folder between `root` and `folder` that does not exist, if any."""
    gone = None
    while folder != root and folder != folder.parent:
        if not folder.is_dir():
            gone = folder
        folder = folder.parent
    return gone


class _Inside:
    """Whether a file, all links followed, lies below one of some folders; resolves each folder only once."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._roots = [Path(os.path.realpath(folder)) for folder in folders]
        self._known: dict[Path, bool] = {}

    def holds(self, path: Path) -> bool:
        if path.is_symlink():
            return self._below(Path(os.path.realpath(path)))
        if path.parent not in self._known:
            self._known[path.parent] = self._below(Path(os.path.realpath(path.parent)) / path.name)
        return self._known[path.parent]

    def _below(self, real: Path) -> bool:
        return any(real.is_relative_to(root) for root in self._roots)
