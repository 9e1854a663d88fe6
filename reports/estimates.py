"""An estimated value with its interval, and the variance that seeds add to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Scope = Literal["people", "benchmark"]
"""What a statement is about: new runs and new people, or new runs on this very test set."""

ALPHA = 0.05
UNBOUNDED = (-np.inf, np.inf)
OF_DIFFERENCES = (-100.0, 100.0)
"""The least and the largest difference of two percentages."""
FEW_SEEDS = 3
"""Fewer seeds than this are flagged beside every number."""


def t_bound(tail: float, df: float) -> float:
    """The value that a t-distribution exceeds with probability `tail`."""
    return -float(special.stdtrit(df, tail))


def t_tail(value: float, df: float) -> float:
    """The probability that a t-distribution exceeds `value`."""
    return float(special.stdtr(df, -value))


def within(low: float, high: float, bounds: tuple[float, float]) -> tuple[float, float]:
    """The part of an interval that holds possible values; NaN stays NaN."""
    least, most = bounds
    return float(np.clip(low, least, most)), float(np.clip(high, least, most))


@dataclass(frozen=True)
class Estimate:
    """A value with its interval; `df` are Satterthwaite's, `seeds` the fewest of any method in it.

    `bounds` are the least and the largest value that are possible, such as 0 and 100 of a percentage; no
    interval reaches beyond them.
    """

    value: float
    low: float
    high: float
    se: float
    df: float
    seeds: int
    bounds: tuple[float, float] = UNBOUNDED

    @classmethod
    def of(
        cls,
        value: float,
        variance: float,
        df: float,
        seeds: int,
        alpha: float = ALPHA,
        *,
        bounds: tuple[float, float] = UNBOUNDED,
    ) -> Estimate:
        """An estimate from the variance of its value and the degrees of freedom of that variance."""
        se = float(np.sqrt(variance))
        half = se * t_bound(alpha / 2, df) if se > 0 else se
        return cls(value, *within(value - half, value + half, bounds), se, df, seeds, bounds)

    @classmethod
    def unknown(cls, value: float = np.nan, seeds: int = 0) -> Estimate:
        """A value, or not even that, of whose uncertainty nothing is known."""
        return cls(value, np.nan, np.nan, np.nan, 1.0, seeds)

    @property
    def p(self) -> float:
        """Two-sided p-value of the null hypothesis that the value is zero; 1 where nothing is known."""
        if not np.isfinite(self.se) or self.se == 0:
            return 1.0 if self.value == 0 or not np.isfinite(self.se) else 0.0
        return 2 * t_tail(abs(self.value) / self.se, self.df)

    def p_within(self, margin: float) -> float:
        """The larger p-value of two one-sided tests of a value beyond ±`margin` (Schuirmann 1987)."""
        if not np.isfinite(self.se):
            return 1.0
        if self.se == 0:
            return float(abs(self.value) >= margin)
        return t_tail((margin - abs(self.value)) / self.se, self.df)

    def scaled(self, factor: float) -> Estimate:
        """The same estimate in another unit, e.g. percent for a factor of 100."""
        return Estimate(
            self.value * factor,
            self.low * factor,
            self.high * factor,
            self.se * factor,
            self.df,
            self.seeds,
            (self.bounds[0] * factor, self.bounds[1] * factor),
        )

    def interval(self, alpha: float) -> tuple[float, float]:
        """Bounds of the two-sided interval of level `1 - alpha`."""
        half = self.se * t_bound(alpha / 2, self.df) if self.se else 0.0
        return within(self.value - half, self.value + half, self.bounds)


@dataclass(frozen=True)
class VarianceParts:
    """Where the uncertainty of one method's mean comes from: variances of the mean, squared points."""

    seeds: int
    people: float
    seed: float
    interaction: float
    untrained: bool = False

    @property
    def seed_only(self) -> float:
        """Variance of the mean due to seeds alone, without run-to-run noise on single people."""
        return max(0.0, self.seed - self.interaction)


@dataclass(frozen=True)
class SeedVariance:
    """The variance that seeds add to a contrast.

    `noise` is the part of it that is run-to-run noise on single people: the variance over people holds that
    already. `doubt` is the sum of squared variances, each divided by its degrees of freedom.
    """

    variance: float
    noise: float
    doubt: float

    @property
    def df(self) -> float:
        """Satterthwaite's degrees of freedom of `variance`."""
        return max(1.0, self.variance**2 / self.doubt) if self.doubt > 0 else 1.0

    def with_people(self, people: float, people_df: float) -> tuple[float, float]:
        """Variance for new runs and new people together, and its degrees of freedom."""
        total = people + max(0.0, self.variance - self.noise)
        doubt = people**2 / people_df + (self.doubt if self.variance > self.noise else 0.0)
        return total, max(1.0, total**2 / doubt) if doubt > 0 else people_df
