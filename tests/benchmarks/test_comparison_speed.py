"""How long a full-size table takes: 10,000 permutations of 6,156 queries × 3 seeds × 6 methods."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture

from reports.statistics import Comparison, compare_each, corrected, score_block


def test_every_pair_of_six_methods_on_the_largest_benchmark(benchmark: BenchmarkFixture) -> None:
    """Wanted: under 10 s on 2 cores. Prints the time; nothing here fails for being slow."""
    rng = np.random.default_rng(0)
    person = np.sort(np.concatenate([np.arange(1000), rng.integers(1000, size=5156)]))
    scores = {f"method-{number}": (rng.random((3, 6156)) < 0.7).astype(float) for number in range(6)}

    def table() -> list[Comparison]:
        return corrected(compare_each(score_block(scores, person), list(combinations(scores, 2))))

    assert len(benchmark.pedantic(table, rounds=3)) == 15
