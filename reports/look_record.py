"""Records that a report looks at a study, and says which look it is."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence

from harness.store.look_history import LookHistory, SeedCounts, look_history, record_look
from reports.cell_views import CellView, Run
from reports.estimates import ALPHA
from reports.looks import Looks
from reports.stored_runs import StoredRuns


def record_looks(stored_runs: StoredRuns, alpha: float = ALPHA) -> Looks:
    """Append this look to every run folder whose finished cells changed; the looks that count for verdicts.

    Of several folders the one that was looked at most often counts. On a disk that cannot be written the
    look counts all the same, and is not recorded.
    """
    return max(
        (_looks_of(run, stored_runs, alpha) for run in stored_runs.runs),
        key=lambda looks: (looks.real_level, looks.number),
        default=Looks(alpha=alpha),
    )


def _looks_of(run: Run, stored_runs: StoredRuns, alpha: float) -> Looks:
    cells = [
        cell
        for cell in stored_runs.cells
        if cell.run.path == run.path and cell.status == "done" and cell.trains
    ]
    finished = _finished(cells)
    before = look_history(run.path)
    if cells:
        digest = hashlib.sha256("\n".join(sorted(cell.identity for cell in cells)).encode()).hexdigest()
        with contextlib.suppress(OSError):
            record_look(run.path, finished, digest)
    planned = before.planned
    if planned is None and not before.looks:  # an older run, of which no plan was recorded
        planned = tuple(int(count) for count in run.study.get("looks") or ())
    return Looks(planned or (), _taken(before, finished, stored_runs.reference), alpha)


def _finished(cells: Sequence[CellView]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for cell in cells:
        by_method = found.setdefault(f"{cell.preset}/{cell.dataset}", {})
        by_method[cell.label] = by_method.get(cell.label, 0) + 1
    return found


def _taken(before: LookHistory, now: SeedCounts, reference: str) -> tuple[int, ...]:
    """At how many seeds the comparison with the reference was looked at that was looked at most often.

    Numbers below two allow no verdict, and a look at the same seeds again finds nothing new.
    """
    found: dict[tuple[str, str], set[int]] = {}
    for finished in (*before.looks, now):
        for place, by_method in finished.items():
            for method, count in by_method.items():
                shared = min(count, by_method.get(reference, count))
                if shared > 1 and (method != reference or len(by_method) == 1):
                    found.setdefault((place, method), set()).add(shared)
    return max((tuple(sorted(counts)) for counts in found.values()), key=len, default=())
