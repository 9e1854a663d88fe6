"""The verb `why`: what makes a cell that cell, and what has changed since it ran."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.data.splits import file_list
from harness.launch import fingerprints
from harness.launch.changes import (
    HERE_AND_THERE,
    THEN_AND_NOW,
    Change,
    Words,
    changed_targets,
    changes_between,
    data_fingerprint_of,
    mapping_in,
    unfinished_work,
    value_change,
)
from harness.launch.context import Context
from harness.launch.kept_plugins import register_plugins_of
from harness.machine import environment
from harness.machine.environment import Machine
from harness.machine.errors import DataError, StudyError
from harness.machine.paths import as_typed
from harness.store.cell_run import CellRun
from harness.store.stored_cell import (
    find_cell,
    machine_of,
    store_of,
)
from harness.study.cell import Cell
from harness.study.study import load_study

NOW = "the present"
ELSEWHERE = "nothing"
"""What an imported cell is compared with."""


@dataclass(frozen=True)
class IdentityComparison:
    """What `why` says about a cell."""

    cell: str
    folder: str
    """Where the cell lies, as it is typed here."""
    made_of: list[str]
    """What its identity is made of, one line each."""
    changes: list[Change]
    """What makes it another cell than the one it is compared with."""
    again: list[str]
    """What `run` does again though it is the same cell: a target's data changed, a file was damaged."""
    beside: list[str]
    """What changed outside the identity: the digits should stay, and may not to the last bit."""
    compared_with: str

    def plain(self) -> dict[str, Any]:
        """The JSON object of `why --json`."""
        changes = [{"part": change.part, "text": change.text} for change in self.changes]
        return {**vars(self), "changes": changes}


def why(name: str, other: str | None, machine: Machine) -> IdentityComparison:
    """What a cell is made of, and how it differs from `other` (a cell, or a study file) or from the present.

    Raises `StudyError` and `StoreError` for a cell that is not there or damaged.
    """
    run = find_cell(name)
    if run.is_imported and other is None:
        return IdentityComparison(run.name, _folder(run), list(_made_of(run)), [], [], [], ELSEWHERE)
    register_plugins_of(run)
    if other is None:
        return against_present(run, machine)
    if Path(other).suffix in (".yaml", ".yml"):
        return _against_study(run, Path(other), machine)
    second = find_cell(other)
    stores = store_of(run), store_of(second)
    then, now = (each.parts for each in (run, second))
    files = tuple(
        store.files_of(data_fingerprint_of(parts)) for store, parts in zip(stores, (then, now), strict=True)
    )
    changes = changes_between(then, now, (files[0], files[1]), HERE_AND_THERE)
    beside = list(_environment_changes(run.recorded, second.recorded, HERE_AND_THERE))
    return IdentityComparison(
        run.name, _folder(run), list(_made_of(run)), changes, [], beside, _folder(second)
    )


def _folder(run: CellRun) -> str:
    return str(as_typed(run.directory))


def against_present(run: CellRun, machine: Machine) -> IdentityComparison:
    """How a cell differs from the same one run now, on the data, code, weights and packages of today."""
    return _against(run, run.cell, machine, NOW)


def _against_study(run: CellRun, path: Path, machine: Machine) -> IdentityComparison:
    cell = run.cell
    for now in load_study(path, subset=cell.subset).cells():
        if now.key == cell.key:
            return _against(run, now, machine, str(path))
    raise StudyError([f"{path}: has no cell {cell.key}, so there is nothing to compare {run.name} with"])


def _against(run: CellRun, cell: Cell, machine: Machine, baseline: str) -> IdentityComparison:
    context = Context(machine_of(run, machine))
    then = run.parts
    beside = list(_environment_changes(run.recorded, _present(context, cell, run)))
    try:
        now = context.parts(cell)
        files = file_list(context.dataset(cell.dataset, cell.subset))
    except DataError as error:
        unreadable = Change("data", f"the data of {cell.dataset} cannot be read now: {error.lines[0]}")
        return IdentityComparison(
            run.name, _folder(run), list(_made_of(run)), [unreadable], [], beside, baseline
        )
    listed = store_of(run).files_of(data_fingerprint_of(then))
    changes = changes_between(then, now, (listed, files))
    if any(change.part == "code" for change in changes):
        beside += _compare_commits(run, then, now)
    again = [] if changes else [*changed_targets(run, cell, context), *unfinished_work(run)]
    return IdentityComparison(run.name, _folder(run), list(_made_of(run)), changes, again, beside, baseline)


