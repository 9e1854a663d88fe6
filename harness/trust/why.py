"""The verb `why`: what makes a cell that cell, and what has changed since it ran."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from harness import environment
from harness.context import Context, Machine
from harness.data.records import DataError
from harness.data.splits import file_list
from harness.files import StoreError
from harness.store.cellrun import CellRun
from harness.store.runs import RunStore
from harness.study import Cell, load_study
from harness.studyfile import StudyError
from harness.trust.recall import cell_of, find_cell, machine_of, recorded, refuse_unregistered, store_of

Files = Sequence[Mapping[str, Any]] | None
NOW = "the present"
NAMED = 5
"""Files named in a sentence; the others are counted."""


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was: which part of the identity, and a sentence to act on."""

    part: str
    text: str


@dataclass(frozen=True)
class Answer:
    """What `why` says about a cell."""

    cell: str
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


# -- differences between identities ---------------------------------------------------------------


class Words(NamedTuple):
    """How a difference is told: of values on both sides, of one that came, of one that went."""

    both: str
    came: str
    went: str


THEN_AND_NOW = Words("was {0!r}, is {1!r}", "is {1!r}, was not there", "was {0!r}, is no more")
HERE_AND_THERE = Words("{0!r} here, {1!r} there", "{1!r} there only", "{0!r} here only")


def changes_between(
    then: Mapping[str, Any],
    now: Mapping[str, Any],
    files: tuple[Files, Files] = (None, None),
    words: Words = THEN_AND_NOW,
) -> list[Change]:
    """What differs between the parts of two identities; `files` are their datasets' lists, where known."""
    return [
        *_changed_values(then, now, words),
        *_changed_data(then, now, files, words),
        *_changed_code(then, now),
    ]


def _changed_values(then: Mapping[str, Any], now: Mapping[str, Any], words: Words) -> Iterator[Change]:
    for part, word in (("method", "method"), ("settings", "setting"), ("protocol", "protocol")):
        before, after = _mapping(then, part), _mapping(now, part)
        for name in sorted({*before, *after}):
            if before.get(name) != after.get(name):
                yield Change(part, f"{word} {name}: {_moved(before, after, name, words)}")
    if then.get("seed") != now.get("seed"):
        yield Change("seed", f"seed: {_moved(then, now, 'seed', words)}")


