"""Everything a search would be refused for, found before anything is made."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from harness.search.creation import changed_terms, is_binding, smaller_budget, stored_terms
from harness.search.database import (
    Database,
    NoSearchYet,
    StorageError,
    is_there,
    open_database,
    retry_while_unavailable,
)
from harness.search.plan import SearchPlan
from harness.search.space import size
from harness.search.trial_queue import open_trial_queue


def plan_problems(searches: Sequence[SearchPlan], out: Path) -> list[str]:
    """What is wrong with planned searches, or with what is stored of them; nothing is written."""
    problems = list(dict.fromkeys(problem for search in searches for problem in _budget_problems(search)))
    return problems or _stored_problems(searches, out)


def _budget_problems(search: SearchPlan) -> Iterator[str]:
    for name, parameter in search.space.items():
        if not parameter.admits(search.recipe[name]):
            yield (
                f"search.space.{name}: the first trial is the recipe's own {search.recipe[name]!r} "
                f"(of {search.about['method']!r}), which the space must admit"
            )
    if search.sampler == "grid":
        if (points := search.grid_size) != search.trials:
            yield f"search.trials: the grid has {points} points, the recipe's included; ask for {points}"
    elif (points := size(search.space) or search.trials) < search.trials:
        yield f"search.trials: the space has only {points} points; {search.trials} trials would repeat some"
    if search.sampler == "cmaes" and sum(not parameter.choices for parameter in search.space.values()) < 2:
        yield "search.sampler: cmaes learns from two ranges or more; with fewer it draws at random: take tpe"


def _stored_problems(searches: Sequence[SearchPlan], out: Path) -> list[str]:
    if not searches:
        return []
    url = searches[0].url
    try:
        if not is_there(url, out):
            return []
        database = open_database(url, create=False)
        return [
            problem
            for search in searches
            for problem in retry_while_unavailable(partial(_stored_problems_of, search, database), url)
        ]
    except NoSearchYet:
        return []
    except StorageError as error:
        return [str(error)]


def _stored_problems_of(search: SearchPlan, database: Database) -> list[str]:
    terms = stored_terms(search, database)
    if terms is None:
        return []
    if changed := changed_terms(search, terms):
        return changed if is_binding(search, database) else []
    problem = smaller_budget(search, open_trial_queue(search, database).counts())
    return [problem] if problem else []
