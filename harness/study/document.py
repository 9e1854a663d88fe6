"""Reading YAML that a person wrote: plain values, the line of each, and every error at once."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from harness.machine.errors import StudyError
from harness.machine.passwords import masked_text
from harness.registry import nearest

Key = tuple[str | int, ...]

_MAX_BYTES = 1_000_000
_MAX_VALUES = 20_000
_MAX_DEPTH = 40
_SHOWN = 1000
"""Characters of a value that are looked at for an error message."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's scalars: `1e-5` is a number, `no` is a word, `1:30` is not a count of seconds."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int", re.compile(r"^[-+]?(?:0|[1-9][0-9_]*)$"), list("-+0123456789")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9_]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+.0123456789"),
)
_Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), ["<"])


@dataclass
class StudyDocument:
    """A study file as plain values, with the place of every key and the mistakes found."""

    source: str
    values: dict[str, Any] = field(default_factory=dict)
    places: dict[Key, str] = field(default_factory=dict)
    mistakes: list[tuple[str, Key, str]] = field(default_factory=list)
    narrowed: bool = False
    """Whether `--methods` left some out: then `train:` may hold keys that only those have."""

    def place(self, key: Key) -> str:
        """Where `key`, or the nearest thing around it, was written: `file:line` or `--set`."""
        while key and key not in self.places:
            key = key[:-1]
        return self.places.get(key, f"{self.source}:1")

    def key_of_setting(self, label: str, name: str) -> Key:
        """Where a setting of a method was written: in its own entry, in `train`, or nowhere."""
        listed = self.values.get("methods")
        for index, item in enumerate(listed if isinstance(listed, list) else ()):
            if isinstance(item, dict) and item.get("name") == label and name in item:
                return ("methods", index, name)
        return ("train", name)

    def complain(self, key: Key, message: str) -> None:
        """Note a mistake at `key` (the first one counts); nothing is raised before all has been looked at."""
        if all(noted != key for _, noted, _ in self.mistakes):
            self.mistakes.append((self.place(key), key, message))

    def complain_about(self, error: ValidationError, at: Key = (), known: Iterable[str] = ()) -> None:
        """Note everything pydantic found below `at`, in plain words."""
        for detail in error.errors():
            self.complain_detail(detail, at, known)

    def complain_detail(self, detail: ErrorDetails, at: Key = (), known: Iterable[str] = ()) -> None:
        """Note one thing pydantic found below `at`; `known` are the keys that would have been right."""
        inside = tuple(part for part in detail["loc"] if not _is_branch(part))
        self.complain(at + inside, _explained(detail, tuple(known)))

    def raise_mistakes(self) -> None:
        """Raise `StudyError` with every mistake in the order of the file, when there is one."""
        if self.mistakes:
            ordered = sorted(self.mistakes, key=lambda mistake: _line(mistake[0]))
            raise StudyError([f"{_named(place, key)}: {text}" for place, key, text in ordered])


def _named(place: str, key: Key) -> str:
    """Where a mistake is; an option that has the name of its key names it once."""
    return place if not key or place == f"--{key[0]}" else f"{place}: {dotted(key)}"


def dotted(key: Key) -> str:
    """`("methods", 2, "base")` as `methods.2.base`."""
    return ".".join(str(part) for part in key)


def _line(place: str) -> tuple[str, int]:
    source, _, line = place.rpartition(":")
    return (source, int(line)) if line.isdigit() else ("~", 0)


def _is_branch(part: str | int) -> bool:
    """Whether a step of pydantic's location names a branch of a union rather than a key of the file."""
    return isinstance(part, str) and ("[" in part or part in {"int", "str", "float", "bool"})


_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}
_WANTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_type": "text",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping of names to values",
    "model_type": "a mapping of names to values",
    "model_attributes_type": "a mapping of names to values",
    "finite_number": "a finite number",
}


def _explained(detail: ErrorDetails, known: tuple[str, ...]) -> str:
    kind, got, context = detail["type"], shown(detail["input"]), detail.get("ctx", {})
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        return f"must be {words} {context[name]:g}, got {got}"
    if kind in _WANTED:
        return f"must be {_WANTED[kind]}, got {got}"
    if kind == "literal_error":
        return f"must be one of {context['expected']}, got {got}"
    if kind == "extra_forbidden":
        return unknown_key(str(detail["loc"][-1]), known)
    if kind == "missing":
        return "is missing"
    if kind in ("too_short", "too_long") and context.get("min_length") == 1:
        return "must not be empty"
    if kind in ("too_short", "too_long"):
        wanted = context.get("min_length", context.get("max_length"))
        return f"must have {wanted} entries, got {context['actual_length']}"
    if kind == "value_error":
        return str(context["error"])
    return f"{detail['msg'][:1].lower()}{detail['msg'][1:]}, got {got}"


def unknown_key(name: str, known: Iterable[str]) -> str:
    """The message for a key that does not exist, with the nearest one that does."""
    known = sorted(known)
    close = nearest(name, known)
    hint = f": did you mean {close!r}?" if close else ""
    listed = f" (known: {', '.join(known)})" if known and not close else ""
    return f"unknown key{hint}{listed}"


def shown(value: object) -> str:
    """A value as it may appear in an error message: as YAML has it, short, on one line."""
    if value is None:
        return "nothing"
    # Before it is cut short: without its end a URL is not known for one.
    text = str(value).lower() if isinstance(value, bool) else masked_text(repr(value)[:_SHOWN])
    return text if len(text) <= 60 else text[:57] + "..."


