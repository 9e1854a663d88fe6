"""What differs between two identities of a cell, in words, and why finished cells are not reused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from harness.launch import fingerprints
from harness.launch.context import Context
from harness.machine.errors import DataError, StoreError
from harness.store.cell_run import CellRun
from harness.store.runs import RunStore
from harness.study.cell import Cell

Files = Sequence[Mapping[str, Any]] | None


FILES_NAMED = 5
"""Files named in a sentence; the others are counted."""


@dataclass(frozen=True)
class Change:
    """One thing that is not as it was: which part of the identity, and a sentence to act on."""

    part: str
    text: str


class Words(NamedTuple):
    """How a difference is said: of values on both sides, of one that came, of one that went."""

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
        *_changed_code(then, now, words),
    ]


def _changed_values(then: Mapping[str, Any], now: Mapping[str, Any], words: Words) -> Iterator[Change]:
    for part, word in (("method", "method"), ("settings", "setting"), ("protocol", "protocol")):
        before, after = mapping_in(then, part), mapping_in(now, part)
        for name in sorted({*before, *after}):
            if before.get(name) != after.get(name):
                yield Change(part, f"{word} {name}: {value_change(before, after, name, words)}")
    if then.get("seed") != now.get("seed"):
        yield Change("seed", f"seed: {value_change(then, now, 'seed', words)}")


def mapping_in(parts: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A mapping by its name in an identity's parts; empty where it is missing or of another kind."""
    value = parts.get(name)
    return value if isinstance(value, Mapping) else {}


def value_change(
    before: Mapping[str, Any], after: Mapping[str, Any], name: str, words: Words = THEN_AND_NOW
) -> str:
    """How the value called `name` differs, in words."""
    said = words.came if name not in before else words.went if name not in after else words.both
    return said.format(before.get(name), after.get(name))


def _changed_data(
    then: Mapping[str, Any], now: Mapping[str, Any], files: tuple[Files, Files], words: Words
) -> Iterator[Change]:
    before, after = mapping_in(then, "dataset"), mapping_in(now, "dataset")
    for name in ("name", "subset", "caption_noise"):
        if before.get(name) != after.get(name):
            yield Change("data", f"dataset {name}: {value_change(before, after, name, words)}")
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
    said = [f"{len(paths):,} {kind} ({_some(paths)})" for kind, paths in kinds.items() if paths]
    if not said and any("sha256" not in row for row in (*then, *now)):
        return "the same names, sizes and captions, but an older version did not look into the pictures"
    return "; ".join(said) or "the same files in another order"


def _replaced(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether a picture was replaced by one that differs only in its content."""
    known = "sha256" in before and "sha256" in after
    return known and before["bytes"] == after["bytes"] and before["sha256"] != after["sha256"]


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:FILES_NAMED]) + (", …" if len(names) > FILES_NAMED else "")


def _changed_code(then: Mapping[str, Any], now: Mapping[str, Any], words: Words) -> Iterator[Change]:
    before, after = mapping_in(then, "code"), mapping_in(now, "code")
    for component in sorted({*before, *after}):
        if (component in before) != (component in after):
            then_short, now_short = ({name: str(side[name])[:8] for name in side} for side in (before, after))
            text = value_change(then_short, now_short, component, words)
            yield Change("code", f"the code of {component}: {text}")
        elif before.get(component) != after.get(component):
            where = ", ".join(fingerprints.COMPONENTS.get(component, ()))
            yield Change("code", f"the code of {component} changed" + (f" ({where})" if where else ""))


def changed_targets(run: CellRun, cell: Cell, context: Context) -> Iterator[str]:
    """Targets whose data changed since they were evaluated; the cell is evaluated again, not trained."""
    kept = {str(row.get("target")): row.get("fingerprint") for row in run.results}
    for target in cell.targets:
        try:
            now = context.data_fingerprint(target, cell)
        except DataError as error:
            yield f"the target {target} cannot be read now: {error.lines[0]}"
            continue
        if target != cell.dataset and target in kept and kept[target] != now:
            yield f"the data of the target {target} changed: it is evaluated again"


def unfinished_work(run: CellRun) -> Iterator[str]:
    """What is not done yet, or damaged."""
    altered = run.altered()
    yield from (f"{name} {what}: it is made again" for name, what in altered.items())
    status = run.status
    if status.state != "done" and not altered:
        why = f" ({status.reason}: {status.detail})" if status.reason else f" ({status.detail})"
        yield f"it is {status.state}{why if status.reason or status.detail else ''}: it is run"


def data_fingerprint_of(parts: Mapping[str, Any]) -> str:
    """The fingerprint of the training dataset in an identity's parts."""
    return str(mapping_in(parts, "dataset").get("fingerprint"))


def reasons_not_reused(store: RunStore, left: Iterable[CellRun]) -> list[str]:
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


def reproduced(left: Iterable[tuple[Cell, CellRun]], context: Context) -> list[str]:
    """What of finished cells is made again though they are the same cells: a sentence for each reason."""
    reasons: dict[str, list[str]] = {}
    for cell, run in left:
        if run.was_finished:
            changes = [*changed_targets(run, cell, context), *unfinished_work(run)]
            reasons.setdefault(first_of(changes), []).append(run.name)
    return [_sentence("made again", names, reason) for reason, names in reasons.items() if reason]


def _key(run: CellRun) -> str:
    """Dataset, method and seed: the folder's name without the identity."""
    return run.name.rpartition(".")[0]


def _in_one_line(store: RunStore, then: CellRun, now: CellRun) -> str:
    try:
        before, after = then.parts, now.parts
    except StoreError as error:
        return str(error)
    files = store.files_of(data_fingerprint_of(before)), store.files_of(data_fingerprint_of(after))
    changes = [change.text for change in changes_between(before, after, files)]
    return first_of(changes)


def first_of(texts: Sequence[str]) -> str:
    """The first three sentences in one line, and how many more there are."""
    return "; ".join(texts[:3]) + (f"; and {len(texts) - 3} more" if len(texts) > 3 else "")


def _sentence(what: str, names: Sequence[str], reason: str) -> str:
    who = names[0] if len(names) == 1 else f"{len(names)} finished cells ({names[0]}, …)"
    return f"{what}: {who}: {reason}"
