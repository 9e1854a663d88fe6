"""A small z-buffer rasteriser: which triangle owns each pixel, and what colour it has there.

Visibility is exact at the supersampled resolution: every sample carries the label of the material in front,
so the visible share of a garment, a print or a beard is counted, not estimated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar, cast

import numba
import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[Any]
Function = TypeVar("Function", bound=Callable[..., Any])

# sRGB bytes to linear light, by the 2.2 power of all the generator's colours.
LINEAR: Array = ((np.arange(256) / 255) ** 2.2).astype(np.float32)


def compiled(function: Function) -> Function:
    """Compile with numba and keep the machine code on disk; a typed `numba.njit`."""
    return cast(Function, numba.njit(cache=True, fastmath=True)(function))


@dataclass
class Fragments:
    """What the rasteriser found, for every sample of a `[height, width]` picture.

    `depth` is the largest depth seen; `owner` the winning triangle, -1 where there is none; `where` its
    second and third barycentric coordinates `[height, width, 2]`.
    """

    depth: Array
    owner: Array
    where: Array


@compiled
def _draw(points: Array, triangles: Array, depth: Array, owner: Array, where: Array) -> None:
    height, width = depth.shape
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0, z0 = points[a, 0], points[a, 1], points[a, 2]
        x1, y1, z1 = points[b, 0] - x0, points[b, 1] - y0, points[b, 2] - z0
        x2, y2, z2 = points[c, 0] - x0, points[c, 1] - y0, points[c, 2] - z0
        left = max(0, int(np.ceil(x0 + min(0.0, x1, x2) - 0.5)))
        right = min(width - 1, int(np.floor(x0 + max(0.0, x1, x2) - 0.5)))
        top = max(0, int(np.ceil(y0 + min(0.0, y1, y2) - 0.5)))
        bottom = min(height - 1, int(np.floor(y0 + max(0.0, y1, y2) - 0.5)))
        area = x1 * y2 - x2 * y1
        if left > right or top > bottom or abs(area) < 1e-9:
            continue
        for y in range(top, bottom + 1):
            fy = y + 0.5 - y0
            for x in range(left, right + 1):
                fx = x + 0.5 - x0
                u = (fx * y2 - x2 * fy) / area
                v = (x1 * fy - fx * y1) / area
                z = z0 + u * z1 + v * z2
                if u >= 0 and v >= 0 and u + v <= 1 and z > depth[y, x]:
                    depth[y, x] = z
                    owner[y, x] = t
                    where[y, x, 0] = u
                    where[y, x, 1] = v


def rasterise(points: Array, triangles: Array, height: int, width: int) -> Fragments:
    """Draw `triangles` `[n, 3]` of `points` `[m, 3]` float32 (x and y in pixels, larger z is nearer).

    A sample belongs to the nearest triangle that contains its centre.
    """
    found = Fragments(
        np.full((height, width), -1e9, np.float32),
        np.full((height, width), -1, np.int32),
        np.zeros((height, width, 2), np.float32),
    )
    _draw(points, triangles, found.depth, found.owner, found.where)
    return found


@compiled
def _shade(
    owner: Array,
    where: Array,
    triangles: Array,
    light: Array,
    uv: Array,
    atlas: Array,
    atlas_labels: Array,
    linear: Array,
    scale: int,
    out: Array,
    labels: Array,
) -> None:
    height, width = owner.shape
    rows, columns = atlas.shape[0], atlas.shape[1]
    share = 1.0 / (scale * scale)
    for y in range(height):
        for x in range(width):
            t = owner[y, x]
            if t < 0:
                continue
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            u, v = where[y, x, 0], where[y, x, 1]
            w = 1 - u - v
            s = min(max((w * uv[a, 0] + u * uv[b, 0] + v * uv[c, 0]) * columns - 0.5, 0.0), columns - 1.001)
            r = min(max((w * uv[a, 1] + u * uv[b, 1] + v * uv[c, 1]) * rows - 0.5, 0.0), rows - 1.001)
            i, j = int(r), int(s)
            fr, fs = r - i, s - j
            labels[y, x] = atlas_labels[i + int(fr + 0.5), j + int(fs + 0.5)]
            for k in range(3):
                upper = linear[atlas[i, j, k]] * (1 - fs) + linear[atlas[i, j + 1, k]] * fs
                lower = linear[atlas[i + 1, j, k]] * (1 - fs) + linear[atlas[i + 1, j + 1, k]] * fs
                shine = w * light[a, k] + u * light[b, k] + v * light[c, k]
                out[y // scale, x // scale, k] += share * shine * (upper * (1 - fr) + lower * fr)
            out[y // scale, x // scale, 3] += share


def shade(
    found: Fragments, triangles: Array, light: Array, uv: Array, atlas: Array, atlas_labels: Array, scale: int
) -> tuple[Array, Array]:
    """The picture, `[height / scale, width / scale, 4]` linear premultiplied colour and coverage, and labels.

    Labels `[height, width]` uint8 name the material of each sample, 0 where there is nothing.

    Args:
        found: what `rasterise` found for `triangles` `[n, 3]`.
        light: the light each vertex receives `[vertices, 3]`, linear.
        uv: each vertex' place in the atlas `[vertices, 2]` (column, row), 0..1.
        atlas: colours `[rows, columns, 3]`, sRGB bytes.
        atlas_labels: materials `[rows, columns]`, bytes above 0.
        scale: samples a side that make one pixel.
    """
    height, width = found.owner.shape
    out = np.zeros((height // scale, width // scale, 4), np.float32)
    labels = np.zeros((height, width), np.uint8)
    arguments = (found.owner, found.where, triangles, light, uv, atlas, atlas_labels, LINEAR, scale)
    _shade(*arguments, out, labels)
    return out, labels


@compiled
def vertex_normals(vertices: Array, triangles: Array, normals: Array) -> None:
    """Write the area-weighted unit normal of each vertex to `normals`, both `[vertices, 3]`."""
    normals[:] = 0
    for t in range(len(triangles)):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        for k in range(3):
            i, j = (k + 1) % 3, (k + 2) % 3
            n = (vertices[b, i] - vertices[a, i]) * (vertices[c, j] - vertices[a, j]) - (
                vertices[b, j] - vertices[a, j]
            ) * (vertices[c, i] - vertices[a, i])
            normals[a, k] += n
            normals[b, k] += n
            normals[c, k] += n
    for i in range(len(normals)):
        length = np.sqrt(normals[i, 0] ** 2 + normals[i, 1] ** 2 + normals[i, 2] ** 2 + 1e-20)
        for k in range(3):
            normals[i, k] /= length
