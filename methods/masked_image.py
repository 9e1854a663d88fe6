"""Masked image modelling as in VFE-TPS, the nearest rival of TIR (arXiv 2412.20646).

1. An image is cut into blocks of 2×2 patches, and ceil(0.6 * blocks) of them are masked, drawn uniformly:
   of 384×128 pixels in patches of 16, 29 of 48 blocks.
2. A masked patch is replaced by one learnt token, after the patch embedding and before positions are added;
   the whole image encoder then reads all patches, in colour. TIR's encoder reads the visible patches of a
   grey image.
3. Head: one cross-attention whose query is the masked image and whose key and value are the *guide*,
   without a residual; blocks of self-attention; a projection of each patch's token to its pixels.
4. Loss: mean absolute error of the masked pixels, over the batch at once.

What surprises in the released code:

* The guide it passes is the masked image itself (`guide: self`); the call with the caption's tokens, which
  is the paper's text-guided modelling, stands beside it, commented out (`guide: text`).
* The image's norm serves the query and the text's the guide, in both.
* The identity loss reads the image feature alone.
* The data set for masked language modelling is on whatever the losses are, and overwrites captions in
  place: all losses see about one word in seven masked or replaced (`overwritten_captions`), as in IRRA.
* The grid of 24×8 patches is written into the code; here it is the backbone's. Where a side has an odd
  number of patches, the last block of a row or column is smaller.
"""

from __future__ import annotations

import math

import torch
from open_clip.transformer import LayerNorm
from torch import Tensor, nn
from torch.nn import functional as F

from methods import losses
from methods.base import Batch, Noise
from methods.blocks import attend, cross_attention, transformer
from methods.clip import Backbone, DualEncoder, at_end_of_text
from methods.masked_language import draw_masking, mask_captions
from methods.rival_settings import MaskedImageSettings

BLOCK = 2
"""Patches along the side of a block that is masked as a whole."""
COUNT_FLOOR = 1e-5
"""Added to the number of masked pixels, as released."""


