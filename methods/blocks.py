"""Building blocks that TIR and MLM share: cross-attention and a small stack of CLIP's own transformer
blocks."""

from __future__ import annotations

from typing import Any

from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import Tensor, nn

from methods.attention import Attention, take_over

HEAD_WIDTH = 64


def heads_of(width: int) -> int:
    """Attention heads for a width: one for every 64 channels, as in CLIP."""
    return max(1, width // HEAD_WIDTH)


def cross_attention(width: int, depth: int) -> Attention:
    """Attention from one modality to the other, [batch, tokens, width] on both sides."""
    attention = Attention(width, heads_of(width), batch_first=True)
    nn.init.normal_(attention.in_proj_weight, std=width**-0.5)
    nn.init.normal_(attention.out_proj.weight, std=_residual_std(width, depth))
    return attention


def attend(attention: Attention, query: Tensor, context: Tensor) -> Tensor:
    """Tokens [batch, queries, width] gathered from `context` [batch, tokens, width]; no residual."""
    attended: Tensor = attention(query, context, context)[0]
    return attended


def transformer(width: int, depth: int) -> nn.Sequential:
    """`depth` pre-norm self-attention blocks with QuickGELU, initialised as CLIP's."""
    return nn.Sequential(*(_block(width, depth) for _ in range(depth)))


def _block(width: int, depth: int) -> Any:
    block = ResidualAttentionBlock(width, heads_of(width), act_layer=QuickGELU)
    take_over(block)
    nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
    nn.init.normal_(block.attn.out_proj.weight, std=_residual_std(width, depth))
    nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
    nn.init.normal_(block.mlp.c_proj.weight, std=_residual_std(width, depth))
    return block


def _residual_std(width: int, depth: int) -> float:
    return float(width**-0.5 * (2 * depth) ** -0.5)
