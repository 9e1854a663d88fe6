"""How much each searched setting mattered, and how sure one can be of it: functional ANOVA, bootstrapped."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

FEW_TRIALS = 8
"""Below this many complete trials a share of the variance says nothing."""
RESAMPLES = 20
_TREES = 16
_SAMPLE = 400
"""Trials in a resample at most: the share settles long before a forest of thousands is grown."""


@dataclass(frozen=True)
class Importance:
    """A setting's share of the variance of the score, from 0 to 1: the median of resamples and 90 %."""

    name: str
    share: float
    low: float
    high: float


def importances(
    space: Mapping[str, Mapping[str, Any]],
    points: Sequence[Mapping[str, Any]],
    scores: Sequence[float],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> list[Importance]:
    """Shares by functional ANOVA (Hutter, Hoos and Leyton-Brown, 2014), the largest first.

    `points` are the settings of complete trials, `scores` their values. The interval is over resampled
    trials (at most 400 of them) and fresh forests, so it is wide when trials are few; none are given below
    `FEW_TRIALS`, or when all scores are equal.
    """
    if len(scores) < FEW_TRIALS or np.ptp(scores) == 0:
        return []
    distributions = {name: _distribution(terms) for name, terms in space.items()}
    rng = np.random.default_rng([seed, len(scores)])
    draws: list[dict[str, float]] = []
    for number in range(resamples):
        chosen = rng.integers(0, len(scores), min(len(scores), _SAMPLE))
        drawn = _shares(distributions, [points[i] for i in chosen], [scores[i] for i in chosen], number)
        if drawn is not None:
            draws.append(drawn)
    if not draws:
        return []
    estimated = []
    for name in space:
        # The median, not the share in the trials as they are: with few of those it may lie outside.
        low, share, high = np.quantile([draw[name] for draw in draws], [0.05, 0.5, 0.95])
        estimated.append(Importance(name, float(share), float(low), float(high)))
    return sorted(estimated, key=lambda item: -item.share)


def _shares(
    distributions: Mapping[str, BaseDistribution],
    points: Sequence[Mapping[str, Any]],
    scores: Sequence[float],
    seed: int,
) -> dict[str, float] | None:
    """Normalised shares of one sample; None when it holds a single score."""
    import optuna

    if np.ptp(scores) == 0:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quiet = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        study = optuna.create_study(direction="maximize")
        study.add_trials(
            [
                optuna.create_trial(params=dict(point), distributions=dict(distributions), value=score)
                for point, score in zip(points, scores, strict=True)
            ]
        )
        evaluator = optuna.importance.FanovaImportanceEvaluator(n_trees=_TREES, seed=seed)
        try:
            return dict(optuna.importance.get_param_importances(study, evaluator=evaluator))
        finally:
            optuna.logging.set_verbosity(quiet)


def _distribution(terms: Mapping[str, Any]) -> BaseDistribution:
    """A record's parameter in Optuna's words; steps do not matter to a forest."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if "choices" in terms:
        return CategoricalDistribution(tuple(terms["choices"]))
    return FloatDistribution(terms["low"], terms["high"], log=bool(terms.get("log")))
