"""Checks of a store after faults: the digits of the baseline, and no half-written file."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet

TRACEBACK = "Traceback (most recent call last)"
STARTS = re.compile(r"^(\S+): starts$", re.MULTILINE)


def differences(store: Path, baseline: Path) -> Iterator[str]:
    """Differences of a store from the baseline: the table, the records, the trials of a search."""
    if _content(store / "results.csv") != _content(baseline / "results.csv"):
        yield "results.csv differs"
    for path in sorted(baseline.glob("cells/*/records/*.parquet")):
        mine = store / path.relative_to(baseline)
        try:
            same = parquet.read_table(mine).equals(parquet.read_table(path))
        except (OSError, ValueError) as error:
            yield f"{path.relative_to(baseline)}: {error}"
        else:
            if not same:
                yield f"{path.relative_to(baseline)} differs"
    if trials(store) != trials(baseline):
        yield f"search.json: other trials: {trials(store)}"


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def trials(store: Path) -> list[Any]:
    """Settings and scores of the finished trials of every search; none where nothing was searched."""
    try:
        searches = json.loads((store / "search.json").read_text())["searches"]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError) as error:
        return [str(error)]
    wanted = ("params", "value", "intermediate")
    return [
        [[trial[name] for name in wanted] for trial in search["trials"] if trial["state"] == "complete"]
        for search in searches
    ]


def failed_trials(store: Path) -> list[str]:
    """Reasons of the trials that failed, as `search.json` says them."""
    try:
        searches = json.loads((store / "search.json").read_text())["searches"]
    except (OSError, ValueError, KeyError):
        return []
    return [
        f"{trial['reason']}: {trial['detail']}"
        for search in searches
        for trial in search["trials"]
        if trial["state"] == "failed"
    ]


def finished(store: Path) -> set[str]:
    """Names of the cells, including those of trials, whose status is `done`."""
    done = set()
    for path in store.glob("**/cells/*/status.json"):
        try:
            if json.loads(path.read_text())["state"] == "done":
                done.add(path.parent.name)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return done


def trained_again(output: str, whole: set[str]) -> Iterator[str]:
    """Undamaged finished cells that a program trained again nevertheless."""
    yield from (f"{name} was done and began again" for name in STARTS.findall(output) if name in whole)


def half_written(folder: Path, ours: set[Path]) -> Iterator[str]:
    """Files with a final name and incomplete content, except those that the battery damaged."""
    for path in sorted(folder.rglob("*")):
        if path in ours or ".damaged" in path.name or not path.is_file():
            continue
        try:
            if path.suffix == ".json":
                json.loads(path.read_text())
            elif path.suffix == ".parquet":
                parquet.read_table(path)
            elif path.suffix == ".csv" and path.name == "results.csv":
                _require_table(path)
            elif path.suffix == ".pt":
                _require_named_by_content(path)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            yield f"{path.relative_to(folder)} is half a file: {error}"


def _require_table(path: Path) -> None:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    if not rows or any(len(row) != len(rows[0]) for row in rows) or not path.read_bytes().endswith(b"\n"):
        raise ValueError("rows of unequal length")


def _require_named_by_content(path: Path) -> None:
    if not path.stem.endswith(hashlib.sha256(path.read_bytes()).hexdigest()[:32]):
        raise ValueError("its content does not match its name")


def leftovers(*folders: Path) -> list[str]:
    """Temporary files that no running program owns any more."""
    return [
        f"left over: {path}"
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.name.startswith(".")
        or path.suffix in (".tmp", ".building")
        or path.name.endswith(("-journal", "-wal"))
        or re.search(r"\.json\.\d+$", path.name)
    ]
