"""CLIP's byte-pair encoding for vocabularies of any size, with a mask token.

The last three ids of a vocabulary are its mask, start and end tokens.  At CLIP's own size (49408) the ids
are open_clip's, except that the very last merge is given up to make room for the mask token at 49405, as
released. A smaller vocabulary keeps only the first merges, so rare words come in more pieces.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

CLIP_VOCABULARY = 49408
BYTE_SYMBOLS = 512  # every byte, inside a word and at its end
SPECIAL_TOKENS = 3


@cache
def _clip_tokenizer() -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


def clip_merges() -> list[tuple[str, str]]:
    """The merges of CLIP's byte-pair encoding, most frequent first."""
    ranks = _clip_tokenizer().bpe_ranks
    return sorted(ranks, key=ranks.__getitem__)


class Tokenizer:
    """Captions to token ids.

    `start`, `end` and `mask` are ids; `vocab_size` and `context_length` sizes.  Vocabularies smaller than the
    byte alphabet exist only in toy checkpoints; there ids are folded into range, which keeps them usable.
    """

    def __init__(self, vocab_size: int, context_length: int) -> None:
        self.vocab_size, self.context_length = vocab_size, context_length
        self.end, self.start, self.mask = vocab_size - 1, vocab_size - 2, vocab_size - 3
        clip = _clip_tokenizer()
        count = max(0, vocab_size - BYTE_SYMBOLS - SPECIAL_TOKENS)
        self._ranks = {pair: rank for pair, rank in clip.bpe_ranks.items() if rank < count}
        self._ids = {symbol: number for symbol, number in clip.encoder.items() if number < self.mask}
        self._fold = vocab_size < BYTE_SYMBOLS + SPECIAL_TOKENS
        self._pieces: dict[str, list[int]] = {}

    def words(self, caption: str) -> list[tuple[str, list[int]]]:
        """The words of a caption as CLIP splits it (lower case, cleaned), each with its token ids."""
        clip = _clip_tokenizer()
        return [(word, self._word_ids(word)) for word in clip.pat.findall(clip.clean_fn(caption))]

    def word_numbers(self, caption: str) -> list[int]:
        """For each token of `encode(caption)`, the number of the word between blanks that it is of."""
        clip = _clip_tokenizer()
        return [
            number
            for number, word in enumerate(clip.clean_fn(caption).split())
            for piece in clip.pat.findall(word)
            for _ in self._word_ids(piece)
        ]

    def encode(self, caption: str) -> list[int]:
        """Token ids of a caption, without start and end."""
        return [token for _, ids in self.words(caption) for token in ids]

    def __call__(self, captions: Sequence[str]) -> Tensor:
        """Token ids [captions, context_length] int64: start, words, end, zeros; too long ones end early."""
        tokens = torch.zeros(len(captions), self.context_length, dtype=torch.int64)
        for row, caption in zip(tokens, captions, strict=True):
            ids = [self.start, *self.encode(caption)[: self.context_length - 2], self.end]
            row[: len(ids)] = torch.tensor(ids)
        return tokens

    def _word_ids(self, word: str) -> list[int]:
        if word not in self._pieces:
            self._pieces[word] = self._encode_word(word)
        return self._pieces[word]

    def _encode_word(self, word: str) -> list[int]:
        clip = _clip_tokenizer()
        if word in clip.cache and re.fullmatch(r"<\w+>", word):  # a caption that spells out a special token
            return [self.start if word == "<start_of_text>" else self.end]
        symbols = [clip.byte_encoder[byte] for byte in word.encode("utf-8")]
        symbols[-1] += "</w>"
        while (best := self._best_merge(symbols)) is not None:
            symbols = _merge(symbols, best)
        if self._fold:
            return [1 + int(clip.encoder[symbol]) % (self.mask - 1) for symbol in symbols]
        return [self._ids[symbol] for symbol in symbols]

    def _best_merge(self, symbols: list[str]) -> tuple[str, str] | None:
        known = [pair for pair in pairwise(symbols) if pair in self._ranks]
        return min(known, key=self._ranks.__getitem__, default=None)


def _merge(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    """`symbols` with every occurrence of `pair`, from the left, joined."""
    merged: list[str] = []
    position = 0
    while position < len(symbols):
        if tuple(symbols[position : position + 2]) == pair:
            merged.append(pair[0] + pair[1])
            position += 2
        else:
            merged.append(symbols[position])
            position += 1
    return merged
