"""Captions to token ids."""

from __future__ import annotations

import open_clip
import pytest
import torch

from methods.backbones import backbone_config
from methods.tokenizer import Tokenizer

CAPTIONS = [
    "The man's wearing a blue T-shirt, #1 &amp; two sandals!",
    "A woman in a beige coat with a rucksack, hooded and sleeveless.",
    "Ünïcödé 漢字 😀 jacket\twith\nlines",
    "<start_of_text> hi <end_of_text> there",
    "",
    "coat " * 200,
]


@pytest.mark.parametrize("caption", CAPTIONS)
def test_full_size_ids_are_those_of_open_clip(caption: str) -> None:
    theirs = open_clip.get_tokenizer("ViT-B-16-quickgelu")([caption])
    assert torch.equal(Tokenizer(49408, 77)([caption]), theirs)


def test_the_last_merge_makes_room_for_the_mask_token() -> None:
    tokenizer = Tokenizer(49408, 77)
    assert (tokenizer.mask, tokenizer.start, tokenizer.end) == (49405, 49406, 49407)
    theirs = open_clip.get_tokenizer("ViT-B-16-quickgelu")
    word = theirs.decoder[49405].removesuffix("</w>")
    assert theirs.encode(word) == [49405]
    assert len(tokenizer.encode(word)) == 2


@pytest.mark.parametrize("vocab_size", [49408, 10240, 600, 96])
@pytest.mark.parametrize("caption", CAPTIONS)
def test_every_vocabulary_starts_ends_and_pads_alike(vocab_size: int, caption: str) -> None:
    tokenizer = Tokenizer(vocab_size, 24)
    row = tokenizer([caption])[0].tolist()
    ids = row[: row.index(vocab_size - 1) + 1]
    assert ids[0] == vocab_size - 2
    assert len(row) == 24
    assert max(row) == vocab_size - 1
    if "text>" not in caption:
        assert all(0 <= token < vocab_size - 3 for token in ids[1:-1])
        assert set(row[len(ids) :]) <= {0}
        assert ids[1:-1] == tokenizer.encode(caption)[:22]


def test_a_small_vocabulary_knows_the_same_first_ids() -> None:
    small, full = Tokenizer(10240, 64), Tokenizer(49408, 64)
    assert small.encode("a black shirt") == full.encode("a black shirt")
    assert len(small.encode("rucksack")) > len(full.encode("rucksack"))


def test_the_shipped_vocabulary_holds_the_commonest_words_whole() -> None:
    config = backbone_config("tiny")
    tokenizer = Tokenizer(config.vocab_size, config.context_length)
    words = "man woman white black red grey gray jacket coat shirt jeans shoes bag hair dress"
    assert len(tokenizer.encode(words)) == len(words.split())


def test_words_carry_the_ids_of_the_caption_in_order() -> None:
    tokenizer = Tokenizer(10240, 64)
    words = tokenizer.words("She's in a sleeveless dress.")
    assert [word for word, _ in words] == ["she", "'s", "in", "a", "sleeveless", "dress", "."]
    assert [token for _, ids in words for token in ids] == tokenizer.encode("She's in a sleeveless dress.")
