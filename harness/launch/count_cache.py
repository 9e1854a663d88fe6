"""Numbers that code, versions and settings decide, and no data: counted once, then read from a cache."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from harness.launch.fingerprints import code_fingerprint
from harness.machine import environment
from harness.machine.files import atomic_json, sha256
from harness.machine.paths import cache_dir
from harness.study.cell import fingerprint


def cached_count(
    count: Callable[[], Any], about: Sequence[Any], *, plugin: Path | None = None, code: Sequence[Path] = ()
) -> Any:
    """What `count` returns, plain values; computed at first use and then read from the folder of caches.

    The file's name is a hash of `about`, of the code of methods and of `count`, and of package versions, so
    an outdated number is never read. Counting imports torch and open_clip, which takes seconds.

    Args:
        count: computes the number.
        about: what it depends on beside code and versions, as JSON has it.
        plugin: the file that registered the method.
        code: further files that it depends on.
    """
    files = [Path(inspect.getfile(count.func if isinstance(count, partial) else count)), *code]
    sources = [sha256(file) for file in files]
    key = fingerprint([list(about), sources, code_fingerprint(plugin), environment.versions()])
    path = cache_dir() / "counts" / f"{key[:32]}.json"
    try:
        return json.loads(path.read_text("utf-8"))["count"]
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not cached yet, or damaged: counted below
    counted = count()
    with suppress(OSError):  # a full disk costs time, not the answer
        atomic_json(path, {"about": list(about), "count": counted})
    return counted
