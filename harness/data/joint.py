"""Joint training on several datasets: their splits one after another, identities kept apart. Torch-free."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from harness.data.dataset import SPLIT_NAMES, Dataset, Split
from harness.machine.errors import DataError

JOIN = "+"
"""Between the names of a joint dataset's parts: `cuhk-pedes+icfg-pedes`."""


def parts_of(name: str) -> tuple[str, ...]:
    """The names of a joint dataset's parts; of any other, its own name."""
    return tuple(part.strip() for part in name.split(JOIN)) if JOIN in name else (name,)


def joined(name: str, parts: Sequence[Dataset]) -> Dataset:
    """The union of several datasets; person 7 of each stays a person of its own.

    A split that a part lacks is made of the others. A joint dataset is never official.

    Raises:
        DataError: no part has a train split, or a part is named twice.
    """
    names = [part.name for part in parts]
    if len(set(names)) < len(names):
        raise DataError([f"{name}: names a dataset twice"])
    if not any("train" in part.splits for part in parts):
        raise DataError([f"{name}: none of these datasets has a train split"])
    having = {split: [part for part in parts if split in part.splits] for split in SPLIT_NAMES}
    known = all(part.fingerprint for part in parts)
    content = "\0".join(part.fingerprint for part in parts)
    return Dataset(
        name=name,
        root=Path(os.path.commonpath([part.root for part in parts])),
        splits={split: _union(split, owners) for split, owners in having.items() if owners},
        official=False,
        fingerprint=hashlib.sha256(content.encode()).hexdigest() if known else "",
        notes=tuple(note for part in parts for note in part.notes),
        problems=tuple(problem for part in parts for problem in part.problems),
        skipped=sum(part.skipped for part in parts),
        digests={
            split: tuple(digest for part in owners for digest in part.digests.get(split, ()))
            for split, owners in having.items()
            if owners
        },
        text_length=max((part.text_length or 0 for part in parts), default=0) or None,
    )


def _union(name: str, parts: Sequence[Dataset]) -> Split:
    splits = [part.splits[name] for part in parts]
    first_person = np.cumsum([0, *(len(split.persons) for split in splits)])
    first_image = np.cumsum([0, *(len(split.image_paths) for split in splits)])
    return Split(
        name=name,
        image_paths=tuple(path for split in splits for path in split.image_paths),
        persons=tuple(f"{part.name}/{person}" for part in parts for person in part.splits[name].persons),
        image_person=np.concatenate(
            [split.image_person + start for split, start in zip(splits, first_person, strict=False)]
        ),
        captions=tuple(caption for split in splits for caption in split.captions),
        caption_image=np.concatenate(
            [split.caption_image + start for split, start in zip(splits, first_image, strict=False)]
        ),
    )
