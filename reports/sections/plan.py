"""Whether the study was planned before its first cell, and in what it departs from the plan."""

from __future__ import annotations

from harness.machine.errors import StoreError
from harness.store.plan_lock import departures, read_lock
from reports.context import ReportContext
from reports.document import Block, Prose, Section


def broken(context: ReportContext) -> list[str]:
    """Margins and claims that were changed after the lock, for which `report --check` fails."""
    return [
        f"{run.path.name}: {text}"
        for run in context.stored_runs.runs
        for text in departures(run.path, run.study)[0]
    ]


def remarks(context: ReportContext) -> list[str]:
    """A sentence for each change of margins or claims, for the top of the page."""
    return [f"Changed after the lock: {text}." for text in broken(context)]


def section(context: ReportContext) -> Section | None:
    """The plan of every run that was locked; None when none was."""
    blocks: list[Block] = []
    for run in context.stored_runs.runs:
        try:
            lock = read_lock(run.path)
        except StoreError as error:
            blocks.append(Prose(" ".join(error.lines)))
            continue
        if lock is None:
            continue
        grave, others = departures(run.path, run.study)
        said = "planned" if not grave and not others else "departs from its plan"
        blocks.append(
            Prose(
                f"{run.name}: {said}. Locked {lock.when}, before the first cell; SHA-256 {lock.sha256[:16]}."
            )
        )
        blocks += [Prose(f"Departure: {text}.", "note") for text in (*grave, *others)]
    return Section("plan", "Plan", tuple(blocks)) if blocks else None
