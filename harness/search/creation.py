"""Making a search in its database, or continuing a stored one that has the same terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from harness.search.budget import finished
from harness.search.database import (
    Database,
    StorageError,
    damaged,
    reach_database,
    readable,
    retry_while_unavailable,
)
from harness.search.plan import SearchPlan
from harness.search.search_notes import SearchCounts, read_terms, write_counts, write_terms
from harness.search.space import differences
from harness.search.trial_checksums import POINT
from harness.search.trial_queue import TrialQueue, cache_queue, open_trial_queue


def stored_terms(search: SearchPlan, database: Database) -> dict[str, Any] | None:
    """The terms of a stored search, or None when there is none (or its process died while making it)."""
    with readable(search.url):
        if search.name not in optuna.get_all_study_names(database.storage):
            return None
        return read_terms(database.storage, search.name, search.url)


def changed_terms(search: SearchPlan, stored: Mapping[str, Any]) -> list[str]:
    """What differs between the terms of the stored search and those of the study now, one line each."""
    changes = differences(stored, search.fingerprint)
    parts = [
        change.removeprefix("code.").partition(":")[0] for change in changes if change.startswith("code.")
    ]
    sentences = [change for change in changes if not change.startswith("code.")]
    if parts:
        sentences.append(f"the code of {', '.join(parts)} has changed since")
    hint = "trials of both cannot be compared; keep the old terms, or use another --out"
    return [f"search {search.name}: {change} ({hint})" for change in sentences]


def create_search(search: SearchPlan) -> None:
    """Make the search in its database, or check that the stored one has the same terms; safe to repeat.

    The recipe is queued first, so it is trial 0; a grid is queued whole. When the search is short of its
    budget, earlier failures (a full disk, a broken driver) no longer count against it: those of the recipe
    and of a grid are queued again, and as many others may fail as in the first run.

    Raises:
        StorageError: the stored terms differ, or the database cannot be used.
    """
    cache_queue(retry_while_unavailable(lambda: _created(search), search.url))


def _created(search: SearchPlan) -> TrialQueue:
    database = reach_database(search.url, create=True)
    with database.lock():
        stored = stored_terms(search, database)
        if stored is not None and (changed := changed_terms(search, stored)):
            if is_binding(search, database):
                raise StorageError("; ".join(changed))
            optuna.delete_study(study_name=search.name, storage=database.storage)
        optuna.create_study(
            study_name=search.name, storage=database.storage, direction="maximize", load_if_exists=True
        )
        queue = open_trial_queue(search, database)
        trials, counts = queue.trials(), queue.counts()
        if stored is None and any(trial.state is not TrialState.WAITING for trial in trials):
            raise damaged(search.url, f"the terms of {search.name} are missing")
        if problem := smaller_budget(search, counts):
            raise StorageError(problem)
        if sum(finished(trial.state) for trial in trials) < search.trials:
            _queue_points(queue, trials)
            failed = sum(trial.state is TrialState.FAIL for trial in trials)
            counts = replace(counts, forgiven=failed)
        made = len(queue.study.get_trials(deepcopy=False))
        write_counts(queue.study, replace(counts, made=made, trials=search.trials))
        write_terms(queue.study, search.fingerprint)
    return queue


def is_binding(search: SearchPlan, database: Database) -> bool:
    """Whether a trial of a stored search is finished or runs, so that its terms must be kept."""
    with readable(search.url):
        queue = open_trial_queue(search, database)
        return any(
            finished(trial.state) or (trial.state is TrialState.RUNNING and not queue.is_orphan(trial))
            for trial in queue.study.get_trials(deepcopy=False)
        )


def smaller_budget(search: SearchPlan, counts: SearchCounts) -> str:
    """Why a search cannot continue with its budget; empty when it can. A budget may only grow."""
    if search.trials >= counts.trials:
        return ""
    return (
        f"search {search.name}: trials: {counts.trials} were asked for before, now {search.trials}; those "
        f"beyond would take part in the choice of the winner: ask for at least {counts.trials}, or use "
        "another --out"
    )


def _queue_points(queue: TrialQueue, trials: Sequence[FrozenTrial]) -> None:
    """Queue the recipe and the points of a grid, except those that are queued, running or finished."""
    present = {trial.user_attrs.get(POINT) for trial in trials if trial.state is not TrialState.FAIL}
    for point, params in enumerate(queue.search.queued_points()):
        if point not in present:
            queue.study.enqueue_trial(params, user_attrs={POINT: point})
