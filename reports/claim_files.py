"""Claims as data: what a paper says, read from a file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from harness.machine.errors import HarnessError
from reports.comparison import JUDGED_METRICS
from reports.statistics import MARGIN

_KEYS = {
    "id",
    "says",
    "better",
    "than",
    "dataset",
    "target",
    "backbone",
    "metric",
    "size",
    "source",
    "preset",
}
_NEEDED = ("id", "better", "than", "dataset")


class ClaimsError(HarnessError):
    """A file of claims that cannot be used: a line for every mistake, with its place."""


@dataclass(frozen=True)
class Claim:
    """One claim: `better` scores higher than `than`, by `size` points where that is known."""

    id: str
    better: str
    than: str
    dataset: str
    says: str = ""
    target: str = ""
    backbone: str = ""
    preset: str = ""
    metric: str = "R1"
    size: float | None = None
    source: str = ""
    margin: float = MARGIN


def load_claims(path: Path) -> list[Claim]:
    """Read a file of claims. Raises ClaimsError with every mistake."""
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ClaimsError([f"{path}: {' '.join(str(error).split())}"]) from error
    entries = values.get("claims") if isinstance(values, Mapping) else None
    if not isinstance(entries, list):
        raise ClaimsError([f"{path}: needs a list under the key 'claims'"])
    margin = values.get("margin", MARGIN)
    errors = [f"{path}: unknown key {key!r}" for key in values if key not in ("margin", "claims")]
    if not _is_finite(margin) or margin <= 0:
        errors.append(f"{path}: margin: must be more than 0, got {margin!r}")
    errors += [
        f"{path}: claim {number}: {text}"
        for number, entry in enumerate(entries, 1)
        for text in _mistakes(entry)
    ]
    ids = Counter(
        entry["id"] for entry in entries if isinstance(entry, Mapping) and _is_name(entry.get("id"))
    )
    errors += [f"{path}: {count} claims are called {name!r}" for name, count in ids.items() if count > 1]
    if errors:
        raise ClaimsError(errors)
    return [Claim(**entry, margin=float(margin)) for entry in entries]


def _mistakes(entry: Any) -> Iterable[str]:
    if not isinstance(entry, Mapping):
        yield "must be a mapping"
        return
    yield from (f"unknown key {key!r}" for key in entry if key not in _KEYS)
    yield from (f"{key} is missing" for key in _NEEDED if entry.get(key) in (None, ""))
    for key in sorted(_KEYS - {"size", "metric"}):
        if entry.get(key) not in (None, "") and not _is_name(entry[key]):
            yield f"{key}: must be text, got {entry[key]!r}"
    if _is_name(entry.get("better")) and entry["better"] == entry.get("than"):
        yield "better and than name the same method"
    size, metric = entry.get("size"), entry.get("metric", "R1")
    if size is not None and not _is_finite(size):
        yield f"size: must be a number of points or null, got {size!r}"
    if metric not in JUDGED_METRICS:
        yield f"metric: must be one of {', '.join(JUDGED_METRICS)}, got {metric!r}"


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))
