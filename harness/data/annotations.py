"""Annotation files of the benchmark datasets, read as what they are: other people's data. Torch-free.

Nothing is believed: the file's size, its nesting, the type of every field, the length of every caption and
the path of every image are checked, and all that is wrong is reported at once.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.data.dataset import SPLIT_NAMES
from harness.data.jsonlist import json_list
from harness.registry import nearest

MAX_CAPTION_CHARACTERS = 10_000
MAX_PATH_CHARACTERS = 1_000
MAX_ID_CHARACTERS = 200
EXAMPLES = 3

PATH_KEYS = ("file_path", "img_path")

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What moves a terminal's cursor or turns its text around: no name of a person or a file needs it."""


@dataclass(frozen=True)
class Record:
    """One annotated image: `path` is relative to the image folder, with `/` between its parts."""

    index: int
    split: str
    person: str
    path: str
    captions: tuple[str, ...]


@dataclass
class Complaints:
    """Problems of one kind are told once, with their number and first examples, however many there are."""

    counts: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, example: str) -> None:
        """Note one more problem of this `kind`."""
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
    """What an annotation file holds: usable records, reasons to refuse it, and what was mended on the way."""

    records: list[Record]
    refused: Complaints
    mended: Complaints
    has_splits: bool


def read_annotation(path: Path) -> Reading:
    """Read a list of `{split, captions, file_path | img_path, id}`; other keys are ignored.

    Raises:
        DataError: the file cannot be read at all (not a file, too large, not JSON, not a list of records).
    """
    reading = Reading([], Complaints(), Complaints(), has_splits=False)
    for index, raw in enumerate(json_list(path)):
        if not isinstance(raw, dict):
            reading.refused.add("a record that is not an object", f"record {index} is {_shown(raw)}")
            continue
        reading.has_splits = reading.has_splits or "split" in raw
        record = _record(index, raw, reading)
        if record is not None:
            reading.records.append(record)
    return reading


def _record(index: int, raw: dict[str, Any], reading: Reading) -> Record | None:
    split = _split(index, raw, reading.refused)
    person = _person(index, raw, reading.refused)
    path = _path(index, raw, reading.refused)
    captions = _captions(index, raw, reading)
    if split is None or person is None or path is None or captions is None:
        return None
    return Record(index, split, person, path, captions)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return repr(value) if len(value) <= 60 else f"{value[:57]!r}…"
    return repr(value) if isinstance(value, int | float | None) else f"a {type(value).__name__}"


def _split(index: int, raw: dict[str, Any], refused: Complaints) -> str | None:
    if "split" not in raw:
        refused.add("a record without 'split'", f"record {index}")
        return None
    value = raw["split"]
    if value in SPLIT_NAMES:
        return str(value)
    hint = _meant(value[:40]) if isinstance(value, str) else None
    meant = f", did you mean {hint!r}?" if hint else ""
    kind = "an unknown split (train, val and test are known)"
    refused.add(kind, f"record {index} says {_shown(value)}{meant}")
    return None


def _meant(split: str) -> str | None:
    begun = [name for name in SPLIT_NAMES if split.lower().startswith(name)]
    return begun[0] if begun else nearest(split, SPLIT_NAMES)


def _person(index: int, raw: dict[str, Any], refused: Complaints) -> str | None:
    """The identity as text: 12, 12.0, "12" and " 12 " are one person; "012" is another."""
    if "id" not in raw:
        refused.add("a record without 'id'", f"record {index}")
        return None
    value = raw["id"]
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        refused.add("an identity that is neither a number nor a text", f"record {index} has {_shown(value)}")
        return None
    person = _LONE_SURROGATE.sub("�", str(value).strip())
    if not 0 < len(person) <= MAX_ID_CHARACTERS:
        refused.add(f"an identity that is empty or over {MAX_ID_CHARACTERS} characters", f"record {index}")
        return None
    if _CONTROL.search(person):
        refused.add("an identity with a forbidden character", f"record {index} has {_shown(value)}")
        return None
    return person


def _path(index: int, raw: dict[str, Any], refused: Complaints) -> str | None:
    keys = [key for key in PATH_KEYS if key in raw]
    if not keys:
        refused.add("a record without 'file_path' (or 'img_path')", f"record {index}")
        return None
    value = raw[keys[0]]
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_PATH_CHARACTERS:
        refused.add("an image path that is not a usable text", f"record {index} has {_shown(value)}")
        return None
    # Some copies were annotated on Windows; there, as here, a path may only lead further down.
    path = posixpath.normpath(value.replace("\\", "/"))
    if path.startswith(("/", "../")) or path in ("..", ".") or re.match(r"[A-Za-z]:", path):
        refused.add("an image path that leaves the data root", f"record {index} names {_shown(value)}")
        return None
    if _CONTROL.search(path) or _LONE_SURROGATE.search(path):
        refused.add("an image path with a forbidden character", f"record {index} names {_shown(value)}")
        return None
    return path


def _captions(index: int, raw: dict[str, Any], reading: Reading) -> tuple[str, ...] | None:
    if "captions" not in raw:
        reading.refused.add("a record without 'captions'", f"record {index}")
        return None
    value = raw["captions"]
    sentences = [value] if isinstance(value, str) else value
    if not isinstance(sentences, list) or not all(isinstance(sentence, str) for sentence in sentences):
        reading.refused.add("captions that are not texts", f"record {index} has {_shown(value)}")
        return None
    longest = max(map(len, sentences), default=0)
    if longest > MAX_CAPTION_CHARACTERS:
        kind = f"a caption of over {MAX_CAPTION_CHARACTERS:,} characters"
        reading.refused.add(kind, f"record {index} has {longest:,}")
        return None
    kept = [sentence for sentence in sentences if sentence.strip()]
    if len(kept) < len(sentences) or not sentences:
        empty = len(sentences) - len(kept)
        what = f"{empty} of {len(sentences)} empty" if sentences else "none at all"
        reading.mended.add("an empty caption was left out; its image stays", f"record {index}: {what}")
    return tuple(_encodable(sentence, index, reading) for sentence in kept)


def _encodable(sentence: str, index: int, reading: Reading) -> str:
    """Half a surrogate pair cannot be written as UTF-8, so nothing downstream could store it."""
    if _LONE_SURROGATE.search(sentence) is None:
        return sentence
    reading.mended.add("half a character was replaced by U+FFFD", f"record {index}")
    return _LONE_SURROGATE.sub("�", sentence)
