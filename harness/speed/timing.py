"""Comparing times fairly: candidates take turns forth and back in one process, and ratios carry intervals.

A machine's speed drifts (heat, neighbours, caches). Within a block every candidate runs twice, A B B A, so
that a steady drift cancels; each block gives one ratio, and the interval is over blocks.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import stats

Leg = Callable[[], Mapping[str, float]]
"""Runs a candidate for a while; the seconds of each quantity."""
Progress = Callable[[int, int], None]
"""Called with (blocks done, blocks in all)."""


@dataclass(frozen=True)
class Ratio:
    """A ratio with its 95 % interval; the bounds are None when there was only one block."""

    value: float
    low: float | None
    high: float | None


def synchronise(device: torch.device) -> None:
    """Wait until the device has done everything it was asked to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def clock(device: torch.device) -> float:
    """Seconds, read when the device is idle."""
    synchronise(device)
    return time.perf_counter()


def turns(labels: Sequence[str], block: int) -> list[str]:
    """Who runs when in a block: everyone, then everyone in reverse (A B B A); who begins changes by block."""
    start = block % len(labels)
    order = [*labels[start:], *labels[:start]]
    return order + order[::-1]


def interleaved(
    legs: Mapping[str, Leg], blocks: int, progress: Progress | None = None
) -> dict[str, list[dict[str, float]]]:
    """For every candidate, the mean seconds of each quantity in each of `blocks` blocks."""
    means: dict[str, list[dict[str, float]]] = {label: [] for label in legs}
    for block in range(blocks):
        seconds: dict[str, list[Mapping[str, float]]] = {label: [] for label in legs}
        for label in turns(list(legs), block):
            seconds[label].append(legs[label]())
        for label, (forth, back) in seconds.items():
            means[label].append({name: (forth[name] + back[name]) / 2 for name in forth})
        if progress is not None:
            progress(block + 1, blocks)
    return means


def ratio(numerators: Sequence[float], denominators: Sequence[float]) -> Ratio:
    """Geometric mean of ratios paired by block, with a t interval over their logarithms.

    Raises ValueError unless all are positive and there are as many of one as of the other.
    """
    above, below = np.asarray(numerators, float), np.asarray(denominators, float)
    if above.shape != below.shape or not len(above) or not ((above > 0).all() and (below > 0).all()):
        raise ValueError("ratios need pairs of positive numbers")
    logs = np.log(above / below)
    mean = float(logs.mean())
    if len(logs) < 2:
        return Ratio(float(np.exp(mean)), None, None)
    half = float(stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs)))
    return Ratio(*(float(np.exp(value)) for value in (mean, mean - half, mean + half)))


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """The most floating-point operations a second that a product of square matrices reaches here."""
    side = 8192 if device.type == "cuda" else 1536
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    out = torch.empty_like(left)
    at_once, seconds = (20 if device.type == "cuda" else 1), []
    for _ in range(6):
        start = clock(device)
        for _ in range(at_once):
            torch.mm(left, right, out=out)
        seconds.append((clock(device) - start) / at_once)
    return 2 * side**3 / min(seconds)
