"""Attention of every encoder and decoder: open_clip's results with fewer copies.

torch's own module splits the joint projection of query, key and value by copying it, and builds its gradient
from zeros. What that costs: `tests/benchmarks/test_training_speed.py`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.MultiheadAttention):
    """`nn.MultiheadAttention` with `batch_first`: same weight names, same result.

    `dropout` is the share of attention probabilities that is set to 0 in training. It takes only those
    arguments that CLIP's blocks pass.
    """

    def forward(  # type: ignore[override]  # a subset of the arguments
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        need_weights: bool = False,
        attn_mask: Tensor | None = None,
    ) -> tuple[Tensor, None]:
        """Tokens [batch, queries, width] gathered from `value` [batch, tokens, width]; None for the weights.

        Args:
            query: [batch, queries, width].
            key: [batch, tokens, width], the same tensor as `value`.
            value: [batch, tokens, width].
            need_weights: must be false; the weights are never computed as a whole.
            attn_mask: [queries, tokens], added to the scores.

        Raises:
            ValueError: key and value differ, or weights are wanted.
        """
        if key is not value or need_weights:
            raise ValueError("key and value must be the same tensor, and no weights are returned")
        weight, bias = self.in_proj_weight, self.in_proj_bias
        if query is key:
            queries, keys, values = self._heads(query, weight, bias)
        else:
            first = self.embed_dim
            (queries,) = self._heads(query, weight[:first], bias[:first])
            keys, values = self._heads(key, weight[first:], bias[first:])
        dropout = self.dropout if self.training else 0.0
        attended = scaled_dot_product(queries, keys, values, attn_mask, dropout)
        return self.out_proj(attended.transpose(1, 2).flatten(2)), None

    def _heads(self, tokens: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, ...]:
        """Projections of `tokens`, each [batch, heads, tokens, width per head]: as many as `weight` holds."""
        projected = F.linear(tokens, weight, bias)
        heads = projected.view(*tokens.shape[:2], -1, self.num_heads, self.head_dim)
        return heads.permute(2, 0, 3, 1, 4).unbind(0)


def use_fast_attention(module: nn.Module) -> None:
    """Make every `nn.MultiheadAttention` inside `module` an `Attention`; weights and names stay.

    Raises:
        ValueError: one has a feature that `Attention` lacks.
    """
    for part in module.modules():
        if type(part) is nn.MultiheadAttention:
            if not part.batch_first or part.dropout or part.in_proj_bias is None or part.bias_k is not None:
                raise ValueError("only attention with batch_first, biases and no dropout can be replaced")
            part.__class__ = Attention


def scaled_dot_product(
    query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, dropout: float = 0.0
) -> Tensor:
    """Values [batch, heads, queries, width] weighted by softmax(query · key / √width + mask).

    A share `dropout` of the weights is set to 0, and the others are divided by what is left of them.
    """
    if query.device.type != "cpu" or query.dtype not in (torch.bfloat16, torch.float16):
        return F.scaled_dot_product_attention(query, key, value, mask, dropout)
    # On a CPU the backward pass of torch's kernel is much slower in bfloat16 than in float32
    # (tests/benchmarks/test_training_speed.py).
    with full_precision("cpu"):
        attended = F.scaled_dot_product_attention(
            query.float(), key.float(), value.float(), None if mask is None else mask.float(), dropout
        )
    return attended.to(query.dtype)


def full_precision(device_type: str) -> AbstractContextManager[None]:
    """A context in which autocast does not lower the precision."""
    # By name: asking torch what it knows would cut a compiled step in two.
    return nullcontext() if device_type == "meta" else torch.autocast(device_type, enabled=False)
