"""Fingerprints of code and weights: what makes a stored result reusable."""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.machine.environment import ROOT
from harness.registry import DatasetEntry, MethodEntry

# Files that no number of a training run passes through: checks only read, costs are measured apart, released
# checkpoints are never trained. (Rendering is left out too: the pictures themselves are fingerprinted.)
_APART = (
    "harness/data/missing_images.py",
    "harness/data/leakage.py",
    "methods/cost.py",
    "methods/released.py",
)


_ROOMS = {
    "data": ("harness/data/*.py",),
    "train": ("harness/train/*.py",),
    "evaluate": ("harness/evaluate/*.py",),
    "launch": ("harness/launch/cell.py", "harness/launch/context.py"),
    "machine": ("harness/machine/devices.py", "harness/machine/memory.py", "harness/machine/seeds.py"),
    "methods": ("methods/*.py", "methods/configs/*.json"),
}


@functools.cache
def code_fingerprint(method: Path | None = None, dataset: Path | None = None) -> dict[str, str]:
    """One fingerprint per room of the code that can change a number, and of the plugins a cell uses.

    Comments, docstrings, layout and the Python version do not count: only what is executed does.
    """
    rooms = {name: _digest(_files(patterns)) for name, patterns in _ROOMS.items()}
    for name, plugin in (("plugin (method)", method), ("plugin (dataset)", dataset)):
        if plugin is not None:
            rooms[name] = _digest([plugin])
    return rooms


def code_of(method: MethodEntry, dataset: DatasetEntry) -> dict[str, str]:
    """The code fingerprints of a cell that uses this method and this dataset."""
    return code_fingerprint(method.plugin, dataset.plugin)


def _files(patterns: tuple[str, ...]) -> list[Path]:
    found = {path for pattern in patterns for path in ROOT.glob(pattern)}
    return sorted(path for path in found if path.relative_to(ROOT).as_posix() not in _APART)


def _digest(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        text = path.read_text("utf-8")
        meaning = (
            source_meaning(text) if path.suffix == ".py" else json.dumps(json.loads(text), sort_keys=True)
        )
        digest.update(f"{path.name}\0{meaning}\0".encode())
    return digest.hexdigest()


def source_meaning(text: str) -> str:
    """What a Python source says without comments, docstrings and layout; equal on every Python version."""
    return "".join(_meaning(ast.parse(text)))


def _meaning(node: Any) -> Iterator[str]:
    if isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for name, value in ast.iter_fields(node):
            # Empty fields come and go between Python versions.
            if name not in ("ctx", "kind", "type_comment") and value is not None and value != []:
                yield f" {name}="
                yield from _meaning(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for item in node:
            is_text = isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant)
            if not (is_text and isinstance(item.value.value, str)):
                yield from _meaning(item)
                yield ","
        yield "]"
    else:
        yield repr(node)


def weights_fingerprint(backbone: str, pretrained: str) -> str:
    """SHA-256 of the pretrained weights' file, wherever it lies; empty for `none`.

    Raises `methods.pretrained.WeightsNotFoundError` when it is not on this machine.
    """
    if pretrained == "none":
        return ""
    from methods.pretrained import find_weights

    path = find_weights(backbone, pretrained)
    status = path.stat()
    return _file_sha256(str(path), status.st_size, status.st_mtime_ns)


@functools.cache
def _file_sha256(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def rooms() -> dict[str, tuple[str, ...]]:
    """Which files each room of the code fingerprint is made of, as patterns below the project's folder."""
    return dict(_ROOMS)
