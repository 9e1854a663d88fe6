"""Which folder a run gets: narrowing keeps a study's folder, a change gets one of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.launch.changes import first_of
from harness.machine.errors import StudyError
from harness.machine.paths import RUNS
from harness.store.runs import RunStore
from harness.study.study import Study, load_study

NARROWING = ("methods", "datasets", "seeds")
"""Keys whose entries may become fewer without a change of any cell."""
SAME_CELLS = ("name", "search.trials")
"""Keys that change no cell: another name is a folder of its own already, more trials continue a search."""


def default_folder(name: str, study: Path, overrides: Sequence[str], subset: int | None) -> Path:
    """The folder below `runs` of a study called `name`, apart for every change of what its file says."""
    stated = [f"subset={subset}"] if subset is not None else []
    changes = [text for text in (*stated, *sorted(overrides)) if _changes(study, text)]
    return RUNS / "+".join([name, *map(_file_name, changes)])


def _changes(study: Path, override: str) -> bool:
    """Whether an override, alone, makes another study of the file rather than a part of the same one."""
    try:
        whole, changed = (load_study(study, overrides).resolved() for overrides in ((), (override,)))
    except StudyError:  # one of them is valid only together with other overrides
        return True
    name = override.partition("=")[0].strip()
    if name in SAME_CELLS:
        return False
    if name in NARROWING:
        return not all(entry in whole[name] for entry in changed[name])
    return whole != changed


def _file_name(text: str) -> str:
    """A change as part of a folder's name: short, and without what a file system or a shell reads."""
    plain = "".join(letter if letter.isalnum() or letter in "=.-_," else "_" for letter in text)
    if plain == text and len(plain) <= 60:
        return plain
    return f"{plain[:40]}~{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def runs_to_reuse(folders: Sequence[Path]) -> tuple[Path, ...]:
    """The folders of other runs that `--reuse` names. Raises `StudyError` when one holds no cell."""
    empty = [folder for folder in folders if not RunStore(folder).all_cells()]
    if empty:
        raise StudyError([f"--reuse {folder}: no run with cells lies there" for folder in empty])
    return tuple(folders)


def another_study(study: Study, out: Path, *, asked: bool) -> list[str]:
    """Why the folder of a run, which holds trained cells of a study with other settings, is refused.

    A study that was narrowed or widened (methods, datasets, seeds, targets) is the same one. A folder that
    was `asked` for by `--out` is the user's choice: identities keep its cells apart.
    """
    stored = {} if asked else RunStore(out).study()
    if not stored or not RunStore(out).cells():
        return []
    differences = list(_differences(stored, study.resolved()))
    if not differences:
        return []
    return [
        f"{out}: holds runs of another study named {study.name!r} ({first_of(differences)}); "
        f"give this one a name of its own (`name:` in {study.source}), or --out FOLDER"
    ]


def refuse_another_study(study: Study, out: Path, *, asked: bool) -> None:
    """Raise `StudyError` where `another_study` finds one."""
    if problems := another_study(study, out, asked=asked):
        raise StudyError(problems)


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """Settings of two resolved studies that differ, for the methods that both have."""
    for key in ("preset", "recipe", "subset", "select", "tied_within"):
        before = then.get(key, now.get(key) if key == "tied_within" else None)  # older runs do not state it
        if before != now.get(key):
            yield f"{key} was {before}, is {now.get(key)}"
    methods = {entry["name"]: entry for entry in then.get("methods", ()) if isinstance(entry, Mapping)}
    for entry in now["methods"]:
        before = methods.get(entry["name"], entry)
        for key in dict.fromkeys((*before, *entry)):
            if before.get(key) != entry.get(key):
                yield f"{entry['name']}: {key} was {before.get(key)}, is {entry.get(key)}"
