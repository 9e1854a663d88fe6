"""A cell of a store as it was asked for, so that it can be run again or held against the present."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import registry
from harness.machine.environment import Machine
from harness.machine.errors import StoreError, StudyError
from harness.store.cell_run import CellRun
from harness.store.runs import RunStore
from harness.study.cell import Cell
from harness.study.schema import Select, TrainSettings

RUNS = Path("runs")
MOST_THREADS = 1024
"""A store is read, not trusted: no description makes this process start more."""


def cell_of(run: CellRun) -> Cell:
    """The cell that a store's folder holds, as its study asked for it.

    Raises `StoreError` when the description is missing, damaged, or of another format.
    """
    try:
        asked = run.description["cell"]
        train = {**asked["train"], "image_size": tuple(asked["train"]["image_size"])}
        plain = ("study", "method", "base", "dataset", "seed", "preset", "trains", "subset", "tie_order")
        return Cell(
            **{name: asked[name] for name in plain},
            train=TrainSettings.model_validate(train),
            select=Select.model_validate(asked["select"]),
            own=dict(asked["own"]),
            given=dict(asked["given"]),
            targets=tuple(asked["targets"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{run.directory / 'cell.json'}: not a cell of this version: {error}") from error


def recorded(run: CellRun) -> dict[str, Any]:
    """What was kept beside the identity: host, paths, commit, and what it was trained on."""
    found = run.description.get("recorded")
    return found if isinstance(found, dict) else {}


def machine_of(run: CellRun, machine: Machine) -> Machine:
    """`machine` set up as the cell was run: devices, threads, determinism, and its data root unless given."""
    kept = recorded(run)
    trained_on = kept.get("trained_on")
    threads = trained_on.get("threads") if isinstance(trained_on, dict) else None
    root = kept.get("data_root")
    return replace(
        machine,
        data_root=machine.data_root or (Path(root) if isinstance(root, str) and root else None),
        devices=kept["devices"] if isinstance(kept.get("devices"), int) else machine.devices,
        threads=threads if isinstance(threads, int) and 0 < threads <= MOST_THREADS else machine.threads,
        deterministic=machine.deterministic or kept.get("deterministic") is True,
    )


def refuse_unregistered(run: CellRun) -> None:
    """Raises `StudyError` where the cell's method or dataset is a plugin's that was not given.

    What is damaged is for its readers to say.
    """
    try:
        asked, kept = run.description["cell"], recorded(run).get("plugins")
        wanted = {"method": str(asked["base"]), "dataset": str(asked["dataset"])}
    except (StoreError, KeyError, TypeError):
        return
    registered = {"method": set(registry.methods()), "dataset": set(registry.datasets())}
    files = [shlex.quote(str(file)) for file in kept] if isinstance(kept, list) and kept else ["FILE"]
    option = " ".join(f"--plugin {file}" for file in files)
    for kind, name in wanted.items():
        if name not in registered[kind]:
            raise StudyError([f"{run.name}: its {kind} {name!r} came from a plugin; give it with {option}"])


def store_of(run: CellRun) -> RunStore:
    """The store that a cell lies in."""
    return RunStore(run.directory.parent.parent)


def find_cell(name: str, runs: Sequence[Path] | None = None) -> CellRun:
    """The cell at a path, or the one below `runs` whose folder's name starts with `name`.

    Raises `StudyError` when there is none, or more than one.
    """
    path = Path(name)
    folder = path if path.is_dir() else path.parent
    if (folder / "cell.json").is_file():
        return CellRun(folder.absolute())
    stores = [path.parent for path in sorted(RUNS.glob("*/study.yaml"))] if runs is None else runs
    found = [
        run for store in stores for run in RunStore(store.absolute()).all_cells() if run.name.startswith(name)
    ]
    if len(found) == 1:
        return found[0]
    if not found:
        raise StudyError([f"{name}: no such cell; give its folder, as in runs/demo/cells/CELL"])
    named = ", ".join(run.name for run in found[:5]) + (", …" if len(found) > 5 else "")
    raise StudyError([f"{name}: {len(found)} cells start like this: {named}"])
