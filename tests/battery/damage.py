"""Damage to single files, as bad disks and careless users cause it."""

from __future__ import annotations

import os
import random
import shutil
from collections import defaultdict
from pathlib import Path

WAYS = ("truncated", "one byte flipped", "emptied", "deleted", "made a folder", "made a dangling link")


def damage(path: Path, way: str, draw: random.Random) -> None:
    """Damage a file; one that no longer exists is left alone."""
    if not path.is_file():
        return
    size = path.stat().st_size
    if way in ("truncated", "emptied"):
        os.truncate(path, draw.randrange(size) if way == "truncated" and size else 0)
    elif way == "one byte flipped" and size:
        place = draw.randrange(size)
        with path.open("r+b") as file:
            file.seek(place)
            (byte,) = file.read(1)
            file.seek(place)
            file.write(bytes([byte ^ 1 << draw.randrange(8)]))
    else:
        path.unlink()
        if way == "made a folder":
            path.mkdir()
            shutil.chown(path, path.parent.stat().st_uid, path.parent.stat().st_gid)
        elif way == "made a dangling link":
            path.symlink_to("/nowhere/at/all")


def pick(folder: Path, draw: random.Random) -> Path | None:
    """A random file below a folder: first its kind is drawn, so that many figures do not hide one table."""
    kinds: dict[tuple[str, str], list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_symlink():
            parts = path.relative_to(folder).parts
            name = path.name if path.suffix in (".json", ".jsonl", ".csv", ".db", ".lock") else path.suffix
            kinds[parts[0] if len(parts) > 1 else "", name.split("-", 1)[-1]].append(path)
    return draw.choice(kinds[draw.choice(sorted(kinds))]) if kinds else None
