"""The verb `lock`: keeps the plan of a study before its first cell."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from harness.machine import environment
from harness.store.plan_lock import LOCK, PlanLock, write_lock
from harness.study.study import Study
from reports.claim_files import load_claims


@dataclass(frozen=True)
class LockedStudy:
    """A plan and where it is kept."""

    path: Path
    lock: PlanLock


def lock_study(study: Study, folder: Path) -> LockedStudy:
    """Keep the plan in the folder that the study will run in.

    Raises:
        StoreError: a cell has begun there, or another plan is kept.
        ClaimsError: the claims cannot be used.
    """
    if study.claims is not None:
        load_claims(study.claims)
    folder.mkdir(parents=True, exist_ok=True)
    when = datetime.now(UTC).isoformat(timespec="seconds")
    lock = write_lock(folder, study.resolved(), study.claims, when, environment.commit())
    return LockedStudy(folder / LOCK, lock)


def render(locked: LockedStudy) -> None:
    """Print what was locked for a person."""
    study, claims = locked.lock.study, locked.lock.claims
    count = len(claims.get("claims", [])) if isinstance(claims, dict) else 0
    print(f"{locked.path}: locked {locked.lock.when}, SHA-256 {locked.lock.sha256}")
    print(f"  seeds {study.get('seeds')}, looks {study.get('looks') or 'one'}, {count} claims")
