"""One difference over several datasets: random effects, and where a further dataset would lie. Pure.

Datasets are a sample of datasets: their true differences have a mean and a spread τ (Paule and Mandel 1982).
The mean has Hartung and Knapp's interval (2001), whose width never falls below that without the observed
scatter. The interval of a further dataset adds the spread, of which few datasets say little: it is drawn
from its confidence distribution (Nagashima, Noma and Furukawa 2019), because the interval with the estimated
spread covers 89 % where it should cover 95 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from reports.estimates import ALPHA, OF_DIFFERENCES, Floats, t_bound, t_tail, within

_DRAWS, _GRID = 10_000, 400
"""Draws behind the interval of a further dataset, and spreads at which the scatter is computed."""


@dataclass(frozen=True)
class PooledDifference:
    """A mean over datasets with its interval, and where the difference on a further dataset would lie."""

    value: float
    low: float
    high: float
    se: float
    df: int
    p: float
    spread: float
    """Standard deviation of true differences between datasets."""
    further_low: float
    further_high: float
    datasets: int


def pooled(values: Sequence[float], errors: Sequence[float], alpha: float = ALPHA) -> PooledDifference:
    """Pool differences on several datasets.

    Args:
        values: a difference a dataset, in points.
        errors: their standard errors.
        alpha: 1 − the level of both intervals.

    Raises:
        ValueError: there are fewer than two datasets, or a standard error is not above zero.
    """
    found, variances = np.asarray(values, dtype=float), np.square(np.asarray(errors, dtype=float))
    if len(found) < 2 or found.shape != variances.shape:
        raise ValueError(f"needs two or more datasets with a value and an error each, got {len(found)}")
    if not (np.isfinite(found).all() and np.isfinite(variances).all() and (variances > 0).all()):
        raise ValueError("every value must be known, with a standard error above 0")
    between = _between(found, variances)
    weights = 1 / (variances + between)
    value, df = float(weights @ found / weights.sum()), len(found) - 1
    scatter = max(1.0, float(weights @ (found - value) ** 2) / df)
    se = float(np.sqrt(scatter / weights.sum()))
    bound = t_bound(alpha / 2, df)
    low, high = within(value - bound * se, value + bound * se, OF_DIFFERENCES)
    further_low, further_high = within(*_further(found, variances, alpha), OF_DIFFERENCES)
    return PooledDifference(
        value=value,
        low=low,
        high=high,
        se=se,
        df=df,
        p=2 * t_tail(abs(value) / se, df),
        spread=float(np.sqrt(between)),
        further_low=further_low,
        further_high=further_high,
        datasets=len(found),
    )


def _between(values: Floats, variances: Floats) -> float:
    """The variance between datasets at which their weighted scatter is what chance alone would give."""

    def excess(between: float) -> float:
        weights = 1 / (variances + between)
        mean = weights @ values / weights.sum()
        return float(weights @ (values - mean) ** 2) - (len(values) - 1)

    if excess(0.0) <= 0:
        return 0.0
    from scipy import optimize

    top = float(np.ptp(values) ** 2 + variances.max())
    while excess(top) > 0:
        top *= 2
    return float(optimize.brentq(excess, 0.0, top))


def _further(values: Floats, variances: Floats, alpha: float) -> tuple[float, float]:
    """Where the true difference on a further dataset lies: mean, its error and spread are drawn together."""
    rng, df = np.random.default_rng(0), len(values) - 1
    grid = np.concatenate([[0.0], np.geomspace(1e-4, 1e8, _GRID) * variances.mean()])
    weights = 1 / (variances + grid[:, None])
    means = weights @ values / weights.sum(axis=1)
    scatter = (weights * (values - means[:, None]) ** 2).sum(axis=1)
    # The scatter falls as the spread grows; it has a chi-squared distribution at the true spread.
    between = np.interp(-rng.chisquare(df, _DRAWS), -scatter, grid)
    weights = 1 / (variances + between[:, None])
    means = weights @ values / weights.sum(axis=1)
    scatter = np.maximum(1.0, (weights * (values - means[:, None]) ** 2).sum(axis=1) / df)
    errors = np.sqrt(scatter / weights.sum(axis=1))
    draws = means + rng.standard_t(df, _DRAWS) * errors + rng.normal(size=_DRAWS) * np.sqrt(between)
    low, high = np.quantile(draws, [alpha / 2, 1 - alpha / 2])
    return float(low), float(high)