def read(path: Path) -> StudyDocument:
    """Read a YAML file into plain values.

    Raises `StudyError` when there is no such file, it is no YAML, or no mapping; duplicate keys and values
    that are no plain data are noted as mistakes in the document, to be raised with the others.
    """
    source = str(path)
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
        if len(raw) > _MAX_BYTES:
            raise StudyError([f"{source}:1: more than {_MAX_BYTES:,} bytes; a study is a short text"])
        root = yaml.compose(raw.decode("utf-8"), Loader=_Loader)
    except OSError as error:
        raise StudyError([f"{source}: {_reason(error)}"]) from error
    except UnicodeDecodeError as error:
        raise StudyError([f"{source}:1: not a text file in UTF-8"]) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise StudyError([f"{source}:{line}: not YAML: {error.problem}"]) from error
    except yaml.YAMLError as error:
        raise StudyError([f"{source}:1: not YAML: {str(error).splitlines()[0]}"]) from error
    except RecursionError as error:
        raise StudyError([f"{source}:1: nested too deeply"]) from error
    document = StudyDocument(source)
    if not isinstance(root, yaml.MappingNode):
        raise StudyError([f"{source}:1: must be a mapping of names to values, like `name: my-study`"])
    values = _Reader(document).plain(root, ())
    document.values = values if isinstance(values, dict) else {}
    return document


def _reason(error: OSError) -> str:
    return {FileNotFoundError: "no such file", IsADirectoryError: "is a folder, not a file"}.get(
        type(error), error.strerror or str(error)
    )


class _Reader:
    """Turns nodes into values within a budget, so that aliases cannot multiply into a bomb."""

    def __init__(self, document: StudyDocument) -> None:
        self.document = document
        self.constructor = _Loader("")
        self.left = _MAX_VALUES

    def plain(self, node: yaml.Node, key: Key) -> Any:
        self.left -= 1
        if self.left < 0 or len(key) > _MAX_DEPTH:
            what = "nested too deeply" if self.left >= 0 else "too many values; aliases may not multiply"
            raise StudyError([f"{self.document.source}:{node.start_mark.line + 1}: {what}"])
        self.document.places.setdefault(key, f"{self.document.source}:{node.start_mark.line + 1}")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, key)
        if isinstance(node, yaml.SequenceNode):
            return [self.plain(item, (*key, index)) for index, item in enumerate(node.value)]
        return self._scalar(node, key)

    def _mapping(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name_node, value_node in node.value:
            name = name_node.value if isinstance(name_node, yaml.ScalarNode) else None
            place = f"{self.document.source}:{name_node.start_mark.line + 1}"
            if name_node.tag != "tag:yaml.org,2002:str" or not isinstance(name, str):
                self.document.places.setdefault((*key, str(name)), place)
                self.document.complain((*key, str(name)), "a key must be text")
                continue
            if name in values:
                first = self.document.places[(*key, name)].rpartition(":")[2]
                self.document.mistakes.append((place, (*key, name), f"written twice, first in line {first}"))
                continue
            self.document.places[(*key, name)] = place
            noted = len(self.document.mistakes)
            value = self.plain(value_node, (*key, name))
            if value is not None or len(self.document.mistakes) == noted:
                values[name] = value
        return values

    def _scalar(self, node: yaml.Node, key: Key) -> Any:
        try:
            value = self.constructor.construct_object(node)
        except (yaml.YAMLError, ValueError):
            self.document.complain(key, f"cannot be read: {shown(node.value)}")
            return None
        if isinstance(value, float) and not math.isfinite(value):
            self.document.complain(key, f"must be a finite number, got {node.value}")
            return None
        if value is not None and not isinstance(value, (bool, int, float, str)):
            self.document.complain(key, f"must be plain text or a number, got {shown(node.value)}")
            return None
        return value


def override(document: StudyDocument, assignment: str) -> None:
    """Apply `train.epochs=2` as if it stood in the file; its mistakes are reported at `--set`."""
    name, equals, text = assignment.partition("=")
    key: Key = tuple(int(part) if part.isdigit() else part for part in name.strip().split("."))
    document.places[("--set", name)] = "--set"
    if not equals or not all(str(part) for part in key):
        document.mistakes.append(("--set", (), f"expected key=value, got {shown(assignment)}"))
        return
    try:
        node = yaml.compose(text, Loader=_Loader)
    except (yaml.YAMLError, RecursionError):
        document.mistakes.append(("--set", key, f"cannot be read: {shown(text)}"))
        return
    scratch = StudyDocument("--set")
    value = None if node is None else _Reader(scratch).plain(node, key)
    document.mistakes += [("--set", at, message) for _, at, message in scratch.mistakes]
    parent: Any = document.values
    for part in key[:-1]:
        parent = _child(parent, part)
        if parent is None:
            document.mistakes.append(("--set", key, f"there is no {part!r} to set it in"))
            return
    if isinstance(parent, list) and not (isinstance(key[-1], int) and key[-1] < len(parent)):
        document.mistakes.append(("--set", key, f"the list has {len(parent)} entries"))
        return
    if not isinstance(parent, (dict, list)):
        document.mistakes.append(("--set", key, "is inside a plain value"))
        return
    last: Any = str(key[-1]) if isinstance(parent, dict) else key[-1]
    parent[last] = value
    for part_count in range(len(key)):
        document.places.setdefault(key[:part_count], "--set")
    document.places.update({at: "--set" for at in scratch.places if at[: len(key)] == key})


def _child(parent: Any, part: str | int) -> Any:
    if isinstance(parent, dict):
        child = parent.setdefault(str(part), {})
        if child is None:
            child = parent[str(part)] = {}
        return child
    if isinstance(parent, list) and isinstance(part, int) and part < len(parent):
        return parent[part]
    return None
