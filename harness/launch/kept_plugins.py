"""The plugins of a stored cell: where nobody gave them, the copies that its run keeps, if they are what ran.

A copy counts by its hash, which is part of the cell's identity; of a dataset that the cell was only evaluated
on, whose data count, by the hash in its folder's name. Of a run that came from somebody else, an unpacked
bundle or one that another machine trained, no code is run unless it is named with `--plugin`.
"""

from __future__ import annotations

import re
import shlex
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from harness import registry
from harness.launch.fingerprints import DATASET_PLUGIN, METHOD_PLUGIN, plugin_digest
from harness.launch.plugin_files import is_as_kept
from harness.machine.errors import StoreError, StudyError
from harness.machine.paths import as_typed
from harness.registry import DATASET_FILE
from harness.store.bundled import is_bundled
from harness.store.cell_run import CellRun
from harness.store.stored_cell import kept_copies, refuse_unregistered, store_of, unregistered
from harness.study.cell import Cell

_COMPONENT = re.compile(r"plugin \((dataset )?(.+?\.[^, ]+)(, \d+)?\)")
"""A component of the code of a further plugin: part of a joint dataset or not, its file's name, a number."""


def register_plugins_of(run: CellRun, *, dataset: bool = True, required: bool = True) -> None:
    """Register method, dataset and targets of a cell by the plugins that its run keeps, and say so.

    Args:
        run: the cell.
        dataset: whether the dataset it was trained on is asked for; a model is opened without.
        required: whether a dataset that cannot be registered is refused, as a method always is.

    Raises:
        StudyError: a plugin was not given, and what the run keeps is not what ran.
        PluginError: what the run keeps cannot be imported, or not with the modules kept beside it.
    """
    try:
        cell, code = run.cell, run.parts.get("code", {})
    except StoreError:  # left for its readers to report
        return
    if run.is_imported:
        return
    code = code if isinstance(code, dict) else {}
    if run.recorded.get("host") == socket.gethostname() and not is_bundled(store_of(run).directory):
        _register_kept(run, cell, code, dataset)
    refuse_unregistered(run, dataset=dataset and required)
    given = {file.name for file in registry.plugins()}
    for file in (_further_plugin(component) for component in code):
        if file and file not in given:
            raise StudyError(
                [f"{run.name}: needs the plugin {file}, which takes part; give it with --plugin"]
            )


def register_plugins_at(checkpoint: Path) -> None:
    """The same for the cell that a model lies in, or whose folder is named; nothing for any other file."""
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    if (folder / "cell.json").is_file():
        register_plugins_of(CellRun(folder), required=False)


def _further_plugin(component: str) -> str:
    """The file of a plugin that takes part without having registered method or dataset; empty for others."""
    known = _COMPONENT.fullmatch(component)
    return known[2] if known and not known[1] else ""


def _register_kept(run: CellRun, cell: Cell, code: Mapping[str, str], dataset: bool) -> None:
    given = {file.name for file in registry.plugins()}
    files = [Path(str(file)) for file in run.recorded.get("plugins") or ()]  # in the order of their import
    files = [file for file in files if file.name not in given]
    if dataset and any(kind != "method" for kind, _ in unregistered(cell)):
        for file in files:
            if file.name.endswith(DATASET_FILE) and file.is_file():  # its pictures lie beside it
                registry.load_dataset_file(file)
    wanted = dict(_wanted(cell, code, dataset))
    for file in files:
        for copy in kept_copies(store_of(run).directory, file) if wanted else ():
            if what := wanted.pop(plugin_digest(copy.resolve()), ""):
                _load(copy, file, what)
                break
    for file in files if dataset else ():
        missing = [f"{kind} {name!r}" for kind, name in unregistered(cell) if kind == "target"]
        copies = [copy.resolve() for copy in kept_copies(store_of(run).directory, file)]
        if missing and copies and is_as_kept(copies[0]):
            _load(copies[0], file, ", ".join(missing))


def _wanted(cell: Cell, code: Mapping[str, str], dataset: bool) -> Iterator[tuple[str, str]]:
    """By its hash every plugin of the identity that nobody gave, and what it is for."""
    missing = {kind for kind, _ in unregistered(cell, dataset=dataset)}
    given = {file.name for file in registry.plugins()}
    for component, digest in code.items():
        known = _COMPONENT.fullmatch(component)
        if component == METHOD_PLUGIN and "method" in missing:
            yield digest, f"method {cell.base!r}"
        elif (component == DATASET_PLUGIN or (known and known[1])) and "dataset" in missing:
            yield digest, f"dataset {cell.dataset!r}"
        elif known and not known[1] and known[2] not in given:
            yield digest, f"plugin {known[2]!r}"


def _load(copy: Path, recorded: Path, what: str) -> None:
    """Import a copy; `recorded` is the user's own file, which may be another one by now."""
    registry.load_plugin(copy)
    changed = ""
    if recorded.is_file() and plugin_digest(recorded) != plugin_digest(copy.resolve()):
        own = as_typed(recorded)
        changed = f"; {own} has changed since: --plugin {shlex.quote(str(own))} takes it"
    print(f"{what}: by {as_typed(copy)}, as its run kept it{changed}", file=sys.stderr)
