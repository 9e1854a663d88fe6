"""One trial from the desk to its end: train, report every epoch, and write down how it went."""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from harness.machine.errors import is_of_the_machine, reason_of
from harness.search.storage import StorageError
from harness.search.trials import (
    ClaimedTrial,
    NoTrial,
    Pruned,
    SearchPlan,
    TrialFailed,
    TrialLost,
    TrialQueue,
    trial_queue,
)


class End(enum.Enum):
    """How an attempt at the next trial ended."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    LOST = "lost"
    """Another worker took it over."""
    NOTHING = "nothing"
    """There was no trial to take."""


@dataclass(frozen=True)
class Outcome:
    """What one attempt brought, for the log."""

    end: End
    search: str = ""
    number: int = -1
    detail: str = ""


def attempt_next(searches: Sequence[SearchPlan]) -> Outcome:
    """Take the next trial of the first search that has one, and see it through.

    Raises `StorageError` when the database is gone for long; the trial is then taken up again by a later run.
    """
    for search in searches:
        desk = trial_queue(search)
        claim = desk.claim()
        if not isinstance(claim, NoTrial):
            return _see_through(desk, claim)
    return Outcome(End.NOTHING)


def _see_through(desk: TrialQueue, claim: ClaimedTrial) -> Outcome:
    name, number = claim.search.name, claim.number
    with desk.heartbeat(claim):
        try:
            value = _score(desk, claim)
        except Pruned as pruned:
            desk.prune(claim, pruned.epoch)
            return Outcome(End.PRUNED, name, number, f"after epoch {pruned.epoch}")
        except TrialLost as lost:
            return Outcome(End.LOST, name, number, str(lost))
        except StorageError:
            raise
        except TrialFailed as failure:
            desk.fail(claim, failure.reason, failure.detail)
            return Outcome(End.FAILED, name, number, str(failure))
        except Exception as error:
            if is_of_the_machine(error):
                raise  # no fault of the trial's: it is taken up again
            reason, detail = reason_of(error), f"{type(error).__name__}: {error}"
            desk.fail(claim, reason, detail)
            return Outcome(End.FAILED, name, number, f"{reason}: {detail}")
        desk.complete(claim, value)
        return Outcome(End.COMPLETE, name, number, f"{value:.2f}")


def _score(desk: TrialQueue, claim: ClaimedTrial) -> float:
    # Seconds of training count across restarts, not the hours a search lay dead.
    began = time.monotonic() - float(claim.trial.user_attrs.get("seconds", 0.0))

    def report_epoch(epoch: int, value: float) -> None:
        if desk.report(claim, epoch, value, time.monotonic() - began):
            raise Pruned(epoch)

    value = float(claim.search.objective(claim.trial.params, report_epoch))
    if not math.isfinite(value):
        raise TrialFailed("nan", f"the validation score is {value}")
    return value
