"""Augmented captions, made from token ids on the device."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from toy import TOKENS, VOCAB_SIZE, toy_batch

from methods.base import Batch
from methods.settings import Augmentation
from methods.text_augmentation import augment_captions, draw_caption_augmentation

START, END, MASK = VOCAB_SIZE - 2, VOCAB_SIZE - 1, VOCAB_SIZE - 3
SIZE = 400


@pytest.fixture(scope="module")
def batch() -> Batch:
    return toy_batch(SIZE)


def augmented(batch: Batch, kind: Augmentation, probability: float = 1.0, seed: int = 0) -> torch.Tensor:
    noise = draw_caption_augmentation((SIZE, TOKENS), torch.Generator().manual_seed(seed), "cpu")
    return augment_captions(batch, noise, kind, probability, VOCAB_SIZE)[0]


def words(row: torch.Tensor) -> list[int]:
    ids = [token for token in row.tolist() if token != 0]
    assert ids[0] == START
    assert ids[-1] == END
    return ids[1:-1]


@pytest.mark.parametrize("kind", ["pruning", "deletion", "swap", "masking"])
def test_probability_zero_changes_nothing_and_a_fifth_changes_a_fifth(
    batch: Batch, kind: Augmentation
) -> None:
    assert torch.equal(augmented(batch, kind, 0.0), batch.captions)
    always, sometimes = augmented(batch, kind, 1.0), augmented(batch, kind, 0.2)
    changed = (always != batch.captions).any(dim=1)
    share = (sometimes != batch.captions).any(dim=1).sum() / changed.sum()
    assert share.item() == pytest.approx(0.2, abs=0.1)


def test_pruning_hands_out_the_pruned_caption(batch: Batch) -> None:
    assert torch.equal(augmented(batch, "pruning"), batch.pruned)


def test_deletion_drops_a_tenth_of_the_words_and_keeps_the_order(batch: Batch) -> None:
    kept = total = 0
    for before, after in zip(batch.captions, augmented(batch, "deletion"), strict=True):
        old, new = words(before), words(after)
        remaining = iter(old)
        assert all(word in remaining for word in new)  # a subsequence
        assert new
        kept, total = kept + len(new), total + len(old)
    assert 1 - kept / total == pytest.approx(0.1, abs=0.03)


def test_the_last_word_is_never_deleted() -> None:
    one = toy_batch(SIZE)
    one.captions[:, 1:] = 0
    one.captions[:, 1], one.captions[:, 2] = 7, END
    assert all(words(row) == [7] for row in augmented(one, "deletion"))


def test_swapping_moves_at_most_four_words_and_loses_none(batch: Batch) -> None:
    moved = []
    for before, after in zip(batch.captions, augmented(batch, "swap"), strict=True):
        old, new = words(before), words(after)
        assert sorted(old) == sorted(new)
        moved.append(sum(a != b for a, b in zip(old, new, strict=True)))
    assert max(moved) == 4
    assert sum(moved) / SIZE > 2


def test_masking_hides_words_and_nothing_else(batch: Batch) -> None:
    after = augmented(batch, "masking")
    changed = after != batch.captions
    assert (after[changed] == MASK).all()
    assert (batch.captions[changed] < MASK).all()
    word_count = ((batch.captions > 0) & (batch.captions < MASK)).sum()
    assert (changed.sum() / word_count).item() == pytest.approx(0.15, abs=0.03)


@pytest.mark.parametrize("kind", ["deletion", "swap"])
def test_content_flags_move_with_their_words(batch: Batch, kind: Augmentation) -> None:
    """Where a word's id says whether it is content, it still does after the words have moved."""
    flagged = replace(batch, content=batch.captions % 2 == 1)
    noise = draw_caption_augmentation((SIZE, TOKENS), torch.Generator().manual_seed(0), "cpu")
    captions, content = augment_captions(flagged, noise, kind, 1.0, VOCAB_SIZE)
    assert torch.equal(content, captions % 2 == 1)
