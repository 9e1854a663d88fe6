"""Tests by permutation, and the correction for many tests."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from reports.estimates import Floats

PERMUTATIONS = 10_000
_CHUNK = 4_000_000  # signs held at once: 32 MB, whatever the number of people


def permutation_p(gains: Floats, *, permutations: int = PERMUTATIONS, seed: int = 0) -> list[float]:
    """Two-sided p-values of swapping two methods' scores person by person, one for each column of `gains`.

    The null hypothesis: for these runs it does not matter which method's scores a person's captions got.
    Counts the observed arrangement, so a p-value is never 0 (Phipson and Smyth 2010).

    Args:
        gains: each person's summed score under one method minus that under the other, `[people, pairs]`.
        permutations: number of random arrangements.
        seed: of the arrangements; they are the same for all pairs.
    """
    people, pairs = gains.shape
    total = gains.sum(axis=0)
    near = 1e-9 * np.maximum(1.0, np.abs(gains).sum(axis=0))
    rng = np.random.default_rng(seed)
    extreme = np.ones(pairs)
    chunk = max(1, _CHUNK // people)
    for start in range(0, permutations, chunk):
        rows = min(chunk, permutations - start)
        bits = np.frombuffer(rng.bytes(-(-rows * people // 8)), dtype=np.uint8)
        swapped = np.unpackbits(bits, count=rows * people).reshape(rows, people).astype(np.float64) @ gains
        # The sum of signed gains is the sum of all gains minus twice those that were swapped.
        extreme += (np.abs(total - 2 * swapped) >= np.abs(total) - near).sum(axis=0)
    return [float(p) for p in extreme / (permutations + 1)]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (1979), in the order given: bounds the chance of any false claim."""
    order = np.argsort(p_values, kind="stable")
    stepped = np.asarray(p_values, dtype=np.float64)[order] * np.arange(len(p_values), 0, -1)
    adjusted = np.empty(len(p_values))
    adjusted[order] = np.minimum(np.maximum.accumulate(stepped), 1.0)
    return [float(value) for value in adjusted]
