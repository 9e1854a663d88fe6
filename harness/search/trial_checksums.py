"""Whether trials are what was written: a database notices a damaged page, but no changed digit.

Whatever a reader is shown of a trial is part of a checksum, which is stored as a note beside it. Each covers
the terms of its search and the trial's number, so that a trial copied from elsewhere is noticed, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from harness.search.plan import SearchPlan
from harness.search.space import same_point
from harness.search.trial_history import HISTORY, TrialHistory
from harness.search.trial_record import trial_record

OUTCOME, DRAWN, POINT = "checksum", "drawn", "point"
"""Notes of a trial: a checksum of all that it was when it ended, one of its settings when it began, and its
place among the points that were queued when the search was made (the recipe is 0)."""


def digest(*parts: object) -> str:
    """A checksum of plain values, in hex."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


class TrialChecksums:
    """Makes and compares the checksums of one search's trials."""

    def __init__(self, search: SearchPlan) -> None:
        self._terms = digest(search.fingerprint)
        self._queued = search.queued_points()
        self._distributions = {name: each.distribution() for name, each in search.space.items()}

    def drawn(self, trial: FrozenTrial) -> str:
        """The checksum of a trial's settings."""
        return digest(self._terms, trial.number, trial.params)

    def history(self, trial: FrozenTrial, history: TrialHistory) -> dict[str, Any]:
        """The note of a trial's history, with its checksum."""
        note = history.note()
        return {**note, "checksum": digest(self._terms, trial.number, note)}

    def outcome(self, record: Mapping[str, Any]) -> str:
        """The checksum of an ended trial, by its record."""
        return digest(self._terms, record)

    def is_as_written(self, trial: FrozenTrial) -> bool:
        """Whether everything about a trial that a table or a later draw depends on is what was written."""
        if any(dist != self._distributions.get(name) for name, dist in trial.distributions.items()):
            return False
        if trial.state.is_finished():
            return bool(trial.user_attrs.get(OUTCOME) == self.outcome(trial_record(trial)))
        if not self._is_queued_point(trial):
            return False
        if trial.state is TrialState.WAITING:
            return POINT in trial.user_attrs and not {OUTCOME, HISTORY, DRAWN} & trial.user_attrs.keys()
        return self._is_running_as_written(trial)

    def _is_queued_point(self, trial: FrozenTrial) -> bool:
        """Whether a trial from the queue has the settings that were queued; true of every other."""
        point = trial.user_attrs.get(POINT)
        fixed = trial.system_attrs.get("fixed_params")
        if point is None:
            return fixed is None
        if not isinstance(point, int) or not 0 <= point < len(self._queued) or not isinstance(fixed, dict):
            return False
        return same_point(fixed, self._queued[point])

    def _is_running_as_written(self, trial: FrozenTrial) -> bool:
        notes = trial.user_attrs
        if DRAWN not in notes:  # its process died while it was being drawn
            return HISTORY not in notes and not trial.intermediate_values
        if notes[DRAWN] != self.drawn(trial):
            return False
        if HISTORY not in notes:
            return not trial.intermediate_values
        try:
            history = TrialHistory.of(trial)
        except (TypeError, ValueError):
            return False
        # As text: a score that is not a number does not even equal itself.
        is_sound = digest(notes[HISTORY]) == digest(self.history(trial, history))
        return is_sound and history.is_that_of(trial)
