"""Which files a plugin brings in: its own, and every module of the user's that it imports, however far."""

from __future__ import annotations

import ast
import hashlib
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator, Sequence
from importlib.machinery import PathFinder
from pathlib import Path

from harness import registry
from harness.data.joint import parts_of
from harness.machine.files import atomic_write
from harness.machine.paths import OWN_PACKAGES
from harness.store.stored_cell import KEPT_PLUGINS
from harness.study.cell import Cell


def plugins_behind(methods: Iterable[str], datasets: Iterable[str]) -> list[Path]:
    """The plugins and dataset files that registered these methods and datasets, in the order of their import.

    A data root brings in every dataset file that lies in it; those of other datasets are not among them.
    """
    known_methods, known_datasets = registry.methods(), registry.datasets()
    entries = [known_methods[name] for name in methods if name in known_methods]
    parts = {part for name in datasets for part in parts_of(name) if part in known_datasets}
    files = {entry.plugin for entry in entries} | {known_datasets[part].plugin for part in parts}
    return [plugin for plugin in registry.plugins() if plugin in files or _described_by(plugin) in parts]


def _described_by(plugin: Path) -> str:
    """The dataset that a registered dataset file describes; empty for a plugin."""
    return registry.load_dataset_file(plugin) if plugin.name.endswith(registry.DATASET_FILE) else ""


def plugins_of(cell: Cell) -> list[Path]:
    """The plugins and dataset files that a cell needs."""
    return plugins_behind([cell.base], [cell.dataset, *cell.targets])


def plugin_files(plugin: Path) -> list[Path]:
    """`plugin` and the files it imports, directly or not, also inside functions; sorted after the first.

    Left out are Python's own library, installed packages (their versions are recorded) and this project,
    which counts by itself. An import whose name is computed while the program runs is not seen.
    """
    plugin = plugin.expanduser().resolve()
    imported_files, waiting = {plugin}, [plugin]
    while waiting:
        file = waiting.pop()
        for imported in _imported_files(file, plugin.parent):
            if imported not in imported_files:
                imported_files.add(imported)
                waiting.append(imported)
    return [plugin, *sorted(imported_files - {plugin})]


def _imported_files(file: Path, folder: Path) -> Iterator[Path]:
    try:
        tree = ast.parse(file.read_text("utf-8"))
    except (OSError, SyntaxError, ValueError):  # a compiled module has no source to look into
        return
    for name, base in _imported_names(tree, file):
        first = name.partition(".")[0]
        if base is None and (first in OWN_PACKAGES or first in sys.stdlib_module_names):
            continue
        yield from (path for path in _files_of(name, base or folder) if _is_of_the_user(path))


def _imported_names(tree: ast.AST, file: Path) -> Iterator[tuple[str, Path | None]]:
    """Dotted names of every import in a source; of a relative one also the folder it starts from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = file.parents[node.level - 1] if node.level else None
            start = node.module or ""
            for alias in node.names:
                yield f"{start}.{alias.name}".strip("."), base  # perhaps a module, perhaps a name in one


def _files_of(name: str, folder: Path) -> Iterator[Path]:
    """Files of a dotted name: of each package on the way, and of the module."""
    search: Sequence[str] | None = [str(folder), *sys.path]
    for part in name.split("."):
        loaded = PathFinder.find_spec(part, search)
        if loaded is None:
            return
        if loaded.origin and os.path.isfile(loaded.origin):
            yield Path(loaded.origin).resolve()
        search = loaded.submodule_search_locations
        if search is None:
            return


def _is_of_the_user(path: Path) -> bool:
    installed = {sysconfig.get_path(kind) for kind in ("purelib", "platlib", "stdlib", "platstdlib")}
    return not any(path.is_relative_to(Path(folder).resolve()) for folder in installed if folder)


def keep_plugins(directory: Path, plugins: Sequence[Path]) -> None:
    """Copy the sources of plugins into a run's folder: `plugins/<plugin>.<digest>/`, as they lie together.

    A reviewer without the user's files can so run the cells again. A changed plugin gets a folder of its own.
    """
    for plugin in plugins:
        files = plugin_files(plugin)
        top = Path(os.path.commonpath([file.parent for file in files]))
        contents = {file.relative_to(top): file.read_bytes() for file in files}
        digest = hashlib.sha256(b"".join(contents[name] for name in sorted(contents))).hexdigest()
        folder = directory / KEPT_PLUGINS / f"{plugin.stem}.{digest[:12]}"
        for name, content in contents.items():
            atomic_write(folder / name, content)
