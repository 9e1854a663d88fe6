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
    untrained: bool = False

    @property
    def mean(self) -> float:
        """Mean over seeds and queries."""
        return float(self.scores.mean())


def drop(same_dataset: Sample, transfer: Sample, alpha: float = ALPHA) -> Estimate:
    """What models lose under transfer: their mean on the dataset they were trained on minus the other."""
    variance, df = _variance(same_dataset, transfer, 1.0, -1.0)
    return Estimate.of(same_dataset.mean - transfer.mean, variance, df, _seeds(same_dataset), alpha)


def retention(same_dataset: Sample, transfer: Sample, alpha: float = ALPHA) -> Estimate:
    """Which share of their score models keep under transfer, with Fieller's interval.

    The mean under transfer ÷ the mean on the dataset they were trained on. The interval holds every share ρ
    for which transfer − ρ · same dataset is not significantly different from zero. It is unknown (NaN) where
    the score on the same dataset is not clearly above zero. `se` is that of the delta method.
    """
    if same_dataset.mean == 0:
        return Estimate.unknown(seeds=_seeds(same_dataset))
    ratio = transfer.mean / same_dataset.mean
    variance, df = _variance(same_dataset, transfer, -ratio / same_dataset.mean, 1 / same_dataset.mean)
    t = t_bound(alpha / 2, df)
    of_same, of_transfer = (
        _variance(same_dataset, transfer, 1.0, 0.0)[0],
        _variance(same_dataset, transfer, 0.0, 1.0)[0],
    )
    shared = (of_same + of_transfer - _variance(same_dataset, transfer, 1.0, -1.0)[0]) / 2
    # (transfer − ρ same)² = t² (of_transfer − 2 ρ shared + ρ² of_same), solved for ρ.
    square, linear = same_dataset.mean**2 - t**2 * of_same, same_dataset.mean * transfer.mean - t**2 * shared
    inside = linear**2 - square * (transfer.mean**2 - t**2 * of_transfer)
    if square <= 0 or inside < 0:
        return Estimate.unknown(ratio, _seeds(same_dataset))
    half = float(np.sqrt(inside))
    low, high = (linear - half) / square, (linear + half) / square
    return Estimate(ratio, low, high, float(np.sqrt(variance)), df, _seeds(same_dataset))


def _seeds(same_dataset: Sample) -> int:
    return FEW_SEEDS if same_dataset.untrained else len(same_dataset.scores)


def _variance(
    same_dataset: Sample, transfer: Sample, same_weight: float, transfer_weight: float
) -> tuple[float, float]:
    """Variance of a weighted sum of two means whose runs are the same and whose people are not, and its df.

    People vary independently on both sides; seeds move both sides together, so their variance is taken from
    the per-seed sums. The noise of single people in it is taken off, for the variance over people holds it.
    """
    parts, noise, seeds = [], 0.0, len(same_dataset.scores)
    for side, weight in ((same_dataset, same_weight), (transfer, transfer_weight)):
        if weight:
            block = score_block({"": side.scores}, side.person)
            profiles = block.profiles[0] / 100
            mean = profiles.mean(axis=0)
            parts.append((weight**2 * people_variance(mean), block.people - 1))
            if seeds > 1:
                noise += weight**2 * run_noise(profiles - mean, seeds - 1) / seeds
    by_seed = same_weight * same_dataset.scores.mean(axis=1) + transfer_weight * transfer.scores.mean(axis=1)
    of_seeds = SeedVariance(0.0, 0.0, 0.0)
    if seeds > 1 and not same_dataset.untrained:
        variance = float(np.var(by_seed, ddof=1)) / seeds
        of_seeds = SeedVariance(variance, noise, variance**2 / (seeds - 1))
    people = sum(part for part, _ in parts)
    doubt = sum(part**2 / max(df, 1) for part, df in parts)
    return of_seeds.with_people(people, people**2 / doubt if doubt > 0 else 1.0)
