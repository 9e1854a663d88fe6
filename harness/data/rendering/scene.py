"""The background of a view: ground, a wall or plants, sky, furniture, far people; new for every view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from PIL import Image
from scipy import ndimage

from harness.data.rendering.camera import HEIGHT, WIDTH, Camera, blur
from harness.data.rendering.domains import Domain
from harness.data.rendering.light import Light
from harness.data.rendering.raster import LINEAR, Array


def _octaves(generator: np.random.Generator) -> Array:
    """Noise of unit variance `[512, 512]` that tiles, from coarse to fine."""
    total = np.zeros((512, 512), np.float32)
    for sigma, amount in ((40, 0.8), (11, 0.5), (3, 0.4), (0.8, 0.3)):
        layer = ndimage.gaussian_filter(generator.random((512, 512), np.float32) - 0.5, sigma, mode="wrap")
        total += amount * layer / layer.std()
    return np.asarray(total / total.std())


_generator = np.random.default_rng(7)
NOISE = [_octaves(_generator) for _ in range(4)]


def noise(x: Array, y: Array, scale: float, layer: int = 0) -> Array:
    """Smooth noise of unit variance `[…]` at `x` and `y` `[…]`, `scale` cells to a unit."""
    column, row = (x * scale).astype(np.int32) & 511, (y * scale).astype(np.int32) & 511
    return np.asarray(NOISE[layer][column, row])


def linear(*colour: float) -> Array:
    """An sRGB colour (0..255) as linear light `[3]`."""
    return ((np.array(colour, np.float32) / 255) ** 2.2).astype(np.float32)


def pick(random: Random, *colours: tuple[float, float, float], spread: float = 10) -> Array:
    """One of some sRGB colours, a little varied, as linear light `[3]`."""
    bright = random.uniform(-spread, spread)
    chosen = random.choice(colours)
    return linear(*(min(245, max(14, c + bright + random.uniform(-spread, spread) / 2)) for c in chosen))


@dataclass(frozen=True)
class Rays:
    """Where each pixel's line of sight ends: on the ground or on the wall, `[HEIGHT, WIDTH]` each.

    `x`, `y`, `z` are world metres, `far` the distance along the ray, `wall_x` the place along the wall.
    """

    ground: Array
    far: Array
    x: Array
    y: Array
    z: Array
    wall_x: Array


def cast(camera: Camera, wall: float, slant: float) -> Rays:
    """Meet the ground and a wall `wall` m behind the person that runs at a slope of `slant`."""
    dx, dy, dz = np.moveaxis(camera.rays(), -1, 0)
    eye = camera.centre
    to_ground = np.where(dy < -1e-4, -eye[1] / np.minimum(dy, -1e-4), 1e4)
    to_wall = (-wall - eye[2] + slant * eye[0]) / np.minimum(dz - slant * dx, -1e-3)
    ground = to_ground < to_wall
    far = np.where(ground, to_ground, to_wall).astype(np.float32)
    x, y, z = eye[0] + far * dx, eye[1] + far * dy, eye[2] + far * dz
    return Rays(ground, far, x, y, z, x * math.sqrt(1 + slant**2))


GROUND_COLOURS: dict[str, tuple[tuple[float, float, float], ...]] = {
    "grass": ((92, 100, 70), (104, 106, 74)),
    "brick": ((142, 104, 88), (128, 100, 90)),
    "asphalt": ((104, 104, 106), (88, 88, 92)),
    "gravel": ((150, 140, 124),),
    "polished": ((160, 154, 146), (142, 142, 146)),
    "carpet": ((96, 84, 92), (86, 98, 108), (120, 112, 98)),
    "wood": ((150, 116, 84), (128, 98, 72)),
    "sand": ((158, 142, 114),),
}
PAVING = {
    "tiles": (0.4, 0.4),
    "slabs": (0.9, 0.6),
    "brick": (0.24, 0.12),
    "cobble": (0.14, 0.14),
    "dots": (0.3, 0.3),
    "polished": (0.8, 0.8),
    "wood": (1.8, 0.14),
}
STONE = ((160, 156, 150), (132, 130, 128), (176, 166, 150), (118, 118, 122))


def ground_colour(domain: Domain, rays: Rays, random: Random) -> Array:
    """The ground's own colour `[HEIGHT, WIDTH, 3]`, linear."""
    turn = random.uniform(0, math.pi)
    x = rays.x * math.cos(turn) - rays.z * math.sin(turn) + random.uniform(0, 50)
    z = rays.x * math.sin(turn) + rays.z * math.cos(turn) + random.uniform(0, 50)
    kind = random.choice(domain.grounds)
    near = np.clip(9 / rays.far, 0, 1)
    rough = 0.24 if kind in ("grass", "gravel", "cobble", "sand") else 0.08
    grain = 0.12 * noise(x, z, random.uniform(20, 60)) + rough * near * noise(x, z, 300, 1)
    colour = pick(random, *GROUND_COLOURS.get(kind, STONE)) * np.exp(grain)[..., None]
    if kind in PAVING:
        colour = colour * _paving(kind, x, z, rays.far)[..., None]
    if kind == "dots" or (domain.name == "station" and random.random() < 0.3):
        strip = np.abs(x - random.uniform(46, 54)) < 0.2
        colour[strip] = linear(176, 150, 62) * (0.8 + 0.3 * ((z[strip] * 20) % 1 < 0.5))[:, None]
    if domain.name == "campus" and random.random() < 0.5:
        lawn = (x - 25 + noise(x, z, 30) * 0.2) > random.uniform(-20, 20)
        colour[lawn] = (linear(90, 98, 68) * np.exp(0.3 * near * noise(x, z, 300, 2))[..., None])[lawn]
    return np.asarray(colour)


