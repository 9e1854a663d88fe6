"""The detectable difference where the widest of several intervals is kept, by draws from a block of runs.

The pooled variance alone has a noncentral t-distribution. The lower bound for unequal variances and the
judgement of a method by its own seeds (`reports.variance_components`) widen some intervals by chance even
where variances are equal, which costs up to 8 points of power.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from reports.estimates import Floats
from reports.variance_components import UNEQUAL_LEVEL, p_of_more_varied, shrunk_variances

DRAWS = 4000


def detectable_by_draws(
    people: float,
    runs: float,
    noise: float,
    *,
    methods: int,
    seeds: int,
    people_df: int,
    alpha: float,
    power: float,
) -> float:
    """The true difference of two of `methods` that is found with probability `power`.

    Args:
        people: variance of the difference over people, noise of single people included; 0 on a benchmark.
        runs: variance that runs add to the difference.
        noise: the part of `runs` that `people` holds already.
        methods: trained methods in the block, at least 4.
        seeds: of each.
        people_df: degrees of freedom of `people`.
        alpha: two-sided level.
        power: chance of finding the difference.
    """
    rng = np.random.default_rng(0)
    scores = rng.normal(0, np.sqrt(runs * seeds / 2), (DRAWS, methods, seeds))
    errors = rng.normal(0, np.sqrt(people - noise + runs if people else runs), DRAWS)
    halves = [
        _half_width(variance, doubt, people, noise, people_df, alpha)
        for variance, doubt in _estimates(scores)
    ]
    return float(np.quantile(np.max(halves, axis=0) - errors, power))


def _estimates(scores: Floats) -> list[tuple[Floats, Floats]]:
    """The seeds' variance in a difference of the first two methods and its doubt, by each estimator.

    Args:
        scores: `[draws, methods, seeds]`.
    """
    _, methods, seeds = scores.shape
    left = scores - scores.mean(axis=1, keepdims=True) - scores.mean(axis=2, keepdims=True)
    left += scores.mean(axis=(1, 2), keepdims=True)
    df, own_df = (methods - 1) * (seeds - 1), seeds - 1
    each = np.square(left).sum(axis=2) / own_df
    ms = np.square(left).sum(axis=(1, 2)) / df
    pooled = 2 * ms / seeds
    shrunk = shrunk_variances(each, ms, seeds)[:, :2] / seeds
    bound = shrunk.sum(axis=1)
    bound_doubt = np.maximum(np.square(shrunk).sum(axis=1) / (seeds + 1), bound**2 / df)
    own = scores[:, :2].var(axis=2, ddof=1) / seeds
    p = p_of_more_varied(each, own_df, methods, ms, df)[:, :2]
    flagged = (p < UNEQUAL_LEVEL / methods).any(axis=1)
    return [
        (pooled, pooled**2 / df),
        (bound, bound_doubt),
        (
            np.where(flagged, own.sum(axis=1), pooled),
            np.where(flagged, np.square(own).sum(axis=1) / own_df, pooled**2 / df),
        ),
    ]


def _half_width(
    variance: Floats, doubt: Floats, people: float, noise: float, people_df: int, alpha: float
) -> Floats:
    """Half of the interval, `[draws]`; with people, their variance holds the noise already."""
    whole = people + np.maximum(0, variance - noise) if people else variance
    unsure = people**2 / people_df + (np.where(variance > noise, doubt, 0.0) if people else doubt)
    degrees = np.maximum(1.0, whole**2 / unsure)
    return np.asarray(-special.stdtrit(degrees, alpha / 2) * np.sqrt(whole))
