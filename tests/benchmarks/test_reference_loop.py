"""A plain loop whose time stands for the machine's: other benchmarks are compared as ratios to it."""

from __future__ import annotations

import json

import torch
from pytest_benchmark.fixture import BenchmarkFixture


def reference_loop() -> float:
    """Products of matrices, passes over memory, and plain Python, about as much of each."""
    torch.set_num_threads(1)
    matrix = torch.ones(384, 384)
    for _ in range(12):
        matrix = (matrix @ matrix).tanh()
    words = {str(number): number for number in range(12_000)}
    return float(matrix.sum()) + len(json.loads(json.dumps(words)))


def test_the_reference_loop(benchmark: BenchmarkFixture) -> None:
    benchmark.pedantic(reference_loop, rounds=30, warmup_rounds=3)