def _paving(kind: str, x: Array, z: Array, far: Array) -> Array:
    """Joints between stones and the difference from stone to stone, as a factor."""
    wide, deep = PAVING[kind]
    row = z / deep
    column = x / wide + (0.5 * (np.floor(row) % 2) if kind in ("brick", "wood") else 0)
    joint = np.clip(far * 0.004, 0.01, 0.2)
    line = (column % 1 < joint / wide * 1.3) | (row % 1 < joint / deep * 1.3)
    each = np.sin(np.floor(column) * 12.9 + np.floor(row) * 78.2)
    return np.asarray((1 - 0.35 * line * np.clip(9 / far, 0, 1)) * (1 + 0.15 * each * np.clip(8 / far, 0, 1)))


def light_ground(
    domain: Domain, colour: Array, rays: Rays, shadow: Array, light: Light, random: Random
) -> Array:
    """The ground under the sun, with the person's shadow `[HEIGHT, WIDTH]` and at times a building's."""
    lit = 1 - light.hard * shadow
    if domain.name == "plaza" and random.random() < 0.35:
        edge = (rays.x + 0.3 * rays.z - random.uniform(10, 65)) * random.choice([-1, 1]) > 0
        lit = np.where(edge & (np.abs(rays.x) + np.abs(rays.z) > 1.0), 0.12, lit)
    direct = light.sun_colour * max(0.15, float(light.sun[1])) * lit[..., None]
    return np.asarray(colour * (direct + light.sky * 0.9 * (0.65 + 0.35 * lit[..., None])))


WALL_COLOURS = (
    (150, 140, 128),
    (120, 112, 108),
    (170, 160, 144),
    (134, 96, 80),
    (96, 100, 106),
    (186, 182, 174),
)
LEAVES = ((64, 82, 46), (84, 98, 52), (54, 70, 48), (104, 96, 54))


