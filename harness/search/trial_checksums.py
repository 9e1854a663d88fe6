"""Whether trials are still what was written: a database notices a torn page, and no changed digit."""

from __future__ import annotations

import hashlib
import json

from optuna.trial import FrozenTrial, TrialState

SEAL, DRAWN = "seal", "drawn"
"""Notes of a trial: of all that it was when it ended, and of its settings when it began."""


def seal_of(trial: FrozenTrial, value: float | None) -> str:
    """What a trial is sealed with that ends with a score, or (pruned) with None."""
    return _digest([trial.number, trial.params, sorted(trial.intermediate_values.items()), value])


def drawn_seal(trial: FrozenTrial) -> str:
    """What the settings of a trial are sealed with."""
    return _digest([trial.number, trial.params])


def _digest(about: object) -> str:
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


def is_as_written(trial: FrozenTrial) -> bool:
    """Whether a trial is what it was; of one that an older version wrote, which has no seal, nobody knows."""
    notes = trial.user_attrs
    if trial.state is TrialState.COMPLETE and SEAL in notes:
        return bool(notes[SEAL] == seal_of(trial, trial.value))
    if trial.state is TrialState.PRUNED and SEAL in notes:
        return bool(notes[SEAL] == seal_of(trial, None))
    return DRAWN not in notes or bool(notes[DRAWN] == drawn_seal(trial))
