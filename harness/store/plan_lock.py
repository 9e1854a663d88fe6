"""The plan of a study, kept before its first cell: `lock.json` of a run folder, with its hash."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from harness.machine.errors import StoreError
from harness.machine.files import atomic_json, read_json
from harness.store.run_files import CLAIMS
from harness.study.cell import fingerprint

LOCK = "lock.json"


@dataclass(frozen=True)
class PlanLock:
    """What was planned.

    Attributes:
        when: date and time of the lock.
        study: the study as resolved.
        claims: what its file of claims says, margins included; None without one.
        sha256: hash of both, as written.
    """

    when: str
    study: Mapping[str, Any]
    claims: Any
    sha256: str

    @property
    def is_sound(self) -> bool:
        """Whether the plan is the one whose hash was written."""
        return fingerprint({"study": self.study, "claims": self.claims}) == self.sha256


def write_lock(
    folder: Path, study: Mapping[str, Any], claims: Path | None, when: str, commit: str
) -> PlanLock:
    """Keep a plan in a run folder.

    Args:
        folder: of the run.
        study: as resolved.
        claims: its file of claims, if any.
        when: date and time.
        commit: of the code.

    Raises:
        StoreError: a cell has begun, so that nothing can be planned any more; or another plan is kept.
    """
    values = plain({**study, "claims": CLAIMS} if claims is not None else study)
    said = plain(yaml.safe_load(claims.read_text("utf-8"))) if claims is not None else None
    lock = PlanLock(when, values, said, fingerprint({"study": values, "claims": said}))
    before = read_lock(folder)
    if before is not None and before.sha256 == lock.sha256:
        return before
    if before is not None:
        raise StoreError(
            f"{folder / LOCK}: another plan was locked on {before.when[:10]}; run it, or choose --out"
        )
    begun = sorted(path.parent.name for path in folder.glob("cells/*/cell.json"))
    if begun:
        raise StoreError(f"{folder}: {begun[0]} has begun, so nothing can be planned before the first cell")
    kept = {"claims": said, "seeds": values.get("seeds"), "looks": values.get("looks"), "study": values}
    margin = said.get("margin") if isinstance(said, Mapping) else None
    atomic_json(
        folder / LOCK, {"when": when, "commit": commit, "sha256": lock.sha256, "margin": margin, **kept}
    )
    return lock


def read_lock(folder: Path) -> PlanLock | None:
    """The plan of a run folder; None where none was locked. Raises `StoreError` when it is damaged."""
    if not (folder / LOCK).exists():
        return None
    try:
        kept = read_json(folder / LOCK)
        return PlanLock(str(kept["when"]), dict(kept["study"]), kept["claims"], str(kept["sha256"]))
    except (KeyError, TypeError, ValueError) as error:
        raise StoreError(f"{folder / LOCK}: damaged: {type(error).__name__}: {error}") from error


def departures(folder: Path, study: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """How a run differs from its plan: what a check fails for (margins, claims, the lock), and what else.

    Args:
        folder: of the run.
        study: as it ran.
    """
    try:
        lock = read_lock(folder)
    except StoreError as error:
        return list(error.lines), []
    if lock is None:
        return [], []
    broken = [] if lock.is_sound else [f"{LOCK} is not as it was written"]
    broken += list(_claim_changes(lock.claims, _claims_now(folder)))
    now = plain(study)
    planned = {"tied_within": now.get("tied_within"), **lock.study}  # older plans do not state it
    if len(now.get("seeds") or ()) in (planned.get("looks") or ()):
        planned["seeds"] = now["seeds"]  # a later look that was planned
    moved = [text for text in _changes("", planned, now) if not text.startswith("claims ")]
    graver = [text for text in moved if text.startswith("tied_within ")]
    return broken + graver, [text for text in moved if text not in graver]


def _claims_now(folder: Path) -> Any:
    try:
        return plain(yaml.safe_load((folder / CLAIMS).read_text("utf-8")))
    except (OSError, ValueError, yaml.YAMLError):
        return None


def _claim_changes(planned: Any, now: Any) -> Iterator[str]:
    if planned == now:
        return
    if not isinstance(planned, Mapping) or not isinstance(now, Mapping):
        yield f"claims: {'were added' if planned is None else 'are gone or damaged'} after the lock"
        return
    if planned.get("margin") != now.get("margin"):
        yield f"margin: was {planned.get('margin')}, is {now.get('margin')}"
    before, after = (_by_id(values.get("claims")) for values in (planned, now))
    for name in {**before, **after}:
        if before.get(name) != after.get(name):
            what = "was added" if name not in before else "is gone" if name not in after else "was changed"
            yield f"claim {name}: {what} after the lock"


def _by_id(claims: Any) -> dict[str, Any]:
    listed = claims if isinstance(claims, list) else []
    return {str(claim.get("id")): claim for claim in listed if isinstance(claim, Mapping)}


def _changes(prefix: str, planned: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    found = []
    for name in {**planned, **now}:
        before, after = planned.get(name), now.get(name)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            found += _changes(f"{prefix}{name}.", before, after)
        elif before != after:
            found.append(f"{prefix}{name} was {_short(before)}, is {_short(after)}")
    return found


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}…"


def plain(value: Any) -> Any:
    """A value as JSON has it: tuples are lists, and keys are texts."""
    return json.loads(json.dumps(value, default=str))
