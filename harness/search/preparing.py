"""Making a search in its database, or checking that the stored one was made on the same terms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from harness.search.sampling import finished
from harness.search.space import differences
from harness.search.storage import (
    Database,
    StorageError,
    reach_database,
    readable,
    retry_while_unavailable,
)
from harness.search.trials import SearchPlan, TrialQueue, cache_trials, open_trial_queue


def stored_terms(search: SearchPlan, database: Database) -> dict[str, Any] | None:
    """The terms a stored search was made on, or None when it is not there (or died while being made)."""
    with readable(search.url):
        names = optuna.get_all_study_names(database.storage)
        if search.name not in names:
            return None
        study_id = database.storage.get_study_id_from_name(search.name)
        terms: dict[str, Any] | None = database.storage.get_study_user_attrs(study_id).get("terms")
    return terms


def changes(search: SearchPlan, stored: Mapping[str, Any]) -> list[str]:
    """What the study says now that the stored search was not made with, one line each."""
    found = differences(stored, search.fingerprint)
    rooms = [change.removeprefix("code.").partition(":")[0] for change in found if change.startswith("code.")]
    said = [change for change in found if not change.startswith("code.")]
    if rooms:
        said.append(f"the code of {', '.join(rooms)} has changed since")
    hint = "trials of both cannot be compared; keep the old terms, or use another --out"
    return [f"search {search.name}: {change} ({hint})" for change in said]


def prepare(search: SearchPlan) -> None:
    """Make the search in its database, or check that the stored one has the same terms; safe to repeat.

    The recipe is queued first, so it is trial 0; a grid is queued whole. When the search is short of its
    budget, earlier failures (a full disk, a broken driver) are forgiven: those of the recipe and of a grid
    are queued again, and as many others may fail as in the first run. Raises `StorageError`.
    """
    cache_trials(retry_while_unavailable(lambda: _prepared(search), search.url))


def _prepared(search: SearchPlan) -> TrialQueue:
    database = reach_database(search.url, create=True)
    with database.desk():
        stored = stored_terms(search, database)
        if stored is not None and (changed := changes(search, stored)):
            raise StorageError("; ".join(changed))
        optuna.create_study(
            study_name=search.name, storage=database.storage, direction="maximize", load_if_exists=True
        )
        desk = open_trial_queue(search, database)
        trials = desk.trials()
        if sum(finished(trial.state) for trial in trials) < search.trials:
            _queue(desk, trials)
            desk.study.set_user_attr("forgiven", sum(trial.state is TrialState.FAIL for trial in trials))
        desk.study.set_user_attr("terms", search.fingerprint)
    return desk


def _queue(desk: TrialQueue, trials: Sequence[FrozenTrial]) -> None:
    """Queue the recipe and the points of a grid, save those that are queued, running or finished."""
    alive = {trial.user_attrs.get("point") for trial in trials if trial.state is not TrialState.FAIL}
    for point, params in enumerate([dict(desk.search.recipe), *desk.search.grid()]):
        if point not in alive:
            desk.study.enqueue_trial(params, user_attrs={"point": point})
