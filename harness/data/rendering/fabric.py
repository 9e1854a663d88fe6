"""What surfaces are made of: strips of colour and pattern that clothes, skin and hair are wrapped in.

A strip is an image `[ROWS, COLUMNS]`: along its columns the rest height on the body, along its rows the angle
round it, 0 in front and 1 behind. Each texel also has a label, so that a print on a chest or a beard on a
face can be distinguished from the surface below.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image

from harness.data.rendering.attributes import COLOURS, DENIM, HAIR_COLOURS, RGB, Person
from harness.data.rendering.geometry import LOWEST, SPAN
from harness.data.rendering.raster import Array

ROWS, COLUMNS = 64, 512
LABELS = (
    *("", "skin", "hair", "upper", "outer", "lower", "legs", "shoes", "socks", "bag", "straps", "hat"),
    *("scarf", "glasses", "beard", "print", "held"),
)
LABEL = {name: number for number, name in enumerate(LABELS)}

# Rest height in dm and angle of every texel.
HEIGHT, ANGLE = np.meshgrid(
    (np.arange(COLUMNS) + 0.5) / COLUMNS * SPAN + LOWEST, (np.arange(ROWS) + 0.5) / ROWS
)
# The same for a thing of its own scale: `BAG_SPAN` dm from its bottom to its top.
BAG_SPAN = 4.0
BAG_HEIGHT = np.broadcast_to((np.arange(COLUMNS) + 0.5) / COLUMNS * BAG_SPAN, (ROWS, COLUMNS))


@dataclass(frozen=True)
class Strip:
    """Colours `[ROWS, COLUMNS, 3]` float32 sRGB (0..255) and labels `[ROWS, COLUMNS]` uint8."""

    colour: Array
    label: Array


def _noise(generator: np.random.Generator, rows: int, columns: int) -> Array:
    coarse = Image.fromarray(generator.random((rows, columns), np.float32))
    return np.asarray(coarse.resize((COLUMNS, ROWS), Image.Resampling.BICUBIC)) - 0.5


def _folds() -> Array:
    """Twelve brightness variations of folded cloth `[12, ROWS, COLUMNS]`, around 0."""
    generator = np.random.default_rng(5)
    return np.stack(
        [
            _noise(generator, 16, 70) * 0.12
            + _noise(generator, 7, 24) * 0.14
            + generator.normal(0, 0.02, (ROWS, COLUMNS))
            for _ in range(12)
        ]
    ).astype(np.float32)


def _strands() -> Array:
    """Eight brightness variations of combed hair: long along the height, fine round the head."""
    generator = np.random.default_rng(6)
    return np.stack(
        [_noise(generator, 64, 24) * 0.55 + _noise(generator, 30, 50) * 0.35 for _ in range(8)]
    ).astype(np.float32)


FOLDS, STRANDS = _folds(), _strands()


def shade_of(name: str, random: Random, spread: float = 9) -> RGB:
    """One of the many shades a colour's name covers, sRGB."""
    base = COLOURS.get(name) or DENIM.get(name) or HAIR_COLOURS[name]
    bright = random.uniform(-spread, spread)
    shifted = (x + bright + random.uniform(-spread / 2, spread / 2) for x in base)
    red, green, blue = (round(min(245, max(14, x))) for x in shifted)
    return red, green, blue


