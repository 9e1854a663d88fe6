"""Token selection embedding (TSE): an image or caption by the few tokens that its global token attends to.

RDE (Qin et al., CVPR 2024) has two embeddings a side: CLIP's own global one (BGE) and this one, made of
local tokens. For either side, each with its own weights:

1. The last block's attention, averaged over heads, in the row of the global token (image: class token;
   text: end token). The global token itself, and the start of a caption, are never chosen, nor is padding
   before a word.
2. The k tokens of the highest attention are kept: k = floor(R * candidates), R = 0.3, candidates all tokens
   but the class token, or all but start and end (of 192 patches 57, of 77 places 22).
3. A kept token x, projected to the joint space, becomes x / (|x| + 1e-8).
4. e = max over kept tokens, per channel, of W2 relu(BN(W1 x + b1)) + b2 + F x + f, with F twice
   as wide as x.

No gradient passes through the choice.

What surprises in the released code:

* Padding fills up a caption that has fewer words than k. It never enters the maximum, but in train mode it
  counts in the batch's statistics of BN, in an order of ties that is defined nowhere; here by place.
* A caption without words makes its row and every later row of the batch NaN; here its best token is taken.
* Token id 0, a byte of "!" inside a longer run of signs, counts as padding.
* A second BN a side, and another layer of the image's, are built, saved and never used; here they are not
  built (`methods.released` leaves them out).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods.attention import Attention
from methods.blocks import token_at

NORM_FLOOR = 1e-8
NEVER = -1.0
"""In place of an attention, which is never below 0."""


def encode_with_attention(
    stack: Any, tokens: Tensor, position: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Output [batch, tokens, width] of a transformer, and its last attention [batch, tokens] at a position.

    Args:
        stack: `open_clip.transformer.Transformer`.
        tokens: [batch, tokens, width].
        position: [batch] int64, whose row of the last block's attention is wanted.
        mask: [tokens, tokens], added to the scores.
    """
    *blocks, last = stack.resblocks
    for block in blocks:
        tokens = block(tokens, attn_mask=mask)
    with torch.no_grad():
        context = last.ln_1(tokens)
        seen = None if mask is None else mask[position]
        attention = attention_row(last.attn, token_at(position, context), context, seen)
    return last(tokens, attn_mask=mask), attention


def attention_row(attention: Attention, query: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
    """Softmax attention [batch, tokens] of one token a row, averaged over heads, in float32.

    `query` [batch, 1, width], `context` [batch, tokens, width], `mask` [batch, tokens] added to the scores.
    """
    width, heads = attention.embed_dim, attention.num_heads
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    asked = F.linear(query, weight[:width], bias[:width]).view(query.shape[0], heads, -1)
    keys = F.linear(context, weight[width : 2 * width], bias[width : 2 * width])
    keys = keys.view(*context.shape[:2], heads, -1)
    scores = torch.einsum("bhc,bthc->bht", asked.float(), keys.float()) * attention.head_dim**-0.5
    if mask is not None:
        scores = scores + mask.float()[:, None]
    averaged: Tensor = scores.softmax(dim=-1).mean(dim=1)
    return averaged


def kept(ratio: float, candidates: int) -> int:
    """How many of so many tokens are kept, at least one."""
    return max(1, int(candidates * ratio))


def choose_patches(attention: Tensor, ratio: float) -> Tensor:
    """Positions [batch, kept] of the patches that the class token attends to most, by falling attention.

    `attention` [batch, 1 + patches], the class token first.
    """
    scores = attention.index_fill(1, torch.zeros(1, dtype=torch.int64, device=attention.device), NEVER)
    return _highest(scores, kept(ratio, attention.shape[1] - 1))


def choose_words(attention: Tensor, captions: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Positions [batch, kept] that the end token attends to most, and how many count as words [batch].

    Args:
        attention: [batch, tokens].
        captions: [batch, tokens] int64.
        ratio: share of the places between start and end that is kept.
    """
    scores = attention.scatter(1, captions.argmax(dim=1, keepdim=True), NEVER)
    scores = torch.cat([torch.full_like(scores[:, :1], NEVER), scores[:, 1:]], dim=1) * (captions != 0)
    count = kept(ratio, attention.shape[1] - 2)
    words = (captions != 0).sum(dim=1) - 2
    return _highest(scores, count), words.clamp(min=1, max=count)


def _highest(scores: Tensor, count: int) -> Tensor:
    # Stable: ties are kept in the order of their places, on every device.
    return scores.argsort(dim=1, descending=True, stable=True)[:, :count]


class TokenEmbedding(nn.Module):
    """Pools chosen tokens to one embedding: a residual MLP, then the maximum over tokens.

    Args:
        width: of the tokens.
        hidden: of the MLP's inner layer.
        embed_dim: of the embedding.
        sees_batches: whether BatchNorm uses and learns the statistics of batches in training; as published it
            never does, and stays an affine map.
    """

    def __init__(self, width: int, hidden: int, embed_dim: int, sees_batches: bool = False) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(width, hidden), nn.BatchNorm1d(hidden)
        self.second, self.skip = nn.Linear(hidden, embed_dim), nn.Linear(width, embed_dim)
        self.sees_batches = sees_batches
        self.train()

    def train(self, mode: bool = True) -> TokenEmbedding:
        """Enter training mode, BatchNorm only where it sees batches."""
        super().train(mode)
        self.norm.train(mode and self.sees_batches)
        return self

    def forward(self, tokens: Tensor, counted: Tensor | None = None) -> Tensor:
        """Embeddings [batch, embed_dim] of chosen tokens [batch, kept, width], in float32.

        Of each row only the first `counted` [batch] enter the maximum; all without it.
        """
        scaled = tokens / (tokens.norm(dim=-1, keepdim=True) + NORM_FLOOR)
        hidden = self.norm(self.first(scaled).flatten(0, 1)).view(*tokens.shape[:2], -1)
        values = self.second(F.relu(hidden)) + self.skip(scaled)
        if counted is not None:
            place = torch.arange(tokens.shape[1], device=tokens.device)
            values = values.masked_fill((place >= counted[:, None])[:, :, None], -torch.inf)
        pooled: Tensor = values.amax(dim=1)
        return pooled


def tokens_at(positions: Tensor, tokens: Tensor) -> Tensor:
    """The tokens [batch, kept, width] at `positions` [batch, kept] of `tokens` [batch, tokens, width]."""
    return tokens.gather(1, positions[:, :, None].expand(-1, -1, tokens.shape[-1]))
