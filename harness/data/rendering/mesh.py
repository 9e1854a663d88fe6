"""The mesh of one person: all parts with one texture atlas, which is posed anew for every view."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import numpy as np

from harness.data.rendering.fabric import Strip
from harness.data.rendering.geometry import LOWEST, SPAN, BaseMesh, Piece
from harness.data.rendering.raster import Array

# How a surface reflects: the strength of its highlight, and whether its normals ripple like cloth.
SATIN, CLOTH, GLOSSY = 0, 1, 2
HIGHLIGHT = (0.12, 0.0, 0.4)


@dataclass(frozen=True)
class Part:
    """Vertices in dm with their bones, atlas places (before their strip is chosen), triangles and surface.

    `held` names what a view must hold for the part to be drawn ("phone left"), "" for what is always there.
    """

    vertices: Array
    bones: Array
    bone_weights: Array
    uv: Array
    triangles: Array
    strip: int
    surface: int
    held: str


@dataclass(frozen=True)
class Mesh:
    """A finished person: `[vertices, …]` and `[triangles, 3]` arrays, an sRGB atlas and its labels.

    `held` maps what may be in a hand ("phone left") to its triangles, which `triangles` lacks; the person's
    own vertices come first, `own` of them.
    """

    rest: Array
    bones: Array
    bone_weights: Array
    uv: Array
    triangles: Array
    gloss: Array
    ripple: Array
    atlas: Array
    atlas_labels: Array
    held: dict[str, Array]
    own: int

    def drawn(self, holding: str) -> Array:
        """The triangles `[triangles, 3]` of a view; `holding` is a key of `held` or ""."""
        return np.concatenate([self.triangles, self.held[holding]]) if holding else self.triangles


@dataclass
class Builder:
    """Collects a person's parts. `vertices` is the shaped base mesh, `normals` its normals."""

    base: BaseMesh
    vertices: Array
    normals: Array
    parts: list[Part] = field(default_factory=list)
    strips: list[Strip] = field(default_factory=list)

    def strip(self, strip: Strip) -> int:
        """Give a strip a place in the atlas and return its number."""
        self.strips.append(strip)
        return len(self.strips) - 1

    def add(self, piece: Piece, vertices: Array, triangles: Array, strip: int, surface: int) -> None:
        """Add `triangles` `[n, 3]` of a piece whose vertices were moved to `vertices` `[vertices, 3]`."""
        if len(triangles):
            chosen = np.zeros(len(vertices), bool)
            chosen[triangles] = True
            used = np.flatnonzero(chosen)
            number = np.cumsum(chosen) - 1
            self.parts.append(
                Part(
                    vertices[used],
                    piece.bones[used],
                    piece.bone_weights[used],
                    piece.uv[used],
                    number[triangles],
                    strip,
                    surface,
                    "",
                )
            )

    def attach(self, piece: Piece, to: Array, vertices: Array, triangles: Array, strip: int) -> None:
        """Add `vertices` `[n, 3]`, each moving as the piece's vertex of that place in `to` `[n]` does."""
        part = (vertices, piece.bones[to], piece.bone_weights[to], piece.uv[to], triangles)
        self.parts.append(Part(*part, strip, SATIN, ""))

    def trimmed(
        self,
        piece: Piece,
        vertices: Array,
        triangles: Array,
        at: Array,
        cut: float,
        way: Array,
        strip: int,
        surface: int = CLOTH,
    ) -> None:
        """Add the triangles that reach above `cut` in the coordinate `at` `[vertices]`.

        Vertices beyond the cut are pulled back to it along `way`, which makes a straight hem.
        """
        kept = triangles[(at[triangles] > cut).any(1)]
        beyond = np.clip(cut - at, 0, None)
        self.add(piece, vertices + beyond[:, None] * way, kept, strip, surface)

    def rigid(
        self,
        vertices: Array,
        triangles: Array,
        strip: int,
        bone: str | int,
        surface: int = SATIN,
        *,
        own_scale: bool = False,
        held: str = "",
    ) -> None:
        """Add a mesh that one bone moves: `vertices` `[n, 3]` and `triangles` `[m, 3]`.

        With `own_scale` it fills its strip from bottom to top.
        """
        bones = np.zeros((len(vertices), 5), np.int32)
        bones[:, 0] = self.base.bone_index[bone] if isinstance(bone, str) else bone
        weights = np.zeros((len(vertices), 5))
        weights[:, 0] = 1
        x, y, z = vertices.T
        along = (y - LOWEST) / SPAN
        if own_scale:
            x, z = x - x.mean(), z - z.mean()
            along = (y - y.min()) / (np.ptp(y) + 1e-6)
        angle = np.abs(np.arctan2(x, z)) / np.pi
        uv = np.stack([along, angle], 1)
        self.parts.append(Part(vertices, bones, weights, uv, triangles, strip, surface, held))

    def nearest(self, point: tuple[float, float, float]) -> Array:
        """The shaped body's place `[3]` that lies nearest to `point` on the unshaped one."""
        body = self.base.vertices[: self.base.skin.triangles.max() + 1]
        return np.asarray(self.vertices[((body - point) ** 2).sum(1).argmin()].copy())

    def joint(self, name: str) -> Array:
        """A joint's place `[3]` on the shaped body."""
        return self.base.joint(self.vertices, name)

    def finish(self, random: Random) -> Mesh:
        """The mesh of all parts so far."""
        starts = np.cumsum([0] + [len(part.vertices) for part in self.parts])
        triangles = [
            (part.triangles + start).astype(np.int32)
            for part, start in zip(self.parts, starts[:-1], strict=True)
        ]
        rows = len(self.strips)
        uv = [
            np.stack([p.uv[:, 0], (p.strip + 0.03 + 0.94 * np.clip(p.uv[:, 1], 0, 1)) / rows], 1)
            for p in self.parts
        ]
        surface = np.concatenate([np.full(len(part.vertices), part.surface) for part in self.parts])
        rest = np.concatenate([part.vertices for part in self.parts])
        held: dict[str, list[Array]] = {}
        for part, mine in zip(self.parts, triangles, strict=True):
            held.setdefault(part.held, []).append(mine)
        return Mesh(
            rest=rest.astype(np.float32),
            bones=np.concatenate([part.bones for part in self.parts]),
            bone_weights=np.concatenate([part.bone_weights for part in self.parts]).astype(np.float32),
            uv=np.concatenate(uv).astype(np.float32),
            triangles=np.concatenate(held.pop("")),
            gloss=np.array(HIGHLIGHT, np.float32)[surface],
            ripple=_ripple(rest, surface == CLOTH, random),
            atlas=np.clip(np.concatenate([s.colour for s in self.strips]), 0, 255).astype(np.uint8),
            atlas_labels=np.concatenate([s.label for s in self.strips]),
            own=sum(len(part.vertices) for part in self.parts if not part.held),
            held={name: np.concatenate(mine) for name, mine in held.items()},
        )


