"""Fingerprints of code and weights: what makes a stored result reusable.

The code that counts is the code that was imported, wherever it lies: a copy of `methods` that stands before
ours on the import path gives other identities than ours.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib
import json
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.launch.plugin_files import with_related
from harness.machine.files import atomic_write, sha256
from harness.machine.paths import cache_dir
from harness.registry.plugin_imports import plugin_files

COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "data": ("harness/data/*.py",),
    "train": ("harness/train/*.py",),
    "evaluate": ("harness/evaluate/*.py",),
    "launch": ("harness/launch/cell.py", "harness/launch/cell_evaluation.py", "harness/launch/context.py"),
    "machine": ("harness/machine/devices.py", "harness/machine/seeds.py"),
    "methods": ("methods/**/*.py", "methods/configs/*.json"),
}
"""The parts of the code that can change a number of a cell, as patterns below the two packages."""

METHOD_PLUGIN, DATASET_PLUGIN = "plugin (method)", "plugin (dataset)"
"""The components of the plugins that registered a cell's method, and its dataset."""
NOT_COUNTED: Mapping[str, str] = {
    "harness/data/missing_images.py": "lists files that are not there; a run is refused before it starts",
    "harness/data/leakage.py": "reports near duplicates; nothing is left out for it",
    "harness/data/image_hashes.py": "hashes pictures for the search for near duplicates",
    "harness/data/thumbnails.py": "draws small pictures for pages",
    "harness/data/rendering/*": "draws the embedded datasets, whose pictures are fingerprinted themselves",
    "methods/cost.py": "counts operations for the report",
    "methods/released.py": "opens checkpoints of other code, of which no cell is trained",
    "harness/__init__.py": "empty",
    "harness/registry/*": "resolves settings, which are in the identity; imports plugins, which count too",
    "harness/study/*": "expands a study into cells, whose settings are in the identity",
    "harness/store/*": "keeps bytes under checksums; computes no score",
    "harness/launch/__init__.py": "empty",
    "harness/launch/cells.py": "chooses the process a cell runs in",
    "harness/launch/changes.py": "explains identities",
    "harness/launch/fingerprints.py": "makes identities",
    "harness/launch/plugin_files.py": "makes identities",
    "harness/launch/launchers.py": "chooses the process a cell runs in",
    "harness/launch/units.py": "what launchers share",
    "harness/launch/local.py": "chooses the process a cell runs in",
    "harness/launch/fork_server.py": "starts the process a cell runs in",
    "harness/launch/preloaded.py": "imports what a cell needs before it is needed",
    "harness/machine/__init__.py": "empty",
    "harness/machine/environment.py": "records what a cell ran on",
    "harness/machine/errors.py": "words for errors",
    "harness/machine/files.py": "writes bytes safely",
    "harness/machine/forecast.py": "forecasts the time that is left",
    "harness/machine/memory.py": "measures memory, and keeps freed memory for the next step",
    "harness/machine/passwords.py": "masks passwords in what is recorded",
    "harness/machine/paths.py": "where data and caches lie",
    "harness/machine/progress.py": "shows progress",
    "harness/machine/terms.py": "lists the values that settings may have, which are in the identity",
}
"""Files a run may pass through that no number depends on, each with the reason; the others all count."""


def code_fingerprint(
    method: Path | None = None, dataset: Path | tuple[Path, ...] | None = None
) -> dict[str, str]:
    """One SHA-256 per component of the code that can change a number, and of the plugins a cell uses.

    Comments, docstrings, layout and the Python version do not count: only what is executed does. A plugin
    counts with every module it imports.

    Args:
        method: the plugin that registered the cell's method.
        dataset: the same of the cell's dataset; of a joint dataset those of its parts.
    """
    datasets = (dataset,) if isinstance(dataset, Path) else dataset or ()
    related = with_related([*([method] if method else []), *datasets])
    return dict(_code_fingerprint(method, datasets, related))