def _made_of(run: CellRun) -> Iterator[str]:
    parts = run.parts
    method, dataset = mapping_in(parts, "method"), mapping_in(parts, "dataset")
    yield f"identity  {run.description.get('identity')}"
    if run.is_imported:
        yield f"imported  {run.recorded.get('file')}, SHA-256 {str(parts.get('imported'))[:12]}"
    yield f"method    {method.get('label')} (registered as {method.get('base')})"
    subset = f", {dataset['subset']} identities per split" if dataset.get("subset") else ""
    yield f"dataset   {dataset.get('name')}{subset}, fingerprint {str(dataset.get('fingerprint'))[:12]}"
    yield f"seed      {parts.get('seed')}"
    for part in ("settings", "protocol"):
        yield from _one_a_line(part, mapping_in(parts, part))
    yield from _one_a_line("code", {name: digest[:8] for name, digest in mapping_in(parts, "code").items()})


def _one_a_line(part: str, values: Mapping[str, Any]) -> Iterator[str]:
    for number, (name, value) in enumerate(sorted(values.items())):
        yield f"{'' if number else part:<9} {name} = {setting_text(value)}"


def setting_text(value: Any) -> str:
    """A setting as a study file has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return "none" if value is None else str(value)


def _present(context: Context, cell: Cell, run: CellRun) -> dict[str, Any]:
    """What a cell run now would record beside its identity, where that can change a last digit."""
    if "trained_on" not in run.recorded:
        return {"commit": environment.commit()}
    device = context.fabric(cell).device
    return {"commit": environment.commit(), "trained_on": environment.arithmetic(device)}


def _environment_changes(
    then: Mapping[str, Any], now: Mapping[str, Any], words: Words = THEN_AND_NOW
) -> Iterator[str]:
    before, after = mapping_in(then, "trained_on"), mapping_in(now, "trained_on")
    packages = mapping_in(before, "packages"), mapping_in(after, "packages")
    apart = ("packages", "mixed")
    values = [name for name in environment.arithmetic_moved(before, after) if name not in apart]
    for old, new, names in ((before, after, values), (*packages, packages[0])):
        for name in names:
            if old and new and old.get(name) != new.get(name):
                yield f"environment: {name}: {value_change(old, new, name, words)}"


def _compare_commits(run: CellRun, then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    commit = str(run.recorded.get("commit") or "").rstrip("+")
    before, after = mapping_in(then, "code"), mapping_in(now, "code")
    changed = [name for name in sorted({*before, *after}) if before.get(name) != after.get(name)]
    where = [pattern for name in changed for pattern in fingerprints.COMPONENTS.get(name, ())]
    if commit and where:
        yield f"to see the code's changes: git diff {commit[:12]} -- {shlex.join(where)}"


def render(answer: IdentityComparison) -> None:
    """Print an answer for a person."""
    print(answer.folder)
    for line in answer.made_of:
        print(f"  {line}")
    print(_verdict(answer))
    for change in answer.changes:
        print(f"  {change.text}")
    for line in answer.again:
        print(f"  {line}")
    for line in answer.beside:
        print(f"  ({line})")


def _verdict(answer: IdentityComparison) -> str:
    if answer.compared_with == ELSEWHERE:
        return "Trained elsewhere: it cannot be run here, so it is compared with nothing."
    if answer.compared_with == NOW:
        if answer.changes:
            return "Run now, it would be another cell, because:"
        return "Run now, it is the same cell" + (", but:" if answer.again else ": its results are reused.")
    if answer.changes:
        return f"Another cell than {answer.compared_with}, because:"
    return f"The same cell as {answer.compared_with}" + (", but:" if answer.again else ".")
