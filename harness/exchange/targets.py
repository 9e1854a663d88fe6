"""The test split that a file of scores is about: its persons in order, and whether the file fits it.

The split is known from the dataset where its files are here, else from records of the run folder that is
imported into, else from the file alone.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness import registry
from harness.data.dataset import Dataset, Split
from harness.exchange.score_files import (
    GALLERY_IDS,
    GALLERY_PERSONS,
    QUERY_IDS,
    QUERY_PERSONS,
    SIMILARITY,
    ScoreFile,
    ScoreFileError,
)
from harness.machine.errors import DataError, StoreError, StudyError
from harness.store.cell_run import CellRun
from harness.store.runs import RunStore

Integers = NDArray[np.int64]
NAMED = 5


@dataclass(frozen=True)
class Target:
    """A test split: persons as numbers, `[queries]` and `[gallery]`, with their labels.

    Attributes:
        name: of the dataset.
        fingerprint: of its content; of the persons alone where nothing else is known.
        query_person: `[queries]` index into `persons`.
        gallery_person: `[gallery]` index into `persons`.
        persons: the labels.
        source: where the split is known from.
        query_ids: names of the queries in order; none where they are not known.
        gallery_ids: names of the gallery items in order.
        subset: identities that were kept, where the dataset was restricted.
        provenance: what the loader had to say of the data.
        notes: what could not be checked, and why.
        shown: what messages call it; empty for its name.
    """

    name: str
    fingerprint: str
    query_person: Integers
    gallery_person: Integers
    persons: tuple[str, ...]
    source: Literal["dataset", "records", "file"]
    query_ids: tuple[str, ...] = ()
    gallery_ids: tuple[str, ...] = ()
    subset: int | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    shown: str = ""

    @property
    def called(self) -> str:
        """What messages call it: something that the user has named."""
        return self.shown or self.name


def find_target(
    name: str, data_root: Path | None, store: RunStore, subset: int | None
) -> tuple[Target | None, str]:
    """The test split of a dataset, from its files or a run's records; None and why where neither is here.

    Raises:
        StudyError: the name is unknown to both, and nearly a registered one.
    """
    why = "" if name in registry.datasets() else f"no dataset called {name!r} is registered"
    if not why:
        from harness.data.datasets import load_dataset

        try:
            return target_of(load_dataset(name, data_root, subset=subset), subset), ""
        except DataError as error:
            why = f"{name} cannot be read here ({error.lines[0]})"
    for run in store.cells():
        if (found := _from_records(run, name)) is not None:
            return found, ""
    _refuse_mistyped(name)
    return None, why


def _against(run: CellRun) -> str:
    imported = ", imported as well" if run.is_imported else ""
    return f"checked against the records of {run.name}{imported}, since the dataset's files are not here"


def _refuse_mistyped(name: str) -> None:
    """Raise `StudyError` for a name that is nearly a registered one, or that joins registered ones."""
    known = registry.datasets()
    if name in known:
        return
    for part in name.split("+"):
        meant = part if part in known else registry.mistyped(part, known)
        if meant is not None:
            raise StudyError(
                f"--dataset: {name!r} is not registered: did you mean {meant!r}? Another dataset needs "
                "a name less like it, or its --dataset-file"
            )


def target_of(dataset: Dataset, subset: int | None = None) -> Target:
    """The test split of a loaded dataset. Raises `DataError` when it has none."""
    dataset.require("test")
    split = dataset.splits["test"]
    gallery_ids = image_ids(dataset)
    return Target(
        dataset.name,
        dataset.fingerprint,
        split.caption_person,
        split.image_person,
        split.persons,
        "dataset",
        caption_ids(split, gallery_ids),
        gallery_ids,
        subset,
        {**dataset.provenance(), "subset": subset},
    )


def image_ids(dataset: Dataset) -> tuple[str, ...]:
    """A name of every test image: its path below the folder of images, spaces replaced."""
    folder = dataset.image_folder or dataset.root
    paths = dataset.splits["test"].image_paths
    found = [path.relative_to(folder) if path.is_relative_to(folder) else Path(path.name) for path in paths]
    names = ["_".join(path.as_posix().split()) for path in found]
    return tuple(names if len(set(names)) == len(names) else map(str, range(len(names))))


def caption_ids(split: Split, gallery_ids: Sequence[str]) -> tuple[str, ...]:
    """A name of every test caption: the name of its image, and which of its captions it is, from 0."""
    count: dict[int, int] = {}
    names = []
    for image in split.caption_image.tolist():
        number = count[image] = count.get(image, -1) + 1
        names.append(f"{gallery_ids[image]}#{number}")
    return tuple(names)


def _from_records(run: CellRun, name: str) -> Target | None:
    """The split as a finished cell's records have it; persons of both sides, no ids."""
    if run.status.state != "done":
        return None
    rows = {row["direction"]: row for row in run.results if row.get("target") == name}
    if not {"t2i", "i2t"} <= rows.keys():
        return None
    try:
        sides = [
            [
                str(label)
                for label in run.record_columns(name, row["selection"], side, ["person_id"])["person_id"]
            ]
            for side, row in ((side, rows[side]) for side in ("t2i", "i2t"))
        ]
    except StoreError:
        return None
    row = rows["t2i"]
    data = dict(row.get("data") or {})
    query, gallery, persons = _coded(*sides)
    return Target(
        name,
        str(row.get("fingerprint", "")),
        query,
        gallery,
        persons,
        "records",
        subset=data.get("subset"),
        provenance=data,
        notes=(_against(run),),
    )


