"""RDE (Qin et al., CVPR 2024): two embeddings a side, and training on those pairs that both of them trust.

* **Embeddings.** The global one of CLIP (BGE), and one of selected tokens (TSE, `methods.token_selection`).
  Each has a loss of its own, and their sum is minimised; for retrieval their two cosines are averaged,
  which is the one cosine of the two unit vectors side by side.
* **Loss.** TAL, a sum over the pairs (`methods.pair_losses`).
* **Division.** Before every epoch, a pass over all training pairs divides them into trusted and not by the
  losses of both embeddings (`methods.consensus`). A pair that is not trusted has no loss of its own in that
  epoch; it still is a positive or negative of the others.
* **Text.** In training and in the pass every word is kept (80 %), masked (12 %), replaced by a random one
  (4 %) or removed (4 %).

Sources: the paper (arXiv 2308.09911), and the behaviour of the released code where the paper is silent.
What surprises there:

* The pass leaves the model in evaluation mode, and it comes first, so TSE's BatchNorm never sees a batch:
  mean 0 and variance 1 stay (`selection_norm: eval`, the published numbers; `train` is the code since
  November 2024).
* There is no epoch in which all pairs are trusted: the first division uses the pretrained global embedding
  and an untrained TSE. Nothing is remembered from one epoch to the next.
* TSE learns at 1e-3, a hundred times the rate of the encoders; a recipe says so (`group_lr`).
* The comments of the text augmentation claim 15 %, of which 50, 20 and 30 %; the code does what
  is said above.

Not known is what the authors' division did for one embedding alone (their ablation); here `rde-bge` divides
by its one loss, and no coin is needed.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.attention import full_precision
from methods.base import Batch, Noise
from methods.clip import Backbone, DualEncoder, at_end_of_text
from methods.consensus import DIVISIONS, divide
from methods.pair_losses import losses_of_pairs, trusted_total
from methods.rival_settings import RDESettings
from methods.text_augmentation import corrupt_words
from methods.token_selection import (
    TokenEmbedding,
    choose_patches,
    choose_words,
    encode_with_attention,
    tokens_at,
)

Features = dict[str, tuple[Tensor, Tensor]]
"""By name of the embedding, image and text features, each [batch, width]."""


class RDE(DualEncoder):
    """RDE and its ablations, by the switches in `settings`."""

    settings: RDESettings

    def __init__(
        self, settings: RDESettings, *, backbone: Backbone, identities: int, image_size: tuple[int, int]
    ) -> None:
        super().__init__(settings, backbone=backbone, identities=identities, image_size=image_size)
        self.examines_pairs = settings.division != "off"
        if settings.token_selection:
            wide = settings.selection_width or 2 * backbone.embed_dim
            self.use_selection(wide // 2, wide)

    def use_selection(self, hidden: int, wide: int) -> None:
        """Build the token selection of both sides: its MLP's inner width, and the width of its embedding."""
        width, sees_batches = self.clip.embed_dim, self.settings.selection_norm == "train"
        self.image_selection = TokenEmbedding(width, hidden, wide, sees_batches)
        self.text_selection = TokenEmbedding(width, hidden, wide, sees_batches)
        self.embed_dim = width + wide

    # -- features -----------------------------------------------------------------------------------

    def image_embeddings(self, images: Tensor) -> list[Tensor]:
        """BGE [global batch, width] and TSE [global batch, width] of this process's images."""
        if not self.settings.token_selection:
            return [self.gather(self.clip.encode_image(images))]
        tokens, attention = self.image_tokens(images)
        chosen = tokens_at(choose_patches(attention, self.settings.selection_ratio), tokens)
        # Gathered before BatchNorm, whose statistics are those of the whole batch.
        return [self.gather(tokens[:, 0]), self._pooled(self.image_selection, self.gather(chosen))]

    def text_embeddings(self, captions: Tensor) -> list[Tensor]:
        """BGE [global batch, width] and TSE [global batch, width] of this process's captions."""
        if not self.settings.token_selection:
            return [self.gather(self.clip.encode_text(captions))]
        tokens, attention = self.text_tokens(captions)
        positions, words = choose_words(attention, captions, self.settings.selection_ratio)
        chosen, counted = self.gather(tokens_at(positions, tokens)), self.gather(words)
        pooled = self._pooled(self.text_selection, chosen, counted)
        return [self.gather(at_end_of_text(tokens, captions)), pooled]

    @staticmethod
    def _pooled(selection: TokenEmbedding, chosen: Tensor, counted: Tensor | None = None) -> Tensor:
        with full_precision(chosen.device.type):
            pooled: Tensor = selection(chosen.to(selection.first.weight.dtype), counted)
        return pooled

    def image_tokens(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Projected tokens [batch, 1 + patches, width], and the class token's attention to each."""
        embedded = self.clip.embed_patches(images)
        first = torch.zeros(embedded.shape[0], dtype=torch.int64, device=embedded.device)
        tokens, attention = encode_with_attention(self.clip.visual.transformer, embedded, first)
        return self.clip.project_image(tokens), attention

    def text_tokens(self, captions: Tensor) -> tuple[Tensor, Tensor]:
        """Projected tokens [batch, tokens, width], and the end token's attention to each."""
        embedded, mask = self.clip.embed_words(captions), self.clip.causal_mask(captions)
        end = captions.argmax(dim=-1)
        tokens, attention = encode_with_attention(self.clip.transformer, embedded, end, mask)
        return self.clip.project_text(tokens), attention

    def encode_image(self, images: Tensor) -> Tensor:
        """The unit vectors of both embeddings side by side, [batch, embed_dim]."""
        return side_by_side(self.image_embeddings(images))

    def encode_text(self, captions: Tensor) -> Tensor:
        """The unit vectors of both embeddings side by side, [batch, embed_dim]."""
        return side_by_side(self.text_embeddings(captions))

    def plain_backbone(self) -> Backbone | None:
        """None where the features need the selection of tokens, too."""
        return None if self.settings.token_selection else self.clip

    # -- training -----------------------------------------------------------------------------------

    def draw_noise(self, size: int, generator: torch.Generator, device: torch.device | str) -> Noise:
        """The text augmentation's draws [size, tokens], and `trust` [size], which the hook replaces."""
        shape = (size, self.clip.config.context_length)
        names = ("corrupt_kind", "corrupt_word")
        drawn = {name: torch.rand(shape, generator=generator, device=device) for name in names}
        return {**drawn, "trust": torch.ones(size, device=device)}

    def forward(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """The losses of each embedding over the trusted pairs of the whole batch, each a scalar."""
        trust, kind = self.gather(noise["trust"]), self.settings.pair_loss
        per_pair = self.examine(batch, noise)
        return {name: trusted_total(losses, trust, kind) for name, losses in per_pair.items()}

    def examine(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """The losses of every pair of the whole batch by each embedding, each [global batch] in float32."""
        captions = batch.captions
        if self.settings.word_corruption:
            captions = corrupt_words(captions, noise, self.clip.config.vocab_size)
        people = self.gather(batch.person_ids)
        sides = zip(self.image_embeddings(batch.images), self.text_embeddings(captions), strict=True)
        with full_precision(batch.images.device.type):
            pairs = [self.losses_of(image.float(), text.float(), people) for image, text in sides]
        return dict(zip(("bge", "tse"), pairs, strict=False))

    def losses_of(self, image: Tensor, text: Tensor, person_ids: Tensor) -> Tensor:
        """The loss of every pair [batch], from features [batch, width] of one embedding."""
        settings = self.settings
        return losses_of_pairs(
            image,
            text,
            person_ids,
            settings.pair_loss,
            margin=settings.tal_margin,
            temperature=settings.pair_temperature(),
            floor=settings.trl_floor,
        )

    def before_epoch(self, epoch: int, examined: Mapping[str, Tensor], generator: torch.Generator) -> Noise:
        """`trust` [training pairs]: 1 for pairs that take part in the epoch's loss, else 0."""
        if self.settings.division == "off":
            return {}
        return {"trust": divide(list(examined.values()), DIVISIONS[self.settings.division], generator)}


def side_by_side(embeddings: list[Tensor]) -> Tensor:
    """Unit vectors [batch, width] of each embedding, joined: their cosine is the mean of the cosines."""
    return torch.cat([F.normalize(part.float(), dim=-1) for part in embeddings], dim=-1)
