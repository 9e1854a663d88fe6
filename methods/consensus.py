"""Confident consensus division: which training pairs to trust, from the losses that they have.

A network fits true pairs before false ones, so the losses of the pairs form two heaps, and a mixture of two
normal distributions tells them apart (Arazo et al. 2019; DivideMix). RDE (CVPR 2024) does so before every
epoch, once for each of its embeddings, and trusts a pair that both call clean:

1. Losses are scaled to [0, 1]: x = (L - min L) / (max L - min L).
2. EM from the best split into two clusters, a pair belonging wholly to its cluster at first; then M-step,
   E-step, and so on until the mean log-likelihood changes by less than a tolerance.
3. A pair is clean if the component of the lower mean has more than half of its posterior probability.
4. Both clean: weight 1; both noisy: 0; otherwise a fair coin, tossed once for the epoch.

What surprises in the released code (all of it is so here, too):

* With the tolerance 1e-2 EM stops after two to six steps, long before it converges, so the labels depend on
  its start. Any k-means start was seen to give the labels of the exact one, which is used here.
* Where every posterior is above one half, the lowest hundredth (and one pair more) is called noisy.
* The noise rate decides how long EM runs: `quick` up to 0.4, `thorough` above, and for RSTPReid.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
Division = Literal["quick", "thorough"]
NEVER_ZERO = 10 * np.finfo(np.float64).eps
"""Added to what a component weighs, so that an empty one divides nothing by zero."""


@dataclass(frozen=True)
class MixtureOptions:
    """How long EM runs, and what is added to its variances."""

    iterations: int
    tolerance: float
    variance: float


DIVISIONS: Mapping[Division, MixtureOptions] = MappingProxyType(
    {"quick": MixtureOptions(10, 1e-2, 5e-4), "thorough": MixtureOptions(100, 1e-4, 1e-6)}
)
"""The two settings of the released code."""


def divide(
    losses: Sequence[Tensor], options: MixtureOptions, generator: torch.Generator | None = None
) -> Tensor:
    """Weights 0 or 1 of all pairs, [pairs] float32, from one or several losses each [pairs].

    Where the divisions by several losses disagree, `generator` tosses a coin.
    """
    votes = torch.stack([clean_pairs(clean_probability(loss, options)) for loss in losses])
    coins = torch.rand(votes.shape[1], generator=generator) < 0.5
    return torch.where(votes.all(0), 1.0, torch.where(votes.any(0) & coins, 1.0, 0.0))


def clean_probability(losses: Tensor, options: MixtureOptions) -> Tensor:
    """Posterior probability of the component of the lower mean, [pairs] float64, of `losses` [pairs]."""
    values = losses.detach().double().cpu().numpy()
    low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 0.0)
    if not high > low:  # all alike, or NaN: nothing tells them apart
        return torch.ones(len(values), dtype=torch.float64)
    return torch.from_numpy(_posterior((values - low) / (high - low), options))


def clean_pairs(probability: Tensor) -> Tensor:
    """Which pairs are called clean, [pairs] bool, by their posteriors [pairs]."""
    if len(probability) and bool((probability > 0.5).all()):
        threshold = probability.sort().values[len(probability) // 100]
        # Where nothing tells the pairs apart there is no lowest hundredth.
        return (probability > threshold) if bool(probability.max() > threshold) else probability > 0.5
    return probability > 0.5


def _posterior(values: Array, options: MixtureOptions) -> Array:
    """Posterior of the component with the lower mean, [pairs], after EM on `values` [pairs]."""
    first = _lower_cluster(values)
    parts = _maximise(values, np.stack([first, ~first], axis=1).astype(np.float64), options.variance)
    likelihood = -math.inf
    for _ in range(options.iterations):
        before = likelihood
        likelihood, shares = _expect(values, parts)
        parts = _maximise(values, shares, options.variance)
        if abs(likelihood - before) < options.tolerance:
            break
    shares = _expect(values, parts)[1]
    return np.ascontiguousarray(shares[:, int(np.argmin(parts[1]))])


def _lower_cluster(values: Array) -> NDArray[np.bool_]:
    """Which values [pairs] are in the lower of the two clusters of least squared distance: exact k-means."""
    ordered = np.sort(values)
    count = np.arange(1, len(ordered))
    sums, squares = np.cumsum(ordered), np.cumsum(ordered**2)
    below = squares[:-1] - sums[:-1] ** 2 / count
    above = (squares[-1] - squares[:-1]) - (sums[-1] - sums[:-1]) ** 2 / (len(ordered) - count)
    split = int(np.argmin(below + above))
    lower: NDArray[np.bool_] = values <= ordered[split]
    return lower


def _expect(values: Array, parts: tuple[Array, Array, Array]) -> tuple[float, Array]:
    """Mean log-likelihood of the values, and each component's share of every value, [pairs, 2]."""
    weights, means, variances = parts
    squared = (values[:, None] - means) ** 2 / variances
    joint = np.log(weights) - 0.5 * (np.log(2 * np.pi * variances) + squared)
    highest = joint.max(axis=1, keepdims=True)
    total = highest + np.log(np.exp(joint - highest).sum(axis=1, keepdims=True))
    return float(total.mean()), np.exp(joint - total)


def _maximise(values: Array, shares: Array, variance: float) -> tuple[Array, Array, Array]:
    """Weights, means and variances of the two components, each [2], by their `shares` [pairs, 2]."""
    mass = shares.sum(axis=0) + NEVER_ZERO
    means = (shares * values[:, None]).sum(axis=0) / mass
    variances = (shares * (values[:, None] - means) ** 2).sum(axis=0) / mass + variance
    return mass / mass.sum(), means, variances