def self_contained(name: str, file: ScoreFile, why: str) -> Target:
    """The split as a file of scores itself describes it.

    Raises:
        ScoreFileError: it names no persons.
    """
    if file.query_persons is None or file.gallery_persons is None:
        raise ScoreFileError(
            f"{file.path}: {QUERY_PERSONS} and {GALLERY_PERSONS} are missing, and {why}; write both into the "
            "file, or give the dataset by --data-root or --dataset-file"
        )
    query, gallery, persons = _coded(file.query_persons, file.gallery_persons)
    content = "\0".join(["persons", *map(str, query.tolist()), "gallery", *map(str, gallery.tolist())])
    return Target(
        name,
        hashlib.sha256(content.encode()).hexdigest(),
        query,
        gallery,
        persons,
        "file",
        file.query_ids or (),
        file.gallery_ids or (),
        notes=(f"not checked against the dataset: {why}; persons as the file has them",),
    )


def _coded(query: Sequence[str], gallery: Sequence[str]) -> tuple[Integers, Integers, tuple[str, ...]]:
    """Persons as numbers in the order of first appearance, gallery first, and their labels."""
    labels = {label: number for number, label in enumerate(dict.fromkeys([*gallery, *query]))}
    sides = [np.array([labels[label] for label in side], dtype=np.int64) for side in (query, gallery)]
    return sides[0], sides[1], tuple(labels)


# -- whether a file fits --------------------------------------------------------------------------


def fitted(file: ScoreFile, target: Target) -> ScoreFile:
    """The file with its rows in the split's order.

    Raises:
        ScoreFileError: every reason why it does not fit: counts, unknown ids, persons that differ, sides or
            axes that are exchanged.
    """
    mistakes = list(_misfit(file, target))
    if mistakes:
        raise ScoreFileError([f"{file.path}: {text}" for text in mistakes])
    orders = [
        _order(names, known)
        for names, known in ((file.query_ids, target.query_ids), (file.gallery_ids, target.gallery_ids))
    ]
    if any(order is not None for order in orders):
        query, gallery = (
            np.arange(size) if order is None else order
            for order, size in zip(orders, (file.queries, file.gallery), strict=True)
        )
        file = file.reordered(query, gallery)
    if file.query_persons is not None and file.gallery_persons is not None:
        unlike = list(_other_persons(file.query_persons, file.gallery_persons, target))
        if unlike:
            raise ScoreFileError([f"{file.path}: {text}" for text in unlike])
    return file


