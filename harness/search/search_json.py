"""The file `search.json`: every search of a run with all its trials, so that a report needs no database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial

from harness.machine.errors import StoreError
from harness.machine.files import read_json
from harness.machine.passwords import masked
from harness.search.plan import SearchPlan
from harness.search.trial_queue import trial_queue
from harness.search.trial_record import trial_record
from harness.search.winner import winning_trial
from harness.store.run_files import SEARCH
from harness.store.seals import is_broken, write_sealed


def search_record(search: SearchPlan, trials: Sequence[FrozenTrial]) -> dict[str, Any]:
    """One search with all its trials, failed ones too."""
    records = [trial_record(trial) for trial in trials]
    winner = winning_trial(trials)
    return {
        **search.about,
        "name": search.name,
        "storage": masked(search.url),
        "sampler": search.sampler,
        "pruner": search.pruner,
        "trials_allotted": search.trials,
        "epochs_allotted": search.epochs,
        "space": {
            name: {**parameter.terms(), "recipe": search.recipe[name]}
            for name, parameter in search.space.items()
        },
        "finished": sum(record["state"] in ("complete", "pruned") for record in records),
        "failed": sum(record["state"] == "failed" for record in records),
        "epochs_trained": sum(record["epochs"] for record in records),
        "seconds": round(sum(record["seconds"] for record in records), 3),
        "winner": winner.number if winner else None,
        "trials": records,
    }


def write_search_json(searches: Sequence[SearchPlan], run_dir: Path) -> list[dict[str, Any]]:
    """Write `search.json` below the run's folder; the searches it holds.

    Searches that were recorded there before and are not among these (a run of one method of several) stay.
    """
    records = {search.name: search_record(search, trial_queue(search).trials()) for search in searches}
    of_others = [
        record for record in recorded_searches(run_dir / SEARCH) if record.get("name") not in records
    ]
    everything = sorted([*of_others, *records.values()], key=lambda record: str(record.get("name")))
    write_sealed(run_dir / SEARCH, {"searches": everything})
    return everything


def recorded_searches(path: Path) -> list[dict[str, Any]]:
    """The searches that the file holds; none where it is missing, cannot be read, or was altered."""
    try:
        values = read_json(path)
        return [] if is_broken(values) else [each for each in values["searches"] if isinstance(each, dict)]
    except (StoreError, KeyError, TypeError):
        return []
