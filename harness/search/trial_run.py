"""What a worker does with one trial: take it, train it, report every epoch, and store how it ended."""

from __future__ import annotations

import enum
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from harness.machine.errors import Pruned, is_of_the_machine, reason_of
from harness.registry import described
from harness.search.database import StorageError
from harness.search.plan import SearchPlan, TrialFailed, TrialLost
from harness.search.trial_queue import ClaimedTrial, NoTrial, TrialQueue, trial_queue


class TrialEnd(enum.Enum):
    """How the attempt to run a trial ended."""

    COMPLETE = "complete"
    PRUNED = "pruned"
    FAILED = "failed"
    LOST = "lost"
    """Another worker took it over."""
    NOTHING = "nothing"
    """There was no trial to run."""
    PLUGIN_FAILED = "plugin failed"
    """A plugin's code raised an error before any trial of the search had finished."""


@dataclass(frozen=True)
class TrialOutcome:
    """How one trial ended, in words for a person."""

    end: TrialEnd
    search: str = ""
    number: int = -1
    detail: str = ""


def run_next_trial(searches: Sequence[SearchPlan]) -> TrialOutcome:
    """Run the next trial of the first search that has one.

    Raises:
        StorageError: the database is away for long; a later run resumes the trial.
    """
    for search in searches:
        queue = trial_queue(search)
        claim = queue.claim()
        if not isinstance(claim, NoTrial):
            return _run_to_its_end(queue, claim)
    return TrialOutcome(TrialEnd.NOTHING)


def _run_to_its_end(queue: TrialQueue, claim: ClaimedTrial) -> TrialOutcome:
    name, number = claim.search.name, claim.number
    with queue.heartbeat(claim):
        try:
            value = _score(queue, claim)
        except Pruned as pruned:
            queue.prune(claim, pruned.epoch)
            return TrialOutcome(TrialEnd.PRUNED, name, number, f"after epoch {pruned.epoch}")
        except TrialLost as lost:
            return TrialOutcome(TrialEnd.LOST, name, number, str(lost))
        except StorageError:
            raise
        except TrialFailed as failure:
            queue.fail(claim, failure.reason, failure.detail)
            if failure.reason == "error" and failure.plugin_line and queue.budget().finished == 0:
                return TrialOutcome(TrialEnd.PLUGIN_FAILED, name, number, failure.detail)
            return TrialOutcome(TrialEnd.FAILED, name, number, str(failure))
        except Exception as error:
            if is_of_the_machine(error):
                raise  # not caused by the trial: a later run resumes it
            reason, detail = reason_of(error), described(error)
            queue.fail(claim, reason, detail)
            return TrialOutcome(TrialEnd.FAILED, name, number, f"{reason}: {detail}")
        queue.complete(claim, value)
        return TrialOutcome(TrialEnd.COMPLETE, name, number, f"{value:.2f}")


def _score(queue: TrialQueue, claim: ClaimedTrial) -> float:
    # Seconds of training add up over restarts; the time in which no worker had the trial does not count.
    began = time.monotonic() - claim.seconds

    def report_epoch(epoch: int, value: float) -> None:
        if queue.report(claim, epoch, value, time.monotonic() - began):
            raise Pruned(epoch)

    value = float(claim.search.objective(claim.trial.params, report_epoch))
    if not math.isfinite(value):
        raise TrialFailed("nan", f"the validation score is {value}")
    return value
