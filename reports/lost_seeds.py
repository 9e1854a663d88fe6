"""Seeds that were finished at an earlier look and are not in the study now: chosen after their scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.store.look_history import look_history
from reports.cell_views import Run
from reports.formatting import listed, plural
from reports.stored_runs import StoredRuns


def lost_seeds(stored_runs: StoredRuns) -> list[str]:
    """A sentence for each seed, or number of seeds, that a look had finished and no cell stands for now.

    A cell that is to be trained again, or was altered, is in the study: the page says what became of it.
    """
    return [text for run in stored_runs.runs for text in _of(run, stored_runs)]


def _of(run: Run, stored_runs: StoredRuns) -> list[str]:
    named: dict[tuple[int, str], list[str]] = {}
    counted: dict[tuple[int, int, str], list[str]] = {}
    plan: tuple[int, ...] = ()
    for record in look_history(run.path).records:
        if record.get("kind") == "plan":
            plan = _seeds(record)
            continue
        when = str(record.get("at"))[:10]
        for place, by_method in record["finished"].items():
            for method, count in by_method.items():
                known = _known(run, stored_runs, place, method)
                if count <= len(known):
                    continue
                title = f"{method} on {place.partition('/')[2]}"
                if count == len(plan):  # then the finished seeds were the planned ones
                    for seed in sorted(set(plan) - known):
                        _add(named.setdefault((seed, when), []), title)
                else:
                    _add(counted.setdefault((count, len(known), when), []), title)
    sentences = [
        f"Seed {seed} was planned, and finished at the look of {when} ({listed(titles)}); it is not in the "
        "study now."
        for (seed, when), titles in named.items()
    ]
    return sentences + [
        f"{plural(count, 'seed')} of {listed(titles)} had finished at the look of {when}; the study has "
        f"{now} now."
        for (count, now, when), titles in counted.items()
    ]


def _add(titles: list[str], title: str) -> None:
    if title not in titles:
        titles.append(title)


def _seeds(plan: Mapping[str, Any]) -> tuple[int, ...]:
    seeds: Sequence[Any] = plan.get("seeds") or ()
    return tuple(seed for seed in seeds if isinstance(seed, int))


def _known(run: Run, stored_runs: StoredRuns, place: str, method: str) -> set[int]:
    """Seeds of a method that the study has, finished or not."""
    return {
        cell.seed
        for cell in stored_runs.cells
        if cell.run.path == run.path and f"{cell.preset}/{cell.dataset}" == place and cell.label == method
    }
