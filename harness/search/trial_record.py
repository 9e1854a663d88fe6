"""A trial as plain values: what `search.json`, the live table and a trial's checksum are made of."""

from __future__ import annotations

from typing import Any

from optuna.trial import FrozenTrial, TrialState

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
