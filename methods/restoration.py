"""Text-guided image restoration (TIR): hidden patches of a grey image are restored in colour."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from open_clip.transformer import LayerNorm
from torch import Tensor, nn

from methods.blocks import attend, cross_attention, transformer

GREY = (0.2989, 0.5870, 0.1140)


@dataclass(frozen=True)
class PatchPlan:
    """Which patches of each image are hidden.

    Attributes:
        visible: [batch, kept] int64 patch numbers.
        order: [batch, patches] int64, position of each patch's token among (visible …, hidden …).
        in_loss: [batch, patches] bool.
        lossy: how many patches of an image are in the loss.
    """

    visible: Tensor
    order: Tensor
    in_loss: Tensor
    lossy: int


def plan_patches(noise: Tensor, mask_ratio: float, off_by_one: bool = False) -> PatchPlan:
    """Hide patches by `noise` [batch, patches]: those with the smallest values stay visible.

    Clean: round((1 − ratio)·patches) are visible, at least one, and every hidden one is in the loss.  With
    `off_by_one`, as released: the class token counts as a kept patch, so one patch fewer is visible, yet
    the loss spares as many patches as if it did not; the slice goes wrong at the ends (all but one visible
    at ratio 1.0).
    """
    patches = noise.shape[1]
    by_noise = noise.argsort(dim=1)
    order = by_noise.argsort(dim=1)
    if off_by_one:
        spared = int((patches + 1) * (1 - mask_ratio))
        visible = by_noise[:, : spared - 1]
    else:
        spared = max(1, round((1 - mask_ratio) * patches))
        visible = by_noise[:, :spared]
    return PatchPlan(visible, order, order >= spared, patches - spared)


def grey(images: Tensor) -> Tensor:
    """Images [batch, 3, height, width] without their colours, still three channels."""
    # Plain numbers: weights in a tensor would be copied to the device, and waited for, at every step.
    red, green, blue = (weight * images[:, channel] for channel, weight in enumerate(GREY))
    return (red + green + blue).unsqueeze(1).expand_as(images)


def to_patches(images: Tensor, size: int) -> Tensor:
    """Images [batch, 3, height, width] as patches [batch, patches, size·size·3].

    Within a patch the order is (row, column, channel).
    """
    batch, channels, height, width = images.shape
    grid = images.reshape(batch, channels, height // size, size, width // size, size)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(batch, -1, size * size * channels)


def sincos_positions(width: int, grid: tuple[int, int]) -> Tensor:
    """Fixed 2-D sine–cosine positions [1 + rows·columns, width].

    The columns' are in the first half; the class token has zeros.
    """
    frequencies = 1 / 10000 ** (torch.arange(width // 4, dtype=torch.float64) / (width // 4))
    rows, columns = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in grid), indexing="ij")
    angles = [axis.reshape(-1, 1) * frequencies for axis in (columns, rows)]
    positions = torch.cat([part for angle in angles for part in (angle.sin(), angle.cos())], dim=1)
    return torch.cat([torch.zeros(1, width, dtype=torch.float64), positions]).float()


class Restoration(nn.Module):
    """Decoder of TIR: image slots attend to the caption, then restore their pixels."""

    positions: Tensor

    def __init__(self, width: int, grid: tuple[int, int], patch_size: int, depth: int) -> None:
        super().__init__()
        self.patch_size = patch_size
        self.norm_image, self.norm_slots = LayerNorm(width), LayerNorm(width)
        self.norm_text, self.norm_blocks = LayerNorm(width), LayerNorm(width)
        self.norm_pixels = LayerNorm(width)
        self.embed = nn.Linear(width, width)
        self.mask_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.cross_attention = cross_attention(width, depth)
        self.cross_blocks = transformer(width, depth)
        self.pixels = nn.Linear(width, patch_size * patch_size * 3)
        self.register_buffer("positions", sincos_positions(width, grid), persistent=False)

    def forward(self, image_tokens: Tensor, text_tokens: Tensor, plan: PatchPlan) -> Tensor:
        """Predicted patches [batch, patches, size·size·3].

        `image_tokens` [batch, 1 + visible, width] are the class token and the visible patches in the order of
        `plan.visible`; `text_tokens` [batch, tokens, width] all tokens of the caption.
        """
        slots = self._fill(self.embed(self.norm_image(image_tokens)), plan)
        slots = self.norm_slots(slots + self.positions.to(slots.dtype))
        attended = attend(self.cross_attention, slots, self.norm_text(text_tokens))
        restored = self.norm_pixels(self.cross_blocks(self.norm_blocks(attended)))
        predicted: Tensor = self.pixels(restored[:, 1:])
        return predicted

    def _fill(self, tokens: Tensor, plan: PatchPlan) -> Tensor:
        """Tokens [batch, 1 + patches, width] with mask tokens where patches are hidden."""
        batch, patches = plan.order.shape
        hidden = self.mask_token.to(tokens.dtype).expand(batch, patches - tokens.shape[1] + 1, -1)
        patch_tokens = torch.cat([tokens[:, 1:], hidden], dim=1)
        order = plan.order.unsqueeze(-1).expand(-1, -1, tokens.shape[-1])
        return torch.cat([tokens[:, :1], patch_tokens.gather(1, order)], dim=1)

    def loss(self, predicted: Tensor, images: Tensor, plan: PatchPlan) -> Tensor:
        """Squared error [batch], mean over the patches in the loss of each image.

        `predicted` [batch, patches, size·size·3]; `images` [batch, 3, height, width] in colour.
        """
        target = to_patches(images, self.patch_size).float()
        error = (predicted.float() - target).square().mean(dim=-1)
        return (error * plan.in_loss).sum(dim=1) / max(plan.lossy, 1)
