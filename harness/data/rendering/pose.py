"""Standing and walking: limb directions turned into bone matrices, and the mesh moved by them.

A limb is not posed by joint angles but by the direction it points in: the shortest rotation that takes its
rest direction there is free of the twists that Euler angles bring.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random

import numpy as np

from harness.data.rendering.geometry import BaseMesh
from harness.data.rendering.raster import Array, compiled

POSED = ("upperarm01", "lowerarm01", "wrist", "upperleg01", "lowerleg01", "foot")
SIDES = ((".L", 1), (".R", -1))


@dataclass(frozen=True)
class Gait:
    """One moment of standing or walking; angles in radians.

    `stride` is the largest angle of the thigh (near 0 when standing), `phase` the moment of the step,
    `held` ("phone", "cup" or "") is what a hand on the side `held_by` (+1 left, -1 right) holds up.
    """

    walking: bool
    stride: float
    phase: float
    lean: float
    head_turn: float
    head_nod: float
    swing: float
    spread: float
    held: str
    held_by: int


def draw_gait(random: Random, *, longest: float, carried: int) -> Gait:
    """A gait whose stride is at most `longest`; `carried` is the side of a bag in a hand, 0 for none."""
    held = random.choice(("phone", "phone", "cup")) if random.random() < 0.13 else ""
    held_by = -carried if carried else random.choice((-1, 1))
    walking = random.random() < 0.75
    stride = min(longest, random.uniform(0.18, 0.40)) if walking else random.uniform(0, 0.06)
    return Gait(
        walking=walking,
        stride=stride,
        phase=random.uniform(0, 2 * math.pi),
        lean=random.uniform(-0.02, 0.06),
        head_turn=random.gauss(0, 0.28),
        head_nod=random.uniform(-0.08, 0.24),
        swing=random.uniform(0.6, 1.0),
        spread=random.uniform(0.0, 0.06),
        held=held,
        held_by=held_by,
    )


def turn(i: int, j: int, angle: float) -> Array:
    """Rotation `[3, 3]` by `angle` radians from axis `i` towards axis `j`."""
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = math.cos(angle)
    matrix[j, i], matrix[i, j] = math.sin(angle), -math.sin(angle)
    return matrix


def shortest_arc(start: Array, end: Array) -> Array:
    """The smallest rotation `[3, 3]` that takes direction `start` to direction `end` (not opposite)."""
    start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
    x, y, z = np.cross(start, end)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + cross + cross @ cross / (1 + start @ end))


def _down(angle: float, aside: float) -> Array:
    """A direction hanging down, swung forward by `angle` and a little to the side."""
    return np.array([aside, -math.cos(angle), math.sin(angle)])


class Skeleton:
    """The joints of one shaped body, and the order in which to pose them."""

    def __init__(self, body: BaseMesh, vertices: Array, weight: float) -> None:
        self.body, self.weight = body, weight
        names = [bone + side for bone in POSED for side, _ in SIDES] + ["spine03", "neck02"]
        self.joints = {name: body.bone_head(vertices, name) for name in names}
        self.parents = [body.bone_index.get(body.rig[bone]["parent"], -1) for bone in body.bones]
        self.order = _parents_first(self.parents)

    def _legs(self, gait: Gait, side: str, sign: int) -> dict[str, Array]:
        j, step = self.joints, gait.stride / 0.4
        thigh = sign * gait.stride * math.sin(gait.phase)
        lifted = max(0.0, sign * math.cos(gait.phase)) ** 1.3
        knee = 0.06 + step * (lifted + 0.15 * max(0.0, -sign * math.sin(gait.phase)))
        upper, lower = j["upperleg01" + side], j["lowerleg01" + side]
        return {
            "upperleg01" + side: shortest_arc(lower - upper, _down(thigh + knee * 0.2, sign * 0.03)),
            "lowerleg01" + side: shortest_arc(
                j["foot" + side] - lower, _down(thigh - knee * 0.85, sign * 0.02)
            ),
            "foot" + side: turn(2, 0, sign * 0.12) @ turn(1, 2, -(thigh - knee * 0.6) * 0.75),
        }

    def _arms(self, gait: Gait, side: str, sign: int, held: int, drags: bool) -> dict[str, Array]:
        j, back = self.joints, -sign * math.sin(gait.phase)
        angle = gait.stride * gait.swing * back - 0.05
        bend = 0.2 + 0.35 * gait.swing * max(0.0, back) * gait.stride / 0.4
        aside = sign * (0.13 + 0.12 * self.weight + gait.spread)
        inward = aside * 0.45
        if held == sign:
            angle, bend = angle * 0.3 - (0.1 if drags else 0.0), 0.1
        elif gait.held and gait.held_by == sign:
            angle, bend, inward = 0.2, 1.65, -sign * 0.3
        upper, lower = j["upperarm01" + side], j["lowerarm01" + side]
        fore = shortest_arc(j["wrist" + side] - lower, _down(angle + bend, inward))
        return {
            "upperarm01" + side: shortest_arc(lower - upper, _down(angle, aside)),
            "lowerarm01" + side: fore,
            "wrist" + side: fore,
        }

    def matrices(self, gait: Gait, held: int = 0, drags: bool = False) -> Array:
        """Bone matrices `[bones + 2, 3, 4]` in decimetres; the last two carry what hangs from a hand.

        `held` is the side (+1 left, -1 right, 0 none) of a hand that carries a bag, `drags` whether it
        pulls a suitcase.
        """
        world = {
            "spine03": turn(2, 0, 0.12 * gait.stride * math.sin(gait.phase)) @ turn(1, 2, gait.lean),
            "neck02": turn(2, 0, gait.head_turn) @ turn(1, 2, gait.head_nod),
        }
        for side, sign in SIDES:
            world |= self._legs(gait, side, sign) | self._arms(gait, side, sign, held, drags)
        count = len(self.body.bones)
        out = np.zeros((count + 2, 3, 4))
        out[:, :, :3] = np.eye(3)
        for i in self.order:
            parent, bone = self.parents[i], self.body.bones[i]
            above = out[parent] if parent >= 0 else np.eye(4)[:3]
            out[i] = above
            if bone in world:
                head = self.joints[bone]
                moved = above[:, :3] @ head + above[:, 3] - world[bone] @ head
                out[i] = np.column_stack([world[bone], moved])
        for k, (side, _) in enumerate(SIDES):
            head = self.joints["wrist" + side]
            out[count + k, :, 3] = out[self.body.bone_index["wrist" + side]] @ np.append(head, 1) - head
        return out


def _parents_first(parents: list[int]) -> list[int]:
    order: list[int] = []
    while len(order) < len(parents):
        order += [i for i, p in enumerate(parents) if i not in order and (p < 0 or p in order)]
    return order


@compiled
def skin(rest: Array, bones: Array, weights: Array, matrices: Array, yaw: float, out: Array) -> None:
    """Linear blend skinning of `rest` `[n, 3]` (dm) into `out` (metres), then a turn by `yaw` radians.

    `bones` and `weights` `[n, 5]` name the matrices that move each vertex.
    """
    cosine, sine = 0.1 * np.cos(yaw), 0.1 * np.sin(yaw)
    moved = np.zeros(3)
    for i in range(len(rest)):
        moved[:] = 0
        for j in range(bones.shape[1]):
            weight = weights[i, j]
            for a in range(3):
                m = matrices[bones[i, j], a]
                moved[a] += weight * (m[0] * rest[i, 0] + m[1] * rest[i, 1] + m[2] * rest[i, 2] + m[3])
        out[i, 0] = cosine * moved[0] + sine * moved[2]
        out[i, 1] = 0.1 * moved[1]
        out[i, 2] = cosine * moved[2] - sine * moved[0]
