"""Splits derived from splits: validation from train, subsets, omissions; the fingerprint. Torch-free."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.dataset import SPLIT_NAMES, Dataset, Split
from harness.machine.errors import DataError

CARVING_RULE = "carve-1"
"""Version of the rule below; part of the fingerprint of every dataset it was applied to."""
CARVED_SHARE = 0.05
"""Share of the training persons that becomes the validation split: about what RSTPReid set aside."""
SUBSET_RULE = "subset-1"


def carve_validation(dataset: Dataset) -> Dataset:
    """Give a dataset without validation split one, taken from train by identity.

    A dataset that has one is returned unchanged. The rule is the same for every dataset: 5 % of the training
    persons, rounded up and at least two where train has four; those whose hashed identity is smallest. It
    depends on the identities alone, so it is the same on every machine and in every study.

    Raises:
        DataError: train has a single person.
    """
    if "val" in dataset.splits:
        return dataset
    train = dataset.splits["train"]
    persons = len(train.persons)
    size = max(ceil(CARVED_SHARE * persons), 2 if persons >= 4 else 1)
    if persons < 2:
        problem = f"{dataset.name}: no validation split, and none can be carved from a single training person"
        raise DataError([problem])
    chosen = set(_shuffled(train.persons, CARVING_RULE)[:size])
    splits = {
        "train": keep_persons(train, set(train.persons) - chosen),
        "val": replace(keep_persons(train, chosen), name="val"),
        **{name: split for name, split in dataset.splits.items() if name != "train"},
    }
    note = (
        f"{dataset.name} has no validation split; {size} of {persons} training persons were set "
        f"aside for it by identity (rule {CARVING_RULE})"
    )
    return replace(dataset, splits=splits, notes=(*dataset.notes, note))


def keep_identities(dataset: Dataset, count: int) -> Dataset:
    """Keep `count` persons of every split, the first under a fixed shuffle; all where there are fewer.

    Raises:
        ValueError: `count` is below 1.
    """
    if count < 1:
        raise ValueError(f"a subset keeps at least 1 identity per split, got {count}")
    splits = {
        name: keep_persons(split, set(_shuffled(split.persons, SUBSET_RULE, name)[:count]))
        for name, split in dataset.splits.items()
    }
    cut = any(len(split.persons) > count for split in dataset.splits.values())
    note = [f"{dataset.name}: only {count} identities per split"] if cut else []
    return replace(dataset, splits=splits, notes=(*dataset.notes, *note), official=False)


def _shuffled(persons: Sequence[str], *salt: str) -> list[str]:
    def key(person: str) -> bytes:
        return hashlib.sha256("\0".join((*salt, person)).encode()).digest()

    return sorted(persons, key=key)


def keep_persons(split: Split, persons: Collection[str]) -> Split:
    """The part of `split` that shows one of `persons`, in the order it had."""
    wanted = np.array([person in persons for person in split.persons], dtype=bool)
    return _keep(split, wanted[split.image_person])


def without_images(split: Split, dropped: Sequence[int]) -> Split:
    """`split` without the images at these indices, their captions, and persons left without any image."""
    kept = np.ones(len(split.image_paths), dtype=bool)
    kept[np.asarray(dropped, dtype=np.int64)] = False
    return _keep(split, kept)


def _keep(split: Split, kept: np.ndarray[Any, np.dtype[np.bool_]]) -> Split:
    old_person = split.image_person[kept]
    used, first = np.unique(old_person, return_index=True)
    order = used[np.argsort(first)]
    new_person = np.full(len(split.persons), -1, dtype=np.int64)
    new_person[order] = np.arange(len(order))
    new_image = np.cumsum(kept) - 1
    captions = np.flatnonzero(kept[split.caption_image])
    return Split(
        name=split.name,
        image_paths=tuple(split.image_paths[index] for index in np.flatnonzero(kept)),
        persons=tuple(split.persons[index] for index in order),
        image_person=new_person[old_person],
        captions=tuple(split.captions[index] for index in captions),
        caption_image=new_image[split.caption_image[captions]].astype(np.int64),
    )


def file_list(dataset: Dataset) -> list[dict[str, Any]]:
    """One row per image of a dataset: its file and a hash of its captions.

    Columns: `split`, `path` below the dataset's folder, `person`, `bytes`, `sha256` of the file when it was
    loaded (its first half), `captions` (their hash). A store keeps it beside the fingerprint, so that `why`
    can name the files of a dataset that changed.
    """
    rows: list[dict[str, Any]] = []
    for name in SPLIT_NAMES:
        if name in dataset.splits:
            rows.extend(_rows(dataset.splits[name], dataset.root, dataset.digests[name]))
    return rows


def _rows(split: Split, root: Path, digests: Sequence[bytes]) -> Iterator[dict[str, Any]]:
    captions: list[list[str]] = [[] for _ in split.image_paths]
    for image, caption in zip(split.caption_image, split.captions, strict=True):
        captions[image].append(caption)
    # Plain strings: pathlib's own arithmetic takes seconds for the images of a benchmark.
    folder = f"{root}{os.sep}"
    for index, path in enumerate(map(str, split.image_paths)):
        text = json.dumps(captions[index], ensure_ascii=True)
        yield {
            "split": split.name,
            "path": path.removeprefix(folder) if path.startswith(folder) else os.path.basename(path),
            "person": split.persons[split.image_person[index]],
            "bytes": os.stat(path).st_size,
            "sha256": digests[index].hex()[:32],
            "captions": hashlib.sha256(text.encode()).hexdigest()[:16],
        }


def fingerprint(dataset: Dataset) -> str:
    """SHA-256 of what the dataset contains: splits, persons, image files and captions, in order.

    Names and paths do not count, so the same data in another layout have the same fingerprint.
    """
    digest = hashlib.sha256()
    for row in file_list(dataset):
        content = {key: value for key, value in row.items() if key != "path"}
        digest.update(json.dumps(content, sort_keys=True).encode())
    return digest.hexdigest()
