"""The searches of a run as plain values, kept beside the cells so that a report needs no database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from harness.machine.errors import StoreError
from harness.machine.files import atomic_json, read_json
from harness.machine.passwords import masked
from harness.search.trials import SearchPlan, trial_queue

FILE = "search.json"

_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "queued",
}


def trial_record(trial: FrozenTrial) -> dict[str, Any]:
    """One trial: its state, settings, score, and score per epoch; a failed one with its reason."""
    notes = trial.user_attrs
    value = trial.value if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) else None
    return {
        "number": trial.number,
        "state": _STATES[trial.state],
        "params": trial.params or trial.system_attrs.get("fixed_params", {}),
        "value": value,
        "epochs": max(trial.intermediate_values, default=0),
        "intermediate": sorted(trial.intermediate_values.items()),
        "seconds": notes.get("seconds", 0.0),
        "resumed": notes.get("resumed", 0),
        "pruned_at": notes.get("pruned_at"),
        "reason": notes.get("reason"),
        "detail": notes.get("detail"),
        "recipe": notes.get("point") == 0,
    }


def best(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The winner: the complete trial with the highest score, the earliest of equals; a pruned one never."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE and trial.value is not None]
    return max(complete, key=lambda trial: (trial.value, -trial.number), default=None)


def search_record(search: SearchPlan, trials: Sequence[FrozenTrial]) -> dict[str, Any]:
    """One search with all its trials, failed ones too."""
    records = [trial_record(trial) for trial in trials]
    winner = best(trials)
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


def write_record(searches: Sequence[SearchPlan], run_dir: Path) -> list[dict[str, Any]]:
    """Write `search.json` below the run's folder, and return what it says.

    Searches that were recorded there before and are not among these (a run of one method of several) stay.
    """
    records = {search.name: search_record(search, trial_queue(search).trials()) for search in searches}
    kept = [record for record in _recorded(run_dir / FILE) if record.get("name") not in records]
    everything = sorted([*kept, *records.values()], key=lambda record: str(record.get("name")))
    atomic_json(run_dir / FILE, {"searches": everything})
    return everything


def _recorded(path: Path) -> list[dict[str, Any]]:
    try:
        return [record for record in read_json(path)["searches"] if isinstance(record, dict)]
    except (StoreError, KeyError, TypeError):
        return []
