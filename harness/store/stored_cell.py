"""A stored cell beside the present: found by its name, and the machine it would run on again."""

from __future__ import annotations

import glob
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import registry
from harness.data.joint import parts_of
from harness.machine.environment import Machine
from harness.machine.errors import StoreError, StudyError
from harness.machine.paths import RUNS, as_typed
from harness.registry.plugin_imports import KEPT_PLUGINS as KEPT_PLUGINS
from harness.store.cell_run import CellRun
from harness.store.runs import RunStore
from harness.study.cell import Cell

NAMED = 5
"""Cells named in a message; the others are counted."""
MOST_THREADS = 1024
"""A store is read, not trusted: no description makes this process start more."""


def machine_of(run: CellRun, machine: Machine) -> Machine:
    """`machine` set up as the cell was run: devices, threads, determinism, its data root unless given.

    Broken images are left out where the cell's results say that some were.
    """
    kept = run.recorded
    trained_on = kept.get("trained_on")
    threads = trained_on.get("threads") if isinstance(trained_on, dict) else None
    root = kept.get("data_root")
    return replace(
        machine,
        data_root=machine.data_root or (Path(root) if isinstance(root, str) and root else None),
        devices=kept["devices"] if isinstance(kept.get("devices"), int) else machine.devices,
        threads=threads if isinstance(threads, int) and 0 < threads <= MOST_THREADS else machine.threads,
        deterministic=machine.deterministic or kept.get("deterministic") is True,
        skip_broken=machine.skip_broken or any(row.get("skipped") for row in run.results),
        plugins=tuple(dict.fromkeys((*machine.plugins, *registry.plugins()))),
    )


def refuse_unregistered(run: CellRun, *, dataset: bool = True) -> None:
    """Raises `StudyError` where the cell's method, or a dataset of it, is a plugin's that was not given.

    A damaged description is left for its readers to report. Without `dataset` no dataset is asked for: a
    model is opened without the data that it was trained and evaluated on.
    """
    if run.is_imported:
        return
    try:
        cell, kept = run.cell, run.recorded.get("plugins")
    except StoreError:
        return
    given = kept if isinstance(kept, list) and kept else ["FILE"]
    files = [shlex.quote(str(_where_it_lies(store_of(run).directory, str(file)))) for file in given]
    option = " ".join(f"--plugin {file}" for file in files)
    for kind, name in unregistered(cell, dataset=dataset):
        raise StudyError([f"{run.name}: its {kind} {name!r} came from a plugin; give it with {option}"])


def unregistered(cell: Cell, *, dataset: bool = True) -> list[tuple[str, str]]:
    """What of a cell nothing has registered: kind (`method`, `dataset`, `target`) and name of each."""
    known = registry.datasets()
    own = parts_of(cell.dataset)
    targets = dict.fromkeys(part for target in cell.targets for part in parts_of(target))
    return [
        *(("method", name) for name in (cell.base,) if name not in registry.methods()),
        *(("dataset", name) for name in own if dataset and name not in known),
        *(("target", name) for name in targets if dataset and name not in own and name not in known),
    ]


def options_again(directory: Path, recorded: Iterable[Mapping[str, Any]]) -> list[str]:
    """The words of a command that a run's cells need beside its study: their plugins and their data.

    Args:
        directory: the run's folder.
        recorded: what its cells recorded beside their identities.
    """
    records = list(recorded)
    roots = list(dict.fromkeys(str(each["data_root"]) for each in records if each.get("data_root")))
    words = ["--data-root", roots[0]] if len(roots) == 1 else []
    named = dict.fromkeys(str(file) for each in records for file in _listed(each.get("plugins")))
    for file in named:
        beside_data = file.endswith(registry.DATASET_FILE) and any(
            Path(file).is_relative_to(r) for r in roots
        )
        # What is installed, or lies in the data root, is found without an option.
        if not beside_data and "site-packages" not in Path(file).parts:
            words += ["--plugin", str(as_typed(_where_it_lies(directory, file)))]
    return words


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _where_it_lies(directory: Path, plugin: str) -> Path:
    """The plugin's file; where that is gone, the latest copy that its run keeps in `directory`."""
    file = Path(plugin)
    if file.exists():
        return file
    return next(iter(kept_copies(directory, file)), file)


def kept_copies(directory: Path, plugin: Path) -> list[Path]:
    """The copies of a plugin that the run in `directory` keeps, the latest first."""
    copies = (directory / KEPT_PLUGINS).glob(f"{glob.escape(plugin.stem)}.*")
    found = [path for copy in copies for path in copy.rglob(glob.escape(plugin.name)) if path.is_file()]
    return sorted(found, key=lambda path: path.stat().st_mtime_ns, reverse=True)


def store_of(run: CellRun) -> RunStore:
    """The store that a cell lies in."""
    return RunStore(run.directory.parent.parent)


def find_cell(name: str) -> CellRun:
    """The cell at a path, whose last part may be shortened, or of any run below `runs/` one called like that.

    Raises `StudyError` when there is none, or more than one, which it names by their folders.
    """
    path = Path(name)
    folder = path if path.is_dir() else path.parent
    if (folder / "cell.json").is_file():
        return CellRun(folder.absolute())
    if path.parent.name == "cells" and path.parent.is_dir():
        stores, start = [RunStore(path.parent.parent)], path.name
    else:
        stores, start = [RunStore(study.parent) for study in sorted(RUNS.glob("*/study.yaml"))], name
    matching = [run for store in stores for run in store.all_cells() if run.name.startswith(start)]
    if len(matching) == 1:
        return CellRun(matching[0].directory.absolute())
    if not matching:
        raise StudyError([f"{name}: no such cell; give its folder, as in runs/demo/cells/CELL"])
    listed = [f"  {run.directory}" for run in matching[:NAMED]]
    more = [f"  and {len(matching) - NAMED} more"] if len(matching) > NAMED else []
    raise StudyError([f"{name}: {len(matching)} cells start like this; give one's folder:", *listed, *more])
