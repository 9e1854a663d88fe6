"""A trial as plain values: what `search.json`, the live table and a trial's checksum are made of."""

from __future__ import annotations

from typing import Any

from optuna.trial import FrozenTrial, TrialState

from harness.search.trial_history import TrialHistory

_STATES = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "queued",
}


def trial_record(trial: FrozenTrial) -> dict[str, Any]:
    """One trial: its state, settings, score, and score per epoch; a failed one with its reason."""
    notes, history = trial.user_attrs, TrialHistory.of(trial)
    is_failed, is_pruned = trial.state is TrialState.FAIL, trial.state is TrialState.PRUNED
    return {
        "number": trial.number,
        "state": _STATES[trial.state],
        "params": trial.params or trial.system_attrs.get("fixed_params", {}),
        "value": trial.value if is_pruned or trial.state is TrialState.COMPLETE else None,
        "epochs": max(trial.intermediate_values, default=0),
        "intermediate": sorted(trial.intermediate_values.items()),
        "seconds": history.seconds,
        "resumed": history.resumed,
        "pruned_at": notes.get("pruned_at") if is_pruned else None,
        "reason": notes.get("reason") if is_failed else None,
        "detail": notes.get("detail") if is_failed else None,
        "recipe": notes.get("point") == 0,
    }


def ended(
    record: dict[str, Any], state: TrialState, value: float | None = None, **notes: Any
) -> dict[str, Any]:
    """The record of a running trial as it will be once it has ended.

    Args:
        record: the trial's record while it runs.
        state: how it ends.
        value: the score of a complete or pruned trial.
        notes: `pruned_at`, or `reason` and `detail`.
    """
    return {**record, "state": _STATES[state], "value": value, **notes}
