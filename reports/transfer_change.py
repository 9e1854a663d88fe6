"""What the same models lose on another dataset, and which share of their score they keep."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.estimates import ALPHA, FEW_SEEDS, Estimate, Floats, Integers, SeedVariance, t_bound
from reports.score_block import NEAR, score_block
from reports.variance_components import people_variance, run_noise

ROUNDING = 1e-12
"""A smaller standard error of means of 0 to 1 is rounding, not variation."""


@dataclass(frozen=True)
class Sample:
    """Scores `[seeds, queries]` of one method on one test set, with the person of each query `[queries]`."""

    scores: Floats
    person: Integers
    untrained: bool = False

    @property
    def mean(self) -> float:
        """Mean over seeds and queries."""
        return float(self.scores.mean())


def drop(same_dataset: Sample, transfer: Sample, alpha: float = ALPHA) -> Estimate:
    """What models lose under transfer: their mean on the dataset they were trained on minus the other."""
    variance, df = _variance(same_dataset, transfer, 1.0, -1.0)
    return Estimate.of(
        same_dataset.mean - transfer.mean, variance, df, _seeds(same_dataset), alpha, bounds=(-1.0, 1.0)
    )


def retention(same_dataset: Sample, transfer: Sample, alpha: float = ALPHA) -> Estimate:
    """Which share of their score models keep under transfer, with Fieller's interval.

    The mean under transfer ÷ the mean on the dataset they were trained on. The interval holds every share ρ,
    from 0 up, for which transfer − ρ · same dataset is not significantly different from zero. It is unknown
    (NaN) where the score on the same dataset is not clearly above zero. `se` is that of the delta method.
    """
    if same_dataset.mean == 0:
        return Estimate.unknown(seeds=_seeds(same_dataset))
    ratio = transfer.mean / same_dataset.mean
    variance, df = _variance(same_dataset, transfer, -ratio / same_dataset.mean, 1 / same_dataset.mean)
    t = t_bound(alpha / 2, df)
    (of_same, shared), (_, of_transfer) = _covariance(same_dataset, transfer)
    # (transfer − ρ same)² = t² (of_transfer − 2 ρ shared + ρ² of_same), solved for ρ.
    square, linear = same_dataset.mean**2 - t**2 * of_same, same_dataset.mean * transfer.mean - t**2 * shared
    if square <= 0:
        return Estimate.unknown(ratio, _seeds(same_dataset))
    # Never negative for a covariance, but for rounding where every run keeps the same share.
    inside = linear**2 - square * (transfer.mean**2 - t**2 * of_transfer)
    half = float(np.sqrt(max(0.0, inside)))
    low, high = (linear - half) / square, (linear + half) / square
    low, high = max(0.0, min(low, ratio)), max(high, ratio)
    return Estimate(ratio, low, high, float(np.sqrt(variance)), df, _seeds(same_dataset), (0.0, np.inf))


def _seeds(same_dataset: Sample) -> int:
    return FEW_SEEDS if same_dataset.untrained else len(same_dataset.scores)


def _people(side: Sample) -> tuple[float, int, float]:
    """Variance of a mean over people, its degrees of freedom, and the runs' noise on single people."""
    block, seeds = score_block({"": side.scores}, side.person), len(side.scores)
    profiles = block.profiles[0] / 100
    mean = profiles.mean(axis=0)
    near = not NEAR <= 100 * side.mean <= 100 - NEAR
    variance = block.over_people({"": 1.0}) / 1e4 if near else people_variance(mean)
    noise = run_noise(profiles - mean, seeds - 1) / seeds if seeds > 1 else 0.0
    return variance, block.people - 1, noise


def _covariance(same_dataset: Sample, transfer: Sample) -> Floats:
    """Covariance of the means on the same dataset and under transfer, for new runs and new people, `[2, 2]`.

    Made of parts that are covariances themselves, so that no weighted sum has a variance below zero.
    """
    sides, seeds = [_people(same_dataset), _people(transfer)], len(same_dataset.scores)
    people = np.diag([variance for variance, _, _ in sides])
    if seeds < 2 or same_dataset.untrained:
        return people
    by_seed = np.stack([side.scores.mean(axis=1) for side in (same_dataset, transfer)])
    of_seeds = np.cov(by_seed) / seeds - np.diag([noise for _, _, noise in sides])
    values, vectors = np.linalg.eigh(of_seeds)
    return np.asarray(people + (vectors * np.maximum(0.0, values)) @ vectors.T)


def _variance(
    same_dataset: Sample, transfer: Sample, same_weight: float, transfer_weight: float
) -> tuple[float, float]:
    """Variance of a weighted sum of two means whose runs are the same and whose people are not, and its df.

    People vary independently on both sides; seeds move both sides together, so their variance is taken from
    the per-seed sums. The noise of single people in it is taken off, for the variance over people holds it.
    """
    parts, noise, seeds = [], 0.0, len(same_dataset.scores)
    for side, weight in ((same_dataset, same_weight), (transfer, transfer_weight)):
        variance, df, of_runs = _people(side)
        parts.append((weight**2 * variance, df))
        noise += weight**2 * of_runs
    by_seed = same_weight * same_dataset.scores.mean(axis=1) + transfer_weight * transfer.scores.mean(axis=1)
    of_seeds = SeedVariance(0.0, 0.0, 0.0)
    if seeds > 1 and not same_dataset.untrained:
        variance = float(np.var(by_seed, ddof=1)) / seeds
        of_seeds = SeedVariance(variance, noise, variance**2 / (seeds - 1))
    people = sum(part for part, _ in parts)
    doubt = sum(part**2 / max(df, 1) for part, df in parts)
    if np.sqrt(people + of_seeds.variance) < ROUNDING * (abs(same_weight) + abs(transfer_weight)):
        return 0.0, float(max(1, seeds - 1))
    return of_seeds.with_people(people, people**2 / doubt if doubt > 0 else 1.0)
