"""Training augmentation, batched on the device: flip, pad and crop, normalisation, random erasing.

`draw_augmentation` draws all randomness; `augment` is a pure function of pixels and draws, and never waits
for the device. The distributions are those of torchvision's RandomHorizontalFlip, Pad + RandomCrop and
RandomErasing, one image at a time.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from methods.backbones import OPENAI_MEAN, OPENAI_STD

ERASED_AREA = (0.02, 0.4)
ERASED_ASPECT = (0.3, 3.3)
ATTEMPTS = 10
"""Rectangles to erase, or crops, that are tried before an image stays as it is, as in torchvision."""

Draws = dict[str, Tensor]
"""What `draw_augmentation` returns, by name."""
Channels = tuple[float, float, float]


def draw_augmentation(
    size: int,
    image_size: tuple[int, int],
    generator: torch.Generator,
    device: torch.device | str,
    flip: float = 0.5,
    pad: int = 10,
    erase: float = 0.5,
) -> Draws:
    """Draw all randomness of augmenting `size` images.

    The numbers are drawn on the generator's device and copied to `device`.

    Args:
        size: images in the batch.
        image_size: (height, width).
        generator: source of randomness.
        device: where the draws are wanted.
        flip: probability of a horizontal flip.
        pad: black pixels added on every side before cropping back to `image_size` at a random place.
        erase: probability of erasing a rectangle.

    Returns:
        `flip` [size] bool; `shift` [size, 2] int64, where the crop begins in the unpadded image (−pad … pad);
        `box` [size, 4] int64, the erased rectangle as top, left, height, width (height 0: none).
    """
    height, width = image_size
    source = generator.device
    uniform = torch.rand(size, 4, generator=generator, device=source)
    flipped = uniform[:, 0] < flip
    shift = _below(torch.full((2,), 2 * pad + 1, device=source), uniform[:, 1:3]) - pad
    box = _draw_boxes(size, height, width, generator)
    box[:, 2:] *= (uniform[:, 3] < erase).unsqueeze(1)
    draws = {"flip": flipped, "shift": shift, "box": box}
    return {name: to_device(draw, device) for name, draw in draws.items()}


def to_device(tensor: Tensor, device: torch.device | str) -> Tensor:
    """Copy `tensor` [...] to `device` without waiting: only copies from pinned memory are asynchronous."""
    device = torch.device(device)
    if device.type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _below(count: Tensor, uniform: Tensor) -> Tensor:
    """Integers 0 … count − 1, equally likely, from numbers in [0, 1)."""
    # A float32 product may round up to `count` itself.
    return torch.minimum((uniform * count).long(), count - 1)


def _draw_boxes(size: int, height: int, width: int, generator: torch.Generator) -> Tensor:
    """[size, 4] rectangles: the first of `ATTEMPTS` that is smaller than the image, or an empty one."""
    uniform = torch.rand(4, size, ATTEMPTS, generator=generator, device=generator.device)
    smallest, largest = ERASED_AREA
    area = height * width * (smallest + (largest - smallest) * uniform[0])
    low, high = math.log(ERASED_ASPECT[0]), math.log(ERASED_ASPECT[1])
    aspect = torch.exp(low + (high - low) * uniform[1])
    heights, widths = torch.sqrt(area * aspect).round().long(), torch.sqrt(area / aspect).round().long()
    fits = (heights < height) & (widths < width)
    first = fits.int().argmax(dim=1, keepdim=True)
    tops = _below((height - heights + 1).clamp(min=1), uniform[2])
    lefts = _below((width - widths + 1).clamp(min=1), uniform[3])
    boxes = torch.stack([tops, lefts, heights * fits, widths * fits], dim=2)
    return boxes.gather(1, first.unsqueeze(2).expand(-1, 1, 4)).squeeze(1)


def augment(
    images: Tensor,
    draws: Draws,
    mean: Channels = OPENAI_MEAN,
    std: Channels = OPENAI_STD,
) -> Tensor:
    """Flip, pad-crop, normalise, erase: in that order, as the recipe has it.

    Args:
        images: [batch, 3, height, width] uint8.
        draws: of `draw_augmentation`, on the same device.
        mean: per channel, subtracted; also the *normalised* value written into the erased rectangle,
            as released.
        std: per channel, divided by.

    Returns:
        [batch, 3, height, width] float32.
    """
    batch, channels, height, width = images.shape
    rows = torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device)
    source_row = rows + draws["shift"][:, :1]
    source_column = columns + draws["shift"][:, 1:]
    inside = _within(source_row, 0, height).unsqueeze(2) & _within(source_column, 0, width).unsqueeze(1)
    source_column = torch.where(draws["flip"].unsqueeze(1), width - 1 - source_column, source_column)
    pixel_index = source_row.clamp(0, height - 1).unsqueeze(2) * width + source_column.clamp(
        0, width - 1
    ).unsqueeze(1)
    pixel_index = pixel_index.view(batch, 1, -1).expand(-1, channels, -1)
    cropped = images.flatten(2).gather(2, pixel_index).view_as(images) * inside.unsqueeze(1)
    top, left, box_height, box_width = draws["box"].unsqueeze(2).unbind(1)
    erased = _within(rows, top, top + box_height).unsqueeze(2) & _within(
        columns, left, left + box_width
    ).unsqueeze(1)
    value = _per_channel(mean, images.device)
    return torch.where(erased.unsqueeze(1), value, normalise(cropped, mean, std))


def to_unit_range(images: Tensor) -> Tensor:
    """Pixels [batch, 3, height, width] uint8 as float32 in 0 … 1."""
    return images.float().div_(255)


def normalise_unit(images: Tensor, mean: Channels, std: Channels) -> Tensor:
    """`(pixel − mean) / std` of images [batch, 3, height, width] in 0 … 1."""
    return (images - _per_channel(mean, images.device)) / _per_channel(std, images.device)


def _within(values: Tensor, low: Tensor | int, high: Tensor | int) -> Tensor:
    """Whether `low` ≤ `values` < `high`, element by element."""
    return (values >= low) & (values < high)


def normalise(
    images: Tensor,
    mean: Channels = OPENAI_MEAN,
    std: Channels = OPENAI_STD,
) -> Tensor:
    """Scale pixels to `(pixel / 255 − mean) / std`, as torchvision's ToTensor and Normalize do.

    Args:
        images: [batch, 3, height, width] uint8.
        mean: per channel, subtracted.
        std: per channel, divided by.

    Returns:
        [batch, 3, height, width] float32.
    """
    centre, scale = _per_channel(mean, images.device), _per_channel(std, images.device)
    return images.float().div_(255).sub_(centre).div_(scale)


@cache
def _per_channel(values: Channels, device: torch.device) -> Tensor:
    """`values` as [1, 3, 1, 1] on the device; cached, because such a copy waits for the device."""
    return torch.tensor(values, device=device).view(1, 3, 1, 1)