def _order(names: Sequence[str] | None, known: Sequence[str]) -> Integers | None:
    """Which row of the file stands at each place of the split; None where no ids say so."""
    if names is None or not known:
        return None
    place = {name: row for row, name in enumerate(names)}
    return np.array([place[name] for name in known], dtype=np.int64)


def _misfit(file: ScoreFile, target: Target) -> Iterator[str]:
    sizes = len(target.query_person), len(target.gallery_person)
    if (file.queries, file.gallery) == sizes[::-1] and sizes[0] != sizes[1]:
        what = f"{SIMILARITY} is transposed" if file.similarity is not None else "its two sides are exchanged"
        yield (
            f"{what}: {target.called} has {sizes[0]:,} captions, which are queries, and {sizes[1]:,} images, "
            "which are the gallery"
        )
        return
    for what, here, there, ids, known in (
        ("queries", file.queries, sizes[0], file.query_ids, target.query_ids),
        ("gallery items", file.gallery, sizes[1], file.gallery_ids, target.gallery_ids),
    ):
        if here != there:
            yield f"has {here:,} {what}, and the test split of {target.called} has {there:,}"
        if ids is not None and known:
            yield from _unknown_ids(QUERY_IDS if what == "queries" else GALLERY_IDS, ids, known)


def _unknown_ids(key: str, ids: Sequence[str], known: Sequence[str]) -> Iterator[str]:
    there = set(known)
    unknown = [name for name in ids if name not in there]
    for name in unknown[:NAMED]:
        close = difflib.get_close_matches(name, known[:20_000], n=1)
        hint = f"; did you mean {close[0]!r}?" if close else f"; they are like {known[0]!r}"
        yield f"{key}: {name!r} is not in the test split{hint}"
    if len(unknown) > NAMED:
        yield f"{key}: … and {len(unknown) - NAMED:,} more that are not in the test split"


def _other_persons(query: Sequence[str], gallery: Sequence[str], target: Target) -> Iterator[str]:
    """Whether the persons are those of the split; their names may be others, one for one."""
    given = _coded(query, gallery)
    wanted = _renumbered(target.query_person, target.gallery_person)
    if np.array_equal(given[0], wanted[0]) and np.array_equal(given[1], wanted[1]):
        return
    swapped = _renumbered(target.gallery_person, target.query_person)
    if len(query) == len(gallery) and np.array_equal(_coded(query, gallery)[0], swapped[0]):
        yield (
            f"transposed: {QUERY_PERSONS} are the persons of the images of {target.called}, and "
            f"{GALLERY_PERSONS} those of its captions; queries are captions"
        )
        return
    for key, ids, here, there, labels in (
        (QUERY_PERSONS, QUERY_IDS, given[0], wanted[0], query),
        (GALLERY_PERSONS, GALLERY_IDS, given[1], wanted[1], gallery),
    ):
        wrong = np.flatnonzero(here != there)
        if len(wrong):
            row = int(wrong[0])
            side = target.query_person if key == QUERY_PERSONS else target.gallery_person
            person = target.persons[side[row]]
            yield (
                f"{key}: {len(wrong):,} rows are of other people than in {target.called}, the first in row "
                f"{row}: {labels[row]!r}, and there {person!r}; rows stand in the order of the annotation, "
                f"or {ids} name them"
            )


def _renumbered(query: Integers, gallery: Integers) -> tuple[Integers, Integers]:
    """Persons by first appearance, gallery first."""
    both = np.concatenate([gallery, query])
    unique, first, inverse = np.unique(both, return_index=True, return_inverse=True)
    rank = np.empty(len(unique), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(unique))
    numbers = rank[inverse]
    return numbers[len(gallery) :], numbers[: len(gallery)]