def _ripple(rest: Array, cloth: Array, random: Random) -> Array:
    """Wrinkles: a few waves that bend the normals of cloth `[vertices, 3]`."""
    ripple = np.zeros_like(rest)
    for _ in range(3):
        wave = np.array([random.uniform(-2, 2), random.uniform(2, 7), random.uniform(-2, 2)])
        ripple += np.cos(rest @ wave + 2 * np.sin(rest @ wave[::-1] * 0.3))[:, None] * (wave / 7) * 0.2
    ripple[~cloth] = 0
    return ripple.astype(np.float32)


def grid(rows: int, columns: int) -> Array:
    """Triangles `[n, 3]` of a sheet of `rows` × `columns` vertices."""
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    right, below = corner + 1, corner + columns
    return np.concatenate(
        [np.stack([corner, below, below + 1], 1), np.stack([corner, below + 1, right], 1)]
    ).astype(np.int32)


def rounded_box(
    centre: Array, half: Array | tuple[float, float, float], edge: float = 0.35, n: int = 10
) -> tuple[Array, Array]:
    """A superellipsoid: vertices `[2 n², 3]` and triangles `[m, 3]`.

    `edge` 1 is an ellipsoid, towards 0 a box; `half` has the half axes `[3]`.
    """
    up, round_ = np.meshgrid(np.linspace(-np.pi / 2, np.pi / 2, n), np.linspace(-np.pi, np.pi, 2 * n))

    def bulge(x: Array) -> Array:
        return np.asarray(np.sign(x) * np.abs(x) ** edge)

    points = np.stack(
        [
            bulge(np.cos(up)) * bulge(np.sin(round_)),
            bulge(np.sin(up)),
            bulge(np.cos(up)) * bulge(np.cos(round_)),
        ],
        -1,
    )
    return points.reshape(-1, 3) * np.asarray(half) + centre, grid(2 * n, n)
