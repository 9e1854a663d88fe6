"""Blocks that heads share: their initial weights are scaled as CLIP's, by the head's width and depth."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from methods.blocks import cross_attention, transformer
from methods.masked_image import MaskedImageHead
from methods.masked_language import MaskedLanguage
from methods.restoration import Restoration

HEADS: dict[str, Callable[[int, int], nn.Module]] = {
    "tir": lambda width, depth: Restoration(width, (2, 2), 4, depth),
    "mlm": lambda width, depth: MaskedLanguage(width, 50, depth),
    "mim": lambda width, depth: MaskedImageHead(width, (2, 2), 4, depth),
}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(3)


def std(weight: Tensor) -> float:
    return float(weight.detach().std())


@pytest.mark.parametrize(("width", "depth"), [(128, 1), (128, 4), (256, 3)])
def test_initial_weights_are_scaled_as_clips(width: int, depth: int) -> None:
    """width^-1/2 into attention, (2 width)^-1/2 into an MLP, width^-1/2 · (2 depth)^-1/2 out of both."""
    into, out = width**-0.5, (2 * width * depth) ** -0.5
    attention = cross_attention(width, depth)
    assert std(attention.in_proj_weight) == pytest.approx(into, rel=0.03)
    assert std(attention.out_proj.weight) == pytest.approx(out, rel=0.03)
    blocks = list(transformer(width, depth))
    assert len(blocks) == depth
    for block in blocks:
        assert std(block.attn.in_proj_weight) == pytest.approx(into, rel=0.03)
        assert std(block.attn.out_proj.weight) == pytest.approx(out, rel=0.03)
        assert std(block.mlp.c_fc.weight) == pytest.approx((2 * width) ** -0.5, rel=0.03)
        assert std(block.mlp.c_proj.weight) == pytest.approx(out, rel=0.03)


@pytest.mark.parametrize("name", HEADS)
def test_a_head_four_times_as_deep_starts_every_residual_branch_half_as_large(name: str) -> None:
    """Else what the blocks add to a token would grow with their number."""
    shallow, deep = (HEADS[name](128, depth).state_dict() for depth in (1, 4))
    branches = [key for key in shallow if key.endswith(("out_proj.weight", "c_proj.weight"))]
    assert len(branches) == 3
    for key in branches:
        assert std(deep[key]) == pytest.approx(std(shallow[key]) / 2, rel=0.05), key
