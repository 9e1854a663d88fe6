"""A dataset in memory: splits of persons, images and captions, and what is known about them. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.machine.errors import DataError

SPLIT_NAMES = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class Split:
    """One split of a dataset: every image belongs to one person, every caption to one image.

    Attributes:
        name: `train`, `val` or `test`.
        image_paths: absolute path of each image, in the order of the annotation.
        persons: original identities as text, in order of first appearance.
        image_person: [images] index into `persons`.
        captions: the sentences, exactly as annotated (any script, any markup: captions are data).
        caption_image: [captions] index into `image_paths`.
    """

    name: str
    image_paths: tuple[Path, ...]
    persons: tuple[str, ...]
    image_person: NDArray[np.int64]
    captions: tuple[str, ...]
    caption_image: NDArray[np.int64]

    @property
    def caption_person(self) -> NDArray[np.int64]:
        """[captions] index into `persons`."""
        return self.image_person[self.caption_image]

    def counts(self) -> dict[str, int]:
        """The three numbers by which a split is recognised."""
        return {
            "person_ids": len(self.persons),
            "images": len(self.image_paths),
            "captions": len(self.captions),
        }


@dataclass(frozen=True)
class Dataset:
    """A loaded dataset.

    Attributes:
        name: the registered name.
        root: the folder that holds it; no path inside the splits leaves the data root.
        splits: `train`, `val` and `test`.
        official: whether the counts are the published ones.
        fingerprint: sha256 of the content (records, captions, image files, the rule that carved a validation
            split); free of this machine's paths. Empty when the image files were not read.
        notes: decisions to print beside every result, such as a carved validation split.
        problems: what is wrong with the data without preventing their use.
        skipped: images left out because they are missing or unreadable (`--skip-broken`).
        digests: split → the SHA-256 of every image file when the dataset was loaded.
        image_folder: the folder below which the annotated image paths lie, where there is one.
        text_length: tokens that the captions need, where the dataset file says so.
    """

    name: str
    root: Path
    splits: Mapping[str, Split]
    official: bool
    fingerprint: str
    notes: tuple[str, ...] = field(default=())
    problems: tuple[str, ...] = field(default=())
    skipped: int = 0
    digests: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict, repr=False)
    image_folder: Path | None = None
    text_length: int | None = None

    def require(self, *splits: str) -> None:
        """Refuse the dataset for a use that needs splits it does not have.

        Raises:
            DataError: one line per missing split.
        """
        use = {
            "train": "it can only be evaluated on (`evaluate.targets`)",
            "val": "no epoch can be chosen on it",
            "test": "it can only be trained on",
        }
        missing = [split for split in splits if split not in self.splits]
        if missing:
            raise DataError([f"{self.name} has no {split} split: {use[split]}" for split in missing])

    def provenance(self) -> dict[str, Any]:
        """What to keep beside every number from this dataset: `official`, `notes`, `problems`, `skipped`."""
        return {
            "official": self.official,
            "notes": list(self.notes),
            "problems": list(self.problems),
            "skipped": self.skipped,
        }
