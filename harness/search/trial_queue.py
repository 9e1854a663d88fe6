"""How trials are given to workers: a fixed budget, one owner per trial, trials of dead workers first."""

from __future__ import annotations

import enum
import logging
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import optuna
from optuna import Study
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, Trial, TrialState

from harness.search.budget import Budget, budget_of, finished
from harness.search.database import (
    HEARTBEAT_SECONDS,
    Database,
    damaged,
    reach_database,
    readable,
    retry_while_unavailable,
)
from harness.search.plan import SearchPlan, TrialLost
from harness.search.samplers import PerTrialSampler, pruner_for
from harness.search.search_notes import SearchCounts, read_counts, write_counts
from harness.search.trial_checksums import DRAWN, OUTCOME, TrialChecksums
from harness.search.trial_history import HISTORY, TrialHistory
from harness.search.trial_owner import TrialOwner
from harness.search.trial_record import ended, trial_record

log = logging.getLogger(__name__)

DEATHS_ALLOWED = 4
"""Workers that may die in a row at the same epoch of a trial before the trial counts as failed."""

_READINGS = 4
"""How often trials are read before one that does not fit is taken for altered."""


class NoTrial(enum.Enum):
    """Why a queue has no trial to give."""

    WAIT = "others run what is left"
    DONE = "nothing is left"


@dataclass
class ClaimedTrial:
    """A trial this process owns, and nobody else."""

    search: SearchPlan
    trial: Trial
    resumed: bool

    @property
    def number(self) -> int:
        """The trial's number in its search."""
        return self.trial.number

    @property
    def seconds(self) -> float:
        """Seconds of training so far, of all workers that had it."""
        return TrialHistory.of(self.trial._get_latest_trial()).seconds


