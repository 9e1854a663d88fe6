"""The image augmentations of TBPS-CLIP, batched on the device: two of six, and the strong view.

As in `augment`, all randomness is drawn first and every operation is a pure function of pixels and draws.
Images are [batch, 3, height, width] float32 in 0 … 1 throughout. What the operations do is torchvision's,
with two differences: colours are changed in a fixed order (brightness, contrast, saturation, hue), and crops
and rotations are sampled bilinearly without antialiasing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from harness.data.augment import ATTEMPTS, ERASED_ASPECT, Draws, to_device

OPERATIONS = 6
"""Jitter, rotation, crop, grey, flip, erasing: of these two are drawn, with replacement."""
PARAMETERS = 10
"""Uniform numbers of one operation, beside its attempts at a rectangle [ATTEMPTS, 4]."""
JITTER, STRONG_JITTER = (0.1, 0.1, 0.1, 0.0), (0.4, 0.4, 0.4, 0.1)
DEGREES = 15.0
CROP, STRONG_CROP = (0.9, 1.0), (0.2, 1.0)
ASPECT = (3 / 4, 4 / 3)
ERASED = (0.1, 0.2)
BLUR = (0.1, 2.0)
BLUR_RADIUS = 6


def draw_two_of_six(size: int, generator: torch.Generator, device: torch.device | str) -> Draws:
    """All randomness of `two_of_six`: which operations and their numbers, each draw [size, 2, …]."""
    source = generator.device
    draws = {
        "operation": torch.randint(OPERATIONS, (size, 2), generator=generator, device=source),
        "number": torch.rand(size, 2, PARAMETERS, generator=generator, device=source),
        "rectangle": torch.rand(size, 2, ATTEMPTS, 4, generator=generator, device=source),
    }
    return {name: to_device(draw, device) for name, draw in draws.items()}


def two_of_six(images: Tensor, draws: Draws) -> Tensor:
    """Apply to each of `images` [batch, 3, height, width] two of six operations, one after the other.

    One time in six both are the same. `draws` as `draw_two_of_six` makes them.
    Jitter of 0.1 without hue, a rotation by up to 15 degrees, a crop of 0.9 to 1 of the area resized back,
    grey (p 0.1), a flip (p 0.5), and a rectangle of 0.1 to 0.2 of the area set to 0 (p 0.5).
    """
    for slot in range(2):
        number, rectangle = draws["number"][:, slot], draws["rectangle"][:, slot]
        changed = (
            jitter(images, number, JITTER),
            rotate(images, number[:, 0], DEGREES),
            crop(images, rectangle, CROP),
            grey(images, number[:, 0] < 0.1),
            flip(images, number[:, 0] < 0.5),
            erase(images, rectangle, number[:, 0] < 0.5),
        )
        chosen = draws["operation"][:, slot].view(-1, 1, 1, 1)
        for operation, result in enumerate(changed):
            images = torch.where(chosen == operation, result, images)
    return images


def draw_strong(size: int, generator: torch.Generator, device: torch.device | str) -> Draws:
    """All randomness of `strong_view` for `size` images, each draw [size, …]."""
    source = generator.device
    draws = {
        "number": torch.rand(size, PARAMETERS, generator=generator, device=source),
        "rectangle": torch.rand(size, ATTEMPTS, 4, generator=generator, device=source),
    }
    return {name: to_device(draw, device) for name, draw in draws.items()}


def strong_view(images: Tensor, draws: Draws) -> Tensor:
    """A view of `images` [batch, 3, height, width] for contrast between images.

    Crop, jitter (p 0.8), grey (p 0.2), blur (p 0.5), flip (p 0.5). `draws` as `draw_strong` makes them.
    """
    number = draws["number"]
    images = crop(images, draws["rectangle"], STRONG_CROP)
    jittered = jitter(images, number, STRONG_JITTER)
    images = torch.where((number[:, 4] < 0.8).view(-1, 1, 1, 1), jittered, images)
    images = grey(images, number[:, 5] < 0.2)
    blurred = blur(images, BLUR[0] + (BLUR[1] - BLUR[0]) * number[:, 7])
    images = torch.where((number[:, 6] < 0.5).view(-1, 1, 1, 1), blurred, images)
    return flip(images, number[:, 8] < 0.5)


def flip(images: Tensor, chosen: Tensor) -> Tensor:
    """Mirror the images that are `chosen` [batch] bool."""
    return torch.where(chosen.view(-1, 1, 1, 1), images.flip(3), images)


def luminance(images: Tensor) -> Tensor:
    """Grey values [batch, 1, height, width]."""
    weights = images.new_tensor([0.2989, 0.587, 0.114]).view(1, 3, 1, 1)
    return (images * weights).sum(dim=1, keepdim=True)


def grey(images: Tensor, chosen: Tensor) -> Tensor:
    """Take the colour from the images that are `chosen` [batch] bool."""
    return torch.where(chosen.view(-1, 1, 1, 1), luminance(images).expand_as(images), images)


def jitter(images: Tensor, number: Tensor, strength: tuple[float, float, float, float]) -> Tensor:
    """Change brightness, contrast, saturation and hue, each by up to its `strength`.

    `number` [batch, ≥ 4] uniform in 0 … 1.
    """
    factors = [1 + width * (2 * number[:, i].view(-1, 1, 1, 1) - 1) for i, width in enumerate(strength[:3])]
    images = (images * factors[0]).clamp(0, 1)
    images = _blend(images, luminance(images).mean(dim=(2, 3), keepdim=True), factors[1])
    images = _blend(images, luminance(images), factors[2])
    return images if strength[3] == 0 else shift_hue(images, strength[3] * (2 * number[:, 3] - 1))


def _blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    return (factor * images + (1 - factor) * other).clamp(0, 1)


def shift_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue of each image by `shift` [batch], in turns of the colour circle."""
    high, low = images.amax(dim=1), images.amin(dim=1)
    spread = high - low
    safe = torch.where(spread > 0, spread, torch.ones_like(spread))
    red, green, blue = images.unbind(1)
    hue = torch.where(
        high == red,
        (green - blue) / safe,
        torch.where(high == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    hue = hue / 6 + shift.view(-1, 1, 1)
    channels = []
    for offset in (5.0, 3.0, 1.0):
        position = (offset + 6 * hue) % 6
        channels.append(high - spread * torch.minimum(position, 4 - position).clamp(0, 1))
    return torch.stack(channels, dim=1)


def rotate(images: Tensor, number: Tensor, degrees: float) -> Tensor:
    """Rotate about the centre by up to ±`degrees`; corners become 0. `number` [batch] uniform in 0 … 1."""
    angle = math.radians(degrees) * (2 * number - 1)
    height, width = images.shape[2:]
    cosine, sine, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rows = (cosine, -sine * height / width, zero), (sine * width / height, cosine, zero)
    return _sampled(images, torch.stack([torch.stack(row, dim=1) for row in rows], dim=1))


def crop(images: Tensor, rectangle: Tensor, area: tuple[float, float]) -> Tensor:
    """Cut out a share `area` of each image at a random place and resize it to the whole.

    `rectangle` [batch, ATTEMPTS, 4] uniform in 0 … 1.
    """
    height, width = images.shape[2:]
    top, left, tall, wide = _rectangles(rectangle, height, width, area, ASPECT)
    # Where no attempt fitted, the rectangle is empty, and the whole image is taken.
    whole = tall == 0
    tall, wide = torch.where(whole, height, tall), torch.where(whole, width, wide)
    zero = torch.zeros_like(tall)
    across = (wide / width, zero, (2 * left + wide) / width - 1)
    down = (zero, tall / height, (2 * top + tall) / height - 1)
    return _sampled(images, torch.stack([torch.stack(across, dim=1), torch.stack(down, dim=1)], dim=1))


def _sampled(images: Tensor, theta: Tensor) -> Tensor:
    grid = F.affine_grid(theta, list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def erase(images: Tensor, rectangle: Tensor, chosen: Tensor) -> Tensor:
    """Set a rectangle of each image that is `chosen` [batch] bool to 0; `rectangle` as for `crop`."""
    height, width = images.shape[2:]
    top, left, tall, wide = _rectangles(rectangle, height, width, ERASED, ERASED_ASPECT)
    rows = torch.arange(height, device=images.device).view(1, 1, -1, 1)
    columns = torch.arange(width, device=images.device).view(1, 1, 1, -1)
    top, left, tall, wide = (value.view(-1, 1, 1, 1) for value in (top, left, tall, wide))
    inside = (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
    return images.masked_fill(inside & chosen.view(-1, 1, 1, 1), 0.0)


def _rectangles(
    rectangle: Tensor, height: int, width: int, area: tuple[float, float], aspect: tuple[float, float]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top, left, height and width [batch] of the first attempt that fits; all 0 where none does."""
    pixels = height * width * (area[0] + (area[1] - area[0]) * rectangle[..., 0])
    low, high = math.log(aspect[0]), math.log(aspect[1])
    ratio = torch.exp(low + (high - low) * rectangle[..., 1])
    wide, tall = torch.sqrt(pixels * ratio).round(), torch.sqrt(pixels / ratio).round()
    fits = (wide <= width) & (tall <= height) & (wide > 0) & (tall > 0)
    first = fits.int().argmax(dim=1, keepdim=True)
    top = ((height - tall + 1).clamp(min=1) * rectangle[..., 2]).floor()
    left = ((width - wide + 1).clamp(min=1) * rectangle[..., 3]).floor()
    chosen = (value.mul(fits).gather(1, first).squeeze(1) for value in (top, left, tall, wide))
    top, left, tall, wide = chosen
    return top, left, tall, wide


def blur(images: Tensor, deviation: Tensor) -> Tensor:
    """Blur each image by a Gaussian of its `deviation` [batch] in pixels."""
    batch, channels, height, width = images.shape
    offsets = torch.arange(-BLUR_RADIUS, BLUR_RADIUS + 1, device=images.device, dtype=images.dtype)
    kernel = torch.exp(-0.5 * (offsets / deviation.view(-1, 1)) ** 2)
    kernel = (kernel / kernel.sum(dim=1, keepdim=True)).repeat_interleave(channels, dim=0)
    flat = images.reshape(1, batch * channels, height, width)
    flat = F.pad(flat, [BLUR_RADIUS] * 4, mode="replicate")
    flat = F.conv2d(flat, kernel.view(-1, 1, 1, 2 * BLUR_RADIUS + 1), groups=batch * channels)
    flat = F.conv2d(flat, kernel.view(-1, 1, 2 * BLUR_RADIUS + 1, 1), groups=batch * channels)
    return flat.view_as(images)