def pattern_mask(pattern: str, height: Array, angle: Array, random: Random, scale: float = 1.0) -> Array:
    """How much of the second colour a pattern puts where, 0..1 `[ROWS, COLUMNS]`.

    `height` (dm) and `angle` (0..1) of every texel `[ROWS, COLUMNS]`. Garments only:
    `two-tone` and `print` sit at the chest; `scale` shrinks the pattern on small things.
    """
    period, phase = random.uniform(0.6, 1.25) * scale, random.random()
    if pattern == "stripes":
        return ((height / period + phase) % 1) < random.uniform(0.35, 0.55)
    if pattern == "pinstripes":
        return (angle * round(17 / (period / scale)) % 1) < 0.3
    if pattern == "checks":
        across = (height / period + phase) % 1 < 0.5
        return 0.5 * across + 0.5 * ((angle * round(12 / (period / scale)) % 1) < 0.5)
    if pattern == "dots":
        row = height / (0.75 * scale)
        column = angle * 14 + 0.5 * (np.floor(row) % 2)
        return ((row % 1 - 0.5) ** 2 + (column % 1 - 0.5) ** 2) < 0.09
    if pattern == "floral":
        petals = np.sin(height * 7 / scale + 5 * np.sin(angle * 31 + phase * 9))
        return np.asarray(petals * np.sin(angle * 43 + 4 * np.sin(height * 3 / scale)) > 0.4)
    if pattern == "two-tone":
        return height > (random.uniform(2.9, 3.8) if scale == 1 else 0.5 * BAG_SPAN)
    if pattern == "side-stripe":
        return np.abs(angle - 0.5) < 0.045
    if pattern == "print":
        motif = np.sin(height * random.uniform(5, 12)) * np.cos(angle * 60 + phase) > -0.5
        return (np.abs(height - 3.6) < random.uniform(0.5, 0.9)) & (angle < 0.16) & motif
    return np.zeros_like(height)


def cloth(
    label: str,
    colour: RGB,
    random: Random,
    *,
    pattern: str = "plain",
    second: RGB | None = None,
    folds: float = 1.0,
    small: bool = False,
) -> Strip:
    """Folded cloth with a pattern; `small` scales the pattern for a bag, whose strip is `BAG_SPAN` long."""
    image = np.empty((ROWS, COLUMNS, 3), np.float32)
    image[:] = colour
    labels = np.full((ROWS, COLUMNS), LABEL[label], np.uint8)
    if second is not None and pattern != "plain":
        height = BAG_HEIGHT if small else HEIGHT
        mask = pattern_mask(pattern, height, ANGLE, random, 0.8 if small else 1.0).astype(np.float32)
        image += mask[..., None] * (np.array(second, np.float32) - np.array(colour, np.float32))
        if pattern == "print":
            labels[mask > 0] = LABEL["print"]
    image *= (1 + folds * FOLDS[random.randrange(len(FOLDS))])[..., None]
    return Strip(image, labels)


def opened(outer: Strip, under: Strip, random: Random) -> Strip:
    """An outer garment worn open: what is beneath shows down the front, between two shadowed edges."""
    width = random.uniform(0.075, 0.11) + random.uniform(0.008, 0.018) * (HEIGHT - 2)
    colour, label = outer.colour.copy(), outer.label.copy()
    gap = (width > ANGLE) & (HEIGHT > -1.2)
    colour[gap], label[gap] = under.colour[gap] * 0.92, under.label[gap]
    colour[np.abs(ANGLE - width) < 0.012] *= 0.6
    return Strip(colour, label)


def v_neck(outer: Strip, under: Strip) -> Strip:
    """A closed garment with lapels: what is beneath shows in a V from the chest to the neck."""
    colour, label = outer.colour.copy(), outer.label.copy()
    width = 0.055 * (HEIGHT - 2.6)
    gap = width > ANGLE
    colour[gap], label[gap] = under.colour[gap] * 0.92, under.label[gap]
    colour[(np.abs(ANGLE - width) < 0.014) & (HEIGHT > 2.6)] *= 0.65
    return Strip(colour, label)


