"""How the settings of a trial are drawn, and which trials are ended early: Optuna's rules, seeded anew."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial

from harness.machine.seeds import seed_for
from harness.search.space import Parameter, Scalar, same_point, size

if TYPE_CHECKING:
    from optuna import Study

_REDRAWS = 20

RANDOM_TRIALS = 8
"""Trials that TPE draws at random before it trusts its model.

No share of the budget: a search that is given more trials later draws them as if it had had them from the
start (exactly so with one worker; with several, TPE and CMA-ES learn from whatever has ended by then).
"""
UNPRUNED_TRIALS = 4
"""Trials that must be complete before the median rule ends one."""


class PerTrialSampler(BaseSampler):
    """Draws each trial with a fresh sampler whose seed is a function of the trial's number.

    Optuna seeds a sampler once per process: a search that is killed and started again would draw the numbers
    of its first trials a second time. Here trial 7 is drawn from the seed of trial 7 whoever draws it, and
    the history it learns from is the database's. A point that was already tried is drawn again: training is
    deterministic, so trying it twice would spend budget on a known number.
    """

    def __init__(self, sampler: str, space: Mapping[str, Parameter], axes: Sequence[str | int]) -> None:
        self._kind = sampler
        self._space = dict(space)
        self._distributions = {name: parameter.distribution() for name, parameter in space.items()}
        self._axes = tuple(axes)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The whole space at once: it is fixed for the life of a search."""
        return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A point that no other trial has."""
        # Hyperband shows a sampler the trials of one bracket only; a point tried in another is tried, too.
        every = study._storage.get_all_trials(study._study_id, deepcopy=False)
        tried = [other.params for other in every if other.number != trial.number]
        for attempt in range(_REDRAWS):
            # A sampler that keeps returning a point already tried gives way to a random draw.
            kind = self._kind if attempt < _REDRAWS // 2 else "random"
            point = self._draw(kind, self._seed(trial.number, attempt), study, trial)
            if not any(same_point(point, other) for other in tried):
                break
        else:
            point = self._first_untried(tried) or point
        return point

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """A single parameter, for one that `sample_relative` did not know."""
        sampler = RandomSampler(seed=self._seed(trial.number, 0))
        return sampler.sample_independent(study, trial, param_name, param_distribution)

    def _seed(self, number: int, attempt: int) -> int:
        return seed_for(*self._axes, "trial", number, attempt) % 2**32

    def _draw(self, kind: str, seed: int, study: Study, trial: FrozenTrial) -> dict[str, Any]:
        sampler = _SAMPLERS[kind](seed)
        open_ended = {name: d for name, d in self._distributions.items() if not d.single()}
        if kind == "cmaes":
            numeric = {n: d for n, d in open_ended.items() if not self._space[n].choices}
            drawn = sampler.sample_relative(study, trial, numeric)
        else:
            drawn = sampler.sample_relative(study, trial, open_ended)
        for name, distribution in self._distributions.items():
            if name not in drawn:
                drawn[name] = sampler.sample_independent(study, trial, name, distribution)
        return {name: drawn[name] for name in self._distributions}

    def _first_untried(self, tried: Sequence[Mapping[str, object]]) -> dict[str, Scalar] | None:
        from harness.search.space import grid

        if size(self._space) is None:
            return None
        untried = (p for p in grid(self._space, 2**31) if not any(same_point(p, other) for other in tried))
        return next(untried, None)


def _without_warnings(build: Callable[..., BaseSampler], **options: Any) -> BaseSampler:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return build(**options)


_SAMPLERS: Mapping[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: _without_warnings(
        TPESampler,
        seed=seed,
        n_startup_trials=RANDOM_TRIALS,
        multivariate=True,
        constant_liar=True,
    ),
    "cmaes": lambda seed: CmaEsSampler(
        seed=seed, warn_independent_sampling=False, independent_sampler=RandomSampler(seed=seed)
    ),
    "random": lambda seed: RandomSampler(seed=seed),
    # The points of a grid are put into the queue when the search is made; nothing is left to draw.
    "grid": lambda seed: RandomSampler(seed=seed),
}


def pruner_for(name: str, epochs: int) -> optuna.pruners.BasePruner:
    """The pruner `median`, `hyperband` or `none` for trials of `epochs` epochs.

    The median rule starts after a third of the epochs (at least one) and four trials: earlier, the warm-up of
    the learning rate would be judged instead of the parameters.
    """
    if name == "median":
        return optuna.pruners.MedianPruner(
            n_startup_trials=UNPRUNED_TRIALS, n_warmup_steps=max(1, epochs // 3)
        )
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=max(1, epochs // 9), max_resource=epochs)
    return optuna.pruners.NopPruner()
