"""Captions and images that several persons of a split share: no ranking can be right for all of them.

A query is undecidable when its caption is also a caption of another person, or when every image of its person
is also an image of another person. Torch-free.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import Dataset, Split
from harness.data.image_hashes import UNREADABLE


@dataclass(frozen=True)
class Duplicates:
    """Numbers of a split: captions and images that another person also has, and undecidable queries."""

    captions: int
    images: int
    undecidable: int


def duplicates(split: Split, digests: Sequence[bytes] = ()) -> Duplicates:
    """Count what persons of a split share.

    Args:
        split: the split.
        digests: [images] the SHA-256 of every image file; without them no images are compared.
    """
    texts = [" ".join(caption.casefold().split()) for caption in split.captions]
    shared_captions = _shared(texts, split.caption_person)
    known = len(digests) == len(split.image_paths)
    values = [digest if digest != UNREADABLE else index for index, digest in enumerate(digests)]
    shared_images = _shared(values, split.image_person) if known else np.zeros(len(split.image_paths), bool)
    with_own_image = np.zeros(len(split.persons), dtype=bool)
    with_own_image[split.image_person[~shared_images]] = True
    undecidable = shared_captions | ~with_own_image[split.caption_person]
    return Duplicates(int(shared_captions.sum()), int(shared_images.sum()), int(undecidable.sum()))


def _shared(values: Sequence[object], persons: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each value [values] also occurs with another person."""
    owner: dict[object, int] = {}
    several: set[object] = set()
    for value, person in zip(values, persons.tolist(), strict=True):
        if owner.setdefault(value, person) != person:
            several.add(value)
    return np.array([value in several for value in values], dtype=bool)


def duplicate_notes(dataset: Dataset) -> list[str]:
    """One note on the test split, where it has undecidable queries."""
    if "test" not in dataset.splits:
        return []
    split = dataset.splits["test"]
    counts = duplicates(split, dataset.digests.get("test", ()))
    if not counts.undecidable:
        return []
    return [
        f"{dataset.name}: {counts.undecidable:,} of {len(split.captions):,} test queries are undecidable: "
        f"{counts.captions:,} captions and {counts.images:,} images belong to several persons"
    ]
