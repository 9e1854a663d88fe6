"""Rates are those of operations that were counted, over seconds that were read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from harness.speed import timing

SECONDS = (5.0, 2.0, 1.0, 0.25, 3.0, 0.5)
"""What each product takes by the test's clock; the first warms up."""


def readings() -> Iterator[float]:
    now = 100.0
    for seconds in SECONDS:
        yield now
        now += seconds
        yield now


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_rate_of_a_matrix_product_is_its_counted_operations_in_its_quickest_time(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    """Beside it stands the rate of a training step, whose GFLOP count a product and a sum as two."""
    clock = readings()
    monkeypatch.setattr(timing, "clock", lambda device: next(clock))
    with FlopCounterMode(display=False) as counter:
        rate = timing.matrix_rate(torch.device("cpu"), dtype)
    products = len(SECONDS)
    assert rate == pytest.approx(counter.get_total_flops() / products / min(SECONDS))
