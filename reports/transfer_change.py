"""What the same models lose on another dataset, and which share of their score they keep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.estimates import ALPHA, FEW_SEEDS, Estimate, Floats, Integers, SeedVariance, t_bound
from reports.score_block import score_block
from reports.variance_components import people_variance, run_noise


@dataclass(frozen=True)
class Sample:
    """Scores `[seeds, queries]` of one method on one test set, with the person of each query `[queries]`."""

    scores: Floats
    person: Integers
    seedless: bool = False

    @property
    def mean(self) -> float:
        """Mean over seeds and queries."""
        return float(self.scores.mean())


def drop(home: Sample, away: Sample, alpha: float = ALPHA) -> Estimate:
    """What the same models lose from `home` to `away`: mean at home minus mean away."""
    variance, df = _variance(home, away, 1.0, -1.0)
    return Estimate.of(home.mean - away.mean, variance, df, _seeds(home), alpha)


def retention(home: Sample, away: Sample, alpha: float = ALPHA) -> Estimate:
    """Which share of their score the same models keep: mean away ÷ mean at home, with Fieller's interval.

    The interval holds every share ρ for which away − ρ · home is not significantly different from zero. It is
    unknown (NaN) where the score at home is not clearly above zero. `se` is that of the delta method.
    """
    if home.mean == 0:
        return Estimate.unknown(seeds=_seeds(home))
    ratio = away.mean / home.mean
    variance, df = _variance(home, away, -ratio / home.mean, 1 / home.mean)
    t = t_bound(alpha / 2, df)
    of_home, of_away = _variance(home, away, 1.0, 0.0)[0], _variance(home, away, 0.0, 1.0)[0]
    shared = (of_home + of_away - _variance(home, away, 1.0, -1.0)[0]) / 2
    # (away − ρ home)² = t² (of_away − 2 ρ shared + ρ² of_home), solved for ρ.
    square, linear = home.mean**2 - t**2 * of_home, home.mean * away.mean - t**2 * shared
    inside = linear**2 - square * (away.mean**2 - t**2 * of_away)
    if square <= 0 or inside < 0:
        return Estimate.unknown(ratio, _seeds(home))
    half = float(np.sqrt(inside))
    low, high = (linear - half) / square, (linear + half) / square
    return Estimate(ratio, low, high, float(np.sqrt(variance)), df, _seeds(home))


def _seeds(home: Sample) -> int:
    return FEW_SEEDS if home.seedless else len(home.scores)


def _variance(home: Sample, away: Sample, home_weight: float, away_weight: float) -> tuple[float, float]:
    """Variance of a weighted sum of two means whose runs are the same and whose people are not, and its df.

    People vary independently on both sides; seeds move both sides together, so their variance is taken from
    the per-seed sums. The noise of single people in it is taken off, for the variance over people holds it.
    """
    parts, noise, seeds = [], 0.0, len(home.scores)
    for side, weight in ((home, home_weight), (away, away_weight)):
        if weight:
            block = score_block({"": side.scores}, side.person)
            profiles = block.profiles[0] / 100
            mean = profiles.mean(axis=0)
            parts.append((weight**2 * people_variance(mean), block.people - 1))
            if seeds > 1:
                noise += weight**2 * run_noise(profiles - mean, seeds - 1) / seeds
    by_seed = home_weight * home.scores.mean(axis=1) + away_weight * away.scores.mean(axis=1)
    of_seeds = SeedVariance(0.0, 0.0, 0.0)
    if seeds > 1 and not home.seedless:
        variance = float(np.var(by_seed, ddof=1)) / seeds
        of_seeds = SeedVariance(variance, noise, variance**2 / (seeds - 1))
    people = sum(part for part, _ in parts)
    doubt = sum(part**2 / max(df, 1) for part, df in parts)
    return of_seeds.with_people(people, people**2 / doubt if doubt > 0 else 1.0)