class TrialQueue:
    """The trials of one search in its open database.

    Opening is slow, so each process caches one queue per search (`trial_queue`).
    """

    def __init__(self, search: SearchPlan, database: Database, study: Study) -> None:
        self.search, self.database, self.study = search, database, study
        self._checksums = TrialChecksums(search)
        self._checked: set[int] = set()
        """Numbers of finished trials that were checked: they do not change any more."""

    def budget(self) -> Budget:
        """How far the search is, by the database."""
        return retry_while_unavailable(lambda: self._budget(self._trials()), self.search.url)

    def _budget(self, trials: list[FrozenTrial]) -> Budget:
        return budget_of(self.search, trials, self.counts().forgiven)

    def counts(self) -> SearchCounts:
        """What is counted of the search. Raises `StorageError` when it was altered."""
        return read_counts(self.study, self.search.url)

    def claim(self) -> ClaimedTrial | NoTrial:
        """Take the next trial of the budget: one whose owner died, else a queued one, else a new one."""
        return retry_while_unavailable(self._claim, self.search.url)

    def _claim(self) -> ClaimedTrial | NoTrial:
        with self.database.lock():
            trials = self._trials()
            for trial in trials:
                if trial.state is TrialState.RUNNING and self.is_orphan(trial):
                    if self._died_too_often(trial):
                        trials = self._trials()
                        continue
                    return self._take(Trial(self.study, trial._trial_id), resumed=True)
            budget = self._budget(trials)
            if budget.missing == 0:
                return NoTrial.DONE
            free = budget.missing - budget.running
            if free <= 0 or (self.search.sampler == "grid" and not budget.waiting):
                return NoTrial.WAIT if budget.running else NoTrial.DONE
            return self._take(self._ask(), resumed=False)

    def _ask(self) -> Trial:
        with warnings.catch_warnings():
            # Optuna warns that its heartbeat is kept by `optimize` only; ours is kept by `heartbeat` below.
            warnings.simplefilter("ignore")
            trial = self.study.ask()
        counts = self.counts()
        write_counts(self.study, replace(counts, made=max(counts.made, trial.number + 1)))
        return trial

    def _take(self, trial: Trial, *, resumed: bool) -> ClaimedTrial:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, parameter in self.search.space.items():
                trial._suggest(name, parameter.distribution())
        # Where its first worker died before this note, the settings are those drawn just now.
        if DRAWN not in trial.user_attrs:
            trial.set_user_attr(DRAWN, self._checksums.drawn(trial._get_latest_trial()))
        if resumed:
            self._note_death(trial)
        # Last: a running trial without an owner was begun by a process that died under the lock.
        self.database.storage.record_heartbeat(trial._trial_id)
        trial.set_user_attr("owner", str(TrialOwner.this_process()))
        _mine.add((self.search.name, trial.number))
        return ClaimedTrial(self.search, trial, resumed)

    def _note_death(self, trial: Trial) -> None:
        history = TrialHistory.of(trial._get_latest_trial()).after_a_death()
        self._write_history(trial, history)
        reported = trial._get_latest_trial().intermediate_values
        for epoch, score in history.epochs:
            if epoch not in reported:  # its worker died between the note and the report
                trial.report(score, epoch)

    def _write_history(self, trial: Trial, history: TrialHistory) -> None:
        trial.set_user_attr(HISTORY, self._checksums.history(trial._get_latest_trial(), history))

    def is_orphan(self, trial: FrozenTrial) -> bool:
        """Whether the owner of a running trial is dead, so that another worker may take it over."""
        owner = TrialOwner.parse(str(trial.user_attrs.get("owner", "")))
        if owner is None:
            return True
        if owner == TrialOwner.this_process():
            return (self.search.name, trial.number) not in _mine
        if owner.is_local:
            return not owner.is_alive
        return trial._trial_id in self.database.storage._get_stale_trial_ids(self.study._study_id)

    def _died_too_often(self, trial: FrozenTrial) -> bool:
        history = TrialHistory.of(trial)
        epoch = history.last_epoch
        if history.died_at != epoch or history.deaths + 1 < DEATHS_ALLOWED:
            return False
        killed = f"its worker was killed {history.deaths + 1} times after epoch {epoch}"
        detail = f"{killed}; the system may be short of memory"
        self._fail(trial._trial_id, "error", detail)
        return True

    def owns(self, claim: ClaimedTrial) -> bool:
        """Whether this process still has the trial: one silent for long may have lost it to another."""
        trial = self.database.storage.get_trial(claim.trial._trial_id)
        is_ours = str(TrialOwner.this_process()) == trial.user_attrs.get("owner")
        return is_ours and trial.state is TrialState.RUNNING

    def report(self, claim: ClaimedTrial, epoch: int, value: float, seconds: float) -> bool:
        """Write an epoch's score and the trial's seconds so far; True when the pruner wants the trial to end.

        Raises `TrialLost` when the trial is no longer ours.
        """

        def act() -> bool:
            """Store the epoch's score where it is new; whether the pruner ends the trial."""
            if not self.owns(claim):
                raise TrialLost(
                    f"trial {claim.number} of {self.search.name} was taken over by another worker"
                )
            stored = claim.trial._get_latest_trial()
            if epoch in stored.intermediate_values:
                return False
            self._write_history(claim.trial, TrialHistory.of(stored).with_epoch(epoch, value, seconds))
            claim.trial.report(value, epoch)
            # After its last epoch there is nothing left to save, and a complete trial may win.
            return epoch < self.search.epochs and claim.trial.should_prune()

        return retry_while_unavailable(act, self.search.url)

    def complete(self, claim: ClaimedTrial, value: float) -> None:
        """Finish a trial with its score."""

        def act() -> None:
            """Store the checksum of the outcome, then the score."""
            self._write_outcome(claim.trial._trial_id, TrialState.COMPLETE, value)
            self.study.tell(claim.trial, value, skip_if_finished=True)

        self._settle(claim, act)

    def prune(self, claim: ClaimedTrial, epoch: int) -> None:
        """Finish a trial that the pruner ended after `epoch`; its score is that of the epoch."""

        def act() -> None:
            """Store the epoch, the checksum of the outcome, then the state."""
            claim.trial.set_user_attr("pruned_at", epoch)
            score = claim.trial._get_latest_trial().intermediate_values[epoch]
            value = score if math.isfinite(score) else None
            self._write_outcome(claim.trial._trial_id, TrialState.PRUNED, value, pruned_at=epoch)
            self.study.tell(claim.trial, state=TrialState.PRUNED, skip_if_finished=True)

        self._settle(claim, act)

    def fail(self, claim: ClaimedTrial, reason: str, detail: str) -> None:
        """Finish a trial as failed, with its reason."""
        self._settle(claim, lambda: self._fail(claim.trial._trial_id, reason, detail))

    def _fail(self, trial_id: int, reason: str, detail: str) -> None:
        storage, detail = self.database.storage, detail[:500]
        storage.set_trial_user_attr(trial_id, "reason", reason)
        storage.set_trial_user_attr(trial_id, "detail", detail)
        self._write_outcome(trial_id, TrialState.FAIL, reason=reason, detail=detail)
        storage.set_trial_state_values(trial_id, TrialState.FAIL)

    def _write_outcome(
        self, trial_id: int, state: TrialState, value: float | None = None, **notes: Any
    ) -> None:
        """Store the checksum of a trial that is about to end."""
        trial = self.database.storage.get_trial(trial_id)
        self._require_as_written(trial)
        record = ended(trial_record(trial), state, value, **notes)
        self.database.storage.set_trial_user_attr(trial_id, OUTCOME, self._checksums.outcome(record))

    def _require_as_written(self, trial: FrozenTrial) -> None:
        if not self._checksums.is_as_written(trial):
            damage = f"trial {trial.number} of {self.search.name} is not what was written"
            raise damaged(self.search.url, damage)

    def _settle(self, claim: ClaimedTrial, act: Callable[[], Any]) -> None:
        def settled() -> None:
            with self.database.lock():
                if self.owns(claim):
                    act()

        retry_while_unavailable(settled, self.search.url)
        _mine.discard((self.search.name, claim.number))

    @contextmanager
    def heartbeat(self, claim: ClaimedTrial) -> Iterator[None]:
        """Tell workers on other machines, every few seconds, that this one lives."""
        stop = threading.Event()

        def beat() -> None:
            while not stop.wait(HEARTBEAT_SECONDS):
                try:
                    self.database.storage.record_heartbeat(claim.trial._trial_id)
                except Exception as error:  # a database that is away ends the trial elsewhere, not here
                    log.debug("no heartbeat for trial %d: %s", claim.number, type(error).__name__)

        thread = threading.Thread(target=beat, name=f"heartbeat of trial {claim.number}", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
            _mine.discard((self.search.name, claim.number))

    def trials(self) -> list[FrozenTrial]:
        """Every trial, by number. Raises `StorageError` when one is not what was written."""
        return retry_while_unavailable(self._trials, self.search.url)

    def _trials(self) -> list[FrozenTrial]:
        for attempt in range(_READINGS):
            # Counted first: trials are only ever added.
            made = self.counts().made
            with readable(self.search.url):
                trials = self.study.get_trials(deepcopy=False)
                wrong = self._first_altered(trials, made)
            if wrong is None:
                return trials
            # A trial that runs may have been read while its worker was writing.
            time.sleep(0.1 * attempt)
        raise damaged(self.search.url, f"trial {wrong} of {self.search.name} is not what was written")

    def _first_altered(self, trials: Sequence[FrozenTrial], made: int) -> int | None:
        """The number of the first trial that is missing, added or not what was written; None when all are."""
        for number, trial in enumerate(trials):
            if number in self._checked and trial.number == number:
                continue
            if trial.number != number or not self._checksums.is_as_written(trial):
                return number
            if finished(trial.state):
                self._checked.add(number)
        return len(trials) if len(trials) < made else None


_mine: set[tuple[str, int]] = set()
_queues: dict[tuple[str, str], TrialQueue] = {}


def trial_queue(search: SearchPlan) -> TrialQueue:
    """This process's queue of a search that `create_search` has made."""
    key = (search.url, search.name)
    if key not in _queues or _queues[key].search != search:
        _queues[key] = retry_while_unavailable(
            lambda: open_trial_queue(search, reach_database(search.url, create=False)), search.url
        )
    return _queues[key]


def cache_queue(queue: TrialQueue) -> None:
    """Let `trial_queue` return this queue: reading thousands of trials takes seconds, and once is enough."""
    _queues[queue.search.url, queue.search.name] = queue


def open_trial_queue(search: SearchPlan, database: Database) -> TrialQueue:
    """A new queue of a search that is stored in `database`.

    Raises:
        StorageError: what is stored there is damaged.
    """
    axes = (search.seed, search.name)
    sampler = PerTrialSampler(search.sampler, search.space, axes)
    pruner = pruner_for(search.pruner, search.epochs)
    with readable(search.url):
        study = optuna.load_study(
            study_name=search.name, storage=database.storage, sampler=sampler, pruner=pruner
        )
        directions = study.directions
    if directions != [StudyDirection.MAXIMIZE]:
        raise damaged(search.url, f"the direction of {search.name} is not what was written")
    return TrialQueue(search, database, study)
