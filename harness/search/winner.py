"""How the winner of a search is chosen."""

from __future__ import annotations

from collections.abc import Sequence

from optuna.trial import FrozenTrial, TrialState


def winning_trial(trials: Sequence[FrozenTrial]) -> FrozenTrial | None:
    """The winner: the complete trial with the highest score, the earliest of equals; a pruned one never."""
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE and trial.value is not None]
    return max(complete, key=lambda trial: (trial.value, -trial.number), default=None)