@functools.cache
def _code_fingerprint(
    method: Path | None, datasets: tuple[Path, ...], related: tuple[Path, ...]
) -> dict[str, str]:
    components = {name: _digest(component_files(name)) for name in COMPONENTS}
    if method is not None:
        components[METHOD_PLUGIN] = plugin_digest(method)
    if datasets:
        components[DATASET_PLUGIN] = plugin_digest(datasets[0])
    further = [each for each in related if each not in (method, *datasets)]
    for kind, plugins in (("dataset ", datasets[1:]), ("", further)):
        for plugin, digest in sorted((each.name, plugin_digest(each)) for each in plugins):
            name = f"plugin ({kind}{plugin})"
            # Plugins of the same name in different folders are distinguished by their order.
            same = sum(key.startswith(name[:-1]) for key in components)
            components[f"{name[:-1]}, {same + 1})" if same else name] = digest
    return components


def plugin_digest(plugin: Path) -> str:
    """SHA-256 of what a plugin executes, and every module it imports."""
    return _digest(plugin_files(plugin))


def package_folder(package: str) -> Path:
    """The folder from which `harness` or `methods` was imported.

    Raises:
        ImportError: it was imported from no file.
    """
    file = importlib.import_module(package).__file__
    if file is None:
        raise ImportError(f"{package} was imported from no file")
    return Path(file).resolve().parent


def component_files(name: str) -> list[Path]:
    """The imported files of a component, sorted, without those that `NOT_COUNTED` names."""
    by_name: dict[str, Path] = {}
    for pattern in COMPONENTS[name]:
        package, _, below = pattern.partition("/")
        folder = package_folder(package)
        by_name |= {f"{package}/{path.relative_to(folder).as_posix()}": path for path in folder.glob(below)}
    return [by_name[name] for name in sorted(by_name) if name not in NOT_COUNTED]


def _digest(paths: list[Path]) -> str:
    """The SHA-256 of what some files say; of files whose every byte was seen before, from the cache.

    Reading the syntax of all our code takes more than a second, reading its bytes a fiftieth of that.
    """
    contents = [(path, path.read_bytes()) for path in paths]
    seen = hashlib.sha256(f"{sys.version}\0".encode() + Path(__file__).read_bytes())
    for path, content in contents:
        seen.update(f"\0{path.name}\0{len(content)}\0".encode() + content)
    return _cached_digest(seen.hexdigest(), contents)


def _cached_digest(seen: str, contents: list[tuple[Path, bytes]]) -> str:
    """The digest kept under `seen`, the hash of all it is made from; a damaged one is made again."""
    cached = cache_dir() / "code" / seen
    with suppress(OSError, ValueError):
        digest, _, checksum = cached.read_text("ascii").partition(" ")
        if checksum == _checksum(seen, digest):
            return digest
    made = hashlib.sha256()
    for path, content in contents:
        made.update(f"{path.name}\0{_meaning_of(path, content)}\0".encode())
    digest = made.hexdigest()
    with suppress(OSError):  # a full disk costs time, not the answer
        atomic_write(cached, f"{digest} {_checksum(seen, digest)}")
    return digest


def _checksum(seen: str, digest: str) -> str:
    return hashlib.sha256(f"{seen} {digest}".encode()).hexdigest()


def _meaning_of(path: Path, content: bytes) -> str:
    if path.suffix == ".py":
        return source_meaning(_text(content))
    if path.suffix == ".json":
        return json.dumps(json.loads(_text(content)), sort_keys=True)
    return hashlib.sha256(content).hexdigest()


def _text(content: bytes) -> str:
    """A file's text with the ends of lines that `Path.read_text` gives it."""
    return content.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")


def source_meaning(text: str) -> str:
    """What a Python source says without comments, docstrings and layout; equal on every Python version."""
    parts: list[str] = []
    _add_meaning(ast.parse(text), parts)
    return "".join(parts)


_UNSAID = frozenset(("ctx", "kind", "type_comment"))


def _add_meaning(node: Any, parts: list[str]) -> None:
    """Append what a node says. Called half a million times for our code, so it makes no generators."""
    if isinstance(node, ast.AST):
        parts.append(f"({type(node).__name__}")
        for name in node._fields:
            value = getattr(node, name, None)
            # Empty fields come and go between Python versions.
            if value is not None and value != [] and name not in _UNSAID:
                parts.append(f" {name}=")
                _add_meaning(value, parts)
        parts.append(")")
    elif isinstance(node, list):
        parts.append("[")
        for item in node:
            is_text = isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant)
            if not (is_text and isinstance(item.value.value, str)):
                _add_meaning(item, parts)
                parts.append(",")
        parts.append("]")
    else:
        parts.append(repr(node))


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
    return sha256(Path(path))
