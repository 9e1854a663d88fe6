"""What the widest of several intervals costs in power, by draws from a block of runs. Pure.

The pooled variance alone has a noncentral t-distribution. The lower bound for unequal variances and the
judgement of a method by its own seeds (`reports.variance_components`) widen some intervals by chance even
where variances are equal, which costs up to 8 points of power. So the seeds' variance is drawn as the
estimator finds it; given that, the difference itself is normal, and no draw of it is needed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy import special

from reports.estimates import ALPHA, Floats
from reports.variance_components import FEW_DF, UNEQUAL_LEVEL, p_of_more_varied, shrunk_variances

MOST_DRAWS, LEAST_DRAWS, _SCORES = 4000, 400, 4_000_000
"""Draws of a small block and of a very large one, and scores drawn at once: 32 MB."""
LEAST_FOR_BOUND = 4
"""With fewer methods there is no lower bound for unequal variances."""


@dataclass(frozen=True)
class KeptIntervals:
    """The intervals that are kept for a difference of two methods, one a draw.

    `se` is the standard error that the estimator finds, `[draws]`, `df` its degrees of freedom, `[draws]`;
    `deviation` is the true standard deviation of the difference.
    """

    se: Floats
    df: Floats
    deviation: float

    def half(self, tail: float) -> Floats:
        """Half-widths of intervals that leave `tail` on each side, `[draws]`."""
        return np.asarray(-special.stdtrit(self.df, tail) * self.se)

    def chance_between(self, low: Floats, high: Floats, truth: float) -> float:
        """Chance that the difference found lies between bounds that depend on the draw, `[draws]` each."""
        above, below = ((bound - truth) / self.deviation for bound in (low, high))
        return float(np.maximum(0.0, special.ndtr(below) - special.ndtr(above)).mean())


def kept_intervals(
    methods: int, seeds: int, *, runs: float, people: float = 0.0, noise: float = 0.0, people_df: int = 1
) -> KeptIntervals:
    """Draw what the estimator makes of a difference of two methods whose seeds vary equally.

    Args:
        methods: trained methods in the block, at least 2.
        seeds: of each, at least 2.
        runs: variance that runs add to the difference, above 0.
        people: variance of the difference over people, noise of single people included; 0 on a benchmark.
        noise: the part of `runs` that `people` holds already.
        people_df: degrees of freedom of `people`.
    """
    variance, doubt = _relative(methods, seeds)
    variance, doubt = runs * variance, runs**2 * doubt
    if people:
        more = variance > noise
        whole = people + np.where(more, variance - noise, 0.0)
        doubt = people**2 / people_df + np.where(more, doubt, 0.0)
        variance = whole
    df, se = np.maximum(1.0, variance**2 / doubt), np.sqrt(variance)
    widest = np.argmax(-special.stdtrit(df, ALPHA / 2) * se, axis=0)[None]
    kept_se, kept_df = (np.take_along_axis(part, widest, axis=0)[0] for part in (se, df))
    deviation = float(np.sqrt(people - noise + runs if people else runs))
    return KeptIntervals(kept_se, kept_df, deviation)


def detectable_by_draws(kept: KeptIntervals, alpha: float, power: float) -> float:
    """The true difference that is found with probability `power` at the two-sided level `alpha`."""
    from scipy import optimize

    half, never = kept.half(alpha / 2), np.full(len(kept.se), np.inf)

    def excess(size: float) -> float:
        return kept.chance_between(half, never, size) - power

    return float(optimize.brentq(excess, 0.0, float(half.max()) + 10 * kept.deviation))


@cache
def _relative(methods: int, seeds: int) -> tuple[Floats, Floats]:
    """The seeds' variance in a difference where the true one is 1, and its doubt, `[estimators, draws]`."""
    draws = min(MOST_DRAWS, max(LEAST_DRAWS, _SCORES // (methods * seeds)))
    scores = np.random.default_rng(0).normal(0, np.sqrt(seeds / 2), (draws, methods, seeds))
    found = _estimates(scores)
    return np.stack([variance for variance, _ in found]), np.stack([doubt for _, doubt in found])


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
    ms, own = np.square(left).sum(axis=(1, 2)) / df, scores.var(axis=2, ddof=1)
    pooled = 2 * ms / seeds, np.square(2 * ms / seeds) / df
    if df < FEW_DF:
        averaged = 2 * own.mean(axis=1) / seeds
        pooled = averaged, averaged**2 / (methods * own_df)
    found = [pooled]
    if methods >= LEAST_FOR_BOUND and df >= FEW_DF:
        shrunk = shrunk_variances(each, ms, seeds)[:, :2] / seeds
        bound = shrunk.sum(axis=1)
        found.append((bound, np.maximum(np.square(shrunk).sum(axis=1) / (seeds + 1), bound**2 / df)))
    p = special.fdtrc(own_df, own_df, own / own[:, ::-1])
    if methods > 2:
        p = p_of_more_varied(each, own_df, methods, ms, df)[:, :2]
    flagged, apart = (p < UNEQUAL_LEVEL / methods).any(axis=1), own[:, :2] / seeds
    alone = apart.sum(axis=1), np.square(apart).sum(axis=1) / own_df
    found.append((np.where(flagged, alone[0], pooled[0]), np.where(flagged, alone[1], pooled[1])))
    return found
