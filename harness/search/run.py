"""Keeps a launcher busy until every search has spent its budget, and writes down all trials as it goes."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass

from harness.launch.launchers import WorkerDied
from harness.search.trial import End, Outcome, attempt_next
from harness.search.trials import Budget, SearchPlan, trial_queue

logger = logging.getLogger(__name__)

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class SearchProgress:
    """How far one search is; what a watcher is shown."""

    search: SearchPlan
    budget: Budget


Watcher = Callable[[Sequence[SearchProgress], Outcome | None], None]
"""Called whenever a trial ended (with its outcome), and every now and then in between."""


def run_searches(searches: Sequence[SearchPlan], launcher: Executor, watch: Watcher) -> list[SearchProgress]:
    """Run trials on `launcher` until no search misses one; the state at the end.

    `prepare` must have made the searches. Several processes, on several machines, may do this to the same
    searches at once: the desk hands out each trial once. Raises `StorageError` when the database is gone for
    long.
    """
    slots: int = getattr(launcher, "slots", 1)
    flying: set[Future[Outcome]] = set()
    try:
        while True:
            progress = [SearchProgress(search, trial_queue(search).budget()) for search in searches]
            missing = sum(each.budget.missing for each in progress)
            if not missing and not flying:
                return progress
            while len(flying) < min(slots, missing):
                flying.add(launcher.submit(attempt_next, tuple(searches)))
            landed, flying = wait(flying, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            outcomes = [_outcome(future) for future in landed]
            for outcome in outcomes:
                watch(progress, outcome)
            if not outcomes:
                watch(progress, None)
            if outcomes and all(outcome.end is End.NOTHING for outcome in outcomes):
                time.sleep(POLL_SECONDS)
    except BaseException:
        launcher.shutdown(wait=False, cancel_futures=True)
        raise


def _outcome(future: Future[Outcome]) -> Outcome:
    try:
        return future.result()
    except WorkerDied as death:
        # Its trial is still marked as running; the next attempt finds its owner dead and takes it up again.
        logger.warning("%s; its trial is taken up again from its checkpoint", death)
        return Outcome(End.LOST, detail=str(death))
