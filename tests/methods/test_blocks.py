"""Blocks that heads share: their initial weights are scaled as CLIP's, by the head's width and depth."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from small_runs import tiny_method
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


@pytest.mark.parametrize("name", ["uit", "irra", "baseline", "vfe-mim"])
def test_the_classifier_of_people_begins_with_weights_of_a_thousandth_and_no_bias(name: str) -> None:
    """As the released codes begin: at first all people are equally likely, whatever the image."""
    classifier = tiny_method(name, identities=64).classifier
    assert isinstance(classifier, nn.Linear)
    assert std(classifier.weight) == pytest.approx(0.001, rel=0.05)
    assert classifier.bias.detach().abs().max() == 0


def test_the_pixels_of_masked_image_modelling_begin_without_a_bias_and_in_xaviers_bounds() -> None:
    pixels = tiny_method("vfe-mim").head.pixels
    bound = (6 / sum(pixels.weight.shape)) ** 0.5
    assert pixels.bias.detach().abs().max() == 0
    assert 0.95 * bound < float(pixels.weight.detach().abs().max()) <= bound
    assert std(pixels.weight) == pytest.approx(bound / 3**0.5, rel=0.03)
