"""Whether trials are still what was written: a database notices a torn page, and no changed digit."""

from __future__ import annotations

import hashlib
import json

from optuna.trial import FrozenTrial, TrialState

OUTCOME, DRAWN = "checksum", "drawn"
"""Notes of a trial: a checksum of all that it was when it ended, and of its settings when it began."""


def outcome_checksum(trial: FrozenTrial, value: float | None) -> str:
    """The checksum of a trial that ends with a score, or (pruned) with None."""
    return _digest([trial.number, trial.params, sorted(trial.intermediate_values.items()), value])


def drawn_checksum(trial: FrozenTrial) -> str:
    """The checksum of a trial's settings."""
    return _digest([trial.number, trial.params])


def _digest(about: object) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


def is_as_written(trial: FrozenTrial) -> bool:
    """Whether a trial is what was written; one that an older version wrote has no checksum and is trusted."""
    notes = trial.user_attrs
    if trial.state is TrialState.COMPLETE and OUTCOME in notes:
        return bool(notes[OUTCOME] == outcome_checksum(trial, trial.value))
    if trial.state is TrialState.PRUNED and OUTCOME in notes:
        return bool(notes[OUTCOME] == outcome_checksum(trial, None))
    return DRAWN not in notes or bool(notes[DRAWN] == drawn_checksum(trial))