def grid_of_blocks(grid: tuple[int, int]) -> tuple[int, int]:
    """Rows and columns of blocks that cover a grid of patches."""
    return -(-grid[0] // BLOCK), -(-grid[1] // BLOCK)


def mask_patches(noise: Tensor, grid: tuple[int, int], share: float) -> Tensor:
    """Which patches are masked, [batch, patches] bool: whole blocks, those of the smallest `noise`.

    Args:
        noise: [batch, blocks], of `grid_of_blocks`.
        grid: rows and columns of patches.
        share: of the blocks, rounded up.
    """
    rows, columns = grid_of_blocks(grid)
    masked = noise.argsort(dim=1).argsort(dim=1) < math.ceil(rows * columns * share)
    patches = masked.view(-1, rows, columns).repeat_interleave(BLOCK, 1).repeat_interleave(BLOCK, 2)
    return patches[:, : grid[0], : grid[1]].flatten(1)


class MaskedImageHead(nn.Module):
    """Restores an image from its masked tokens and a guide."""

    def __init__(self, width: int, grid: tuple[int, int], patch_size: int, depth: int) -> None:
        super().__init__()
        self.grid, self.patch_size = grid, patch_size
        self.norm_image, self.norm_guide = LayerNorm(width), LayerNorm(width)
        self.norm_pixels = LayerNorm(width)
        self.cross_attention = cross_attention(width, depth)
        self.cross_blocks = transformer(width, depth)
        self.pixels = nn.Linear(width, 3 * patch_size * patch_size)
        nn.init.xavier_uniform_(self.pixels.weight)
        nn.init.zeros_(self.pixels.bias)

    def forward(self, image_tokens: Tensor, guide: Tensor) -> Tensor:
        """Restored images [batch, 3, height, width].

        `image_tokens` [batch, 1 + patches, width] of the masked image, `guide` [batch, tokens, width].
        """
        return self.to_images(self.pixels(self.tokens(image_tokens, guide)[:, 1:]))

    def tokens(self, image_tokens: Tensor, guide: Tensor) -> Tensor:
        """Tokens [batch, 1 + patches, width] from which the pixels are read."""
        mixed = attend(self.cross_attention, self.norm_image(image_tokens), self.norm_guide(guide))
        restored: Tensor = self.norm_pixels(self.cross_blocks(mixed))
        return restored

    def to_images(self, patches: Tensor) -> Tensor:
        """Images [batch, 3, height, width] of patches [batch, patches, colour·row·column]."""
        size, (rows, columns) = self.patch_size, self.grid
        shaped = patches.view(-1, rows, columns, 3, size, size).permute(0, 3, 1, 4, 2, 5)
        return shaped.reshape(-1, 3, rows * size, columns * size)


def masked_error(predicted: Tensor, images: Tensor, masked: Tensor, patch_size: int) -> tuple[Tensor, Tensor]:
    """Sum of absolute errors of the masked pixels over three colours, and how many pixels they are: each [1].

    `predicted` and `images` [batch, 3, height, width]; `masked` [batch, patches] bool.
    """
    height, width = images.shape[2] // patch_size, images.shape[3] // patch_size
    pixels = masked.view(-1, 1, height, width).float()
    pixels = pixels.repeat_interleave(patch_size, 2).repeat_interleave(patch_size, 3)
    error = ((images.float() - predicted.float()).abs() * pixels).sum()
    return error.reshape(1), pixels.sum().reshape(1)


class MaskedImage(DualEncoder):
    """SDM, identity of the image, and masked image modelling with a guide (`vfe-mim`)."""

    settings: MaskedImageSettings

    def __init__(
        self,
        settings: MaskedImageSettings,
        *,
        backbone: Backbone,
        identities: int,
        image_size: tuple[int, int],
    ) -> None:
        super().__init__(settings, backbone=backbone, identities=identities, image_size=image_size)
        width, config = backbone.embed_dim, backbone.config
        self.classifier = nn.Linear(width, identities)
        nn.init.normal_(self.classifier.weight, std=0.001)
        nn.init.zeros_(self.classifier.bias)
        self.mask_token = nn.Parameter(torch.zeros(config.vision_width))
        self.head = MaskedImageHead(width, backbone.grid, config.patch_size, settings.decoder_depth)

    def draw_noise(self, size: int, generator: torch.Generator, device: torch.device | str) -> Noise:
        """Draws for the blocks [size, blocks] and for overwriting captions [size, tokens]."""
        rows, columns = grid_of_blocks(self.clip.grid)
        blocks = torch.rand(size, rows * columns, generator=generator, device=device)
        shape = (size, self.clip.config.context_length)
        return {"blocks": blocks, **draw_masking(shape, generator, device)}

    def forward(self, batch: Batch, noise: Noise) -> dict[str, Tensor]:
        """Named scalar losses of `batch`, weights applied."""
        settings, clip, captions = self.settings, self.clip, batch.captions
        if settings.overwritten_captions:
            vocab = clip.config.vocab_size
            captions, _ = mask_captions(captions, batch.content, noise, vocab, "uniform", "first_word")
        words = clip.text_tokens(captions) if settings.guide == "text" else None
        text = clip.encode_text(captions) if words is None else at_end_of_text(words, captions)
        computed = self.global_losses(batch, clip.encode_image(batch.images), text, noise)
        masked = mask_patches(noise["blocks"], clip.grid, settings.masked_blocks)
        tokens = clip.image_tokens(batch.images, replaced=(masked, self.mask_token))
        predicted = self.head(tokens, tokens if words is None else words)
        error, count = masked_error(predicted, batch.images, masked, clip.config.patch_size)
        error, count = self.gather(error).sum(), self.gather(count).sum()
        computed["mim"] = settings.mim_weight * error / (count + COUNT_FLOOR) / 3
        return computed

    def losses(
        self, batch: Batch, image_features: Tensor, text_features: Tensor, noise: Noise
    ) -> dict[str, Tensor]:
        """SDM, and the person of each image, from features [global batch, embed_dim]."""
        settings, people = self.settings, batch.person_ids
        weight, bias = self.classifier.weight.float(), self.classifier.bias.float()
        sdm = losses.sdm(image_features, text_features, people, settings.temperature)
        identity = F.cross_entropy(F.linear(image_features, weight, bias), people)
        return {"sdm": settings.sdm_weight * sdm, "identity": settings.identity_weight * identity}
