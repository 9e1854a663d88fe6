"""Which annotated images are really on disk, before anything is decoded. Torch-free."""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.data.annotations import Complaints
from harness.data.dataset import Dataset


@dataclass
class MissingImages:
    """Result of looking at every image file of a dataset.

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

    @property
    def count(self) -> int:
        """Number of images that are not there."""
        return sum(map(len, self.missing.values()))

    def lines(self, how_to_get: str = "") -> list[str]:
        """Problems in words; folders missing as a whole come first, each with its number of images."""
        mend = f"; if the download lacks it, {how_to_get}" if how_to_get else ""
        gone = [
            f"{self.name}: the folder {folder} is missing, with {len(images):,} annotated images{mend}"
            for folder, images in self._folders.items()
        ]
        return [*self.escaping.lines(self.name), *gone, *self._absent.lines(self.name)]

    def _note(self, path: Path, index: int, reason: str, root: Path) -> None:
        folder = _topmost_missing(path.parent, root)
        if folder is not None:
            self._folders.setdefault(folder, []).append(index)
        else:
            self._absent.add(f"an image {reason}", str(path))


def missing_images(dataset: Dataset, allowed: Sequence[Path] = ()) -> MissingImages:
    """Look at every image file of `dataset`; links may lead within its folder, its `imgs` and `allowed`, not
    beyond.

    A dataset's folder, or its image folder, may itself be a link: whoever placed it there meant it. A link
    further down came with the download.
    """
    survey = MissingImages(dataset.name)
    inside = _Inside([dataset.root, dataset.root / "imgs", *allowed])
    for name, split in dataset.splits.items():
        sizes, missing = survey.sizes.setdefault(name, []), survey.missing.setdefault(name, [])
        for index, path in enumerate(split.image_paths):
            size, reason = _size(path)
            sizes.append(size)
            if reason:
                missing.append(index)
                survey._note(path, index, reason, dataset.root)
            elif not inside.holds(path):
                survey.escaping.add("an image path that leaves the data root through a link", str(path))
    return survey


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
