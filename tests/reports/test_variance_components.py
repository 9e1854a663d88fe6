"""Variances of a block of methods and seeds: of known truth, and for as many seeds as are asked about."""

from __future__ import annotations

import numpy as np
import pytest

from reports.estimates import SeedVariance
from reports.variance_components import BlockVariances, block_variances

METHODS, SEEDS, PEOPLE = 4, 3, 50
CONTRASTS = {
    "a method's mean": (1.0, 0.0, 0.0, 0.0),
    "a difference": (1.0, -1.0, 0.0, 0.0),
    "the mean of two methods": (0.5, 0.5, 0.0, 0.0),
    "an effect of two": (0.5, 0.5, -0.5, -0.5),
}
OF_ALL, OF_RUN = 1.5, 0.8
"""Standard deviations in points: what a seed does to all methods alike, and what is left to a run."""


def drawn(rng: np.random.Generator, methods: int = METHODS, missing: bool = False) -> BlockVariances:
    """A block of the truth above; every person's part of a run is noise that adds up to nothing."""
    means = 50 + rng.normal(0, OF_ALL, SEEDS) + rng.normal(0, OF_RUN, (methods, SEEDS))
    profiles = rng.normal(0, 20, (methods, SEEDS, PEOPLE))
    if missing:
        means[1, 2] = np.nan
    return block_variances(means, profiles - profiles.mean(axis=2, keepdims=True))


def values(found: SeedVariance | None) -> tuple[float, float, float]:
    assert found is not None
    return found.variance, found.noise, found.doubt


@pytest.mark.parametrize("contrast", CONTRASTS)
@pytest.mark.parametrize("methods", [2, METHODS])
@pytest.mark.parametrize("missing", [False, True])
def test_over_n_seeds_a_mean_varies_n_times_less_than_over_one(
    contrast: str, methods: int, missing: bool
) -> None:
    """What a plan for other seeds than the study's rests on: from `check`, and from the table of power."""
    weights = np.array(CONTRASTS[contrast][:methods])
    block = drawn(np.random.default_rng(2), methods, missing)
    single = values(block.pooled(weights, 1))
    for seeds in (2, SEEDS, 7):
        of_many = values(block.pooled(weights, seeds))
        expected = (single[0] / seeds, single[1] / seeds, single[2] / seeds**2)
        assert of_many == pytest.approx(expected)


def test_the_bounds_for_unequal_seeds_fall_with_their_number_too() -> None:
    difference = np.array(CONTRASTS["a difference"])
    rng = np.random.default_rng(4)
    means = 50 + rng.normal(0, 0.1, (METHODS, SEEDS))
    means[0] += (-6.0, 0.0, 6.0)
    profiles = rng.normal(0, 20, (METHODS, SEEDS, PEOPLE))
    block = block_variances(means, profiles - profiles.mean(axis=2, keepdims=True))
    for bound in (block.lower_bound, block.of_unequal):
        single, of_many = values(bound(difference, 1)), values(bound(difference, 5))
        assert of_many == pytest.approx((single[0] / 5, single[1] / 5, single[2] / 25))


@pytest.mark.parametrize(
    ("contrast", "truth"),
    [
        ("a method's mean", OF_ALL**2 + OF_RUN**2),
        ("a difference", 2 * OF_RUN**2),
        ("the mean of two methods", OF_ALL**2 + OF_RUN**2 / 2),
        ("an effect of two", OF_RUN**2),
    ],
)
def test_the_variance_of_a_single_seed_is_on_average_the_true_one(contrast: str, truth: float) -> None:
    """A seed that moves all methods alike moves a mean, and no difference."""
    rng, weights = np.random.default_rng(8), np.array(CONTRASTS[contrast])
    found = [values(drawn(rng).pooled(weights, 1)) for _ in range(1500)]
    assert np.mean([variance for variance, _, _ in found]) == pytest.approx(truth, rel=0.08)


@pytest.mark.parametrize("contrast", CONTRASTS)
def test_the_noise_within_it_is_that_of_single_people(contrast: str) -> None:
    """A run's mean over 50 people that vary by 20 points has a variance of 20² ÷ 50 = 8."""
    rng, weights = np.random.default_rng(9), np.array(CONTRASTS[contrast])
    found = [values(drawn(rng).pooled(weights, 1))[1] for _ in range(300)]
    assert np.mean(found) == pytest.approx(8 * float(weights @ weights), rel=0.05)
