"""Augmented captions, made on the device from token ids: pruned, with tokens deleted, swapped or masked.

Each of these takes and returns `captions` and `content` [batch, tokens] (see `methods.base.Batch`).  The
alternatives to pruning follow EDA (Wei & Zou 2019) without its synonyms.
"""

from __future__ import annotations

import torch
from torch import Tensor

from methods.base import Batch, Noise
from methods.masked_language import is_word
from methods.settings import Augmentation

DELETED = 0.1  # share of words; EDA's alpha
SWAPS = 2  # EDA's alpha times a caption of about twenty words
MASKED = 0.15
CORRUPTED_AS_MASK, CORRUPTED_AS_RANDOM, CORRUPTED_AS_GONE = 0.12, 0.04, 0.04
"""What RDE does to a word, each with its probability."""


def draw_caption_augmentation(
    shape: tuple[int, int], generator: torch.Generator, device: torch.device | str
) -> Noise:
    """The randomness `augment_captions` needs for captions of `shape` [batch, tokens]."""
    return {
        "augment": torch.rand(shape[0], generator=generator, device=device),
        "augment_words": torch.rand(shape, generator=generator, device=device),
        "augment_swaps": torch.rand(shape[0], SWAPS, 2, generator=generator, device=device),
    }


def augment_captions(
    batch: Batch, noise: Noise, kind: Augmentation, probability: float, vocab_size: int
) -> tuple[Tensor, Tensor]:
    """Captions and content flags of `batch`, both [batch, tokens], each augmented with `probability`."""
    if kind == "pruning":
        # What is left of a pruned caption is nearly all nouns and adjectives.
        changed, content = batch.pruned, is_word(batch.pruned, vocab_size)
    elif kind == "deletion":
        changed, content = delete_words(batch.captions, batch.content, noise, vocab_size)
    elif kind == "swap":
        changed, content = swap_words(batch.captions, batch.content, noise, vocab_size)
    else:
        masked = is_word(batch.captions, vocab_size) & (noise["augment_words"] < MASKED)
        changed, content = batch.captions.masked_fill(masked, vocab_size - 3), batch.content
    augmented = (noise["augment"] < probability)[:, None]
    return torch.where(augmented, changed, batch.captions), torch.where(augmented, content, batch.content)


def delete_words(captions: Tensor, content: Tensor, noise: Noise, vocab_size: int) -> tuple[Tensor, Tensor]:
    """Delete every word with probability 0.1 and close the gaps; one word stays. All [batch, tokens]."""
    words = is_word(captions, vocab_size)
    survivor = noise["augment_words"].masked_fill(~words, -1).argmax(dim=1, keepdim=True)
    positions = torch.arange(captions.shape[1], device=captions.device)
    gone = words & (noise["augment_words"] < DELETED) & (positions != survivor)
    order = torch.where(gone, captions.shape[1], 0).add(positions).argsort(dim=1)
    kept = (~gone).gather(1, order)
    return captions.gather(1, order) * kept, content.gather(1, order) & kept


def swap_words(captions: Tensor, content: Tensor, noise: Noise, vocab_size: int) -> tuple[Tensor, Tensor]:
    """Exchange two random words, twice. All [batch, tokens]."""
    words = is_word(captions, vocab_size)
    # Positions with the words' first, so that a random fraction picks a word.
    positions = words.byte().argsort(dim=1, descending=True, stable=True)
    count = words.sum(dim=1, keepdim=True)
    for pair in noise["augment_swaps"].unbind(dim=1):
        first, second = positions.gather(1, (pair * count).long().minimum(count - 1).clamp(min=0)).chunk(
            2, dim=1
        )
        captions, content = _swap(captions, first, second), _swap(content, first, second)
    return captions, content


def _swap(row: Tensor, first: Tensor, second: Tensor) -> Tensor:
    swapped = row.scatter(1, first, row.gather(1, second))
    return swapped.scatter(1, second, row.gather(1, first))


def corrupt_words(captions: Tensor, noise: Noise, vocab_size: int) -> Tensor:
    """RDE's augmentation: 12 % of the words are masked, 4 % replaced by random words, 4 % removed.

    Words are drawn independently, so a caption may lose all of them. What follows a removed word moves up.

    Args:
        captions: [batch, tokens] int64.
        noise: `corrupt_kind` and `corrupt_word`, uniform in [0, 1), each [batch, tokens].
        vocab_size: size of the vocabulary; its last three ids are mask, start and end.
    """
    words, kind = is_word(captions, vocab_size), noise["corrupt_kind"]
    as_random = CORRUPTED_AS_MASK + CORRUPTED_AS_RANDOM
    random_words = 1 + (noise["corrupt_word"] * (vocab_size - 4)).long().clamp(max=vocab_size - 5)
    changed = torch.where(words & (kind < as_random), random_words, captions)
    changed = changed.masked_fill(words & (kind < CORRUPTED_AS_MASK), vocab_size - 3)
    gone = words & (kind >= as_random) & (kind < as_random + CORRUPTED_AS_GONE)
    order = gone.byte().argsort(dim=1, stable=True)
    return changed.gather(1, order) * (~gone).gather(1, order)
