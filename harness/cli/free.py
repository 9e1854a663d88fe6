"""The verb `free`: disk that finished runs need no more, listed, and removed on request."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from harness.launch.disk import GIGABYTE
from harness.machine.errors import StudyError
from harness.store.disk_use import removable
from harness.store.runs import RunStore
from harness.study.schema import Kept

KEEPABLE: tuple[Kept, ...] = get_args(Kept)


def freed(directories: Sequence[Path], keep: Sequence[str], *, remove: bool) -> list[dict[str, Any]]:
    """What goes of each finished cell, with its bytes; deleted only where `remove` is set.

    Raises `StudyError` for a word in `keep` that names nothing, and `LockedError` while a cell is worked on.
    """
    keepable = [each for each in KEEPABLE if each in keep]
    if unknown := [word for word in keep if word not in KEEPABLE]:
        raise StudyError([f"--keep {word}: must be one of {', '.join(KEEPABLE)}" for word in unknown])
    entries = []
    for directory in directories:
        for each in removable(RunStore(directory), keepable):
            if remove:
                each.remove()
            removed = [f"model-{selection}" for selection in each.models]
            removed += ["checkpoint"] if each.checkpoint else []
            entries.append({"cell": str(each.run.directory), "what": removed, "bytes": each.size})
    return entries


def render(entries: Sequence[dict[str, Any]], *, removed: bool) -> None:
    """Print what goes, and how much that is."""
    for each in entries:
        print(f"{each['cell']}: {', '.join(each['what'])} ({each['bytes'] / GIGABYTE:.3f} GB)")
    total = sum(each["bytes"] for each in entries) / GIGABYTE
    if not entries:
        print("nothing to remove: finished runs keep what they need")
    elif removed:
        print(f"removed {total:.3f} GB; every score and record is still there")
    else:
        print(f"{total:.3f} GB would be removed, and no score or record; add --yes to do it")
