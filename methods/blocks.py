"""Building blocks that methods share: cross-attention, CLIP's blocks, and one token of a stack."""

from __future__ import annotations

from typing import Any

from open_clip.transformer import QuickGELU, ResidualAttentionBlock
from torch import Tensor, nn

from methods.attention import Attention, use_fast_attention

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
    attended: Tensor = attention(query, context, context, need_weights=False)[0]
    return attended


def token_at(position: Tensor, tokens: Tensor) -> Tensor:
    """The token [batch, 1, width] at `position` [batch] of each row of `tokens` [batch, tokens, width]."""
    return tokens.gather(1, position[:, None, None].expand(-1, 1, tokens.shape[-1]))


def encode_one_token(stack: Any, tokens: Tensor, position: Tensor, mask: Tensor | None = None) -> Tensor:
    """Output [batch, width] of open_clip's transformer `stack` for one token of each row.

    The last block reads all tokens and computes that one alone, which saves most of the block.

    Args:
        stack: `open_clip.transformer.Transformer`.
        tokens: [batch, tokens, width].
        position: [batch] int64, which token is wanted.
        mask: [tokens, tokens], added to the scores.
    """
    *blocks, last = stack.resblocks
    for block in blocks:
        tokens = block(tokens, attn_mask=mask)
    context = last.ln_1(tokens)
    seen = None if mask is None else mask[position][:, None, None].to(context.dtype)
    attended, _ = last.attn(token_at(position, context), context, context, attn_mask=seen)
    token = token_at(position, tokens) + last.ls_1(attended)
    computed: Tensor = token + last.ls_2(last.mlp(last.ln_2(token)))
    return computed.squeeze(1)


def transformer(width: int, depth: int) -> nn.Sequential:
    """`depth` pre-norm self-attention blocks with QuickGELU, initialised as CLIP's."""
    return nn.Sequential(*(_block(width, depth) for _ in range(depth)))


def _block(width: int, depth: int) -> Any:
    block = ResidualAttentionBlock(width, heads_of(width), act_layer=QuickGELU)
    use_fast_attention(block)
    nn.init.normal_(block.attn.in_proj_weight, std=width**-0.5)
    nn.init.normal_(block.attn.out_proj.weight, std=_residual_std(width, depth))
    nn.init.normal_(block.mlp.c_fc.weight, std=(2 * width) ** -0.5)
    nn.init.normal_(block.mlp.c_proj.weight, std=_residual_std(width, depth))
    return block


def _residual_std(width: int, depth: int) -> float:
    return float(width**-0.5 * (2 * depth) ** -0.5)
