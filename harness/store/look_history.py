"""`looks.jsonl` of a run folder: planned seeds, and every look at the results, in the order they happened.

Append-only: a plan is written by `run` when it differs from the last one, a look by every report that is
built over a store that changed. A plan counts where it precedes the first look that could give a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.machine.files import append_line, read_lines

LOOKS = "looks.jsonl"
SeedCounts = Mapping[str, Mapping[str, int]]
"""Finished seeds by preset and dataset (`clean/cuhk-pedes`), and by method."""


@dataclass(frozen=True)
class LookHistory:
    """What a run folder's file says, and what of it cannot be read."""

    records: tuple[Mapping[str, Any], ...]
    dropped: tuple[str, ...] = ()

    @property
    def looks(self) -> list[SeedCounts]:
        """The finished seeds of every look, the first one first."""
        return [record["finished"] for record in self.records if record.get("kind") == "look"]

    @property
    def planned(self) -> tuple[int, ...] | None:
        """The looks that were planned before the first look; None where no plan is recorded before it."""
        plan = None
        for record in self.records:
            if record.get("kind") == "look" and _most(record["finished"]) > 1:
                break
            if record.get("kind") == "plan":
                plan = tuple(record.get("looks") or ())
        return plan


def _most(finished: SeedCounts) -> int:
    return max((count for by_method in finished.values() for count in by_method.values()), default=0)


def look_history(directory: Path) -> LookHistory:
    """The history of a run folder; an empty one where there is none."""
    lines = read_lines(directory / LOOKS)
    return LookHistory(tuple(filter(_is_record, lines.records)), tuple(lines.dropped))


def _is_record(record: Mapping[str, Any]) -> bool:
    if record.get("kind") == "plan":
        return True
    finished = record.get("finished")
    return (
        record.get("kind") == "look"
        and isinstance(finished, dict)
        and all(
            isinstance(by, dict) and all(isinstance(count, int) for count in by.values())
            for by in finished.values()
        )
    )


def record_plan(directory: Path, seeds: Sequence[int], looks: Sequence[int]) -> None:
    """Append the planned seeds and looks where they differ from the last plan."""
    plan = {"kind": "plan", "seeds": list(seeds), "looks": list(looks)}
    plans = [record for record in look_history(directory).records if record.get("kind") == "plan"]
    if not plans or any(plans[-1].get(name) != value for name, value in plan.items()):
        append_line(directory / LOOKS, {**plan, "at": _now()})


def record_look(directory: Path, finished: SeedCounts, cells: str) -> None:
    """Append a look where the finished cells, by their digest, differ from those of the last one."""
    looks = [record for record in look_history(directory).records if record.get("kind") == "look"]
    if not looks or looks[-1].get("cells") != cells:
        plain = {place: dict(by_method) for place, by_method in finished.items()}
        look = {"kind": "look", "finished": plain, "cells": cells, "at": _now()}
        append_line(directory / LOOKS, look)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
