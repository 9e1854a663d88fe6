"""Features of a small batch, and what losses are made of written out in plain Python: an oracle for tests."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
PERSONS = [0, 0, 1, 2, 2, 2, 3]


def features(dtype: torch.dtype, count: int = len(PERSONS)) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    image, text = torch.randn(2, count, 5, generator=generator, dtype=torch.float64).to(dtype)
    return image, text


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def cosine(a: list[float], b: list[float]) -> float:
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def softmax(row: list[float]) -> list[float]:
    top = max(row)
    total = sum(math.exp(x - top) for x in row)
    return [math.exp(x - top) / total for x in row]


def agree(ours: Tensor, theirs: float) -> None:
    assert ours.shape == ()
    assert ours.item() == pytest.approx(theirs, rel=1e-4 if ours.dtype == torch.float32 else 1e-9)
