"""The layouts in which the benchmark datasets arrive, and what is known to go wrong with them. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from harness.data.annotations import Complaints, Reading, Record, read_annotation
from harness.data.dataset import SPLIT_NAMES, DataError, Dataset, Split
from harness.data.missing_images import missing_images

Counts = tuple[int, int, int]
"""Persons, images, captions."""


@dataclass(frozen=True)
class Layout:
    """Where a dataset's files are below its folder, and by which counts the published version is recognised.

    Attributes:
        folder: the dataset's folder below the data root.
        annotation: the annotation file in that folder.
        how_to_get: what a user does to obtain it.
        published: split → (persons, images, captions); empty when there is no official table.
        images: the folder below which the annotated image paths lie.
        lookalikes: other files of the same download → what is wrong with using them.
        editions: earlier published versions, by their persons per split → what to say about them.
        caveat: said whenever the counts are not the published ones.
    """

    folder: str
    annotation: str
    how_to_get: str
    published: Mapping[str, Counts] = field(default_factory=dict)
    images: str = "imgs"
    lookalikes: Mapping[str, str] = field(default_factory=dict)
    editions: Mapping[tuple[int, int, int], str] = field(default_factory=dict)
    caveat: str = ""


CUHK_PEDES = Layout(
    folder="CUHK-PEDES",
    annotation="reid_raw.json",
    how_to_get="ask its authors (github.com/ShuangLI59/Person-Search-with-Natural-Language-Description)",
    published={"train": (11003, 34054, 68126), "val": (1000, 3078, 6158), "test": (1000, 3074, 6156)},
    lookalikes={"caption_all.json": "has no splits"},
)
ICFG_PEDES = Layout(
    folder="ICFG-PEDES",
    annotation="ICFG-PEDES.json",
    how_to_get="ask its authors (github.com/zifyloo/SSAN)",
    published={"train": (3102, 34674, 34674), "val": (0, 0, 0), "test": (1000, 19848, 19848)},
)
RSTPREID = Layout(
    folder="RSTPReid",
    annotation="data_captions.json",
    how_to_get="ask its authors (github.com/NjtechCVLab/RSTPReid-Dataset)",
    published={"train": (3701, 18505, 37010), "val": (200, 1000, 2000), "test": (200, 1000, 2000)},
    editions={
        (3901, 100, 100): (
            "this is the old RSTPReid annotation (3901/100/100 persons), since replaced by 3701/200/200: "
            "its numbers do not compare with published ones; ask the owners for the present annotation"
        )
    },
    caveat="the first RSTPReid annotation, split 3901/100/100, was replaced by 3701/200/200 persons",
)


def load_layout(layout: Layout, name: str, data_root: Path | None) -> Dataset:
    """Read the dataset `name` from its official folder below `data_root`.

    Raises:
        DataError: with everything that was looked for and not found, or is wrong.
    """
    if data_root is None:
        raise DataError(
            [
                f"{name}: no data root given; unpack the dataset so that "
                f"DATA/{layout.folder}/{layout.annotation} exists and pass "
                f"--data-root DATA or set TIPR_DATA (to get it, {layout.how_to_get})"
            ]
        )
    folder = data_root.expanduser().absolute() / layout.folder
    if not (folder / layout.annotation).is_file():
        raise DataError([_not_found(layout, name, folder)])
    return load_folder(layout, name, folder)


def load_folder(layout: Layout, name: str, folder: Path) -> Dataset:
    """Read the dataset `name` from the `folder` that holds its annotation and images.

    The splits are as annotated: nothing carved, and images that do not exist still in place.

    Raises:
        DataError: every reason to refuse the annotation, and every image missing besides.
    """
    reading = read_annotation(folder / layout.annotation)
    label = f"{name}: {layout.annotation}"
    if reading.refused.counts and not reading.has_splits:
        looks = " (is it CUHK-PEDES' caption_all.json under another name?)" if "CUHK" in layout.folder else ""
        raise DataError([f"{label}: no record has a split: this is not the split annotation{looks}"])
    records = _merged(reading)
    images = folder / layout.images
    splits = {split: _split(split, records, images) for split in SPLIT_NAMES}
    dataset = Dataset(
        name=name,
        root=folder,
        splits={split: content for split, content in splits.items() if content.image_paths},
        official=_counts(splits) == dict(layout.published),
        fingerprint="",
        notes=_notes(layout, name, splits),
        problems=(*reading.mended.lines(label), *_oddities(layout, name, splits)),
    )
    refused = [*reading.refused.lines(label), *_absent(label, dataset)]
    if refused:
        raise DataError([*refused, *missing_images(dataset).lines(layout.how_to_get)])
    return dataset


def _not_found(layout: Layout, name: str, folder: Path) -> str:
    hints = []
    if not folder.parent.is_dir():
        hints.append(f"the data root {folder.parent} does not exist")
    elif (folder.parent / layout.annotation).is_file():
        hints.append(f"it lies in {folder.parent} itself: give the folder above as data root")
    elif not folder.is_dir():
        hints.append(f"there is no folder {layout.folder} in {folder.parent}")
    for other, wrong in layout.lookalikes.items():
        if (folder / other).is_file():
            hints.append(f"{other} is there, but {wrong}: {layout.annotation} of the same download is needed")
    reason = f" ({'; '.join(hints)})" if hints else ""
    return (
        f"{name}: looked for {folder / layout.annotation}, which is not there{reason}; to get the dataset, "
        f"{layout.how_to_get} and unpack it so that this file and {folder / layout.images}/ exist"
    )


def _merged(reading: Reading) -> list[Record]:
    """One record per image: repeated records are merged, contradicting ones refused."""
    first: dict[str, Record] = {}
    repeated: dict[str, dict[str, None]] = {}
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
        else:
            captions = repeated.setdefault(record.path, dict.fromkeys(known.captions))
            captions.update(dict.fromkeys(record.captions))
            reading.mended.add("an image annotated twice was counted once", f"{record.path!r}")
    for path, captions in repeated.items():
        first[path] = replace(first[path], captions=tuple(captions))
    return list(first.values())


def _split(name: str, records: Sequence[Record], images: Path) -> Split:
    mine = [record for record in records if record.split == name]
    persons = {person: number for number, person in enumerate(dict.fromkeys(r.person for r in mine))}
    captions = [(number, caption) for number, record in enumerate(mine) for caption in record.captions]
    return Split(
        name=name,
        image_paths=tuple(images / record.path for record in mine),
        persons=tuple(persons),
        image_person=np.array([persons[record.person] for record in mine], dtype=np.int64),
        captions=tuple(caption for _, caption in captions),
        caption_image=np.array([number for number, _ in captions], dtype=np.int64),
    )


def _counts(splits: Mapping[str, Split]) -> dict[str, Counts]:
    return {
        name: (len(split.persons), len(split.image_paths), len(split.captions))
        for name, split in splits.items()
    }


def _notes(layout: Layout, name: str, splits: Mapping[str, Split]) -> tuple[str, ...]:
    found = _counts(splits)
    if not layout.published or found == dict(layout.published):
        return ()
    table = "; ".join(
        f"{split} {'/'.join(map(str, found[split]))} instead of {'/'.join(map(str, counts))}"
        for split, counts in layout.published.items()
        if found[split] != counts
    )
    caveat = f" ({layout.caveat})" if layout.caveat else ""
    return (f"{name}: persons/images/captions are not the published ones: {table}{caveat}",)


def _oddities(layout: Layout, name: str, splits: Mapping[str, Split]) -> list[str]:
    """What a user should know although the data can be used."""
    persons = tuple(len(splits[split].persons) for split in SPLIT_NAMES)
    lines = [f"{name}: {said}" for edition, said in layout.editions.items() if edition == persons]
    for earlier, later in (("train", "val"), ("train", "test"), ("val", "test")):
        shared = sorted(set(splits[earlier].persons) & set(splits[later].persons))
        if shared:
            complaint = Complaints()
            for person in shared:
                complaint.add(f"a person of {earlier} is also in {later}", f"person {person!r}")
            lines.extend(complaint.lines(name))
    return lines


def _absent(label: str, dataset: Dataset) -> list[str]:
    missing = [split for split in ("train", "test") if split not in dataset.splits]
    silent = [name for name, split in dataset.splits.items() if not split.captions]
    return [
        *(f"{label}: no usable record of the split {split!r}" for split in missing),
        *(f"{label}: no caption in the split {split!r}" for split in silent),
    ]
