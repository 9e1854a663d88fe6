"""The plugin of a stored cell: where nobody gave it, the copy that its run keeps, if that is what ran.

A copy counts by its hash, which is part of the cell's identity. Of a run that came from somebody else, an
unpacked bundle or one that another machine trained, no code is run unless it is named with `--plugin`.
"""

from __future__ import annotations

import shlex
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import registry
from harness.launch.fingerprints import code_fingerprint
from harness.launch.plugin_files import plugin_files
from harness.machine.errors import StoreError
from harness.machine.paths import as_typed
from harness.registry import DATASET_FILE, PluginError
from harness.store.bundled import is_bundled
from harness.store.cell_run import CellRun
from harness.store.stored_cell import KEPT_PLUGINS, refuse_unregistered, store_of


def register_plugins_of(run: CellRun, *, dataset: bool = True, required: bool = True) -> None:
    """Register the method and the dataset of a cell by the plugins that its run keeps, and say so.

    Args:
        run: the cell.
        dataset: whether the dataset it was trained on is asked for; a model is opened without.
        required: whether a dataset that cannot be registered is refused, as a method always is.

    Raises:
        StudyError: a plugin was not given, and what the run keeps is not what ran.
    """
    try:
        cell, code = run.cell, run.parts.get("code", {})
    except StoreError:  # left for its readers to report
        return
    if run.is_imported:
        return
    for kind, name in (("method", cell.base), *([("dataset", cell.dataset)] if dataset else [])):
        digest = code.get(f"plugin ({kind})") if isinstance(code, dict) else None
        known = registry.methods() if kind == "method" else registry.datasets()
        if digest and name not in known and _is_of_this_machine(run):
            _register_kept(run, kind, name, digest)
    refuse_unregistered(run, dataset=dataset and required)


def _is_of_this_machine(run: CellRun) -> bool:
    return run.recorded.get("host") == socket.gethostname() and not is_bundled(store_of(run).directory)


def register_plugins_at(checkpoint: Path) -> None:
    """The same for the cell that a model lies in, or whose folder is named; nothing for any other file."""
    folder = checkpoint if checkpoint.is_dir() else checkpoint.parent
    if (folder / "cell.json").is_file():
        register_plugins_of(CellRun(folder), required=False)


def _register_kept(run: CellRun, kind: str, name: str, digest: str) -> None:
    recorded = [Path(str(file)) for file in run.recorded.get("plugins") or ()]
    own = [file for file in recorded if file.name.endswith(DATASET_FILE)]  # its pictures lie beside it
    top = (store_of(run).directory / KEPT_PLUGINS).resolve()
    for file in [*own, *sorted(top.rglob("*.py"))]:
        with _importable(file, top) as folders:
            if not file.is_file() or not _is_what_ran(file, kind, digest):
                continue
            registry.load_plugin(file)
            _require_own_modules(file, folders)
            sys.path[:0] = folders  # it may import more of them when it runs
        changed = "" if file in own else _changed_since(recorded, file, kind, digest)
        print(f"{kind} {name!r}: by {as_typed(file)}, as its run kept it{changed}", file=sys.stderr)
        return


def _is_what_ran(file: Path, kind: str, digest: str) -> bool:
    code = code_fingerprint(file, None) if kind == "method" else code_fingerprint(None, file)
    return code[f"plugin ({kind})"] == digest


def _changed_since(recorded: list[Path], kept: Path, kind: str, digest: str) -> str:
    """What to add where the user's own file is another one by now."""
    for file in recorded:
        if file.name == kept.name and file.is_file() and not _is_what_ran(file, kind, digest):
            return (
                f"; {as_typed(file)} has changed since: --plugin {shlex.quote(str(as_typed(file)))} takes it"
            )
    return ""


@contextmanager
def _importable(file: Path, top: Path) -> Iterator[list[str]]:
    """Modules kept with a plugin below `top` are found before any others; the folders they lie in."""
    folders = [str(folder) for folder in file.parents if top in folder.parents]
    sys.path[:0] = folders
    try:
        yield folders
    finally:
        for folder in folders:
            sys.path.remove(folder)


def _require_own_modules(file: Path, folders: list[str]) -> None:
    """Raises `PluginError` where a module of the plugin was imported from elsewhere: other code would run."""
    for kept in plugin_files(file)[1:]:
        for folder in filter(kept.is_relative_to, folders):
            parts = kept.relative_to(folder).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            origin = getattr(sys.modules.get(name), "__file__", None)
            if origin is not None and Path(origin).resolve() != kept:
                raise PluginError(f"{file}: imports {origin} in place of {kept}; start from another folder")
