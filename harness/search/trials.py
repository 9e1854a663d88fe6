"""The desk that hands out trials: a fixed budget, one owner per trial, and the trials of the dead first."""

from __future__ import annotations

import enum
import logging
import math
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import optuna
from optuna import Study
from optuna.trial import FrozenTrial, Trial, TrialState

from harness.search.owner import Owner
from harness.search.sampling import PerTrialSampler, finished, pruner_for
from harness.search.space import Parameter, Scalar, grid, same_point
from harness.search.storage import (
    HEARTBEAT_SECONDS,
    Database,
    damaged,
    reach_database,
    readable,
    retry_while_unavailable,
)
from harness.search.trial_checksums import DRAWN, SEAL, drawn_seal, is_as_written, seal_of

logger = logging.getLogger(__name__)

DEATHS_ALLOWED = 4
"""Workers that may die in a row at the same epoch of a trial before the trial counts as failed."""

ReportEpoch = Callable[[int, float], None]
"""Called after each epoch (counted from 1) with its validation score; raises `Pruned` to end the trial."""


class Objective(Protocol):
    """Trains with some settings and answers with the validation score to maximise.

    It is pickled into workers. Raising `TrialFailed` gives the reason of a failure; any other exception is
    one too, with reason `error`.
    """

    def __call__(self, settings: Mapping[str, Scalar], report_epoch: ReportEpoch) -> float:
        """Train, calling `report_epoch` after every epoch; an epoch it raises `Pruned` after is the last."""


