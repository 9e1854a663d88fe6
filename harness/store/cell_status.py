"""How a cell stands: the content of its status file, and the files whose checksums it may hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.machine.errors import Reason
from harness.machine.terms import SELECTIONS
from harness.store import checksums
from harness.store.checksums import Checksums

State = Literal["queued", "running", "done", "failed", "pruned"]
HISTORY, RESULTS = "history.jsonl", "results.json"
RECORDS = "records/*.parquet"
LOCK = "lock"
"""A cell's file that is held by the process that trains it."""
WITH_CHECKSUM = (HISTORY, RESULTS, "model-*.safetensors", RECORDS)
"""Files, as patterns, whose checksums a finished cell keeps."""


@dataclass(frozen=True)
class Status:
    """How a cell stands."""

    state: State = "queued"
    reason: Reason = ""
    """Why it failed."""
    detail: str = ""
    """The error in one line, or what a person should know."""
    epoch: int = 0
    """Epochs trained."""
    seconds: float = 0.0
    """Of training, over all attempts."""
    kept: Sequence[str] = field(default=SELECTIONS, compare=False)
    """The selections whose models a finished cell keeps."""
    checksums: Checksums = field(default_factory=dict, compare=False)
    """Of a finished cell's files when it finished; none when an older version finished it."""
    plugin_line: str = ""
    """`FILE:LINE` of the plugin's code whose error made it fail; empty when none did."""


_KINDS: dict[str, Any] = {
    **dict.fromkeys(("state", "reason", "detail", "plugin_line"), str),
    "epoch": int,
    "kept": (list, tuple),
    "seconds": (int, float),
}


def status_of(written: Any) -> Status:
    """The status that a file's values say.

    Of a damaged one nothing is finished: the next run writes it again from what is beside it.
    """
    try:
        # One of an older version lacks what was added since.
        names = [name for name in Status.__dataclass_fields__ if name in written]
        status = Status(**{name: written[name] for name in names})
    except (KeyError, TypeError):
        return Status()
    return status if is_sound(status) else Status()


def is_sound(status: Status) -> bool:
    """Whether a status that was read has the types, and names the files, of one that was written."""
    return all(
        isinstance(getattr(status, name), kind) for name, kind in _KINDS.items()
    ) and checksums.are_well_formed(status.checksums, WITH_CHECKSUM)