def _mapping(parts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = parts.get(name)
    return found if isinstance(found, Mapping) else {}


def _moved(
    before: Mapping[str, Any], after: Mapping[str, Any], name: str, words: Words = THEN_AND_NOW
) -> str:
    told = words.came if name not in before else words.went if name not in after else words.both
    return told.format(before.get(name), after.get(name))


def _changed_data(
    then: Mapping[str, Any], now: Mapping[str, Any], files: tuple[Files, Files], words: Words
) -> Iterator[Change]:
    before, after = _mapping(then, "dataset"), _mapping(now, "dataset")
    for name in ("name", "subset"):
        if before.get(name) != after.get(name):
            yield Change("data", f"dataset {name}: {_moved(before, after, name, words)}")
    if before.get("fingerprint") != after.get("fingerprint") and before.get("name") == after.get("name"):
        yield Change("data", f"the data of {before.get('name')} changed: {changed_files(*files)}")


def changed_files(then: Files, now: Files) -> str:
    """What happened to a dataset's files between two lists, in words."""
    if then is None or now is None:
        return "which files is not known, since no list of them was kept"
    before, after = ({(row["split"], row["path"]): row for row in rows} for rows in (then, now))
    both = [key for key in before if key in after]
    kinds = {
        "gone": [path for split, path in before if (split, path) not in after],
        "new": [path for split, path in after if (split, path) not in before],
        "of another size": [key[1] for key in both if before[key]["bytes"] != after[key]["bytes"]],
        "of the same size with another content": [
            key[1] for key in both if _replaced(before[key], after[key])
        ],
        "with other captions": [key[1] for key in both if before[key]["captions"] != after[key]["captions"]],
        "of another person": [key[1] for key in both if before[key]["person"] != after[key]["person"]],
    }
    told = [f"{len(paths):,} {kind} ({_some(paths)})" for kind, paths in kinds.items() if paths]
    if not told and any("sha256" not in row for row in (*then, *now)):
        return "the same names, sizes and captions, but an older version did not look into the pictures"
    return "; ".join(told) or "the same files in another order"


def _replaced(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a picture was replaced by one that only its content tells apart."""
    known = "sha256" in before and "sha256" in after
    return known and before["bytes"] == after["bytes"] and before["sha256"] != after["sha256"]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (", …" if len(names) > NAMED else "")


def _changed_code(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Change]:
    before, after = _mapping(then, "code"), _mapping(now, "code")
    for room in sorted({*before, *after}):
        if before.get(room) != after.get(room):
            where = ", ".join(environment.rooms().get(room, ()))
            yield Change("code", f"the code of {room} changed" + (f" ({where})" if where else ""))


# -- the verb -------------------------------------------------------------------------------------


def why(name: str, other: str | None, machine: Machine) -> Answer:
    """What a cell is made of, and how it differs from `other` (a cell, or a study file) or from the present.

    Raises `StudyError` and `StoreError` for a cell that is not there or damaged.
    """
    run = find_cell(name)
    refuse_unregistered(run)
    if other is None:
        return against_present(run, machine)
    if Path(other).suffix in (".yaml", ".yml"):
        return _against_study(run, Path(other), machine)
    second = find_cell(other)
    stores = store_of(run), store_of(second)
    then, now = (_parts(each) for each in (run, second))
    files = tuple(store.files_of(_data_of(parts)) for store, parts in zip(stores, (then, now), strict=True))
    changes = changes_between(then, now, (files[0], files[1]), HERE_AND_THERE)
    beside = list(_environment_changes(recorded(run), recorded(second), HERE_AND_THERE))
    return Answer(run.name, list(_made_of(run)), changes, [], beside, second.name)


def against_present(run: CellRun, machine: Machine) -> Answer:
    """How a cell differs from the same one run now, on the data, code, weights and packages of today."""
    return _against(run, cell_of(run), machine, NOW)


def _against_study(run: CellRun, path: Path, machine: Machine) -> Answer:
    cell = cell_of(run)
    for now in load_study(path, subset=cell.subset).cells():
        if now.key == cell.key:
            return _against(run, now, machine, str(path))
    raise StudyError([f"{path}: has no cell {cell.key}, so there is nothing to compare {run.name} with"])


def _against(run: CellRun, cell: Cell, machine: Machine, what: str) -> Answer:
    context = Context(machine_of(run, machine))
    then = _parts(run)
    beside = list(_environment_changes(recorded(run), _present(context, cell, run)))
    try:
        now = context.parts(cell)
        files = file_list(context.dataset(cell.dataset, cell.subset))
    except DataError as error:
        unreadable = Change("data", f"the data of {cell.dataset} cannot be read now: {error.problems[0]}")
        return Answer(run.name, list(_made_of(run)), [unreadable], [], beside, what)
    listed = store_of(run).files_of(_data_of(then))
    changes = changes_between(then, now, (listed, files))
    if any(change.part == "code" for change in changes):
        beside += _compare_commits(run, then, now)
    again = [] if changes else [*_changed_targets(run, cell, context), *_unfinished(run)]
    return Answer(run.name, list(_made_of(run)), changes, again, beside, what)


def _changed_targets(run: CellRun, cell: Cell, context: Context) -> Iterator[str]:
    """Targets whose data changed since they were evaluated; the cell is evaluated again, not trained."""
    kept = {str(row.get("target")): row.get("fingerprint") for row in run.results}
    for target in cell.targets:
        try:
            now = context.data_fingerprint(target, cell)
        except DataError as error:
            yield f"the target {target} cannot be read now: {error.problems[0]}"
            continue
        if target != cell.dataset and target in kept and kept[target] != now:
            yield f"the data of the target {target} changed: it is evaluated again"


def _unfinished(run: CellRun) -> Iterator[str]:
    """What is not done yet, or damaged."""
    altered = run.altered()
    yield from (f"{name} {what}: it is made again" for name, what in altered.items())
    status = run.status
    if status.state != "done" and not altered:
        why = f" ({status.reason}: {status.detail})" if status.reason else f" ({status.detail})"
        yield f"it is {status.state}{why if status.reason or status.detail else ''}: it is run"


def _parts(run: CellRun) -> dict[str, Any]:
    parts = run.description.get("parts")
    if not isinstance(parts, dict):
        raise StoreError(f"{run.directory / 'cell.json'}: says nothing about the cell's identity")
    return parts


def _data_of(parts: Mapping[str, Any]) -> str:
    return str(_mapping(parts, "dataset").get("fingerprint"))


def _made_of(run: CellRun) -> Iterator[str]:
    parts = _parts(run)
    method, dataset = _mapping(parts, "method"), _mapping(parts, "dataset")
    yield f"identity  {run.description.get('identity')}"
    yield f"method    {method.get('label')} (registered as {method.get('base')})"
    subset = f", {dataset['subset']} identities per split" if dataset.get("subset") else ""
    yield f"dataset   {dataset.get('name')}{subset}, fingerprint {str(dataset.get('fingerprint'))[:12]}"
    yield f"seed      {parts.get('seed')}"
    for part in ("settings", "protocol"):
        yield from _one_a_line(part, _mapping(parts, part))
    yield from _one_a_line("code", {room: digest[:8] for room, digest in _mapping(parts, "code").items()})


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
    if "trained_on" not in recorded(run):
        return {"commit": environment.commit()}
    device = context.fabric(cell).device
    return {"commit": environment.commit(), "trained_on": environment.arithmetic(device)}


def _environment_changes(
    then: Mapping[str, Any], now: Mapping[str, Any], words: Words = THEN_AND_NOW
) -> Iterator[str]:
    before, after = _mapping(then, "trained_on"), _mapping(now, "trained_on")
    packages = _mapping(before, "packages"), _mapping(after, "packages")
    for old, new, names in ((before, after, ("device", "processor", "threads")), (*packages, packages[0])):
        for name in names:
            if old and new and old.get(name) != new.get(name):
                yield f"environment: {name}: {_moved(old, new, name, words)}"


def _compare_commits(run: CellRun, then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    commit = str(recorded(run).get("commit") or "").rstrip("+")
    before, after = _mapping(then, "code"), _mapping(now, "code")
    rooms = [room for room in sorted({*before, *after}) if before.get(room) != after.get(room)]
    where = [pattern for room in rooms for pattern in environment.rooms().get(room, ())]
    if commit and where:
        yield f"to see the code's changes: git diff {commit[:12]} -- {shlex.join(where)}"


def render(answer: Answer) -> None:
    """Print an answer for a person."""
    print(answer.cell)
    for line in answer.made_of:
        print(f"  {line}")
    print(_verdict(answer))
    for change in answer.changes:
        print(f"  {change.text}")
    for line in answer.again:
        print(f"  {line}")
    for line in answer.beside:
        print(f"  ({line})")


def _verdict(answer: Answer) -> str:
    if answer.compared_with == NOW:
        if answer.changes:
            return "Run now, it would be another cell, because:"
        return "Run now, it is the same cell" + (", but:" if answer.again else ": its results are reused.")
    if answer.changes:
        return f"Another cell than {answer.compared_with}, because:"
    return f"The same cell as {answer.compared_with}" + (", but:" if answer.again else ".")


# -- what `run` says ------------------------------------------------------------------------------


def not_reused(store: RunStore, left: Iterable[CellRun]) -> list[str]:
    """Why finished cells of the same method, dataset and seed are not reused: a sentence for each reason."""
    finished: dict[str, list[CellRun]] = {}
    waiting = list(left)
    for run in store.all_cells() if waiting else ():
        finished.setdefault(_key(run), []).append(run)
    reasons: dict[str, list[str]] = {}
    for run in waiting:
        others = [other for other in finished.get(_key(run), ()) if other.name != run.name]
        done = [other for other in others if other.status.state == "done"]
        if done and run.status.state == "queued" and not run.history:
            latest = max(done, key=lambda other: (other.directory / "status.json").stat().st_mtime)
            reason = _in_one_line(store, latest, run)
            reasons.setdefault(reason, []).append(latest.name)
    return [_sentence("not reused", names, reason) for reason, names in reasons.items()]


def made_again(left: Iterable[tuple[Cell, CellRun]], context: Context) -> list[str]:
    """What of finished cells is made again though they are the same cells: a sentence for each reason."""
    reasons: dict[str, list[str]] = {}
    for cell, run in left:
        if run.was_finished:
            found = [*_changed_targets(run, cell, context), *_unfinished(run)]
            reasons.setdefault(_first_of(found), []).append(run.name)
    return [_sentence("made again", names, reason) for reason, names in reasons.items() if reason]


def _key(run: CellRun) -> str:
    """Dataset, method and seed: the folder's name without the identity."""
    return run.name.rpartition(".")[0]


def _in_one_line(store: RunStore, then: CellRun, now: CellRun) -> str:
    try:
        before, after = _parts(then), _parts(now)
    except StoreError as error:
        return str(error)
    files = store.files_of(_data_of(before)), store.files_of(_data_of(after))
    found = [change.text for change in changes_between(before, after, files)]
    return _first_of(found)


def _first_of(texts: Sequence[str]) -> str:
    return "; ".join(texts[:3]) + (f"; and {len(texts) - 3} more" if len(texts) > 3 else "")


def _sentence(what: str, names: Sequence[str], reason: str) -> str:
    who = names[0] if len(names) == 1 else f"{len(names)} finished cells ({names[0]}, …)"
    return f"{what}: {who}: {reason}"
