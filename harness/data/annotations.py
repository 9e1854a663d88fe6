"""Annotation files turned into records: what a layout's columns mean, checked row by row. Torch-free.

Nothing in a file is trusted: the type of every value, the length of every caption and the path of every image
are checked, and all mistakes are reported together.
"""

from __future__ import annotations

import gc
import posixpath
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.data.dataset import SPLIT_NAMES
from harness.data.layout import Layout
from harness.data.rows import read_rows
from harness.registry import nearest

MAX_CAPTION_CHARACTERS = 10_000
MAX_PATH_CHARACTERS = 1_000
MAX_ID_CHARACTERS = 200
EXAMPLES = 3

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What moves a terminal's cursor or reverses its text: no name of a person or a file needs it."""
_WHOLE_NUMBER = re.compile(r"\+?0*(\d+)(?:\.0*)?", re.ASCII)
_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


@dataclass(frozen=True, slots=True)
class Record:
    """One annotated image: `path` is relative to the image folder, with `/` between its parts."""

    index: int
    split: str
    person: str
    path: str
    captions: tuple[str, ...]


@dataclass
class Complaints:
    """Problems by kind, each with its number and first examples."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, example: str) -> None:
        """Count one more problem of this `kind`."""
        self.counts[kind] = self.counts.get(kind, 0) + 1
        shown = self.examples.setdefault(kind, [])
        if len(shown) < EXAMPLES:
            shown.append(example)

    def lines(self, prefix: str) -> list[str]:
        """One line per kind: `prefix: kind, 12 times: example; example; example; …`."""
        lines = []
        for kind, count in self.counts.items():
            more = "; …" if count > len(self.examples[kind]) else ""
            times = f", {count:,} times" if count > 1 else ""
            lines.append(f"{prefix}: {kind}{times}: {'; '.join(self.examples[kind])}{more}")
        return lines


@dataclass
class Reading:
    """The content of annotation files: usable records, reasons to refuse them, and repairs."""

    records: list[Record] = field(default_factory=list)
    refused: Complaints = field(default_factory=Complaints)
    repaired: Complaints = field(default_factory=Complaints)
    has_splits: bool = False


def read_annotation(
    path: Path,
    layout: Layout = Layout(),  # noqa: B008  (frozen)
    *,
    images: Path | None = None,
    split: str = "",
    reading: Reading | None = None,
) -> Reading:
    """Read one annotation file; columns that the layout does not name are ignored.

    Args:
        path: the file.
        layout: what its columns mean; by default those of CUHK-PEDES.
        images: the image folder; absolute paths below it are accepted.
        split: the split of all records; by default each record names its own.
        reading: continue this reading, when a dataset has several files.

    Raises:
        DataError: the file cannot be read at all (not a file, too large, not what its name says).
    """
    reading = reading if reading is not None else Reading()
    reader = _RowReader(layout, images or path.parent / layout.images, split, reading)
    with without_garbage_collection():
        for index, row in enumerate(read_rows(path, layout.format)):
            if not isinstance(row, dict):
                reading.refused.add("a record that is not an object", f"record {index} is {_shown(row)}")
                continue
            record = reader.record(index, row)
            if record is not None:
                reading.records.append(record)
    return reading


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Pause the search for reference cycles: among millions of new records it takes a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _RowReader:
    """Turns the rows of one file into records; values that repeat are checked once."""

    def __init__(self, layout: Layout, images: Path, split: str, reading: Reading) -> None:
        self.layout, self.columns, self.reading = layout, layout.columns, reading
        self.refused, self.repaired = reading.refused, reading.repaired
        self.constant_split = split or layout.only
        self.split_names = {**{name: name for name in SPLIT_NAMES}, **layout.splits}
        self.images = images
        self.pattern = re.compile(layout.person_pattern) if layout.person_pattern else None
        self.persons: dict[Any, str | None] = {}
        self.spellings: dict[str, str] = {}
        self.paths: dict[str, str | None] = {}

    def record(self, index: int, row: dict[str, Any]) -> Record | None:
        """The record of a row, or None after noting why there is none."""
        path = self._path(index, row)
        split = self._split(index, row, path)
        person = self._person(index, row, path)
        captions = self._captions(index, row)
        if split is None or person is None or path is None or captions is None:
            return None
        if split == "skip" or person in self.layout.leave_out:
            self._left_out(index, row, path, person)
            return None
        return Record(index, split, person, path, captions)

    def _left_out(self, index: int, row: dict[str, Any], path: str, person: str) -> None:
        by_folder = self.layout.split_by == "folder"
        word = path.split("/")[0] if by_folder else row.get(self.columns.split)
        if person not in self.layout.leave_out and self.layout.splits.get(str(word)) == "skip":
            kind = f"a record of split {_shown(word)}, which the dataset file leaves out (skip)"
            self.repaired.add(kind, f"record {index}")
        else:
            self.repaired.add("a record that the dataset file leaves out", f"record {index}")

    def _split(self, index: int, row: dict[str, Any], path: str | None) -> str | None:
        key = self.columns.split
        self.reading.has_splits = self.reading.has_splits or key in row
        if self.constant_split and (key not in row or not self.layout.only):
            return self.constant_split
        if self.layout.split_by == "folder":
            if path is None:
                return None
            value: Any = path.split("/")[0]
        elif key not in row:
            self.refused.add(f"a record without {key!r}", f"record {index}{_similar(key, row)}")
            return None
        else:
            value = row[key]
        known = self.split_names.get(value) if isinstance(value, str) else None
        if known is None:
            hint = _meant(value[:40]) if isinstance(value, str) else None
            meant = f", did you mean {hint!r}?" if hint else ""
            kind = "an unknown split (train, val and test are known)"
            self.refused.add(kind, f"record {index} says {_shown(value)}{meant}")
        elif self.layout.only and known != self.layout.only:
            return "skip"
        return known

    def _person(self, index: int, row: dict[str, Any], path: str | None) -> str | None:
        """The identity as text; 12, 12.0, "12", " 12 " and "0012" are one person."""
        if self.pattern is not None:
            if path is None:
                return None
            match = self.pattern.search(posixpath.basename(path))
            if match is None:
                self.refused.add(
                    "a file name that `person_pattern` does not match", f"record {index}: {path}"
                )
                return None
            value: Any = match["person"]
        else:
            key = next((name for name in self.columns.person if name in row), None)
            if key is None:
                self._lacks(index, row, self.columns.person)
                return None
            value = row[key]
        known = (type(value), value) if isinstance(value, int | str | float) else None
        if known is None or known not in self.persons:
            person = self._checked_person(index, value)
            if known is None or person is None:
                return person
            self.persons[known] = person
        return self.persons[known]

    def _checked_person(self, index: int, value: Any) -> str | None:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int | str):
            kind = "an identity that is neither a number nor a text"
            self.refused.add(kind, f"record {index} has {_shown(value)}")
            return None
        spelling = _LONE_SURROGATE.sub("\ufffd", str(value).strip())
        if not 0 < len(spelling) <= MAX_ID_CHARACTERS:
            kind = f"an identity that is empty or over {MAX_ID_CHARACTERS} characters"
            self.refused.add(kind, f"record {index}")
            return None
        if _CONTROL.search(spelling):
            kind = "an identity with a forbidden character"
            self.refused.add(kind, f"record {index} has {_shown(value)}")
            return None
        number = _WHOLE_NUMBER.fullmatch(unicodedata.normalize("NFKC", spelling))
        person = number[1] if number else unicodedata.normalize("NFC", spelling)
        before = self.spellings.setdefault(person, spelling)
        if before != spelling:
            kind = "an identity written in two ways was taken as one person"
            self.repaired.add(kind, f"{before!r} and {spelling!r} (record {index})")
        return person

    def _path(self, index: int, row: dict[str, Any]) -> str | None:
        value = self._raw_path(index, row)
        if value is None:
            return None
        known = isinstance(value, str) and value in self.paths
        if not known:
            path = self._checked_path(index, value)
            if not isinstance(value, str):
                return path
            if path is None:
                return None
            self.paths[value] = path
        return self.paths[value]

    def _raw_path(self, index: int, row: dict[str, Any]) -> Any:
        for name in self.columns.image:
            if "{" in name:
                fields = _PLACEHOLDER.findall(name)
                if all(field_name in row for field_name in fields):
                    return _PLACEHOLDER.sub(lambda match: str(row[match[1]]), name)
            elif name in row:
                value = row[name]
                if value is None:
                    self._unusable_path(index, value)
                return value
        self._lacks(index, row, self.columns.image)
        return None

    def _unusable_path(self, index: int, value: Any) -> None:
        self.refused.add("an image path that is not a usable text", f"record {index} has {_shown(value)}")

    def _checked_path(self, index: int, value: Any) -> str | None:
        if not isinstance(value, str) or not value.strip() or len(value) > MAX_PATH_CHARACTERS:
            self._unusable_path(index, value)
            return None
        if _CONTROL.search(value) or _LONE_SURROGATE.search(value):
            kind = "an image path with a forbidden character"
            self.refused.add(kind, f"record {index} names {_shown(value)}")
            return None
        # Some copies were annotated on Windows; there, as here, a path may only lead further down.
        path = posixpath.normpath(value.replace("\\", "/"))
        if re.match(r"[A-Za-z]:", path):
            kind = "an absolute image path of another machine (paths below the image folder are expected)"
            self.refused.add(kind, f"record {index} names {_shown(value)}")
            return None
        root = self.images.as_posix().rstrip("/") + "/"
        path = path.removeprefix(root)
        if path.startswith(("/", "../")) or path in ("..", "."):
            self.refused.add(
                "an image path that leaves the data root", f"record {index} names {_shown(value)}"
            )
            return None
        return path

    def _captions(self, index: int, row: dict[str, Any]) -> tuple[str, ...] | None:
        names = [name for name in self.columns.captions if name in row]
        if not names:
            self._lacks(index, row, self.columns.captions)
            return None
        only = row[names[0]] if len(names) == 1 else None
        # Nearly every row of a large table: nothing to repair or refuse.
        if isinstance(only, str) and only.isascii() and only.strip() and len(only) <= MAX_CAPTION_CHARACTERS:
            return (only,)
        sentences: list[str] = []
        for name in names:
            value = row[name]
            texts = [value] if isinstance(value, str) else value
            if texts is None and len(names) > 1:
                continue
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                self.refused.add("captions that are not texts", f"record {index} has {_shown(value)}")
                return None
            sentences += texts
        longest = max(map(len, sentences), default=0)
        if longest > MAX_CAPTION_CHARACTERS:
            kind = f"a caption of over {MAX_CAPTION_CHARACTERS:,} characters"
            self.refused.add(kind, f"record {index} has {longest:,}")
            return None
        filled = [sentence for sentence in sentences if sentence.strip()]
        if len(filled) < len(sentences) or not sentences:
            empty = len(sentences) - len(filled)
            what = f"{empty} of {len(sentences)} empty" if sentences else "none at all"
            self.repaired.add("an empty caption was left out; its image stays", f"record {index}: {what}")
        return tuple(self._encodable(sentence, index) for sentence in filled)

    def _encodable(self, sentence: str, index: int) -> str:
        """Half a surrogate pair cannot be written as UTF-8, so nothing downstream could store it."""
        if sentence.isascii() or _LONE_SURROGATE.search(sentence) is None:
            return sentence
        self.repaired.add("half a character was replaced by U+FFFD", f"record {index}")
        return _LONE_SURROGATE.sub("\ufffd", sentence)

    def _lacks(self, index: int, row: dict[str, Any], names: tuple[str, ...]) -> None:
        others = f" (or {', '.join(map(repr, names[1:]))})" if len(names) > 1 else ""
        self.refused.add(f"a record without {names[0]!r}{others}", f"record {index}{_similar(names[0], row)}")


def _similar(name: str, row: dict[str, Any]) -> str:
    close = nearest(name, [str(key)[:40] for key in list(row)[:50]])
    return f" (did you mean {close!r}?)" if close else ""


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return repr(value) if len(value) <= 60 else f"{value[:57]!r}…"
    return repr(value) if isinstance(value, int | float | None) else f"a {type(value).__name__}"


def _meant(split: str) -> str | None:
    begun = [name for name in SPLIT_NAMES if split.lower().startswith(name)]
    return begun[0] if begun else nearest(split, SPLIT_NAMES)
