"""Error rates on simulated studies of six methods, at a moderate size; `make simulations` prints all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from simulated_studies import (
    AT_THE_MARGIN,
    BENCHMARK,
    DEMO,
    NOISE_ALONE,
    NULL,
    SEEDS_DOMINATE,
    Regime,
    median_half_width_with_independent_seeds,
    power_at_the_detectable_difference,
    rates,
)

STUDIES = 400


@pytest.mark.parametrize(
    ("regime", "seeds", "common"),
    [
        *((BENCHMARK, *setting) for setting in ((2, 0.0), (2, 0.6), (3, 0.0), (5, 0.6))),
        *((SEEDS_DOMINATE, *setting) for setting in ((2, 0.9), (3, 0.6), (5, 0.6))),
    ],
)
def test_where_nothing_differs_intervals_cover_and_few_studies_find_a_difference(
    regime: Regime, seeds: int, common: float
) -> None:
    """Also where seeds dominate and move all methods alike."""
    found = rates(replace(regime, common=common, people=100), NULL, seeds, STUDIES)
    assert 93.5 <= found.coverage <= 98.0
    assert found.any_false <= 5.5


@pytest.mark.parametrize("seeds", [2, 5])
def test_methods_that_differ_by_the_margin_are_seldom_called_tied(seeds: int) -> None:
    assert rates(replace(DEMO, seed=0.2, run=0.3, people=100), AT_THE_MARGIN, seeds, STUDIES).any_tied <= 6.0


@pytest.mark.parametrize("regime", [replace(DEMO, common=0.6), replace(BENCHMARK, common=0.6)])
def test_with_two_correlated_seeds_intervals_are_at_most_0_8_of_those_of_independent_ones(
    regime: object,
) -> None:
    now = rates(regime, NULL, 2, STUDIES).half_width  # type: ignore[arg-type]
    before = median_half_width_with_independent_seeds(regime, 2, STUDIES)  # type: ignore[arg-type]
    assert now <= 0.8 * before


@pytest.mark.parametrize(("seeds", "common"), [(2, 0.0), (3, 0.6)])
def test_the_detectable_difference_is_found_in_four_of_five_studies(seeds: int, common: float) -> None:
    regime = replace(BENCHMARK, common=common, people=100)
    assert power_at_the_detectable_difference(regime, seeds, 600) == pytest.approx(80, abs=4.5)


@pytest.mark.parametrize("methods", [2, 3])
@pytest.mark.parametrize("regime", [BENCHMARK, NOISE_ALONE])
def test_two_and_three_methods_too_find_the_detectable_difference_in_four_of_five_studies(
    regime: Regime, methods: int
) -> None:
    found = power_at_the_detectable_difference(replace(regime, people=100), 3, 600, methods)
    assert found == pytest.approx(80, abs=4.5)
