"""Croissant metadata (JSON-LD of MLCommons) of the datasets that a report's methods were tested on."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.data.dataset import Dataset
from harness.exchange.page_export import PageExport
from harness.machine.errors import DataError, HarnessError
from harness.machine.files import atomic_write
from reports.context import ReportContext

METADATA, RECORDS = "croissant.json", "records.csv"
PROFILE = "http://mlcommons.org/croissant/1.0"
COLUMNS: Mapping[str, str] = {
    "split": "train, val or test",
    "person": "Who the image shows, as annotated",
    "image": "Path of the image below the dataset's folder",
    "caption": "A sentence that describes the image; empty where it has none",
}
_FORMATS = {".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
_OWN_WORDS = (
    "citeAs column conformsTo equivalentProperty extract field fileProperty fileObject fileSet format "
    "includes isLiveDataset jsonPath key md5 parentField path recordSet references regex repeated replace "
    "samplingRate separator source subField transform"
)


def write(export: PageExport) -> None:
    """Write `croissant.json` and `records.csv` of every dataset of a report, in a folder of its name.

    Raises:
        DataError: a dataset is not here, or its content is not the one that the report is about.
    """
    mistakes, found = [], []
    for name, subset, fingerprint in sorted(described_datasets(export.context), key=str):
        try:
            found.append((name, subset, _as_used(name, subset, fingerprint, export.data_root)))
        except HarnessError as error:
            mistakes += [f"--export croissant: {line}" for line in error.lines]
    if mistakes:
        raise DataError(mistakes)
    for name, subset, dataset in found:
        folder = export.folder / (name if subset is None else f"{name}-{subset}-people")
        write_dataset(dataset, folder, licence_of(name))


def described_datasets(context: ReportContext) -> set[tuple[str, int | None, str]]:
    """Name, people kept per split, and fingerprint of every dataset that has results."""
    return {
        (str(row["target"]), (row.get("data") or {}).get("subset"), str(row.get("fingerprint", "")))
        for cell in context.stored_runs.cells
        if cell.status == "done"
        for row in cell.results
    }


def _as_used(name: str, subset: int | None, fingerprint: str, data_root: Path | None) -> Dataset:
    from harness.data.datasets import load_dataset

    dataset = load_dataset(name, data_root, subset=subset)
    if dataset.fingerprint != fingerprint:
        raise DataError([f"{name}: the files that are here are not those that the results belong to"])
    return dataset


def licence_of(name: str) -> str:
    """The terms of use of a registered dataset, as its description states them; empty where it does not."""
    from harness import registry
    from harness.data.datasets import BENCHMARKS
    from harness.data.layout import SUFFIX, read_layout, shipped_layout
    from harness.data.rendered import manifest

    described = [read_layout(path) for path in registry.plugins() if path.name.endswith(SUFFIX)]
    for layout in described:
        if layout.name == name:
            return layout.licence
    if name in BENCHMARKS:
        return shipped_layout(name).licence
    rendered = manifest()
    return str(rendered["licence"]) if name in rendered["datasets"] else ""


def write_dataset(dataset: Dataset, folder: Path, licence: str = "") -> None:
    """Write the metadata and the records of one dataset.

    Args:
        dataset: as loaded.
        folder: where to write.
        licence: the terms of use; empty where they are not known.
    """
    records = _records(dataset).encode()
    atomic_write(folder / RECORDS, records)
    text = json.dumps(metadata(dataset, records, licence), indent=1, ensure_ascii=False)
    atomic_write(folder / METADATA, text + "\n")


def metadata(dataset: Dataset, records: bytes, licence: str) -> dict[str, Any]:
    """The JSON-LD of a dataset: its files, and what the columns of its records mean."""
    about = [
        "Images of people and sentences that describe them, for text-to-image person retrieval.",
        *(
            f"{name}: {', '.join(f'{count:,} {what}' for what, count in split.counts().items())}."
            for name, split in dataset.splits.items()
        ),
        f"Put {METADATA} and {RECORDS} into the dataset's folder: paths of images begin there.",
        *dataset.notes,
    ]
    return {
        "@context": _context(),
        "@type": "sc:Dataset",
        "conformsTo": PROFILE,
        "name": dataset.name,
        "description": " ".join(about).replace("person_ids", "people"),
        **({"license": licence} if licence else {}),
        **({"identifier": f"sha256:{dataset.fingerprint}"} if dataset.fingerprint else {}),
        "distribution": [_records_file(records), *_image_files(dataset)],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "records",
                "name": "records",
                "description": "One row a caption.",
                "field": [_field(name, text) for name, text in COLUMNS.items()],
            }
        ],
    }


def _context() -> dict[str, Any]:
    words: dict[str, Any] = {name: f"cr:{name}" for name in _OWN_WORDS.split()}
    words |= {
        "@language": "en",
        "@vocab": "https://schema.org/",
        "conformsTo": "dct:conformsTo",
        "cr": "http://mlcommons.org/croissant/",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "dct": "http://purl.org/dc/terms/",
        "examples": {"@id": "cr:examples", "@type": "@json"},
        "rai": "http://mlcommons.org/croissant/RAI/",
        "sc": "https://schema.org/",
    }
    return words


def _records_file(records: bytes) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": RECORDS,
        "name": RECORDS,
        "contentUrl": RECORDS,
        "contentSize": f"{len(records)} B",
        "encodingFormat": "text/csv",
        "sha256": hashlib.sha256(records).hexdigest(),
    }


def _image_files(dataset: Dataset) -> Iterator[dict[str, Any]]:
    """A set of files for each kind of image."""
    kinds: dict[str, set[str]] = {}
    for path in _paths(dataset):
        kinds.setdefault(path.suffix, set()).add(path.parts[0] if len(path.parts) > 1 else "")
    for suffix, folders in sorted(kinds.items()):
        yield {
            "@type": "cr:FileSet",
            "@id": f"images{suffix}",
            "name": f"images{suffix}",
            "description": "The images, one file each.",
            "encodingFormat": _FORMATS.get(suffix.lower(), "application/octet-stream"),
            "includes": [f"{folder}/**/*{suffix}" if folder else f"*{suffix}" for folder in sorted(folders)],
        }


def _paths(dataset: Dataset) -> Iterator[Path]:
    for split in dataset.splits.values():
        yield from (_below(dataset, path) for path in split.image_paths)


def _below(dataset: Dataset, path: Path) -> Path:
    return Path(os.path.relpath(path, dataset.root))


def _field(name: str, text: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": f"records/{name}",
        "name": name,
        "description": text,
        "dataType": "sc:Text",
        "source": {"fileObject": {"@id": RECORDS}, "extract": {"column": name}},
    }


def _records(dataset: Dataset) -> str:
    """The records as CSV: a row for each caption, and for each image without one."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for name, split in dataset.splits.items():
        captions: dict[int, list[str]] = {}
        for caption, image in zip(split.captions, split.caption_image.tolist(), strict=True):
            captions.setdefault(image, []).append(caption)
        for image, path in enumerate(split.image_paths):
            person = split.persons[split.image_person[image]]
            below = _below(dataset, path).as_posix()
            writer.writerows((name, person, below, caption) for caption in captions.get(image, [""]))
    return text.getvalue()
