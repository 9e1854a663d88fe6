"""The camera: its position and projection, and exposure, blur, noise and tone of the picture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image
from scipy import ndimage

from harness.data.rendering.domains import Domain
from harness.data.rendering.raster import Array

# The finished picture, pixels, and the samples a side that make one of them.
HEIGHT, WIDTH, SAMPLES = 160, 60, 2


@dataclass(frozen=True)
class Camera:
    """A pinhole camera, cut to a window round the person.

    `origin` and `scale` (x, y) turn view-plane coordinates to pixels; `rotation` `[3, 3]` turns world to
    camera axes (x right, y up, z backwards); `centre` `[3]` is where it stands, metres.
    """

    origin: tuple[float, float]
    scale: tuple[float, float]
    rotation: Array
    centre: Array

    def project(self, points: Array) -> Array:
        """World points `[..., 3]` (m) to x and y in pixels from the top left, and z (nearer is larger)."""
        seen = (points - self.centre) @ self.rotation.T
        x = self.origin[0] + self.scale[0] * seen[..., 0] / -seen[..., 2]
        y = self.origin[1] - self.scale[1] * seen[..., 1] / -seen[..., 2]
        return np.stack([x, y, seen[..., 2]], -1)

    def rays(self) -> Array:
        """The direction in which each pixel looks, world axes: `[HEIGHT, WIDTH, 3]` float32."""
        column, row = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
        across = (column - self.origin[0]) / self.scale[0]
        down = (row - self.origin[1]) / self.scale[1]
        return (np.stack([across, -down, -np.ones_like(row)], -1) @ self.rotation).astype(np.float32)


def aim(domain: Domain, vertices: Array, random: Random) -> Camera:
    """A camera of the domain whose window holds a person's `vertices` `[n, 3]` (m) from head to feet."""
    height = random.uniform(*domain.camera_height)
    centre = np.array([random.uniform(-1, 1), height, random.uniform(*domain.distance)])
    forward = np.array([0, 0.9, 0]) - centre
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, [0, 1, 0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(right, forward), -forward])
    seen = (vertices - centre) @ rotation.T
    across, down = seen[:, 0] / -seen[:, 2], -seen[:, 1] / -seen[:, 2]
    tall, wide = float(np.ptp(down)), float(np.ptp(across))
    scale = HEIGHT * random.uniform(0.86, 0.95) / tall
    narrowest = 0.72 * scale
    fitting = max(WIDTH * random.uniform(0.9, 1.05) / wide, narrowest)
    scale_across = min(scale * random.uniform(0.96, 1.08), fitting)
    # The box is drawn by a detector, which never centres exactly, but keeps head and feet inside.
    top = (HEIGHT - scale * tall) * random.uniform(0.3, 0.7)
    middle = float(across.min() + across.max() + 2 * across.mean()) / 4
    left = WIDTH / 2 + random.gauss(0, 1.5) - scale_across * middle
    return Camera((left, top - scale * float(down.min())), (scale_across, scale), rotation, centre)


def blur(image: Array, across: float, down: float) -> Array:
    """Gaussian blur of an image `[HEIGHT, WIDTH, …]`; `across` and `down` are deviations in pixels."""
    if max(across, down) < 0.2:
        return image
    sigma = (down, across) + (0,) * (image.ndim - 2)
    return np.asarray(ndimage.gaussian_filter(image, sigma, mode="nearest", truncate=2.5))


def expose(
    radiance: Array, person: Array, domain: Domain, key: float, random: Random, seed: int
) -> Image.Image:
    """Linear light `[HEIGHT, WIDTH, 3]` to a picture: exposure, colour cast, blur, noise, tone curve, bytes.

    `person` `[HEIGHT, WIDTH]` is the person's coverage: the meter looks half at the scene and half at it.
    """
    luminance = radiance.mean(2)
    inside = luminance[person > 0.5]
    metered = 0.65 * float(np.median(luminance)) + 0.35 * float(inside.mean() if inside.size else 0.3)
    gain = min(2.4, max(0.5, (key * 0.40 / max(0.06, metered)) ** 0.75))
    warm, green = random.gauss(0, domain.cast), random.gauss(0, 0.4 * domain.cast)
    cast = 1 + warm * np.array([1, 0, -1]) + green * np.array([1, -1, 1])
    image = (radiance * (gain * cast)).astype(np.float32)
    soft = random.uniform(*domain.blur)
    motion = random.uniform(*domain.motion) if random.random() < 0.5 else 0.0
    image = blur(image, math.hypot(soft, motion), soft)
    return _finish(_tone(_noise(image, domain, random, seed), domain, random), domain, random)


def _noise(image: Array, domain: Domain, random: Random, seed: int) -> Array:
    """Shot noise: part of it grey, growing with the root of the light."""
    noise = np.random.default_rng(seed).standard_normal((HEIGHT, WIDTH, 3), np.float32)
    noise += noise.mean(2, keepdims=True)
    strength = 1.6 * random.uniform(*domain.noise)
    return np.asarray(image + strength * np.sqrt(np.maximum(image, 0.01)) * noise)


def _tone(image: Array, domain: Domain, random: Random) -> Array:
    """A shoulder for highlights, the display's gamma, saturation and contrast: 0..1."""
    light = np.maximum(image, 0)
    light = light * (1 + light / 4.0) / (1 + 0.72 * light)
    shown = np.clip(light, 0, 1) ** (1 / 2.2)
    grey = shown.mean(2, keepdims=True)
    shown = grey + (shown - grey) * random.uniform(*domain.saturation)
    shown = (shown - 0.45) * random.uniform(*domain.contrast) + 0.45 + random.uniform(-0.02, 0.03)
    return np.asarray(np.clip(shown, 0, 1))


def _finish(image: Array, domain: Domain, random: Random) -> Image.Image:
    picture = Image.fromarray((image * 255 + 0.5).astype(np.uint8))
    if random.random() >= domain.coarse:
        return picture
    factor = random.uniform(0.55, 0.85)
    small = picture.resize((int(WIDTH * factor), int(HEIGHT * factor)), Image.Resampling.BOX)
    return small.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC)
