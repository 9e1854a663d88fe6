"""Attention gives what torch's own module gives, with the same weights."""

import copy

import pytest
import torch
from open_clip.transformer import ResidualAttentionBlock
from torch import nn

from methods.attention import Attention, use_fast_attention
from methods.blocks import transformer


def masks(tokens: int) -> dict[str, torch.Tensor | None]:
    return {"none": None, "causal": torch.full((tokens, tokens), -torch.inf).triu(1)}


@pytest.mark.parametrize("mask", ["none", "causal"])
@pytest.mark.parametrize("heads", [1, 3])
def test_values_and_gradients_are_those_of_torchs_own_module(heads: int, mask: str) -> None:
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(12, heads, batch_first=True, dtype=torch.float64)
    ours = copy.deepcopy(theirs)
    use_fast_attention(ours)
    assert type(ours) is Attention
    added = masks(5)[mask]
    results = []
    for attention in (theirs, ours):
        tokens = torch.randn(2, 5, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
        tokens.requires_grad_()
        found = attention(tokens, tokens, tokens, need_weights=False, attn_mask=added)[0]
        found.square().sum().backward()
        results.append([found, tokens.grad, *(weight.grad for weight in attention.parameters())])
    for expected, got in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-7)


def test_attention_to_another_modality_is_that_of_torchs_own_module() -> None:
    torch.manual_seed(0)
    ours = Attention(12, 2, batch_first=True)
    theirs = nn.MultiheadAttention(12, 2, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    image, text = torch.randn(2, 5, 12), torch.randn(2, 7, 12)
    expected = theirs(image, text, text, need_weights=False)[0]
    torch.testing.assert_close(ours(image, text, text)[0], expected)


def test_in_bfloat16_it_stays_near_what_float32_gives() -> None:
    torch.manual_seed(0)
    attention, tokens = Attention(32, 2, batch_first=True), torch.randn(4, 9, 32)
    exact = attention(tokens, tokens, tokens, attn_mask=masks(9)["causal"])[0]
    with torch.autocast("cpu", torch.bfloat16):
        rounded = attention(tokens, tokens, tokens, attn_mask=masks(9)["causal"])[0]
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, rtol=0.05, atol=0.02)


def test_every_attention_inside_a_module_is_taken_over_and_its_state_dict_keeps_its_names() -> None:
    block = ResidualAttentionBlock(16, 2)
    names = list(block.state_dict())
    use_fast_attention(block)
    assert type(block.attn) is Attention
    assert list(block.state_dict()) == names
    assert all(type(block.attn) is Attention for block in transformer(64, 2))


def test_a_key_that_is_not_the_value_is_refused_and_so_is_asking_for_weights() -> None:
    tokens, attention = torch.randn(1, 3, 8), Attention(8, 2, batch_first=True)
    with pytest.raises(ValueError, match="same tensor"):
        attention(tokens, tokens, tokens + 1)
    with pytest.raises(ValueError, match="no weights"):
        attention(tokens, tokens, tokens, need_weights=True)


@pytest.mark.parametrize("other", [{"batch_first": False}, {"dropout": 0.1}, {"bias": False}])
def test_attention_of_another_kind_is_not_taken_over(other: dict) -> None:
    with pytest.raises(ValueError, match="can be replaced"):
        use_fast_attention(nn.MultiheadAttention(8, 2, **{"batch_first": True, **other}))
