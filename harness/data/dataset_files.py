"""Datasets described by a dataset file: read, merged into splits, and registered by name. Torch-free."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from harness.data.annotations import (
    Complaints,
    Reading,
    Record,
    read_annotation,
    without_garbage_collection,
)
from harness.data.dataset import SPLIT_NAMES, Dataset, Split
from harness.data.layout import BESIDE, SUFFIX, Counts, Layout, read_layout
from harness.data.missing_images import missing_images
from harness.machine.errors import DataError
from harness.registry import PluginError, load_dataset_file, register_dataset

log = logging.getLogger(__name__)


def register_dataset_file(path: Path) -> str:
    """Register the dataset that a dataset file beside the data describes; its name.

    Raises:
        DataError: every mistake in the file.
        ValueError: the name is taken by another dataset.
    """
    layout = read_layout(path)
    register_dataset(
        layout.name,
        summary=layout.summary or f"described by {path.name}",
        load=partial(_load_beside, path),
        home=str(path.parent),
        how_to_get=layout.how_to_get or f"it is described by {path}",
        text_length=layout.text_length,
    )
    return layout.name


def dataset_files(data_root: Path) -> list[Path]:
    """The dataset files in a data root and in the folders directly below it."""
    return sorted({*data_root.glob(f"*{SUFFIX}"), *data_root.glob(f"*/*{SUFFIX}")})


def register_data_root(data_root: Path) -> None:
    """Register every dataset file of a data root; one that cannot be used is reported in the log."""
    for path in dataset_files(data_root):
        try:
            load_dataset_file(path)
        except (DataError, PluginError) as error:
            log.warning("%s", error)


def _load_beside(path: Path, data_root: Path | None) -> Dataset:
    layout = read_layout(path)
    return load_folder(layout, layout.name, path.absolute().parent)


def load_from_root(layout: Layout, name: str, data_root: Path | None) -> Dataset:
    """Read a shipped layout's dataset from its folder below `data_root`.

    Raises:
        DataError: with everything that was looked for and not found, or is wrong.
    """
    annotation = _first_annotation(layout)
    if data_root is None:
        raise DataError(
            [
                f"{name}: no data root given; unpack the dataset so that "
                f"DATA/{layout.folder}/{annotation} exists and pass "
                f"--data-root DATA or set HARNESS_DATA (to get it, {layout.how_to_get})"
            ]
        )
    folder = data_root.expanduser().absolute() / layout.folder
    if not (folder / annotation).is_file():
        raise DataError([_not_found(layout, name, folder)])
    return load_folder(layout, name, folder, shipped=True)


def load_folder(layout: Layout, name: str, folder: Path, *, shipped: bool = False) -> Dataset:
    """Read the dataset `name` from the `folder` below which its annotations and images are.

    The splits are as annotated: nothing carved, and images that do not exist are still included.

    Args:
        layout: what the files mean.
        name: of the dataset.
        folder: the dataset's folder.
        shipped: whether the layout is part of the package; only its counts can make a dataset official.

    Raises:
        DataError: every reason to refuse the annotation, and every missing image besides.
    """
    reading = _read_all(layout, name, folder)
    label = f"{name}: {_annotation_names(layout)}"
    if reading.refused.counts and not reading.has_splits and _expects_splits(layout):
        looks = " (is it CUHK-PEDES' caption_all.json under another name?)" if layout.lookalikes else ""
        raise DataError([f"{label}: no record has a split: this is not the split annotation{looks}"])
    images = folder if layout.images == BESIDE else folder / layout.images
    with without_garbage_collection():
        records = _merged(reading, layout)
        splits = {split: _split(split, records, images) for split in SPLIT_NAMES}
    dataset = Dataset(
        name=name,
        root=folder,
        splits={split: content for split, content in splits.items() if content.image_paths},
        official=shipped and _counts(splits) == _expected(layout),
        fingerprint="",
        notes=_notes(layout, name, splits),
        problems=(*reading.repaired.lines(label), *_oddities(layout, name, splits)),
        image_folder=images,
        text_length=layout.text_length,
    )
    absent = _absent(label, layout, dataset)
    refused = [*reading.refused.lines(label), *absent]
    if refused:
        left_out = reading.repaired.lines(label) if absent else []
        raise DataError([*refused, *left_out, *missing_images(dataset).lines(layout.how_to_get)])
    return dataset


def _expects_splits(layout: Layout) -> bool:
    return not layout.only and not isinstance(layout.annotations, dict) and layout.split_by == "column"


def _annotation_names(layout: Layout) -> str:
    if isinstance(layout.annotations, dict):
        return ", ".join(name for names in layout.annotations.values() for name in names)
    return ", ".join(layout.annotations)


def _first_annotation(layout: Layout) -> str:
    return _annotation_names(layout).split(", ")[0]


def _read_all(layout: Layout, name: str, folder: Path) -> Reading:
    """Read every annotation file of a layout; raises `DataError` naming the files that are not there."""
    by_split = layout.annotations if isinstance(layout.annotations, dict) else {"": tuple(layout.annotations)}
    reading, missing = Reading(), []
    for split, patterns in by_split.items():
        for pattern in patterns:
            files = sorted(folder.glob(pattern)) if "*" in pattern else [folder / pattern]
            if not files or not all(file.exists() for file in files):
                if split not in layout.optional:
                    missing.append(f"{name}: looked for {folder / pattern}, which is not there")
                continue
            for file in files:
                _read_one(layout, folder, file, split, reading)
    if missing:
        raise DataError(missing)
    return reading


def _read_one(layout: Layout, folder: Path, file: Path, split: str, reading: Reading) -> None:
    first = len(reading.records)
    if layout.images != BESIDE:
        read_annotation(file, layout, images=folder / layout.images, split=split, reading=reading)
        return
    read_annotation(file, layout, images=file.parent, split=split, reading=reading)
    prefix = file.parent.relative_to(folder).as_posix()
    if prefix != ".":
        reading.records[first:] = [
            replace(record, path=f"{prefix}/{record.path}") for record in reading.records[first:]
        ]


def _not_found(layout: Layout, name: str, folder: Path) -> str:
    annotation = _first_annotation(layout)
    hints = []
    if not folder.parent.is_dir():
        hints.append(f"the data root {folder.parent} does not exist")
    elif (folder.parent / annotation).is_file():
        hints.append(f"it lies in {folder.parent} itself: give the folder above as data root")
    elif not folder.is_dir():
        hints.append(f"there is no folder {layout.folder} in {folder.parent}")
    for other, wrong in layout.lookalikes.items():
        if (folder / other).is_file():
            hints.append(f"{other} is there, but {wrong}: {annotation} of the same download is needed")
    reason = f" ({'; '.join(hints)})" if hints else ""
    return (
        f"{name}: looked for {folder / annotation}, which is not there{reason}; to get the dataset, "
        f"{layout.how_to_get} and unpack it so that this file and {folder / layout.images}/ exist"
    )


def _merged(reading: Reading, layout: Layout) -> list[Record]:
    """One record per image: captions of repeated records are joined, contradicting records refused."""
    first: dict[str, Record] = {}
    repeated: dict[str, list[str]] = {}
    for record in reading.records:
        known = first.setdefault(record.path, record)
        if known is record:
            continue
        if (known.split, known.person) != (record.split, record.person):
            example = (
                f"{record.path!r} is person {known.person!r} in {known.split} (record {known.index}) and "
                f"person {record.person!r} in {record.split} (record {record.index})"
            )
            reading.refused.add("one image annotated twice with different meaning", example)
            continue
        repeated.setdefault(record.path, list(known.captions)).extend(record.captions)
        if layout.rows == "image":
            reading.repaired.add("an image annotated twice was counted once", f"{record.path!r}")
    for path, captions in repeated.items():
        # Of an image that was annotated twice by mistake, equal captions count once.
        unique = dict.fromkeys(captions) if layout.rows == "image" else captions
        known = first[path]
        first[path] = Record(known.index, known.split, known.person, path, tuple(unique))
    return list(first.values())


def _split(name: str, records: Sequence[Record], images: Path) -> Split:
    of_split = [record for record in records if record.split == name]
    persons = {person: number for number, person in enumerate(dict.fromkeys(r.person for r in of_split))}
    captions = [(number, caption) for number, record in enumerate(of_split) for caption in record.captions]
    return Split(
        name=name,
        image_paths=tuple(images / record.path for record in of_split),
        persons=tuple(persons),
        image_person=np.array([persons[record.person] for record in of_split], dtype=np.int64),
        captions=tuple(caption for _, caption in captions),
        caption_image=np.array([number for number, _ in captions], dtype=np.int64),
    )


def _counts(splits: Mapping[str, Split]) -> dict[str, Counts]:
    return {
        name: (len(split.persons), len(split.image_paths), len(split.captions))
        for name, split in splits.items()
    }


def _expected(layout: Layout) -> dict[str, Counts]:
    """The expected counts of every split, 0 for those that the layout does not name; empty if none."""
    if not layout.expected:
        return {}
    named = {str(split): counts for split, counts in layout.expected.items()}
    return {split: named.get(split, (0, 0, 0)) for split in SPLIT_NAMES}


def _notes(layout: Layout, name: str, splits: Mapping[str, Split]) -> tuple[str, ...]:
    counted, expected = _counts(splits), _expected(layout)
    if not expected or counted == expected:
        return ()
    table = "; ".join(
        f"{split} {'/'.join(map(str, counted[split]))} instead of {'/'.join(map(str, counts))}"
        for split, counts in expected.items()
        if counted[split] != counts
    )
    caveat = f" ({layout.caveat})" if layout.caveat else ""
    return (f"{name}: persons/images/captions are not the published ones: {table}{caveat}",)


def _oddities(layout: Layout, name: str, splits: Mapping[str, Split]) -> list[str]:
    """What a user should know although the data can be used."""
    persons = "/".join(str(len(splits[split].persons)) for split in SPLIT_NAMES)
    lines = [f"{name}: {sentence}" for edition, sentence in layout.editions.items() if edition == persons]
    for earlier, later in (("train", "val"), ("train", "test"), ("val", "test")):
        shared = sorted(set(splits[earlier].persons) & set(splits[later].persons))
        if shared:
            complaint = Complaints()
            for person in shared:
                complaint.add(f"a person of {earlier} is also in {later}", f"person {person!r}")
            lines.extend(complaint.lines(name))
    return lines


def _absent(label: str, layout: Layout, dataset: Dataset) -> list[str]:
    missing = [split for split in layout.required if split not in dataset.splits]
    silent = [name for name, split in dataset.splits.items() if not split.captions]
    none = [] if missing or dataset.splits else [f"{label}: no usable record"]
    return [
        *none,
        *(f"{label}: no usable record of the split {split!r}" for split in missing),
        *(f"{label}: no caption in the split {split!r}" for split in silent),
    ]
