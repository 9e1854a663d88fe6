"""Differences over several datasets and single runs, against simulation and figures worked out by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import stores
from stores import Truth

from reports.assemble import build
from reports.comparison import ComparisonOptions
from reports.estimates import Estimate
from reports.pooling import pooled
from reports.single_runs import chance_of_beating


def test_a_mean_over_datasets_and_a_further_dataset_are_covered_in_95_of_100_studies() -> None:
    rng, covered, studies = np.random.default_rng(0), np.zeros(2), 500
    for _ in range(studies):
        errors = rng.uniform(0.3, 0.8, 6)
        values = 1.0 + rng.normal(0, 0.7, 6) + rng.normal(0, errors)
        found = pooled(values.tolist(), errors.tolist())
        further = 1.0 + rng.normal(0, 0.7)
        covered += [found.low <= 1.0 <= found.high, found.further_low <= further <= found.further_high]
    assert (covered / studies >= 0.925).all()
    assert (covered / studies <= 0.985).all()


def test_datasets_that_agree_have_no_spread_and_the_weighted_mean() -> None:
    found = pooled([1.0, 1.2, 0.8], [0.5, 1.0, 0.5])
    assert found.spread == 0
    assert found.value == pytest.approx((4 * 1.0 + 1 * 1.2 + 4 * 0.8) / 9)
    assert found.se == pytest.approx(1 / 3)  # never below that without any scatter
    assert found.low == pytest.approx(found.value - 4.3027 / 3, rel=1e-4)
    assert found.further_low < found.low


def test_datasets_that_disagree_have_a_wider_interval_for_a_further_one() -> None:
    found = pooled([3.0, -1.0, 1.0], [0.2, 0.2, 0.2])
    # Equal errors: scatter 4 = 0.04 + spread², and the mean's error √(4/3).
    assert found.spread == pytest.approx(np.sqrt(4 - 0.04))
    assert found.se == pytest.approx(np.sqrt(4 / 3))
    assert found.further_high - found.further_low > found.high - found.low


@pytest.mark.parametrize(
    ("values", "errors"), [([1.0], [0.5]), ([1.0, 2.0], [0.5, 0.0]), ([1.0, float("nan")], [0.5, 0.5])]
)
def test_one_dataset_or_an_unknown_error_cannot_be_pooled(values: list[float], errors: list[float]) -> None:
    with pytest.raises(ValueError, match=r"two or more|must be known"):
        pooled(values, errors)


def test_the_chance_that_a_run_beats_one_is_that_of_runs_drawn_anew() -> None:
    rng, beaten, said, studies = np.random.default_rng(1), 0, 0.0, 4000
    for _ in range(studies):
        runs = rng.normal(0.8, np.sqrt(2) * 0.85, 5)  # differences of pairs of runs
        one = Estimate.of(float(runs.mean()), float(np.var(runs, ddof=1)) / 5, 4.0, 5)
        said += chance_of_beating(one)
        beaten += rng.normal(0.8, np.sqrt(2) * 0.85) > 0
    assert said / studies == pytest.approx(beaten / studies, abs=0.03)
    assert chance_of_beating(Estimate.of(0.0, 0.3, 4.0, 5)) == 0.5
    assert np.isnan(chance_of_beating(Estimate.unknown(1.0)))


def test_the_page_pools_the_datasets_and_says_how_often_a_run_beats_one(tmp_path: Path) -> None:
    datasets = ("rendered-plaza", "rendered-station")
    truth = Truth({"uit": 60.0, "worse": 50.0}, people=60, datasets=datasets, directions=("t2i",))
    stores.write(tmp_path, truth)
    page = build([tmp_path], options=ComparisonOptions(resamples=200)).path.read_text()
    assert "R1 over all datasets, for new people" in page
    assert "A run beats one" in page
    assert "Holm over 2 comparisons on all datasets" in page


def test_no_pooled_difference_of_percentages_is_beyond_100_points() -> None:
    found = pooled([80.0, -60.0], [5.0, 5.0])
    assert -100 <= found.further_low <= found.low <= found.high <= found.further_high <= 100
