"""The datasets that ship with the harness, and how any dataset is loaded and checked. Torch-free."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import harness.data.rendered  # noqa: F401  (registers the rendered datasets)
from harness.data.dataset import SPLIT_NAMES, DataError, Dataset
from harness.data.decoding import ProgressCallback, broken_images
from harness.data.image_hashes import image_digests
from harness.data.layouts import CUHK_PEDES, ICFG_PEDES, RSTPREID, Layout, load_layout
from harness.data.missing_images import missing_images
from harness.data.splits import carve_validation, fingerprint, keep_identities, without_images
from harness.registry import DatasetEntry, dataset, register_dataset

OFFICIAL: dict[str, tuple[Layout, str]] = {
    "cuhk-pedes": (CUHK_PEDES, "CUHK-PEDES: 13,003 persons, 40,206 images, about two captions each"),
    "icfg-pedes": (ICFG_PEDES, "ICFG-PEDES: 4,102 persons, 54,522 images, one caption each"),
    "rstpreid": (RSTPREID, "RSTPReid: 4,101 persons, 20,505 images, two captions each"),
}

for _name, (_layout, _summary) in OFFICIAL.items():
    register_dataset(
        _name,
        summary=_summary,
        load=partial(load_layout, _layout, _name),
        home=_layout.folder,
        how_to_get=_layout.how_to_get,
    )


def load_dataset(
    name: str,
    data_root: Path | None,
    *,
    subset: int | None = None,
    skip_broken: bool = False,
    contents: bool = True,
    progress: ProgressCallback | None = None,
) -> Dataset:
    """Read the dataset registered under `name`, ready for training and evaluation.

    A dataset without validation split gets one carved by identity. Nothing is decoded here: truncated
    images are found, and named, when the image cache is built.

    Args:
        name: a registered dataset.
        data_root: the folder below which the benchmark datasets lie; embedded ones need none.
        subset: keep this many identities per split.
        skip_broken: leave out images that are missing or empty, and count them in `skipped`.
        contents: read the image files that are new or were written to since, for the fingerprint; there is
            none otherwise.
        progress: called with (files read, files to read).

    Raises:
        DataError: every reason why the dataset cannot be used.
        UnknownNameError: no such dataset.
    """
    entry = dataset(name)
    annotated: Dataset = entry.loader()(data_root)
    present = _present(annotated, entry, data_root, skip_broken)
    whole = carve_validation(present)
    used = whole if subset is None else keep_identities(whole, subset)
    if not contents:
        return used
    images = [path for split in used.splits.values() for path in split.image_paths]
    found = iter(image_digests(images, used.root, progress))
    digests = {name: tuple(islice(found, len(split.image_paths))) for name, split in used.splits.items()}
    identified = replace(used, digests=digests)
    return replace(identified, fingerprint=fingerprint(identified))


def _present(annotated: Dataset, entry: DatasetEntry, data_root: Path | None, skip_broken: bool) -> Dataset:
    survey = missing_images(annotated, [data_root] if data_root else [])
    if survey.escaping.counts or (survey.count and not skip_broken):
        lines = survey.lines(entry.how_to_get)
        hint = [] if survey.escaping.counts else [f"{annotated.name}: --skip-broken leaves these images out"]
        raise DataError([*lines, *hint])
    if not survey.count:
        return annotated
    splits = {name: without_images(split, survey.missing[name]) for name, split in annotated.splits.items()}
    empty = [name for name, split in splits.items() if not split.image_paths]
    if empty:
        raise DataError([*survey.lines(entry.how_to_get), f"{annotated.name}: no image is left in {empty}"])
    note = f"{annotated.name}: {survey.count:,} missing images were skipped"
    return replace(
        annotated,
        splits=splits,
        official=False,
        notes=(*annotated.notes, note),
        problems=(*annotated.problems, *survey.lines(entry.how_to_get)),
        skipped=survey.count,
    )


def check_dataset(
    name: str,
    data_root: Path | None,
    *,
    decode: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """What `data check --json` prints: counts per split, whether they are official, and all problems.

    `damaged` is true when the dataset, as it is, would be refused: an annotation that cannot be used,
    missing or truncated images, a path that leaves the data root.

    Args:
        name: a registered dataset.
        data_root: the folder below which the benchmark datasets lie.
        decode: read and decode every image, which finds truncated ones and takes a minute for a full
            benchmark; without it there is no fingerprint.
        progress: called with (images decoded, images in all).

    Returns:
        `{"dataset", "splits": {split: {"person_ids", "images", "captions"}}, "official", "problems", "notes",
        "damaged", "fingerprint"}`, with splits as they would be used, a carved one included.
    """
    problems: list[str] = []
    loaded: Dataset | None = None
    try:
        loaded = load_dataset(name, data_root, contents=decode)
    except DataError as error:
        problems.extend(error.problems)
        loaded = _what_is_left(name, data_root, decode)
    damaged = bool(problems)
    if loaded is not None:
        broken = _broken_lines(loaded, progress) if decode else []
        problems.extend(line for line in (*broken, *loaded.problems) if line not in problems)
        damaged = damaged or bool(broken)
    empty = {"person_ids": 0, "images": 0, "captions": 0}
    splits = loaded.splits if loaded else {}
    return {
        "dataset": name,
        "splits": {split: splits[split].counts() if split in splits else empty for split in SPLIT_NAMES},
        "official": bool(loaded and loaded.official and not damaged),
        "problems": problems,
        "notes": list(loaded.notes) if loaded else [],
        "damaged": damaged,
        "fingerprint": loaded.fingerprint if loaded else "",
    }


def _what_is_left(name: str, data_root: Path | None, contents: bool) -> Dataset | None:
    try:
        return load_dataset(name, data_root, skip_broken=True, contents=contents)
    except DataError:
        return None


def _broken_lines(loaded: Dataset, progress: Callable[[int, int], None] | None) -> list[str]:
    paths = [path for split in loaded.splits.values() for path in split.image_paths]
    return [f"{loaded.name}: {paths[index]}: {why}" for index, why in broken_images(paths, progress).items()]
