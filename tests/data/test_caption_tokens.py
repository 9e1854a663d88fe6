import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.data.captions import CaptionTokens, caption_tokens, content_flags
from methods.text_pruning import TextBlobTagger, prune
from methods.tokenizer import Tokenizer

CAPTIONS = [
    "She is wearing a red coat and quickly walks to the T-shirt shop.",
    "He's got a black backpack, white shoes & grey trousers",
    "一个穿红色外套的女人",
    "<script>alert('x')</script>",
    "of and the",
    "a " * 200 + "red coat",
]


class Counting:
    """A tagger with a known answer, that counts how often it is asked."""

    name, version = "counting", "1"

    def __init__(self) -> None:
        self.asked = 0

    def tag(self, caption: str) -> list[tuple[str, str]]:
        self.asked += 1
        tags = {"red": "JJ", "coat": "NN", "she": "PRP", "t-shirt": "NNP"}
        return [(word, tags.get(word.lower(), "IN")) for word in caption.split()]


@pytest.fixture(scope="module")
def clip() -> Tokenizer:
    return Tokenizer(49408, 77)


def same(left: CaptionTokens, right: CaptionTokens) -> bool:
    return all(
        torch.equal(getattr(left, name), getattr(right, name)) for name in ("plain", "pruned", "content")
    )


def test_plain_and_pruned_rows_are_what_tokenizer_and_pruning_give(clip: Tokenizer, tmp_path: Path) -> None:
    tokens = caption_tokens(CAPTIONS, clip, TextBlobTagger(), tmp_path)
    pruned = [prune(caption, TextBlobTagger()) for caption in CAPTIONS]
    assert torch.equal(tokens.plain.long(), clip(CAPTIONS))
    assert torch.equal(tokens.pruned.long(), clip(pruned))
    assert tokens.plain.dtype == torch.int32
    assert tokens.content.shape == tokens.plain.shape == (6, 77)


def test_content_marks_exactly_the_tokens_of_nouns_and_adjectives(clip: Tokenizer, tmp_path: Path) -> None:
    captions = ["She likes red T-shirt and unfathomableness", "the coat"]
    tokens = caption_tokens(captions, clip, Counting(), tmp_path)
    marked = [
        [int(token) for token, flag in zip(row, flags, strict=True) if flag]
        for row, flags in zip(tokens.plain, tokens.content, strict=True)
    ]
    assert marked == [clip.encode("red t-shirt"), clip.encode("coat")]


def test_start_end_and_padding_are_never_content(clip: Tokenizer, tmp_path: Path) -> None:
    tokens = caption_tokens([*CAPTIONS, "red coat " * 60], clip, TextBlobTagger(), tmp_path)
    special = (tokens.plain == clip.start) | (tokens.plain == clip.end) | (tokens.plain == 0)
    assert not (tokens.content & special).any()
    assert tokens.content[-1].sum() == 75


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=40))
def test_any_text_has_one_flag_per_token(text: str) -> None:
    clip = Tokenizer(49408, 77)
    assert len(content_flags(text, clip, TextBlobTagger())) == len(clip.encode(text))


def test_cleaned_letters_fall_back_to_whole_words(clip: Tokenizer) -> None:
    flags = content_flags("a red&amp;blue coat", clip, Counting())
    assert flags[-1] is True
    assert not any(flags[:-1])


def test_captions_are_tagged_once_and_then_read(clip: Tokenizer, tmp_path: Path) -> None:
    tagger = Counting()
    seen: list[tuple[int, int]] = []
    first = caption_tokens(CAPTIONS, clip, tagger, tmp_path, progress=lambda *now: seen.append(now))
    assert tagger.asked == len(CAPTIONS)
    assert seen[-1] == (6, 6)
    assert same(caption_tokens(CAPTIONS, clip, tagger, tmp_path), first)
    assert tagger.asked == len(CAPTIONS)


@pytest.mark.parametrize("change", ["captions", "order", "vocabulary", "length", "tagger", "version"])
def test_anything_that_changes_the_tokens_gets_a_file_of_its_own(
    change: str, clip: Tokenizer, tmp_path: Path
) -> None:
    caption_tokens(CAPTIONS, clip, Counting(), tmp_path)
    tagger: Any = Counting()
    captions, tokenizer = CAPTIONS, clip
    if change == "captions":
        captions = [*CAPTIONS[:-1], "another"]
    elif change == "order":
        captions = CAPTIONS[::-1]
    elif change == "vocabulary":
        tokenizer = Tokenizer(4096, 77)
    elif change == "length":
        tokenizer = Tokenizer(49408, 64)
    else:
        setattr(tagger, "name" if change == "tagger" else "version", "other")
    caption_tokens(captions, tokenizer, tagger, tmp_path)
    assert tagger.asked == len(CAPTIONS)
    assert len(list((tmp_path / "captions").glob("*.npz"))) == 2


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other"])
def test_a_damaged_token_file_is_named_set_aside_and_replaced(
    damage: str, clip: Tokenizer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = caption_tokens(CAPTIONS, clip, Counting(), tmp_path)
    (path,) = (tmp_path / "captions").glob("*.npz")
    content = bytearray(path.read_bytes())
    content[400] ^= 0xFF
    if damage == "other":
        with path.open("wb") as file:
            np.savez(file, something=np.zeros(3))
    else:
        path.write_bytes({"flip": bytes(content), "cut": bytes(content[:700]), "empty": b""}[damage])
    with caplog.at_level(logging.WARNING):
        assert same(caption_tokens(CAPTIONS, clip, Counting(), tmp_path), good)
    assert path.name in caplog.text
    assert list(path.parent.glob("*.damaged"))