class Pruned(Exception):
    """The pruner ends this trial after `epoch`."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        super().__init__(f"pruned after epoch {epoch}")


class TrialLost(Exception):
    """The trial was taken over by another worker, because this one was silent for too long."""


class TrialFailed(Exception):
    """A trial ended without a score; `reason` is one of oom, nan, data, timeout, error."""

    def __init__(self, reason: str, detail: str) -> None:
        self.reason, self.detail = reason, detail
        super().__init__(f"{reason}: {detail}")


@dataclass(frozen=True)
class SearchPlan:
    """One search: a method on a dataset, with a budget. Picklable: workers open the database themselves."""

    name: str
    """Of the Optuna study, `<study>/<method>/<dataset>`."""
    url: str = field(repr=False)
    """Of the database; may hold a password, so it is never printed."""
    space: Mapping[str, Parameter]
    recipe: Mapping[str, Scalar]
    """The recipe's own values: trial 0."""
    trials: int
    """Finished trials (complete or pruned) that make up the budget."""
    epochs: int
    objective: Objective = field(repr=False)
    sampler: str = "tpe"
    pruner: str = "median"
    seed: int = 0
    grid_points: int = 8
    terms: Mapping[str, Any] = field(default_factory=dict)
    """Everything else that, when changed, makes old and new trials incomparable."""
    about: Mapping[str, Any] = field(default_factory=dict)
    """What a report calls it: method, dataset, metric. Compared with nothing."""

    @property
    def failures_allowed(self) -> int:
        """Failed trials that one run replaces before it gives the search up: half the budget, at least 3."""
        return max(3, self.trials // 2)

    @property
    def fingerprint(self) -> dict[str, Any]:
        """The terms a stored search must agree with to be continued."""
        return {
            "space": {name: parameter.terms() for name, parameter in self.space.items()},
            "trials": self.trials,
            "epochs": self.epochs,
            "sampler": self.sampler,
            "pruner": self.pruner,
            "seed": self.seed,
            **({"points": self.grid_points} if self.sampler == "grid" else {}),
            **self.terms,
        }

    @property
    def grid_size(self) -> int:
        """The points of a grid and the recipe, without listing them."""
        points = self.grid_points
        listed = math.prod(parameter.grid_count(points) for parameter in self.space.values())
        on_it = all(each.is_on_grid(self.recipe[name], points) for name, each in self.space.items())
        return listed + (not on_it)

    def grid(self) -> list[dict[str, Scalar]]:
        """The points of a grid search that are not the recipe's; none for other samplers."""
        if self.sampler != "grid":
            return []
        return [p for p in grid(self.space, self.grid_points) if not same_point(p, self.recipe)]


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


class NoTrial(enum.Enum):
    """What the desk says when it hands out nothing."""

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


class TrialQueue:
    """A search's open database. Cheap to keep, dear to open: each process keeps its desks (`trial_queue`)."""

    def __init__(self, search: SearchPlan, database: Database, study: Study) -> None:
        self.search, self.database, self.study = search, database, study
        self._sound: set[int] = set()
        """Finished trials that were looked at: they change no more."""

    def budget(self) -> Budget:
        """How far the search is, by the database."""
        return retry_while_unavailable(lambda: self._budget(self._trials()), self.search.url)

    def _budget(self, trials: list[FrozenTrial]) -> Budget:
        return _counted(self.search, trials, self.study.user_attrs.get("forgiven", 0))

    def claim(self) -> ClaimedTrial | NoTrial:
        """Take the next trial of the budget: one whose owner died, else a queued one, else a new one."""
        return retry_while_unavailable(self._claim, self.search.url)

    def _claim(self) -> ClaimedTrial | NoTrial:
        with self.database.desk():
            trials = self._trials()
            for trial in trials:
                if trial.state is TrialState.RUNNING and self._is_orphan(trial):
                    if self._died_too_often(trial):
                        trials = self._trials()
                        continue
                    return self._own(Trial(self.study, trial._trial_id), resumed=True)
            budget = self._budget(trials)
            if budget.missing == 0:
                return NoTrial.DONE
            free = budget.missing - budget.running
            if free <= 0 or (self.search.sampler == "grid" and not budget.waiting):
                return NoTrial.WAIT if budget.running else NoTrial.DONE
            return self._own(self._ask(), resumed=False)

    def _ask(self) -> Trial:
        with warnings.catch_warnings():
            # Optuna warns that its heartbeat is kept by `optimize` only; ours is kept by `heartbeat` below.
            warnings.simplefilter("ignore")
            return self.study.ask()

    def _own(self, trial: Trial, *, resumed: bool) -> ClaimedTrial:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for name, parameter in self.search.space.items():
                trial._suggest(name, parameter.distribution())
        if resumed:
            epoch = _last_epoch(trial._get_latest_trial())
            died_at, deaths = trial.user_attrs.get("deaths", (epoch, 0))
            trial.set_user_attr("deaths", (epoch, deaths + 1 if died_at == epoch else 1))
            trial.set_user_attr("resumed", trial.user_attrs.get("resumed", 0) + 1)
        # Of one that died in between, the settings are as they were drawn just now.
        if DRAWN not in trial.user_attrs:
            trial.set_user_attr(DRAWN, drawn_seal(trial._get_latest_trial()))
        # Last: until an owner is written, whoever has the desk knows that the one who began this is dead.
        self.database.storage.record_heartbeat(trial._trial_id)
        trial.set_user_attr("owner", str(Owner.this_process()))
        _mine.add((self.search.name, trial.number))
        return ClaimedTrial(self.search, trial, resumed)

    def _is_orphan(self, trial: FrozenTrial) -> bool:
        owner = Owner.parse(str(trial.user_attrs.get("owner", "")))
        if owner is None:
            return True
        if owner == Owner.this_process():
            return (self.search.name, trial.number) not in _mine
        if owner.is_local:
            return not owner.is_alive
        return trial._trial_id in self.database.storage._get_stale_trial_ids(self.study._study_id)

    def _died_too_often(self, trial: FrozenTrial) -> bool:
        epoch = _last_epoch(trial)
        died_at, deaths = trial.user_attrs.get("deaths", (epoch, 0))
        if died_at != epoch or deaths + 1 < DEATHS_ALLOWED:
            return False
        detail = (
            f"its worker was killed {deaths + 1} times after epoch {epoch}; the system may be short of memory"
        )
        self._fail(trial._trial_id, "error", detail)
        return True

    def owns(self, claim: ClaimedTrial) -> bool:
        """Whether the claim still stands: a worker silent for long may have lost its trial to another."""
        trial = self.database.storage.get_trial(claim.trial._trial_id)
        mine = str(Owner.this_process()) == trial.user_attrs.get("owner")
        return mine and trial.state is TrialState.RUNNING

    def report(self, claim: ClaimedTrial, epoch: int, value: float, seconds: float) -> bool:
        """Write an epoch's score and the trial's seconds so far; True when the pruner wants the trial to end.

        Raises `TrialLost` when the trial is no longer ours.
        """

        def act() -> bool:
            if not self.owns(claim):
                raise TrialLost(
                    f"trial {claim.number} of {self.search.name} was taken over by another worker"
                )
            if epoch in claim.trial._get_latest_trial().intermediate_values:
                return False
            claim.trial.report(value, epoch)
            claim.trial.set_user_attr("seconds", round(seconds, 3))
            # After its last epoch there is nothing left to save, and a complete trial may win.
            return epoch < self.search.epochs and claim.trial.should_prune()

        return retry_while_unavailable(act, self.search.url)

    def complete(self, claim: ClaimedTrial, value: float) -> None:
        """Finish a trial with its score."""

        def act() -> None:
            claim.trial.set_user_attr(SEAL, seal_of(claim.trial._get_latest_trial(), value))
            self.study.tell(claim.trial, value, skip_if_finished=True)

        self._settle(claim, act)

    def prune(self, claim: ClaimedTrial, epoch: int) -> None:
        """Finish a trial that the pruner ended after `epoch`."""

        def act() -> None:
            claim.trial.set_user_attr("pruned_at", epoch)
            claim.trial.set_user_attr(SEAL, seal_of(claim.trial._get_latest_trial(), None))
            self.study.tell(claim.trial, state=TrialState.PRUNED, skip_if_finished=True)

        self._settle(claim, act)

    def fail(self, claim: ClaimedTrial, reason: str, detail: str) -> None:
        """Finish a trial as failed, with its reason."""
        self._settle(claim, lambda: self._fail(claim.trial._trial_id, reason, detail))

    def _fail(self, trial_id: int, reason: str, detail: str) -> None:
        storage = self.database.storage
        storage.set_trial_user_attr(trial_id, "reason", reason)
        storage.set_trial_user_attr(trial_id, "detail", detail[:500])
        storage.set_trial_state_values(trial_id, TrialState.FAIL)

    def _settle(self, claim: ClaimedTrial, act: Callable[[], Any]) -> None:
        def settled() -> None:
            with self.database.desk():
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
                    logger.debug("no heartbeat for trial %d: %s", claim.number, type(error).__name__)

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
        with readable(self.search.url):
            trials = self.study.get_trials(deepcopy=False)
        for place, trial in enumerate(trials):
            if place in self._sound and trial.number == place:
                continue
            if trial.number != place or not is_as_written(trial):
                raise damaged(self.search.url, f"trial {place} of {self.search.name} is not what was written")
            if finished(trial.state):
                self._sound.add(place)
        return trials


_mine: set[tuple[str, int]] = set()
_desks: dict[tuple[str, str], TrialQueue] = {}


def trial_queue(search: SearchPlan) -> TrialQueue:
    """This process's desk of a search that `prepare` has made."""
    key = (search.url, search.name)
    if key not in _desks or _desks[key].search != search:
        _desks[key] = retry_while_unavailable(
            lambda: open_trial_queue(search, reach_database(search.url, create=False)), search.url
        )
    return _desks[key]


def cache_trials(desk: TrialQueue) -> None:
    """Let `trial_queue` return this queue: reading thousands of trials takes seconds, and once is enough."""
    _desks[desk.search.url, desk.search.name] = desk


def open_trial_queue(search: SearchPlan, database: Database) -> TrialQueue:
    """A new desk of a search that is in `database`."""
    axes = (search.seed, search.name)
    study = optuna.load_study(
        study_name=search.name,
        storage=database.storage,
        sampler=PerTrialSampler(search.sampler, search.space, search.trials, axes),
        pruner=pruner_for(search.pruner, search.epochs, search.trials),
    )
    return TrialQueue(search, database, study)


def _last_epoch(trial: FrozenTrial) -> int:
    return max(trial.intermediate_values, default=0)


def _counted(search: SearchPlan, trials: list[FrozenTrial], forgiven: int) -> Budget:
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
