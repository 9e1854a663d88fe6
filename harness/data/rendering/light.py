"""Light on a person: a sun with a shadow map, and a sky with ambient occlusion."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np

from harness.data.rendering.domains import Domain
from harness.data.rendering.raster import Array, compiled, rasterise

# The cube round the person (m) that the shadow map and the sky's depth maps cover, and their sizes.
REACH = 2.3
SUN_MAP, SKY_MAP, SKY_DIRECTIONS = 160, 44, 6


@dataclass(frozen=True)
class Light:
    """Light of one view, linear: `sun` is its direction, colours are `[3]`.

    `hard` is how dark the sun's shadow is on the ground (0..1) and `soft` how blurred (pixels); `key` is the
    brightness that the exposure aims at.
    """

    sun: Array
    sun_colour: Array
    sky: Array
    ground: Array
    hard: float
    soft: float
    key: float


def draw_light(domain: Domain, random: Random) -> Light:
    """Sample the light of one view of a domain."""
    azimuth, elevation = random.uniform(0, 2 * math.pi), random.uniform(*domain.sun_elevation)
    flat = math.cos(elevation)
    warmth = random.uniform(-1, 1) * domain.sun_warmth * np.array([1, 0, -1])
    return Light(
        sun=np.array([math.cos(azimuth) * flat, math.sin(elevation), math.sin(azimuth) * flat]),
        sun_colour=random.uniform(*domain.sun) * (np.array(random.choice(domain.sun_colours)) + warmth),
        sky=random.uniform(*domain.sky) * np.array(random.choice(domain.sky_colours)),
        ground=random.uniform(*domain.bounce) * np.array(random.choice(domain.bounce_colours)),
        hard=random.uniform(*domain.shadow),
        soft=random.uniform(*domain.shadow_blur),
        key=random.uniform(*domain.brightness),
    )


def _directions(sun: Array) -> Array:
    """The sun, then the sky's directions, in two rings: `[1 + SKY_DIRECTIONS, 3]`."""
    rows = [sun]
    for k in range(1, SKY_DIRECTIONS + 1):
        azimuth, elevation = k * math.pi / 3 + 0.3, 0.5 if k % 2 else 1.1
        flat = math.cos(elevation)
        rows.append(np.array([math.cos(azimuth) * flat, math.sin(elevation), math.sin(azimuth) * flat]))
    return np.stack(rows)


def _frame(direction: Array) -> Array:
    """Right, up and forward `[3, 3]` of someone who looks from `direction` at the person."""
    right = np.array([direction[2], 0.0, -direction[0]])
    right /= np.linalg.norm(right) + 1e-9
    return np.stack([right, np.cross(direction, right), direction])


@compiled
def _splat(points: Array, depth: Array) -> None:
    """Keep the depth of the nearest point in each cell."""
    size = depth.shape[0]
    for i in range(len(points)):
        x = min(max(int(points[i, 0]), 0), size - 1)
        y = min(max(int(points[i, 1]), 0), size - 1)
        depth[y, x] = max(depth[y, x], points[i, 2])


@compiled
def _gather(points: Array, depth: Array, bias: float, seen: Array) -> None:
    """How far each point is seen, 0..1, from the four nearest cells of a depth map."""
    size = depth.shape[0]
    for i in range(len(points)):
        seen[i] = 0.0
        for j in range(4):
            x = min(max(int(points[i, 0] + j % 2 - 0.5), 0), size - 1)
            y = min(max(int(points[i, 1] + j // 2 - 0.5), 0), size - 1)
            if depth[y, x] < points[i, 2] + bias:
                seen[i] += 0.25


@compiled
def _project(vertices: Array, frame: Array, scale: float, size: int, out: Array) -> None:
    """Vertices (m, standing on the ground) into a `size`-wide map seen along a direction, with depth."""
    for i in range(len(vertices)):
        x, y, z = vertices[i, 0], vertices[i, 1] - 0.88, vertices[i, 2]
        for k in range(3):
            out[i, k] = frame[k, 0] * x + frame[k, 1] * y + frame[k, 2] * z
        out[i, 0] = out[i, 0] * scale + size / 2
        out[i, 1] = out[i, 1] * scale + size / 2


@compiled
def _accumulate(
    normals: Array,
    ripple: Array,
    gloss: Array,
    heights: Array,
    directions: Array,
    seen: Array,
    half: Array,
    sun_colour: Array,
    sky: Array,
    ground: Array,
    out: Array,
) -> None:
    for i in range(len(normals)):
        nx, ny, nz = normals[i, 0], normals[i, 1], normals[i, 2]
        bx, by, bz = nx + ripple[i, 0], ny + ripple[i, 1], nz + ripple[i, 2]
        facing = bx * directions[0, 0] + by * directions[0, 1] + bz * directions[0, 2]
        sun = seen[0, i] * max(0.0, facing)
        dome = 0.0
        for k in range(1, len(directions)):
            facing = bx * directions[k, 0] + by * directions[k, 1] + bz * directions[k, 2]
            if facing > -0.8:
                dome += (0.25 + 0.75 * seen[k, i]) * (0.45 + 0.55 * facing)
        dome = max(0.05, dome / 4.6) * (0.75 + 0.25 * min(1.0, heights[i] / 0.5))
        shine = max(0.0, nx * half[0] + ny * half[1] + nz * half[2]) ** 24 * gloss[i]
        direct = sun + shine * min(1.0, sun * 3)
        down = 0.5 - 0.5 * ny
        for c in range(3):
            out[i, c] = sun_colour[c] * direct + dome * (sky[c] * (1 - down) + ground[c] * down)


def light_on(
    light: Light, vertices: Array, normals: Array, ripple: Array, gloss: Array, triangles: Array
) -> Array:
    """The light each vertex sends to the camera, relative to its own colour: `[vertices, 3]`, linear.

    `vertices` and `normals` `[vertices, 3]` are in metres, the person standing at the origin; `ripple` bends
    the normals of cloth, `gloss` `[vertices]` is the strength of highlights.
    """
    directions = _directions(light.sun)
    seen = np.empty((len(directions), len(vertices)), np.float32)
    points = np.empty_like(vertices)
    for k, direction in enumerate(directions):
        size = SKY_MAP if k else SUN_MAP
        _project(vertices, _frame(direction), size / REACH, size, points)
        if k:
            depth = np.full((size, size), -9.0, np.float32)
            _splat(points, depth)
        else:
            depth = rasterise(points, triangles, size, size).depth
        _gather(points, depth, 0.09 if k else 0.03, seen[k])
    half = light.sun + np.array([0, 0, 1.0])
    half /= np.linalg.norm(half)
    out = np.empty((len(vertices), 3), np.float32)
    surface = (normals, ripple, gloss, np.ascontiguousarray(vertices[:, 1]))
    colours = (light.sun_colour, light.sky, light.ground)
    _accumulate(*surface, directions, seen, half, *colours, out)
    return out
