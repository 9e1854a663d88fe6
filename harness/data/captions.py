"""Token matrices of captions, plain and pruned, with parts of speech; cached on disk."""

from __future__ import annotations

import hashlib
import inspect
import json
import logging
import re
import sys
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from harness.data.decoding import ProgressCallback
from harness.machine.files import atomic_file, atomic_write, put_aside
from methods import text_pruning, tokenizer
from methods.text_pruning import Tagger, is_content, prune
from methods.tokenizer import Tokenizer

PROGRESS_EVERY = 500

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class CaptionTokens:
    """Token ids of a split's captions, row by row.

    Attributes:
        plain: [captions, tokens] int32, the caption.
        pruned: [captions, tokens] int32, only its pronouns, nouns and adjectives.
        content: [captions, tokens] bool, true where a token of `plain` belongs to a noun or adjective.
        words: [captions, tokens] int16, the number of the word between blanks that a token of `plain` is of;
            -1 for start, end and padding.
    """

    plain: Tensor
    pruned: Tensor
    content: Tensor
    words: Tensor | None = None


def caption_tokens(
    captions: Sequence[str],
    encode: Tokenizer,
    tagger: Tagger,
    cache_dir: Path,
    *,
    progress: ProgressCallback | None = None,
) -> CaptionTokens:
    """Token matrices of `captions`, computed at first use and then read from `cache_dir`/captions.

    The file's name is a hash of the captions, the tokenizer, the tagger's name and version, and the
    code of all three, so an outdated file is never used. A damaged file is set aside, reported in the
    log, and replaced.

    Args:
        captions: sentences of any script; every one becomes a row.
        encode: the tokenizer of the model's vocabulary.
        tagger: finds the parts of speech.
        cache_dir: folder of caches.
        progress: called with (captions done, captions in all) while computing.
    """
    folder = cache_dir / "captions"
    path = folder / f"{_key(captions, encode, tagger)}.npz"
    tokens = _read(path)
    if tokens is None:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            tokens = _read(path)
            if tokens is None:
                tokens = _computed(captions, encode, tagger, progress)
                _write(path, tokens)
    return tokens


MARKS = re.compile(r"[.!\"()*#:;~]")
"""What a cleaned caption has spaces for."""
CLEANED_WORDS = 77


def cleaned(caption: str) -> str:
    """A caption in lower case, its marks replaced by spaces, at most 77 words: as TBPS-CLIP reads it."""
    return " ".join(MARKS.sub(" ", caption.lower()).split()[:CLEANED_WORDS])


def captions_cut(captions: Sequence[str], encode: Tokenizer) -> int:
    """How many captions have more tokens than the model reads; the rest of them has no effect."""
    most = encode.context_length - 2
    # A token is at least one character of the caption; most captions need no tokenizing.
    return sum(len(caption) > most and len(encode.encode(caption)) > most for caption in captions)


def captions_cut_cached(
    captions: Sequence[str], vocab_size: int, context_length: int, cache_dir: Path
) -> int:
    """`captions_cut` for a tokenizer of these sizes, computed at first use and then read from `cache_dir`.

    The tokenizer's package takes seconds to import, which a run that has nothing left to do need not spend.
    The file's name is a hash of captions, sizes and code, as in `caption_tokens`.
    """
    path = cache_dir / "captions" / f"{_hash(captions, [vocab_size, context_length, 'cut'])}.cut"
    try:
        return int(path.read_text("utf-8"))
    except (OSError, ValueError):
        pass  # not cached yet, or damaged: counted below
    cut = captions_cut(captions, Tokenizer(vocab_size, context_length))
    with suppress(OSError):  # a full disk costs time, not the answer
        atomic_write(path, f"{cut}\n")
    return cut


def _key(captions: Sequence[str], encode: Tokenizer, tagger: Tagger) -> str:
    return _hash(captions, [encode.vocab_size, encode.context_length, tagger.name, tagger.version])


def _hash(captions: Sequence[str], about: Sequence[object]) -> str:
    digest = hashlib.sha256()
    for module in (sys.modules[__name__], tokenizer, text_pruning):
        digest.update(Path(inspect.getfile(module)).read_bytes())
    digest.update(json.dumps([*about, len(captions)]).encode())
    for caption in captions:
        digest.update(json.dumps(caption).encode())
    return digest.hexdigest()[:32]


class _TagOnce:
    """A tagger that caches its last caption, which pruning and content words both need."""

    def __init__(self, tagger: Tagger) -> None:
        self.name, self.version = tagger.name, tagger.version
        self._tagger = tagger
        self._caption: str | None = None
        self._tags: list[tuple[str, str]] = []

    def tag(self, caption: str) -> list[tuple[str, str]]:
        if caption != self._caption:
            self._caption, self._tags = caption, self._tagger.tag(caption)
        return self._tags


def _computed(
    captions: Sequence[str], encode: Tokenizer, tagger: Tagger, progress: ProgressCallback | None
) -> CaptionTokens:
    remembering = _TagOnce(tagger)
    content = torch.zeros(len(captions), encode.context_length, dtype=torch.bool)
    numbers = torch.full((len(captions), encode.context_length), -1, dtype=torch.int16)
    pruned = []
    for row, caption in enumerate(captions):
        flags = content_flags(caption, encode, remembering)[: encode.context_length - 2]
        content[row, 1 : 1 + len(flags)] = torch.tensor(flags, dtype=torch.bool)
        of_word = encode.word_numbers(caption)[: encode.context_length - 2]
        numbers[row, 1 : 1 + len(of_word)] = torch.tensor(of_word, dtype=torch.int16)
        pruned.append(prune(caption, remembering))
        if progress is not None and (row + 1) % PROGRESS_EVERY == 0:
            progress(row + 1, len(captions))
    if progress is not None:
        progress(len(captions), len(captions))
    plain, shortened = encode(captions).to(torch.int32), encode(pruned).to(torch.int32)
    return CaptionTokens(plain, shortened, content, numbers)


def content_flags(caption: str, encode: Tokenizer, tagger: Tagger) -> list[bool]:
    """Whether each token of `encode.encode(caption)` belongs to a noun or an adjective.

    Tagger and tokenizer split a caption differently ("T-shirt" is one word for one, three for the other), so
    both are compared letter by letter; where the tokenizer's cleaning changed letters, word by word.
    """
    tagged = [(word.lower(), is_content(tag)) for word, tag in tagger.tag(caption)]
    letters = [flag for word, flag in tagged for _ in word]
    words = encode.words(caption)
    flags: list[bool] = []
    if "".join(word for word, _ in words) == "".join(word for word, _ in tagged):
        position = 0
        for word, ids in words:
            flags += [letters[position]] * len(ids)
            position += len(word)
    else:
        known = dict(tagged)
        for word, ids in words:
            flags += [known.get(word, False)] * len(ids)
    return flags


def _read(path: Path) -> CaptionTokens | None:
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return CaptionTokens(
                *(torch.from_numpy(arrays[name]) for name in ("plain", "pruned", "content", "words"))
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        log.warning("caption cache %s: damaged (%s); set aside and computed again", path, error)
        put_aside(path)
        return None


def _words_of(tokens: CaptionTokens) -> Tensor:
    return torch.full_like(tokens.plain, -1) if tokens.words is None else tokens.words


def _write(path: Path, tokens: CaptionTokens) -> None:
    with atomic_file(path) as file:
        np.savez(
            file,
            plain=tokens.plain.numpy(),
            pruned=tokens.pruned.numpy(),
            content=tokens.content.numpy(),
            words=_words_of(tokens).numpy(),
        )