def wall_colour(kind: str, x: Array, y: Array, far: float, random: Random) -> Array:
    """A wall's own colour `[HEIGHT, WIDTH, 3]`, linear; `x` runs along it, `y` up, metres."""
    if kind in ("foliage", "hedge"):
        leaves = noise(x, y, random.uniform(30, 80), 2) + 0.7 * noise(x, y, 200, 1)
        colour = pick(random, *LEAVES) * np.exp(0.5 * leaves)[..., None]
        return np.asarray(np.where((leaves < -1.2)[..., None], 0.35 * colour, colour))
    spread = 24 if kind in ("plain", "gradient", "curtain") else 10
    rough = 0.04 if kind in ("plain", "gradient", "curtain") else 0.12
    grain = rough * noise(x, y, 40) + 0.05 * noise(x, y, 250, 1)
    colour = pick(random, *WALL_COLOURS, spread=spread) * np.exp(grain)[..., None]
    if kind == "bricks":
        row = y / 0.09
        column = x / 0.25 + 0.5 * (np.floor(row) % 2)
        return np.asarray(
            colour * (1 - 0.3 * ((column % 1 < 0.08) | (row % 1 < 0.14)) * min(1, 5 / far))[..., None]
        )
    if kind in ("panels", "concrete"):
        joint = ((x / random.uniform(0.8, 2.2)) % 1 < 0.02) | ((y / random.uniform(0.8, 1.8)) % 1 < 0.02)
        return np.asarray(colour * (1 - 0.4 * joint)[..., None])
    if kind == "curtain":
        return np.asarray(
            colour * (1 + 0.22 * np.sin(x * random.uniform(12, 30) + noise(x, y, 6)))[..., None]
        )
    if kind == "gradient":
        return np.asarray(colour * np.clip(0.6 + random.uniform(-0.3, 0.4) * (y - 1), 0.25, 1.6)[..., None])
    if kind in ("windows", "shop", "poster", "shelves"):
        return _panes(kind, colour, x, y, random)
    return np.asarray(colour * (0.14 if kind == "dark" else 1))


def _panes(kind: str, colour: Array, x: Array, y: Array, random: Random) -> Array:
    """Windows, shop fronts, posters, shelves: cells of a grid, each with a content of its own."""
    wide, high = random.uniform(1.2, 3.5), random.uniform(1.5, 3.2)
    if kind == "shelves":
        wide, high = random.uniform(0.15, 0.4), random.uniform(0.3, 0.5)
    cell = np.floor(x / wide) * 7.3 + np.floor(y / high) * 3.1
    pane = ((x / wide) % 1 > 0.18) & ((y / high) % 1 > 0.25)
    seen = np.stack([np.sin(cell * k + noise(x, y, 12, 3) * 0.6) for k in (1.3, 2.1, 3.7)], -1)
    mean = seen.mean(-1, keepdims=True)
    content = {
        "windows": linear(62, 72, 84) * (1 + 0.5 * seen[..., :1]),
        "shop": linear(150, 134, 112) * np.exp(0.8 * mean + 0.25 * seen),
        "poster": linear(138, 136, 132) * np.exp(0.8 * mean + 0.25 * seen),
        "shelves": linear(120, 116, 112) * np.exp(0.6 * mean + 0.3 * seen),
    }[kind]
    return np.asarray(np.where(pane[..., None], content, colour))


def _crowns(x: Array, y: Array, random: Random) -> Array:
    """The uneven upper edge of plants along a wall, metres: a few waves and leaves."""
    waves = sum(
        amount * np.sin(x * random.uniform(*often) + random.uniform(0, 6))
        for amount, often in ((0.3, (0.6, 1.5)), (0.14, (3, 6)), (0.06, (9, 16)))
    )
    return np.asarray(waves + 0.05 * noise(x, y, 200, 1))


def backdrop(
    domain: Domain, camera: Camera, light: Light, shadow: Array, crowd: Sequence[Array], random: Random
) -> Array:
    """Linear radiance `[HEIGHT, WIDTH, 3]` of everything behind a person.

    `shadow` `[HEIGHT, WIDTH]` is where the person's shadow falls; `crowd` holds sprites of people.
    """
    wall = random.uniform(*domain.wall_distance)
    rays = cast(camera, wall, random.uniform(-0.5, 0.5))
    ground = light_ground(domain, ground_colour(domain, rays, random), rays, shadow, light, random)
    kind = random.choice(domain.walls)
    x = rays.wall_x + random.uniform(0, 60)
    away = 0.4 if domain.name == "plaza" and light.sun[2] < 0 else 1.0
    ambient = light.sky * 0.75 + light.sun_colour * 0.3 * away
    behind = wall_colour(kind, x, rays.y, wall, random) * ambient
    if domain.open_sky:
        plants = kind in ("foliage", "hedge")
        top = random.uniform(1.2, 2.4) if kind == "hedge" else random.uniform(2.8, 9)
        above = (rays.y > top + (_crowns(x, rays.y, random) if plants else 0))[..., None]
        behind = np.where(above, light.sky * random.uniform(0.85, 1.3), behind)
    image: Array = np.where(rays.ground[..., None], ground, behind).astype(np.float32)
    haze = np.clip((rays.far - 8) / 80, 0, 0.5)[..., None]
    image = image * (1 - haze) + light.sky * 0.6 * haze
    _furnish(image, domain, camera, ambient, wall, random)
    _populate(image, domain, camera, crowd, wall, random)
    soft = random.uniform(*domain.defocus)
    return blur(image, soft, soft) if soft > 0.3 else image


