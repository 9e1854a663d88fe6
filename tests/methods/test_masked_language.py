"""Masking of captions, and the loss on what was masked."""

from __future__ import annotations

import math

import pytest
import torch

from methods.masked_language import (
    MaskedLanguage,
    Masking,
    draw_masking,
    is_word,
    mask_captions,
    most_chosen,
)

VOCAB, END, START, MASK = 1000, 999, 998, 997


def captions(count: int, words: int, tokens: int) -> torch.Tensor:
    ids = torch.zeros(count, tokens, dtype=torch.int64)
    generator = torch.Generator().manual_seed(0)
    ids[:, 0], ids[:, 1 + words] = START, END
    ids[:, 1 : 1 + words] = torch.randint(1, VOCAB - 3, (count, words), generator=generator)
    return ids


def noise_for(ids: torch.Tensor, seed: int = 1) -> dict[str, torch.Tensor]:
    shape = (ids.shape[0], ids.shape[1])
    return draw_masking(shape, torch.Generator().manual_seed(seed), "cpu")


def test_uniform_masking_chooses_fifteen_percent_of_the_words() -> None:
    ids = captions(4000, 60, 77)
    _, chosen = mask_captions(ids, torch.zeros_like(ids).bool(), noise_for(ids), VOCAB, "uniform")
    words = is_word(ids, VOCAB)
    assert not (chosen & ~words).any()
    rate = chosen.sum().item() / words.sum().item()
    assert rate == pytest.approx(0.15, abs=4 * math.sqrt(0.15 * 0.85 / words.sum().item()))


def test_masking_by_tag_chooses_thirty_percent_of_content_and_five_of_the_rest() -> None:
    ids = captions(4000, 60, 77)
    content = torch.rand(ids.shape, generator=torch.Generator().manual_seed(2)) < 0.4
    _, chosen = mask_captions(ids, content, noise_for(ids), VOCAB, "by_tag")
    words = is_word(ids, VOCAB)
    for part, rate in ((words & content, 0.30), (words & ~content, 0.05)):
        number = part.sum().item()
        share = (chosen & part).sum().item() / number
        assert share == pytest.approx(rate, abs=4 * math.sqrt(rate * (1 - rate) / number))


def test_chosen_words_become_mask_random_or_stay_in_eighty_ten_ten() -> None:
    ids = captions(4000, 60, 77)
    masked, chosen = mask_captions(ids, torch.zeros_like(ids).bool(), noise_for(ids), VOCAB, "uniform")
    assert torch.equal(masked[~chosen], ids[~chosen])
    before, after = ids[chosen], masked[chosen]
    spread = 4 * math.sqrt(0.25 / len(before))
    assert (after == MASK).float().mean().item() == pytest.approx(0.8, abs=spread)
    assert (after == before).float().mean().item() == pytest.approx(0.1, abs=spread)
    randoms = after[(after != MASK) & (after != before)]
    assert randoms.min() >= 1
    assert randoms.max() <= VOCAB - 4
    assert randoms.unique().numel() > 0.9 * (VOCAB - 4)


@pytest.mark.parametrize("masking", ["uniform", "by_tag"])
def test_at_least_one_word_of_every_caption_is_chosen(masking: Masking) -> None:
    ids = captions(500, 2, 6)
    _, chosen = mask_captions(ids, torch.zeros_like(ids).bool(), noise_for(ids), VOCAB, masking)
    assert chosen.sum(dim=1).min() == 1


def test_a_caption_without_words_is_left_alone() -> None:
    ids = torch.tensor([[START, END, 0, 0]])
    masked, chosen = mask_captions(ids, torch.ones_like(ids).bool(), noise_for(ids), VOCAB, "by_tag")
    assert torch.equal(masked, ids)
    assert not chosen.any()