def trimmed_cloth(strip: Strip, kind: str, random: Random) -> Strip:
    """Details that distinguish garments: a shirt's buttons, a jacket's zip, a sweater's waistband."""
    colour = strip.colour
    if kind in ("shirt", "blouse", "cardigan", "polo shirt"):
        low = 3.4 if kind == "polo shirt" else -1.0
        colour[(ANGLE < 0.012) & (low < HEIGHT)] *= 0.72
    if kind in ("jacket", "puffer jacket", "gilet", "coat"):
        colour[(ANGLE < 0.016) & (HEIGHT > -1.5)] *= 0.62
    if kind in ("hoodie", "jacket"):
        colour[(np.abs(HEIGHT - 1.4) < 0.07) & (np.abs(ANGLE - 0.17) < 0.09)] *= 0.7
    if kind in ("sweater", "hoodie") and random.random() < 0.7:
        colour[(HEIGHT > 0.1) & (HEIGHT < 0.55)] *= 0.86
    return strip


def skin(person: Person, random: Random) -> Strip:
    """A face with eyes, brows, mouth, perhaps glasses and a beard; the rest is plain skin."""
    strip = cloth("skin", person.body.skin, random, folds=0.35)
    image, label = strip.colour, strip.label
    hair = np.array(shade_of(person.hair_colour, random, 5), np.float32)
    mouth = (np.abs(HEIGHT - 6.6) < 0.07) & (ANGLE < 0.06)
    image[(np.abs(HEIGHT - 7.28) < 0.09) & (np.abs(ANGLE - 0.1) < 0.035)] *= 0.38
    image[(np.abs(HEIGHT - 7.52) < 0.05) & (np.abs(ANGLE - 0.1) < 0.05)] *= 0.5
    image[mouth] *= (0.86, 0.62, 0.62)
    if person.beard:
        chin = (HEIGHT < 6.78) & (HEIGHT > 6.1) & (ANGLE < 0.42) & ~mouth
        image[chin], label[chin] = 0.3 * image[chin] + 0.7 * hair, LABEL["beard"]
    if person.glasses:
        lens = (np.abs(HEIGHT - 7.26) < 0.2) & (np.abs(ANGLE - 0.11) < 0.085)
        inner = (np.abs(HEIGHT - 7.26) < 0.12) & (np.abs(ANGLE - 0.11) < 0.055)
        frame = (np.abs(HEIGHT - 7.36) < 0.06) & (ANGLE < 0.46)
        drawn = lens | frame if person.glasses == "sunglasses" else (lens & ~inner) | frame
        image[drawn], label[drawn] = (24, 23, 25), LABEL["glasses"]
        label[lens] = LABEL["glasses"]
    if person.hair.startswith("short") or person.hair == "bald":
        # A shadow of cut hair on temples and nape, so that short hair fades out instead of ending like a cap.
        fade = np.clip((HEIGHT - 6.35) / 0.75, 0, 1) * np.clip((ANGLE - 0.5) / 0.1, 0, 1)
        fade = (0.25 if person.hair == "bald" else 0.72) * fade[..., None]
        image += fade * (0.25 * person_skin(person) + 0.75 * hair - image)
    return strip


def person_skin(person: Person) -> Array:
    """The colour of a person's skin `[3]`, float32."""
    return np.array(person.body.skin, np.float32)


def hair(person: Person, random: Random) -> Strip:
    """Combed strands; short hair thins towards the skin at its lower rim."""
    colour = np.array(shade_of(person.hair_colour, random, 5), np.float32)
    amount = 0.5 if person.hair.startswith("afro") else 0.9
    image = colour * (1 + amount * STRANDS[random.randrange(len(STRANDS))])[..., None]
    if person.hair.startswith("short"):
        thin = 0.55 * np.clip((7.3 - HEIGHT) / 0.6, 0, 1)[..., None]
        image += thin * (0.35 * person_skin(person) + 0.65 * colour - image)
    return Strip(image.astype(np.float32), np.full((ROWS, COLUMNS), LABEL["hair"], np.uint8))


def shoe(colour: RGB, sole: RGB, random: Random) -> Strip:
    """A shoe with its sole as a rim along the ground."""
    strip = cloth("shoes", colour, random, folds=0.3)
    strip.colour[HEIGHT < -8.02] = sole
    return strip
