"""Which plugins are behind a cell, and the copies of their sources that a run keeps."""

from __future__ import annotations

import ast
import functools
import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from harness import registry
from harness.data.joint import parts_of
from harness.machine.files import atomic_write
from harness.registry.plugin_imports import plugin_files
from harness.store.stored_cell import KEPT_PLUGINS
from harness.study.cell import Cell


def plugins_behind(methods: Iterable[str], datasets: Iterable[str]) -> list[Path]:
    """The plugins and dataset files behind these methods and datasets, in the order of their import.

    Those that registered them, and those that `with_related` adds. A data root brings in every dataset file
    that lies in it; those of other datasets are not among them.
    """
    known_methods, known_datasets = registry.methods(), registry.datasets()
    entries = [known_methods[name] for name in methods if name in known_methods]
    parts = {part for name in datasets for part in parts_of(name) if part in known_datasets}
    registering = {entry.plugin for entry in entries} | {known_datasets[part].plugin for part in parts}
    files = with_related(file for file in registering if isinstance(file, Path))
    return [plugin for plugin in registry.plugins() if plugin in files or _described_by(plugin) in parts]


def _described_by(plugin: Path) -> str:
    """The dataset that a registered dataset file describes; empty for a plugin."""
    return registry.load_dataset_file(plugin) if plugin.name.endswith(registry.DATASET_FILE) else ""


def with_related(plugins: Iterable[Path]) -> tuple[Path, ...]:
    """`plugins`, and the other imported ones that can change what these do; in the order of their import.

    Those are plugins whose methods or datasets their code names (`registry.method("mine")`), and plugins that
    register nothing but run something as they are imported: that may change any method.
    """
    return _with_related(frozenset(plugins), registry.plugins())


@functools.cache
def _with_related(plugins: frozenset[Path], imported: tuple[Path, ...]) -> tuple[Path, ...]:
    owners = {
        name: entry.plugin
        for known in (registry.methods(), registry.datasets())
        for name, entry in known.items()
        if isinstance(entry.plugin, Path)
    }
    found = {*plugins, *(each for each in imported if each not in owners.values() and _runs_something(each))}
    waiting = list(found)
    while waiting:
        texts = {text for file in plugin_files(waiting.pop()) for text in _texts_in(file)}
        named = {owner for name, owner in owners.items() if name in texts} - found
        found |= named
        waiting += named
    return tuple(each for each in (*imported, *sorted(plugins - {*imported})) if each in found)


def _runs_something(plugin: Path) -> bool:
    """Whether importing a plugin executes anything; a dataset file is read, not imported."""
    if plugin.name.endswith(registry.DATASET_FILE):
        return False
    try:
        body = ast.parse(plugin.read_text("utf-8")).body
    except (OSError, SyntaxError, ValueError):  # a compiled module has no source to look into
        return True
    return any(not (isinstance(each, ast.Expr) and isinstance(each.value, ast.Constant)) for each in body)


def _texts_in(file: Path) -> set[str]:
    """The texts that are written out in a source."""
    try:
        nodes = ast.walk(ast.parse(file.read_text("utf-8")))
    except (OSError, SyntaxError, ValueError):
        return set()
    return {each.value for each in nodes if isinstance(each, ast.Constant) and isinstance(each.value, str)}


def plugins_of(cell: Cell) -> list[Path]:
    """The plugins and dataset files that a cell needs."""
    return plugins_behind([cell.base], [cell.dataset, *cell.targets])


def keep_plugins(directory: Path, plugins: Sequence[Path]) -> None:
    """Copy the sources of plugins into a run's folder: `plugins/<plugin>.<digest>/`, as they lie together.

    A reviewer without the user's files can so run the cells again. A changed plugin gets a folder of its own.
    """
    for plugin in plugins:
        files = plugin_files(plugin)
        top = Path(os.path.commonpath([file.parent for file in files]))
        folder = directory / KEPT_PLUGINS / f"{plugin.stem}.{_digest_of(files, top)}"
        for file in files:
            atomic_write(folder / file.relative_to(top), file.read_bytes())


def is_as_kept(copy: Path) -> bool:
    """Whether a copy that a run keeps has the content that was copied, by the hash in its folder's name."""
    top = next((folder for folder in copy.parents if folder.parent.name == KEPT_PLUGINS), None)
    files = plugin_files(copy)
    is_whole = top is not None and all(file.is_relative_to(top) for file in files)
    return is_whole and top is not None and top.name == f"{copy.stem}.{_digest_of(files, top)}"


def _digest_of(files: Iterable[Path], top: Path) -> str:
    """The first 12 digits of the SHA-256 of some files' contents, in the order of their paths below `top`."""
    ordered = sorted(files, key=lambda file: file.relative_to(top))
    return hashlib.sha256(b"".join(file.read_bytes() for file in ordered)).hexdigest()[:12]
