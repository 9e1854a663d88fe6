"""Captions and images that several persons of a split share: no ranking can be right for all of them.

A query is undecidable when its caption is also a caption of another person, or when every image of its person
is also an image of another person. Images are equal by the digests that are given: those of their files, or
of their decoded pixels, by which a picture that was saved again is the same. Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.dataset import Dataset, Split
from harness.data.image_hashes import UNREADABLE
from harness.machine.words import plural_are


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
        digests: [images] the SHA-256 of every image; without them no images are compared.
    """
    texts = [" ".join(caption.casefold().split()) for caption in split.captions]
    shared_captions = _shared(texts, split.caption_person)
    shared_images = shared_by_persons(split, digests)
    with_own_image = np.zeros(len(split.persons), dtype=bool)
    with_own_image[split.image_person[~shared_images]] = True
    undecidable = shared_captions | ~with_own_image[split.caption_person]
    return Duplicates(int(shared_captions.sum()), int(shared_images.sum()), int(undecidable.sum()))


def shared_by_persons(split: Split, digests: Sequence[bytes]) -> NDArray[np.bool_]:
    """Whether each image [images] is also one of another person of the split; no one where none is known."""
    if len(digests) != len(split.image_paths):
        return np.zeros(len(split.image_paths), dtype=bool)
    values = [digest if digest != UNREADABLE else index for index, digest in enumerate(digests)]
    return _shared(values, split.image_person)


def _shared(values: Sequence[object], persons: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each value [values] also occurs with another person."""
    owner: dict[object, int] = {}
    several: set[object] = set()
    for value, person in zip(values, persons.tolist(), strict=True):
        if owner.setdefault(value, person) != person:
            several.add(value)
    return np.array([value in several for value in values], dtype=bool)


def duplicate_notes(dataset: Dataset) -> list[str]:
    """Notes on what is in the test split twice or in two splits, by the files of the images."""
    test = _undecidable(dataset.name, dataset.splits.get("test"), dataset.digests.get("test", ()))
    return [*test, *in_two_splits(dataset, dataset.digests)]


def notes_by_pixels(dataset: Dataset, test: Split, digests: Sequence[bytes]) -> list[str]:
    """A dataset's notes with what is twice in its test split counted by decoded pixels.

    Args:
        dataset: as it was loaded.
        test: its test split, perhaps less the images that cannot be decoded.
        digests: [images] the SHA-256 of every image of `test`, decoded.
    """
    by_files = _undecidable(dataset.name, dataset.splits.get("test"), dataset.digests.get("test", ()))
    kept = [note for note in dataset.notes if note not in by_files]
    return [*kept, *_undecidable(dataset.name, test, digests)]


def _undecidable(name: str, split: Split | None, digests: Sequence[bytes]) -> list[str]:
    """One note on the test split, where it has undecidable queries."""
    counts = duplicates(split, digests) if split is not None else None
    if split is None or counts is None or not counts.undecidable:
        return []
    return [
        f"{name}: {counts.undecidable:,} of {len(split.captions):,} test queries are undecidable: "
        f"{counts.captions:,} captions and {counts.images:,} images belong to several persons"
    ]


def in_two_splits(dataset: Dataset, digests: Mapping[str, Sequence[bytes]]) -> Iterator[str]:
    """A sentence for every two splits that have pictures in common, with an example.

    Args:
        dataset: its splits.
        digests: by split, [images] the SHA-256 of every image.
    """
    splits = {name: split for name, split in dataset.splits.items() if digests.get(name)}
    for earlier, later in (("train", "val"), ("train", "test"), ("val", "test")):
        if earlier not in splits or later not in splits:
            continue
        first = dict(zip(digests[earlier], splits[earlier].image_paths, strict=True))
        pairs = [
            (first[digest], path)
            for digest, path in zip(digests[later], splits[later].image_paths, strict=True)
            if digest in first and digest != UNREADABLE
        ]
        if pairs:
            counted = plural_are(len(pairs), "image")
            known, path = pairs[0]
            where = f"{_below(dataset, path)} is {_below(dataset, known)}"
            yield f"{dataset.name}: {counted} in {earlier} and in {later}: in {later}, {where}"


def shared_images_named(dataset: Dataset, digests: Mapping[str, Sequence[bytes]]) -> Iterator[str]:
    """A sentence for every split in which persons share a picture, with an example."""
    for name, split in dataset.splits.items():
        shared = np.flatnonzero(shared_by_persons(split, digests.get(name, ()))).tolist()
        if not shared:
            continue
        first = shared[0]
        same = [image for image in shared if digests[name][image] == digests[name][first]]
        other = next(image for image in same if split.image_person[image] != split.image_person[first])
        shown = " and ".join(
            f"{_below(dataset, split.image_paths[image])} (person {split.persons[split.image_person[image]]})"
            for image in (first, other)
        )
        yield f"{dataset.name}: {len(shared):,} images of {name} belong to several persons: {shown} are equal"


def _below(dataset: Dataset, path: Path) -> str:
    """An image's path below the dataset's folder."""
    return str(path.relative_to(dataset.root) if path.is_relative_to(dataset.root) else path)
