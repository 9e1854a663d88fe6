"""Occluders between camera and person, in picture coordinates; what they hide is never described."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from harness.data.rendering.camera import HEIGHT, WIDTH, blur
from harness.data.rendering.domains import Domain
from harness.data.rendering.light import Light
from harness.data.rendering.raster import Array
from harness.data.rendering.scene import LEAVES, linear, noise, paste, pick

X, Y = np.meshgrid(
    (np.arange(WIDTH, dtype=np.float32) + 0.5) / WIDTH, (np.arange(HEIGHT, dtype=np.float32) + 0.5) / HEIGHT
)
ASPECT = WIDTH / HEIGHT


@dataclass
class Canvas:
    """What an occluder has painted so far: `colour` `[HEIGHT, WIDTH, 3]` linear, `mask` `[HEIGHT, WIDTH]`."""

    colour: Array
    mask: Array

    def paint(self, where: Array, colour: Array) -> None:
        """Paint a colour `[..., 3]` over a boolean region."""
        self.colour[where] = np.broadcast_to(colour, self.colour.shape)[where]
        self.mask[where] = 1


def _leaves(random: Random) -> tuple[Array, Array]:
    """Noise of a leafy surface and its colour `[HEIGHT, WIDTH, 3]`."""
    shift = random.uniform(0, 400)
    rough = noise(X * WIDTH + shift, Y * HEIGHT + shift, random.uniform(2, 5), 2)
    return rough, pick(random, *LEAVES) * np.exp(0.5 * rough)[..., None]


def _round_shade(left: Array | float, right: Array | float) -> Array:
    """Brightness `[HEIGHT, WIDTH, 1]` across something round between two edges."""
    across = np.clip((X - left) / np.maximum(np.asarray(right) - left, 1e-3), 0, 1)
    return (0.55 + 0.75 * np.sin(np.pi * (0.15 + 0.75 * across)))[..., None]


def hedge(canvas: Canvas, random: Random) -> None:
    """A hedge along the bottom of the picture."""
    rough, colour = _leaves(random)
    line = random.uniform(0.7, 0.86) + random.uniform(-0.15, 0.15) * (X - 0.5)
    canvas.paint(
        Y + 0.025 * rough > line, colour * (0.7 + 0.8 * np.clip(1.2 - 4 * (Y - line), 0, 1))[..., None]
    )


def branches(canvas: Canvas, random: Random) -> None:
    """Leaves of a branch that hangs into a corner."""
    rough, colour = _leaves(random)
    side = X if random.random() < 0.5 else 1 - X
    reach = side * 1.2 + Y * random.uniform(1.3, 2.2)
    canvas.paint(reach + 0.14 * rough < random.uniform(0.4, 0.75), colour)


def planter(canvas: Canvas, random: Random) -> None:
    """A tapering pot with a bush."""
    middle, top = (
        random.choice((random.uniform(-0.05, 0.3), random.uniform(0.7, 1.05))),
        random.uniform(0.76, 0.88),
    )
    half = random.uniform(0.22, 0.4)
    rough, leaves = _leaves(random)
    tall = random.uniform(0.06, 0.16)
    bush = ((X - middle) / (half * 1.05)) ** 2 + ((Y - top + 0.02) / tall) ** 2 + 0.3 * rough < 1
    canvas.paint(bush & (top + 0.02 > Y), leaves)
    edge = half * (1 - 0.8 * (Y - top))
    pot = (np.abs(X - middle) < edge) & (top < Y)
    colour = pick(random, (132, 112, 96), (118, 116, 112), (86, 84, 84))
    canvas.paint(pot, colour * _round_shade(middle - edge, middle + edge))
    canvas.paint((np.abs(X - middle) < half * 1.06) & (np.abs(Y - top) < 0.012), colour * 1.25)


def bin_(canvas: Canvas, random: Random) -> None:
    """A round litter bin with a dark opening under its lid."""
    middle, top, half = (
        random.choice((random.uniform(0, 0.3), random.uniform(0.7, 1))),
        random.uniform(0.72, 0.84),
        0.2,
    )
    half *= random.uniform(0.8, 1.3)
    colour = pick(random, (74, 78, 78), (62, 76, 66), (124, 122, 118))
    inside = np.abs(X - middle) < half
    sag = 0.02 * np.sqrt(np.clip(1 - ((X - middle) / half) ** 2, 0, 1))
    canvas.paint(inside & (top - sag < Y), colour * _round_shade(middle - half, middle + half))
    canvas.paint(
        inside & (np.abs(Y - top - 0.035) < 0.014) & (np.abs(X - middle) < 0.8 * half), colour * 0.15
    )


def pole(canvas: Canvas, random: Random) -> None:
    """A lamp post or column, from top to bottom, not before the person's middle."""
    middle = random.choice((random.uniform(0, 0.26), random.uniform(0.74, 1)))
    half = random.uniform(0.03, 0.09)
    lean = middle + random.uniform(-0.02, 0.02) * Y
    colour = pick(random, (96, 98, 100), (66, 66, 68), (140, 138, 132))
    canvas.paint(np.abs(X - lean) < half, colour * _round_shade(lean - half, lean + half))


