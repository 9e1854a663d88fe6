"""Masked language modelling with the help of the image (IRRA's auxiliary task), and its masking."""

from __future__ import annotations

import math

import torch
from open_clip.transformer import LayerNorm, QuickGELU
from torch import Tensor, nn
from torch.nn import functional as F

from methods.base import Noise
from methods.blocks import attend, cross_attention, transformer
from methods.settings import AtLeastOne, Masking

UNIFORM_RATE = 0.15  # IRRA
CONTENT_RATE, OTHER_RATE = 0.30, 0.05  # SEN: nouns and adjectives, everything else
AS_MASK, AS_RANDOM = 0.8, 0.1  # of the chosen tokens; the rest keeps its word


def is_word(captions: Tensor, vocab_size: int) -> Tensor:
    """Which tokens [batch, tokens] are words: neither padding nor mask, start or end."""
    return (captions > 0) & (captions < vocab_size - 3)


def draw_masking(shape: tuple[int, int], generator: torch.Generator, device: torch.device | str) -> Noise:
    """The randomness `mask_captions` needs for captions of `shape` [batch, tokens]."""
    names = ("mask_choice", "mask_kind", "mask_word")
    return {name: torch.rand(shape, generator=generator, device=device) for name in names}


def mask_captions(
    captions: Tensor,
    content: Tensor,
    noise: Noise,
    vocab_size: int,
    masking: Masking,
    at_least_one: AtLeastOne = "likeliest",
) -> tuple[Tensor, Tensor]:
    """Masked captions and which tokens were chosen, both [batch, tokens].

    15 % of the words are chosen (`uniform`) or 30 % of `content` and 5 % of the rest (`by_tag`), at least
    one per caption; of those 80 % become the mask token, 10 % a random word, 10 % stay. Where chance chose
    none, `at_least_one` is the word nearest to being chosen, or (as IRRA does) the first word, which then
    always becomes the mask token.

    Args:
        captions: [batch, tokens] int64.
        content: [batch, tokens] bool, nouns and adjectives.
        noise: of `draw_masking`.
        vocab_size: size of the vocabulary; its last three ids are mask, start and end.
        masking: rates of the choice.
        at_least_one: what is masked in a caption of which chance chose nothing.
    """
    rate = torch.where(content, CONTENT_RATE, OTHER_RATE) if masking == "by_tag" else UNIFORM_RATE
    words = is_word(captions, vocab_size)
    readiness = (noise["mask_choice"] / rate).masked_fill(~words, math.inf)
    positions = torch.arange(captions.shape[1], device=captions.device)
    chosen, kind = words & (readiness < 1), noise["mask_kind"]
    # Where others are chosen, so is the likeliest: only a caption without any is changed by it.
    nearest = readiness if at_least_one == "likeliest" else torch.where(words, 0.0, math.inf)
    forced = words & (positions == nearest.argmin(dim=1, keepdim=True))
    if at_least_one == "first_word":
        forced &= ~chosen.any(dim=1, keepdim=True)
        kind = kind.masked_fill(forced, 0.0)
    chosen |= forced
    random_words = 1 + (noise["mask_word"] * (vocab_size - 4)).long().clamp(max=vocab_size - 5)
    replaced = torch.where(kind < AS_MASK + AS_RANDOM, random_words, captions)
    replaced = replaced.masked_fill(kind < AS_MASK, vocab_size - 3)
    return torch.where(chosen, replaced, captions), chosen


def most_chosen(captions: int, tokens: int, masking: Masking) -> int:
    """A bound on the tokens chosen in a batch: the mean if all were words, four deviations, one per caption.

    A fixed number keeps shapes static (no waiting for the device) while the large vocabulary is scored for
    few tokens. In the very rare batch with more, the last ones are missing from the loss.
    """
    slots, rate = captions * tokens, CONTENT_RATE if masking == "by_tag" else UNIFORM_RATE
    return min(slots, math.ceil(slots * rate + 4 * math.sqrt(slots * rate)) + captions)


class Head(nn.Module):
    """Scores over the vocabulary from a token."""

    def __init__(self, width: int, vocab_size: int, depth: int) -> None:
        super().__init__()
        self.dense, self.activation = nn.Linear(width, width), QuickGELU()
        self.ln, self.fc = LayerNorm(width), nn.Linear(width, vocab_size)
        nn.init.normal_(self.dense.weight, std=(2 * width) ** -0.5)
        nn.init.normal_(self.fc.weight, std=width**-0.5 * (2 * depth) ** -0.5)

    def forward(self, tokens: Tensor) -> Tensor:
        """Scores [tokens, vocab_size] of tokens [tokens, width]."""
        scores: Tensor = self.fc(self.ln(self.activation(self.dense(tokens))))
        return scores


class MaskedLanguage(nn.Module):
    """Predicts the words of a masked caption from its other words and the image."""

    def __init__(self, width: int, vocab_size: int, depth: int) -> None:
        super().__init__()
        self.norm_text, self.norm_image = LayerNorm(width), LayerNorm(width)
        self.norm_words = LayerNorm(width)
        self.cross_attention = cross_attention(width, depth)
        self.cross_blocks = transformer(width, depth)
        self.mlm_head = Head(width, vocab_size, depth)

    def forward(
        self, text_tokens: Tensor, image_tokens: Tensor, captions: Tensor, chosen: Tensor, limit: int
    ) -> tuple[Tensor, Tensor]:
        """Summed cross-entropy of the chosen tokens and their number, each [1].

        `text_tokens` [batch, tokens, width] of the masked captions, `image_tokens` [batch, 1 + patches,
        width], `captions` [batch, tokens] the true words, `chosen` [batch, tokens] bool; at most
        `limit` are scored.
        """
        mixed = attend(self.cross_attention, self.norm_text(text_tokens), self.norm_image(image_tokens))
        mixed = self.norm_words(self.cross_blocks(mixed)).flatten(0, 1)
        chosen = chosen.flatten()
        positions = chosen.byte().argsort(descending=True, stable=True)[:limit]
        scores = self.mlm_head(mixed[positions]).float()
        counted = chosen[positions]
        loss = F.cross_entropy(scores, captions.flatten()[positions], reduction="none") * counted
        return loss.sum().reshape(1), counted.sum().float().reshape(1)
