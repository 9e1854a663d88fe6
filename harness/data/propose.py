"""A proposed dataset file for a user's folder: finds the annotation, guesses its columns. Torch-free."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from harness.data.annotations import read_annotation
from harness.data.dataset import SPLIT_NAMES
from harness.data.layout import SUFFIX, read_layout
from harness.data.rows import BY_SUFFIX, read_rows
from harness.machine.errors import DataError
from harness.machine.words import plural_are

SAMPLE = 1000
SHOWN = 10
CANDIDATES = {
    "image": (
        "file_path",
        "img_path",
        "image_path",
        "file_name",
        "filename",
        "image",
        "img",
        "path",
        "photo",
        "file",
    ),
    "person": ("id", "person_id", "person", "pid", "identity", "image_id", "label", "who"),
    "captions": ("captions", "caption", "text", "description", "sentence", "said"),
    "split": ("split", "subset", "partition", "set", "part"),
}
"""Names of columns that are taken for each purpose, the likeliest first."""
SPLIT_WORDS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
SPLIT_WORDS |= {"dev": "val", "test": "test", "testing": "test", "query": "test", "gallery": "test"}
SPLIT_WORDS |= {"learn": "train", "exam": "test"}


@dataclass(frozen=True)
class Proposal:
    """A dataset file that was written, the first rows as it reads them, and what it could not guess."""

    path: Path
    rows: tuple[str, ...]
    unsure: tuple[str, ...] = ()


def propose(folder: Path) -> Proposal:
    """Write `NAME.dataset.yaml` into a folder with one annotation file, and read its first rows with it.

    Raises:
        DataError: no annotation file or several, a dataset file that exists already, no column for the
            images, persons or captions, or no image where the paths lead.
    """
    target = folder / f"{folder.absolute().name}{SUFFIX}"
    if target.exists():
        raise DataError([f"{target}: exists already; delete it to propose another"])
    annotation = _annotation(folder)
    rows = [row for row in islice(read_rows(annotation), SAMPLE) if isinstance(row, dict)]
    columns = _columns(annotation, rows)
    content: dict[str, Any] = {
        "annotations": annotation.relative_to(folder).as_posix(),
        "images": _image_folder(folder, annotation, [str(row.get(columns["image"])) for row in rows]),
        "columns": columns,
    }
    if annotation.suffix.lower() != ".json":
        content["rows"] = "caption"
    words = _split_words(annotation, columns)
    unknown = {word: count for word, count in words.items() if word.lower() not in SPLIT_WORDS}
    if "split" in columns:
        others = sorted(set(words) - set(SPLIT_NAMES))
        content["splits"] = {word: SPLIT_WORDS.get(word.lower(), "skip") for word in others}
    else:
        content["only"] = "test"
    text = "# Proposed from the folder's content; change what is wrong, then run `data check`.\n"
    target.write_text(text + yaml.safe_dump(content, sort_keys=False, allow_unicode=True), "utf-8")
    shown = _first_rows(folder, annotation, target, list(unknown), rows)
    return Proposal(target, shown, tuple(_unrecognised(target, columns, unknown)))


def _split_words(annotation: Path, columns: dict[str, str]) -> Counter[str]:
    """How many rows each word of the split column has; of every row, for tables are often sorted by split."""
    if "split" not in columns:
        return Counter()
    return Counter(str(row.get(columns["split"])) for row in read_rows(annotation) if isinstance(row, dict))


def _first_rows(
    folder: Path, annotation: Path, target: Path, unknown: Sequence[str], rows: Sequence[dict[str, Any]]
) -> tuple[str, ...]:
    """The first rows as a dataset file reads them; those of an unknown split are shown as left out."""
    layout = read_layout(target)
    every_row = layout.model_copy(update={"splits": {**layout.splits, **dict.fromkeys(unknown, "train")}})
    reading = read_annotation(annotation, every_row, images=folder / layout.images)
    shown = []
    for record in reading.records[:SHOWN]:
        word = str(rows[record.index].get(layout.columns.split)) if record.index < len(rows) else ""
        split = f"skip ({word})" if word in unknown else record.split
        shown.append(f"{split}  person {record.person}  {record.path}  {' | '.join(record.captions)}")
    return (*shown, *reading.refused.lines(annotation.name))


def _unrecognised(target: Path, columns: dict[str, str], unknown: dict[str, int]) -> Iterator[str]:
    """What to write for the words of the split column that no split is known for."""
    for word, count in unknown.items():
        yield (
            f"{target}: split {word!r} in column {columns['split']!r} was not recognised, so its "
            f"{plural_are(count, 'row')} left out (skip); if they belong to a split, write "
            f"`{word}: train` (or val, test) under `splits:`"
        )


def _annotation(folder: Path) -> Path:
    if not folder.is_dir():
        raise DataError([f"{folder}: no such folder"])
    annotations = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in BY_SUFFIX and path.is_file()
    )
    if len(annotations) == 1:
        return annotations[0]
    names = ", ".join(path.name for path in annotations[:20]) or "none"
    hint = "write a dataset file by hand (harness/data/README.md)"
    raise DataError(
        [f"{folder}: one annotation file ({', '.join(BY_SUFFIX)}) is expected, found {names}; {hint}"]
    )


def _columns(annotation: Path, rows: Sequence[dict[str, Any]]) -> dict[str, str]:
    names = {str(name).lower(): str(name) for row in rows[:1] for name in row}
    chosen = {
        purpose: next((names[candidate] for candidate in candidates if candidate in names), "")
        for purpose, candidates in CANDIDATES.items()
    }
    missing = [purpose for purpose in ("image", "person", "captions") if not chosen[purpose]]
    if missing:
        have = ", ".join(names.values()) or "no columns"
        raise DataError([f"{annotation}: no column looks like the {name}; it has {have}" for name in missing])
    return {purpose: name for purpose, name in chosen.items() if name}


def _image_folder(folder: Path, annotation: Path, paths: Sequence[str]) -> str:
    """The folder below which most of the annotated paths exist."""
    best, hits = ".", 0
    for candidate in _folders(folder):
        existing = sum((folder / candidate / path).is_file() for path in paths[:100])
        if existing > hits:
            best, hits = candidate, existing
    if not hits:
        raise DataError([f"{annotation}: no image is where its paths lead, such as {paths[:1]}"])
    return best


def _folders(folder: Path) -> Iterator[str]:
    """The folder itself and the two levels below it."""
    yield "."
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir():
            yield entry.name
            yield from (
                f"{entry.name}/{inner.name}"
                for inner in sorted(os.scandir(entry), key=lambda inner: inner.name)[:200]
                if inner.is_dir()
            )