def railing(canvas: Canvas, random: Random) -> None:
    """A handrail on posts."""
    top, thick = random.uniform(0.55, 0.75), random.uniform(0.006, 0.012)
    slope = random.uniform(-0.1, 0.1)
    line = top + slope * (X - 0.5)
    colour = pick(random, (96, 98, 100), (152, 152, 150), (70, 76, 82))
    spacing, shift = random.uniform(0.3, 0.7), random.random()
    canvas.paint((((X / spacing + shift) % 1) < 0.05 / spacing) & (line < Y), colour * 0.8)
    for below in (0.0, random.uniform(0.08, 0.14)):
        canvas.paint(
            np.abs(Y - line - below) < thick, colour * (1.3 - 25 * np.abs(Y - line - below)[..., None])
        )


def bench(canvas: Canvas, random: Random) -> None:
    """The back of a slatted bench at one side."""
    left, right = sorted((random.choice((-0.2, 1.2)), random.uniform(0.35, 0.65)))
    colour = pick(random, (130, 98, 70), (110, 90, 74), (90, 96, 92))
    top = random.uniform(0.72, 0.8)
    for k in range(4):
        middle = top + 0.034 * k
        slat = (np.abs(Y - middle) < 0.011) & (left < X) & (right > X)
        canvas.paint(slat, colour * (1.1 - 0.1 * k))
    for post in (left + 0.06, right - 0.06):
        canvas.paint((np.abs(X - post) < 0.02) & (top - 0.015 < Y), colour * 0.4)


def barrier(canvas: Canvas, random: Random) -> None:
    """A belt between two posts, as at a queue."""
    top, sag = random.uniform(0.56, 0.68), random.uniform(0.01, 0.04)
    post = random.choice((random.uniform(0, 0.2), random.uniform(0.8, 1)))
    belt = top + 0.02 + sag * np.sin(np.pi * np.clip(X, 0, 1))
    canvas.paint(np.abs(Y - belt) < 0.011, pick(random, (60, 64, 110), (120, 40, 44), (50, 50, 54)))
    canvas.paint(
        (np.abs(X - post) < 0.03) & (top < Y), linear(140, 140, 142) * _round_shade(post - 0.03, post + 0.03)
    )


def box(canvas: Canvas, random: Random) -> None:
    """A crate seen on edge: two sides in different light."""
    edge, top = random.uniform(0.1, 0.9), random.uniform(0.76, 0.88)
    left, right = edge - random.uniform(0.15, 0.4), edge + random.uniform(0.15, 0.4)
    colour = pick(random, (150, 122, 88), (116, 118, 122), (98, 104, 92))
    slope = top + 0.1 * np.abs(X - edge) * random.uniform(-0.4, 0.8)
    canvas.paint((left < X) & (edge >= X) & (slope < Y), colour * 1.1)
    canvas.paint((right > X) & (edge < X) & (slope < Y), colour * 0.65)


DRAWN: dict[str, Callable[[Canvas, Random], None]] = {
    "hedge": hedge,
    "branches": branches,
    "planter": planter,
    "bin": bin_,
    "pole": pole,
    "railing": railing,
    "bench": bench,
    "barrier": barrier,
    "box": box,
}


def occlude(
    image: Array, domain: Domain, light: Light, crowd: Sequence[Array], random: Random
) -> tuple[str, Array]:
    """Draw one of the domain's occluders over `image` `[HEIGHT, WIDTH, 3]` in place.

    Returns its name and how far it covers each pixel, `[HEIGHT, WIDTH]` 0..1.
    """
    kind = random.choice(domain.occluders)
    if kind == "passer-by":
        return kind, _passer_by(image, crowd, random)
    canvas = Canvas(np.zeros((HEIGHT, WIDTH, 3), np.float32), np.zeros((HEIGHT, WIDTH), np.float32))
    DRAWN[kind](canvas, random)
    soft = random.uniform(0.4, 1.0)
    mask = blur(canvas.mask, soft, soft)
    colour = blur(canvas.colour * canvas.mask[..., None], soft, soft) / np.maximum(mask, 1e-3)[..., None]
    lit = light.sky + 0.4 * light.sun_colour * random.uniform(0.5, 1.5)
    image[:] = image * (1 - mask[..., None]) + colour * lit * mask[..., None]
    return kind, mask


def _passer_by(image: Array, crowd: Sequence[Array], random: Random) -> Array:
    """Someone else at the picture's edge, nearer and so larger, cut by the frame."""
    tall = int(HEIGHT * random.uniform(1.05, 1.35))
    x = random.choice((random.uniform(-0.12, 0.1), random.uniform(0.9, 1.12))) * WIDTH
    bottom = HEIGHT * random.uniform(1.05, 1.2)
    return paste(image, random.choice(crowd), x, bottom, tall, random.uniform(0.6, 1.0))


def hidden_share(mask: Array, coverage: Array) -> float:
    """How much of a person's coverage `[HEIGHT, WIDTH]` a mask hides, 0..1."""
    total = float(coverage.sum())
    return float((coverage * mask).sum()) / total if math.isfinite(total) and total > 0 else 0.0
