"""Cells that a run speaks of and that are not there: planned, scored in its table, or finished at a look."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.machine.errors import StoreError
from harness.machine.files import read_json
from harness.store.look_history import look_history
from harness.store.run_files import listed_methods
from harness.store.runs import RunStore


@dataclass(frozen=True)
class MissingCell:
    """A cell that is not there, and which files of the run speak of it."""

    name: str
    """Its folder; of one that is only planned dataset, method and seed."""
    rows: int = 0
    """Of `results.csv` that are its scores."""
    is_current: bool = False
    """Whether `current.json` lists it."""
    is_planned: bool = False
    """Whether the study wants it."""
    look: str = ""
    """The day of a look at which it had finished."""

    def __str__(self) -> str:
        said = [
            *(["study.yaml plans it"] if self.is_planned else []),
            *(["current.json lists it"] if self.is_current else []),
            *([f"results.csv has {self.rows} rows of it"] if self.rows else []),
            *([f"looks.jsonl counts it as finished on {self.look}"] if self.look else []),
        ]
        return f"cells/{self.name} is missing: {', '.join(said)}"


def missing_cells(store: RunStore) -> list[MissingCell]:
    """The cells that were there once and are not now, by name.

    One that the study plans and nothing else speaks of was not begun: it is not among them.
    """
    present = {run.name for run in store.all_cells()}
    rows = Counter(_in_table(store.directory))
    current = set(_in_current(store.directory))
    planned = planned_slots(store)
    named = [
        MissingCell(name, rows[name], name in current, slot_of(name) in planned)
        for name in sorted((rows.keys() | current) - present)
    ]
    slots = {slot_of(name) for name in (*present, *(cell.name for cell in named))}
    looks = look_history(store.directory).records
    unnamed = {slot: _finished_at_a_look(looks, slot, slots) for slot in planned if slot not in slots}
    return named + [MissingCell(slot, is_planned=True, look=day) for slot, day in unnamed.items() if day]


def slot_of(name: str) -> str:
    """Dataset, method and seed of a cell by its folder's name, which ends with the identity."""
    return name.rpartition(".")[0]


def planned_slots(store: RunStore) -> list[str]:
    """What the study wants, as `dataset.method.seed`."""
    study = store.study()
    seeds = study.get("seeds") or ()
    listed: Sequence[object] = range(seeds) if isinstance(seeds, int) else seeds
    return [
        f"{dataset}.{method}.{seed}"
        for dataset in study.get("datasets") or ()
        for method in listed_methods(study)
        for seed in listed
    ]


def not_begun(store: RunStore, missing: Sequence[MissingCell]) -> list[str]:
    """What the study wants and no cell, present or `missing`, stands for."""
    known = {slot_of(run.name) for run in store.all_cells()}
    for cell in missing:
        known |= {cell.name, slot_of(cell.name)}
    return [slot for slot in planned_slots(store) if slot not in known]


def _finished_at_a_look(looks: Sequence[Mapping[str, Any]], slot: str, begun: set[str]) -> str:
    """The day of a look that counts more finished seeds of a method than there are cells; else empty."""
    method = slot_of(slot)
    there = sum(slot_of(each) == method for each in begun)
    for record in looks:
        for place, by_method in (record.get("finished") or {}).items():
            dataset = place.partition("/")[2]
            if any(f"{dataset}.{name}" == method and count > there for name, count in by_method.items()):
                return str(record.get("at"))[:10]
    return ""


def _in_table(directory: Path) -> Iterator[str]:
    try:
        with (directory / "results.csv").open(encoding="utf-8", newline="") as file:
            yield from (str(row["cell"]) for row in csv.DictReader(file) if row.get("cell"))
    except (OSError, ValueError, csv.Error):
        return


def _in_current(directory: Path) -> Iterator[str]:
    try:
        current = read_json(directory / "current.json")
    except StoreError:
        return
    if isinstance(current, dict):
        yield from (name for name in current.values() if isinstance(name, str))
