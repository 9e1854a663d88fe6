"""How far a search is: the trials that count, those that failed, and those still to come. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.trial import FrozenTrial, TrialState

from harness.search.plan import SearchPlan


@dataclass(frozen=True)
class Budget:
    """How far a search is."""

    finished: int
    failed: int
    running: int
    waiting: int
    missing: int
    """Finished trials still to come; 0 when done, or when too many failed."""
    exhausted: bool
    """Whether it was given up short of its trials."""


def finished(state: TrialState) -> bool:
    """Whether a trial in this state counts towards the budget: complete or pruned, never failed."""
    return state in (TrialState.COMPLETE, TrialState.PRUNED)


def budget_of(search: SearchPlan, trials: Sequence[FrozenTrial], forgiven: int) -> Budget:
    """How far a search is by its trials; `forgiven` failures of earlier runs do not count against it."""
    done = sum(finished(trial.state) for trial in trials)
    failed = sum(trial.state is TrialState.FAIL for trial in trials)
    running = sum(trial.state is TrialState.RUNNING for trial in trials)
    waiting = sum(trial.state is TrialState.WAITING for trial in trials)
    missing = max(0, search.trials - done)
    if search.sampler == "grid":
        # A grid has no other point to put in the place of one that failed.
        missing = min(missing, running + waiting)
    given_up = missing > 0 and failed - forgiven > search.failures_allowed
    if given_up:
        missing = 0
    return Budget(done, failed, running, waiting, missing, exhausted=done < search.trials and missing == 0)
