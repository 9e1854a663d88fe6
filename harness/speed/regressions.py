"""What moved between two suites of benchmarks, as ratios to a reference loop of the same run.

A machine differs from another, and from itself an hour later; both suites time the same plain loop, and what
is compared is each benchmark's time over that loop's.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

REFERENCE = "test_the_reference_loop"
"""The benchmark that times the loop."""
TOLERANCE = 0.15


def moved(before: Mapping[str, float], now: Mapping[str, float]) -> dict[str, float]:
    """By benchmark that moved by more than `TOLERANCE`, the slower first: how its share of the loop changed.

    A share is the benchmark's time over the reference loop's of the same suite.

    Raises:
        ValueError: one of the suites lacks the reference loop.
    """
    for label, medians in (("earlier", before), ("new", now)):
        if not medians.get(REFERENCE):
            raise ValueError(f"the {label} suite did not time the reference loop, so nothing can be compared")
    ratios = {
        name: (now[name] / now[REFERENCE]) / (before[name] / before[REFERENCE])
        for name in now.keys() & before.keys() - {REFERENCE}
        if before[name] > 0
    }
    far = {name: ratio for name, ratio in ratios.items() if not 1 / (1 + TOLERANCE) <= ratio <= 1 + TOLERANCE}
    return dict(sorted(far.items(), key=lambda item: -item[1]))


def medians(path: Path) -> dict[str, float]:
    """Median seconds of each benchmark of a suite's file. Raises OSError and ValueError."""
    suite: dict[str, Any] = json.loads(path.read_text("utf-8"))
    try:
        return {one["fullname"].rpartition("::")[2]: one["stats"]["median"] for one in suite["benchmarks"]}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is no suite of benchmarks: {error!r}") from error


def moved_lines(before: Path, now: Path) -> Iterator[str]:
    """What moved, one line each, and what only one of the suites has."""
    earlier, later = medians(before), medians(now)
    far = moved(earlier, later)
    for name, ratio in far.items():
        yield f"{name}: {ratio:.2f} times its former share of the reference loop"
    for name in sorted(earlier.keys() ^ later.keys()):
        yield f"{name}: only in {before if name in earlier else now}"
    common = len(later.keys() & earlier.keys()) - 1
    yield f"{len(far)} of {common} benchmarks moved by more than {TOLERANCE:.0%}"