def _furnish(
    image: Array, domain: Domain, camera: Camera, ambient: Array, wall: float, random: Random
) -> None:
    """Poles, bollards and boxes on the ground behind the person."""
    for _ in range(random.randint(0, domain.props)):
        z = -random.uniform(0.7, max(0.8, min(wall, 12) - 0.3))
        x, wide = random.uniform(-2.5, 2.5), random.uniform(0.04, 0.5)
        high = random.choice((0.5, 1.0, 3.5, 3.5))
        colour = pick(random, (70, 72, 74), (110, 108, 104), (64, 72, 68), (124, 84, 70)) * ambient
        place = np.array([[x - wide / 2, 0, z], [x + wide / 2, high, z]])
        (x0, y1, _), (x1, y0, _) = camera.project(place)
        left, right = int(max(0, x0)), int(min(WIDTH, x1 + 1))
        top, bottom = int(max(0, y0)), int(min(HEIGHT, y1))
        if right > left and bottom > top:
            shade = np.abs(np.linspace(-random.uniform(0.2, 1), 1, right - left, dtype=np.float32))
            image[top:bottom, left:right] = colour * (0.75 + 0.5 * shade)[None, :, None]


def _populate(
    image: Array, domain: Domain, camera: Camera, crowd: Sequence[Array], wall: float, random: Random
) -> None:
    """Far people, the farthest first."""
    if wall < 2.8:
        return
    count = max(0, random.randint(-2, domain.crowd))
    places = sorted(-random.uniform(2.2, min(0.9 * wall, 16)) for _ in range(count))
    for z in places:
        feet = np.array([random.uniform(-2.5, 2.5), 0, z])
        (x, bottom, _), (_, top, _) = camera.project(np.stack([feet, feet + np.array([0, 1.75, 0])]))
        tall = int(bottom - top)
        if 8 <= tall < 0.85 * HEIGHT:
            sprite = random.choice(crowd)
            paste(image, sprite, x, bottom, tall, random.uniform(0.8, 1.1) * random.choice((1, 1, 0.7)))


def paste(image: Array, sprite: Array, x: float, bottom: float, tall: int, gain: float) -> Array:
    """Draw someone `tall` pixels high, feet at (`x`, `bottom`); returns where `[HEIGHT, WIDTH]`, 0..1."""
    wide = max(2, round(tall * sprite.shape[1] / sprite.shape[0]))
    how = Image.Resampling.BOX if tall < len(sprite) else Image.Resampling.BICUBIC
    small = np.asarray(Image.fromarray(sprite).resize((wide, tall), how))
    left, top = int(x - wide / 2), int(bottom - tall)
    x0, x1, y0, y1 = max(0, left), min(WIDTH, left + wide), max(0, top), min(HEIGHT, top + tall)
    mask = np.zeros((HEIGHT, WIDTH), np.float32)
    if x1 > x0 and y1 > y0:
        cut = small[y0 - top : y1 - top, x0 - left : x1 - left]
        mask[y0:y1, x0:x1] = cut[..., 3] / 255
        shown = mask[y0:y1, x0:x1, None]
        image[y0:y1, x0:x1] = image[y0:y1, x0:x1] * (1 - shown) + 3.4 * gain * LINEAR[cut[..., :3]] * shown
    return mask


def to_sprite(premultiplied: Array) -> Array:
    """A drawn person `[height, width, 4]`, linear premultiplied, as a sprite: sRGB bytes and alpha."""
    alpha = premultiplied[..., 3:]
    colour = np.clip(premultiplied[..., :3] / np.maximum(alpha, 1e-3) / 3.4, 0, 1) ** (1 / 2.2)
    sprite = (np.concatenate([colour, alpha], -1) * 255).astype(np.uint8)
    rows, columns = np.nonzero(sprite[..., 3])
    return np.ascontiguousarray(sprite[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1])