@pytest.mark.parametrize("masking", ["uniform", "by_tag"])
def test_even_captions_full_of_nouns_stay_below_the_bound(masking: Masking) -> None:
    ids = captions(64, 30, 32)
    bound = most_chosen(64, 32, masking)
    assert bound < ids.numel()
    for seed in range(200):
        _, chosen = mask_captions(ids, torch.ones_like(ids).bool(), noise_for(ids, seed), VOCAB, masking)
        assert chosen.sum() <= bound


def test_the_loss_is_the_summed_cross_entropy_of_chosen_words() -> None:
    torch.manual_seed(0)
    model = MaskedLanguage(width=16, vocab_size=50, depth=1)
    words, image = torch.randn(3, 7, 16), torch.randn(3, 5, 16)
    ids = torch.randint(1, 47, (3, 7))
    chosen = torch.rand(3, 7) < 0.3
    total, count = model(words, image, ids, chosen, limit=15)

    context = model.norm_image(image)
    mixed = model.cross_attention(model.norm_text(words), context, context)[0]
    mixed = model.norm_words(model.cross_blocks(mixed))
    expected = 0.0
    for row, place in chosen.nonzero().tolist():
        scores = model.mlm_head(mixed[row, place]).tolist()
        log_sum = math.log(sum(math.exp(score) for score in scores))
        expected += log_sum - scores[int(ids[row, place])]
    assert total.item() == pytest.approx(expected, rel=1e-4)
    assert count.item() == chosen.sum().item()


@pytest.mark.parametrize("value", [0.0, 1 - 2**-24, 1.0])
def test_the_ends_of_the_noise_give_words_and_never_the_mask_start_or_end(value: float) -> None:
    ids = captions(50, 8, 12)
    noise = {"mask_choice": torch.zeros(50, 12), "mask_kind": torch.full((50, 12), 0.85)}
    for vocab in (VOCAB, 49408):
        masked, chosen = mask_captions(
            ids.clamp(max=vocab - 4),
            torch.zeros_like(ids).bool(),
            {**noise, "mask_word": torch.full((50, 12), value)},
            vocab,
            "uniform",
        )
        assert set(masked[chosen].tolist()) == {1 if value == 0 else vocab - 4}


def test_random_words_are_uniform_over_the_vocabulary() -> None:
    vocab, ids = 43, torch.ones(2000, 60, dtype=torch.int64)
    noise = {
        **noise_for(ids),
        "mask_choice": torch.zeros(2000, 60),
        "mask_kind": torch.full((2000, 60), 0.85),
    }
    masked, _ = mask_captions(ids, torch.zeros_like(ids).bool(), noise, vocab, "uniform")
    counts = masked.flatten().bincount(minlength=vocab).float()
    assert counts[0] == 0
    assert counts[vocab - 3 :].sum() == 0
    expected = ids.numel() / (vocab - 4)
    deviations = (counts[1 : vocab - 3] - expected) / math.sqrt(expected)
    assert deviations.abs().max() < 4.5
    assert deviations.square().mean() == pytest.approx(1, abs=4 * math.sqrt(2 / (vocab - 4)))


def test_where_chance_chose_nothing_irra_masks_the_first_word_by_the_mask_token() -> None:
    ids = captions(3, 4, 8)
    noise = {name: torch.full(ids.shape, 0.95) for name in ("mask_choice", "mask_kind", "mask_word")}
    noise["mask_choice"][1, 3] = 0.1
    noise["mask_choice"][2, 4] = 0.5
    content = torch.zeros_like(ids).bool()
    masked, chosen = mask_captions(ids, content, noise, VOCAB, "uniform", "first_word")
    assert chosen.nonzero().tolist() == [[0, 1], [1, 3], [2, 1]]
    assert masked[0, 1] == masked[2, 1] == MASK
    assert torch.equal(masked[1], ids[1])  # chosen by chance, and kept by chance
    _, likeliest = mask_captions(ids, content, noise, VOCAB, "uniform", "likeliest")
    assert likeliest.nonzero().tolist() == [[0, 1], [1, 3], [2, 4]]
