"""The datasets that ship with the harness, and how any dataset is loaded by its name. Torch-free."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import harness.data.rendered  # noqa: F401  (registers the rendered datasets)
from harness.data.dataset import Dataset
from harness.data.dataset_files import load_from_root
from harness.data.decoding import ProgressCallback
from harness.data.duplicates import duplicate_notes
from harness.data.image_hashes import image_digests
from harness.data.joint import joined, parts_of
from harness.data.layout import shipped_layout
from harness.data.missing_images import missing_images
from harness.data.splits import carve_validation, fingerprint, keep_identities, without_images
from harness.machine.errors import DataError
from harness.registry import DatasetEntry, dataset, register_dataset

BENCHMARKS = ("cuhk-pedes", "icfg-pedes", "rstpreid")

for _name in BENCHMARKS:
    _layout = shipped_layout(_name)
    register_dataset(
        _name,
        summary=_layout.summary,
        load=partial(load_from_root, _layout, _name),
        home=_layout.folder,
        how_to_get=_layout.how_to_get,
        text_length=_layout.text_length,
    )


def load_dataset(
    name: str,
    data_root: Path | None,
    *,
    subset: int | None = None,
    skip_broken: bool = False,
    read_images: bool = True,
    progress: ProgressCallback | None = None,
) -> Dataset:
    """Read the dataset registered under `name`, ready for training and evaluation.

    A dataset with a train but no validation split gets one carved by identity; one with a test split
    alone can only be evaluated on. Nothing is decoded here: truncated images are found when the image
    cache is built.

    Args:
        name: a registered dataset, or several of them for joint training, joined by `+`.
        data_root: the folder below which the benchmark datasets lie; embedded ones need none.
        subset: keep this many identities per split.
        skip_broken: leave out images that are missing or empty, and count them in `skipped`.
        read_images: read the image files that are new or changed, for the fingerprint; there is none
            otherwise.
        progress: called with (files read, files to read).

    Raises:
        DataError: every reason why the dataset cannot be used.
        UnknownNameError: no such dataset.
    """
    names = parts_of(name)
    if len(names) > 1:
        options = {"subset": subset, "skip_broken": skip_broken, "read_images": read_images}
        return joined(name, [load_dataset(n, data_root, progress=progress, **options) for n in names])  # type: ignore[arg-type]
    entry = dataset(name)
    annotated: Dataset = entry.loader()(data_root)
    present = _present(annotated, entry, data_root, skip_broken)
    whole = carve_validation(present) if "train" in present.splits else present
    used = whole if subset is None else keep_identities(whole, subset)
    if not read_images:
        return used
    images = [path for split in used.splits.values() for path in split.image_paths]
    hashes = iter(image_digests(images, used.root, progress))
    digests = {name: tuple(islice(hashes, len(split.image_paths))) for name, split in used.splits.items()}
    identified = replace(used, digests=digests)
    notes = (*identified.notes, *duplicate_notes(identified))
    return replace(identified, notes=notes, fingerprint=fingerprint(identified))


def _present(annotated: Dataset, entry: DatasetEntry, data_root: Path | None, skip_broken: bool) -> Dataset:
    """The dataset without its missing images; `DataError` names them unless `skip_broken`."""
    missing = missing_images(annotated, [data_root] if data_root else [])
    if missing.escaping.counts or (missing.count and not skip_broken):
        lines = missing.lines(entry.how_to_get)
        hint = [] if missing.escaping.counts else [f"{annotated.name}: --skip-broken leaves these images out"]
        raise DataError([*lines, *hint])
    if not missing.count:
        return annotated
    splits = {name: without_images(split, missing.missing[name]) for name, split in annotated.splits.items()}
    empty = [name for name, split in splits.items() if not split.image_paths]
    if empty:
        raise DataError([*missing.lines(entry.how_to_get), f"{annotated.name}: no image is left in {empty}"])
    counted = "1 image that is" if missing.count == 1 else f"{missing.count:,} images that are"
    note = f"{annotated.name}: skipped {counted} missing, empty or unreadable"
    return replace(
        annotated,
        splits=splits,
        official=False,
        notes=(*annotated.notes, note),
        problems=(*annotated.problems, *missing.lines(entry.how_to_get)),
        skipped=missing.count,
    )
