"""Making a search in its database, or continuing a stored one that has the same terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from harness.search.budget import finished
from harness.search.database import (
    Database,
    StorageError,
    reach_database,
    readable,
    retry_while_unavailable,
)
from harness.search.plan import SearchPlan
from harness.search.space import differences
from harness.search.trial_queue import TrialQueue, cache_queue, open_trial_queue


def stored_terms(search: SearchPlan, database: Database) -> dict[str, Any] | None:
    """The terms of a stored search, or None when there is none (or its process died while making it)."""
    with readable(search.url):
        names = optuna.get_all_study_names(database.storage)
        if search.name not in names:
            return None
        study_id = database.storage.get_study_id_from_name(search.name)
        terms: dict[str, Any] | None = database.storage.get_study_user_attrs(study_id).get("terms")
    return terms


def changed_terms(search: SearchPlan, stored: Mapping[str, Any]) -> list[str]:
    """What differs between the terms of the stored search and those of the study now, one line each."""
    found = differences(stored, search.fingerprint)
    parts = [change.removeprefix("code.").partition(":")[0] for change in found if change.startswith("code.")]
    sentences = [change for change in found if not change.startswith("code.")]
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
            raise StorageError("; ".join(changed))
        optuna.create_study(
            study_name=search.name, storage=database.storage, direction="maximize", load_if_exists=True
        )
        queue = open_trial_queue(search, database)
        trials = queue.trials()
        if sum(finished(trial.state) for trial in trials) < search.trials:
            _queue(queue, trials)
            queue.study.set_user_attr("forgiven", sum(trial.state is TrialState.FAIL for trial in trials))
        queue.study.set_user_attr("terms", search.fingerprint)
    return queue


def _queue(queue: TrialQueue, trials: Sequence[FrozenTrial]) -> None:
    """Queue the recipe and the points of a grid, except those that are queued, running or finished."""
    alive = {trial.user_attrs.get("point") for trial in trials if trial.state is not TrialState.FAIL}
    for point, params in enumerate([dict(queue.search.recipe), *queue.search.grid()]):
        if point not in alive:
            queue.study.enqueue_trial(params, user_attrs={"point": point})
