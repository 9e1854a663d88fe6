"""What single runs would show: where the difference of one more pair lies, how often one beats another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reports.estimates import ALPHA, Estimate, t_bound, t_tail, within


@dataclass(frozen=True)
class SingleRuns:
    """Between which differences one more pair of single runs would lie."""

    low: float
    high: float

    def holds(self, size: float) -> bool:
        """Whether such a pair may well show this size."""
        return self.low <= size <= self.high


def single_runs(estimate: Estimate, on_benchmark: Estimate, alpha: float = ALPHA) -> SingleRuns:
    """The prediction interval of one more pair of single runs, of level 1 − `alpha`.

    Args:
        estimate: of the difference, in any scope.
        on_benchmark: the same difference for new runs alone: its variance is that of single runs ÷ seeds.
        alpha: chance that such a pair lies outside.
    """
    half = _deviation(estimate, on_benchmark) * t_bound(alpha / 2, on_benchmark.df)
    return SingleRuns(*within(estimate.value - half, estimate.value + half, estimate.bounds))


def chance_of_beating(on_benchmark: Estimate) -> float:
    """Chance that one more run of the first method scores above one of the second, on this benchmark.

    NaN where nothing is known of how runs vary.
    """
    deviation = _deviation(on_benchmark, on_benchmark)
    if on_benchmark.seeds < 2 or not deviation > 0:
        return float("nan")
    return 1 - t_tail(on_benchmark.value / deviation, on_benchmark.df)


def _deviation(estimate: Estimate, on_benchmark: Estimate) -> float:
    return float(np.sqrt(estimate.se**2 + on_benchmark.seeds * on_benchmark.se**2))
