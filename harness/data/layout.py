"""The schema of a dataset file, `NAME.dataset.yaml`: where a dataset's files are and what their columns mean.

A dataset file is read by `read_layout`. Its key `like` names one of the shipped files in `layouts/`,
whose keys it then only changes. Torch-free.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from harness.machine.errors import DataError
from harness.registry import DATASET_FILE, nearest

SUFFIX = DATASET_FILE
SHIPPED = Path(__file__).with_name("layouts")
MAX_BYTES = 100_000
BESIDE = "beside"
"""The value of `images` for paths that are relative to the annotation file."""

SplitName = Literal["train", "val", "test"]
Counts = tuple[int, int, int]
"""Persons, images, captions."""
_OF_ONE_DATASET = (
    "summary",
    "folder",
    "expected",
    "lookalikes",
    "editions",
    "caveat",
    "how_to_get",
    "licence",
)
"""Keys that describe the data themselves; `like` does not take them over."""


def _listed(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], BeforeValidator(_listed)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Columns(_Section):
    """Which column (or key) of a record holds what.

    Several names of `image` or `person` are alternatives, of which the first that a record has counts;
    several names of `captions` are all read. `image` may also be a template such as `{folder}/{name}.jpg`.
    """

    image: Names = ("file_path", "img_path")
    person: Names = ("id",)
    captions: Names = ("captions",)
    split: str = "split"
    camera: str = ""


class Layout(_Section):
    """A dataset file: every key with its type and default.

    Attributes:
        name: what studies call the dataset; by default the file's name.
        like: a shipped layout whose keys are the defaults of this file.
        summary: one line for `list datasets`.
        folder: of a shipped layout, the dataset's folder below the data root.
        annotations: annotation files below the dataset's folder, `*` allowed: one, several, or by split.
        optional: splits of `annotations` whose file need not exist.
        format: of the annotation files; by default known from the file name.
        images: the folder below which the image paths lie, or `beside` the annotation file.
        columns: which column holds what.
        rows: whether a record is an image, or one of the captions of an image.
        person_pattern: a regular expression of the image's file name whose group `person` is the identity,
            instead of a column.
        split_by: where the split stands: in the column `columns.split`, or in the first folder of the path.
        splits: what a split is called there → train, val, test, or `skip` for records that are left out.
        only: the one split that the dataset has; records need not name it.
        leave_out: identities that are no persons, such as the distractors `-1` of Market-1501.
        expected: split → (persons, images, captions) of the complete dataset.
        lookalikes: other files of the same download → what is wrong with them.
        editions: earlier versions, by their persons `train/val/test` → what to say of them.
        caveat: said when the counts are not the expected ones.
        text_length: tokens that the captions need, where they are longer than CLIP's 77.
        licence: the terms of use.
        how_to_get: what a user does to obtain it.
    """

    name: str = ""
    like: str = ""
    summary: str = ""
    folder: str = ""
    annotations: dict[SplitName, Names] | Names = ("reid_raw.json",)
    optional: Annotated[tuple[SplitName, ...], BeforeValidator(_listed)] = ()
    format: Literal["", "json", "jsonl", "csv", "tsv", "parquet", "coco"] = ""
    images: str = "imgs"
    columns: Columns = Columns()
    rows: Literal["image", "caption"] = "image"
    person_pattern: str = ""
    split_by: Literal["column", "folder"] = "column"
    splits: dict[str, Literal["train", "val", "test", "skip"]] = Field(default_factory=dict)
    only: Literal["", "train", "test"] = ""
    leave_out: Names = ()
    expected: dict[SplitName, Counts] = Field(default_factory=dict)
    lookalikes: dict[str, str] = Field(default_factory=dict)
    editions: dict[str, str] = Field(default_factory=dict)
    caveat: str = ""
    text_length: int | None = Field(default=None, ge=8, le=4096)
    licence: str = ""
    how_to_get: str = ""

    @field_validator("person_pattern")
    @classmethod
    def _has_the_person(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groupindex if pattern else {"person": 1}
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        if "person" not in groups:
            raise ValueError("needs a group (?P<person>…)")
        return pattern

    @field_validator("images", "folder")
    @classmethod
    def _stays_below(cls, folder: str) -> str:
        if folder.startswith(("/", "~")) or ".." in Path(folder).parts:
            raise ValueError("must be a folder below the dataset's own")
        return folder

    @property
    def required(self) -> tuple[str, ...]:
        """The splits without which the dataset is refused."""
        if self.only:
            return (self.only,)
        if isinstance(self.annotations, dict):
            return tuple(split for split in self.annotations if split not in self.optional)
        return ("train", "test")


def presets() -> tuple[str, ...]:
    """The names that `like` accepts."""
    return tuple(sorted(path.name.removesuffix(SUFFIX) for path in SHIPPED.glob(f"*{SUFFIX}")))


def shipped_layout(name: str) -> Layout:
    """One of the layouts in `layouts/`."""
    return read_layout(SHIPPED / f"{name}{SUFFIX}")


def read_layout(path: Path) -> Layout:
    """Read a dataset file, with the keys of the layout that it is `like`.

    Raises:
        DataError: every mistake in the file, each with its line.
    """
    values, lines = _yaml(path)
    like = values.get("like")
    defaults: dict[str, Any] = {}
    if like is not None:
        if like not in presets():
            close = nearest(str(like), presets())
            hint = f", did you mean {close!r}?" if close else ""
            known = ", ".join(presets())
            raise DataError([f"{path}:{lines['like']}: like: unknown layout {like!r}{hint} (known: {known})"])
        defaults, _ = _yaml(SHIPPED / f"{like}{SUFFIX}")
        defaults = {key: value for key, value in defaults.items() if key not in _OF_ONE_DATASET}
    columns = values.get("columns", {})
    merged = {**defaults, **values}
    if isinstance(columns, dict):
        merged["columns"] = {**defaults.get("columns", {}), **columns}
    merged.setdefault("name", path.name.removesuffix(SUFFIX))
    try:
        return Layout.model_validate(merged)
    except ValidationError as error:
        raise DataError(_mistakes(path, lines, error)) from None


def _mistakes(path: Path, lines: dict[str, int], error: ValidationError) -> list[str]:
    """One line per mistake: `file:line: key: what is wrong`."""
    messages: dict[str, str] = {}
    for detail in error.errors():
        keys = [str(key) for key in detail["loc"]]
        model = Columns if keys[0] == "columns" else Layout
        message = detail["msg"].removeprefix("Value error, ")
        if detail["type"] == "extra_forbidden":
            close = nearest(keys[-1], model.model_fields)
            message = "unknown key" + (f", did you mean {close!r}?" if close else "")
        name = ".".join(keys[: 2 if keys[0] == "columns" else 1])
        messages.setdefault(name, message)
    return [f"{path}:{lines.get(key.split('.')[0], 1)}: {key}: {text}" for key, text in messages.items()]


def _yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The keys of a YAML file, every scalar as text, and the line of each key."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise DataError([f"{path}: too large for a dataset file"])
        text = path.read_text("utf-8")
        node = yaml.compose(text, Loader=yaml.BaseLoader)
        values = yaml.load(text, Loader=yaml.BaseLoader)
    except OSError as error:
        raise DataError([f"{path}: cannot be read: {error.strerror or error}"]) from error
    except UnicodeDecodeError as error:
        raise DataError([f"{path}: not UTF-8 ({error.reason} at byte {error.start:,})"]) from error
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark else ""
        reason = getattr(error, "problem", None) or "it is nested too deeply"
        raise DataError([f"{path}{where}: not YAML: {reason}"]) from None
    if not isinstance(values, dict) or not isinstance(node, yaml.MappingNode):
        raise DataError([f"{path}:1: not a dataset file: keys with values are expected"])
    if repeated := list(_repeated_keys(node, "", set())):
        raise DataError([f"{path}:{mistake}" for mistake in repeated])
    return values, {str(key.value): key.start_mark.line + 1 for key, _ in node.value}


def _repeated_keys(node: yaml.Node, above: str, visited: set[int]) -> Iterator[str]:
    """`line: key: …` for each key that a mapping has twice, of whose values YAML takes the last."""
    if id(node) in visited:  # an alias
        return
    visited.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _repeated_keys(item, above, visited)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            name, line = f"{above}{key.value}", key.start_mark.line + 1
            if name in lines:
                yield f"{line}: {name}: written twice, first in line {lines[name]}"
            lines.setdefault(name, line)
            yield from _repeated_keys(value, f"{name}.", visited)
