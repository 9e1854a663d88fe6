"""Keeps workers busy until every search has spent its budget."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from dataclasses import dataclass

from harness.launch.units import WorkerDied
from harness.machine.errors import HarnessError
from harness.search.budget import Budget
from harness.search.plan import SearchPlan
from harness.search.trial_queue import trial_queue
from harness.search.trial_run import TrialEnd, TrialOutcome, run_next_trial

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class SearchProgress:
    """How far one search is."""

    search: SearchPlan
    budget: Budget


class PluginFailed(HarnessError):
    """A plugin fails in its first trial, so every other trial would fail alike."""

    def __init__(self, outcome: TrialOutcome) -> None:
        super().__init__(
            f"{outcome.search}: trial {outcome.number} failed in the plugin, as every other would: "
            f"{outcome.detail}. Repair the plugin and run again; no stored trial binds it"
        )


Watcher = Callable[[Sequence[SearchProgress], TrialOutcome | None], None]
"""Called whenever a trial ended (with its outcome), and every now and then in between."""


def run_searches(searches: Sequence[SearchPlan], launcher: Executor, watch: Watcher) -> list[SearchProgress]:
    """Run trials on `launcher` until no search misses one; how far each search is then.

    Several processes, on several machines, may run the same searches at once: each trial is given to one.

    Args:
        searches: what to run; `create_search` must have made them.
        launcher: where trials run, `slots` of them at once.
        watch: called as trials end.

    Raises:
        StorageError: the database is away for long.
        PluginFailed: a plugin's code fails in its first trial.
    """
    slots: int = getattr(launcher, "slots", 1)
    running: set[Future[TrialOutcome]] = set()
    try:
        while True:
            progress = [SearchProgress(search, trial_queue(search).budget()) for search in searches]
            missing = sum(each.budget.missing for each in progress)
            if not missing and not running:
                return progress
            while len(running) < min(slots, missing):
                running.add(launcher.submit(run_next_trial, tuple(searches)))
            ended, running = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
            outcomes = [_outcome(future) for future in ended]
            for outcome in outcomes:
                watch(progress, outcome)
                if outcome.end is TrialEnd.PLUGIN_FAILED:
                    raise PluginFailed(outcome)
            if not outcomes:
                watch(progress, None)
            if outcomes and all(outcome.end is TrialEnd.NOTHING for outcome in outcomes):
                time.sleep(POLL_SECONDS)
    except BaseException:
        launcher.shutdown(wait=False, cancel_futures=True)
        raise


def _outcome(future: Future[TrialOutcome]) -> TrialOutcome:
    try:
        return future.result()
    except WorkerDied as death:
        # Its trial is still marked as running; the next worker finds the owner dead and resumes it.
        log.warning("%s; its trial resumes from its checkpoint", death)
        return TrialOutcome(TrialEnd.LOST, detail=str(death))
