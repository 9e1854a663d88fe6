"""Random deletion of whole words from token ids, batched on the device (EDA's, as TBPS-CLIP uses it)."""

from __future__ import annotations

import torch
from torch import Tensor


def delete_whole_words(
    captions: Tensor, words: Tensor, uniform: Tensor, rate: float
) -> tuple[Tensor, Tensor]:
    """Captions with each word between blanks deleted with probability `rate`, and the order of their tokens.

    A caption of which nothing would be left keeps one random word. What a deletion leaves moves up, and
    padding fills the end. A word that the text length had cut off does not come back.

    Args:
        captions: [batch, tokens] int64.
        words: [batch, tokens] int64, the number of the word that each token is of; -1 for none.
        uniform: [batch, tokens] in 0 … 1, one number for each word.
        rate: the probability.

    Returns:
        Captions [batch, tokens], and which token [batch, tokens] stands at each place now.
    """
    positions = torch.arange(captions.shape[1], device=captions.device)
    count = words.amax(dim=1, keepdim=True) + 1
    exists = positions < count
    gone = (uniform < rate) & exists
    # Of words that are all to go, the one with the largest number is any of them.
    survivor = uniform.masked_fill(~exists, -1).argmax(dim=1, keepdim=True)
    none_left = gone.sum(dim=1, keepdim=True) == count
    gone &= ~(none_left & (positions == survivor))
    deleted = gone.gather(1, words.clamp(min=0)) & (words >= 0)
    order = torch.where(deleted, captions.shape[1], 0).add(positions).argsort(dim=1)
    kept = (~deleted).gather(1, order)
    return captions.gather(1, order) * kept, order
