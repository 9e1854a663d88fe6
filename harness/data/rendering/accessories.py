"""What people carry and wear besides clothes: bags, hats, scarves, and what a hand may hold."""

from __future__ import annotations

from random import Random

import numpy as np

from harness.data.rendering.attributes import RGB, Bag, Person, Wrap
from harness.data.rendering.fabric import cloth, shade_of
from harness.data.rendering.geometry import TIGHTS
from harness.data.rendering.makehuman import Assets
from harness.data.rendering.mesh import CLOTH, Builder, grid, rounded_box
from harness.data.rendering.raster import Array

HALF_SIZE = {"handbag": (0.5, 0.85, 1.25), "shopping bag": (0.5, 1.7, 1.3), "suitcase": (1.0, 2.8, 1.8)}


def hand_sign(hand: str) -> int:
    """+1 for the left hand, -1 for the right."""
    return 1 if hand == "left" else -1


def hand_bone(build: Builder, sign: int) -> int:
    """The extra bone that hangs from a hand without turning with it."""
    return len(build.base.bones) + (sign < 0)


def darker(colour: RGB, factor: float) -> RGB:
    """A colour with its sRGB values scaled."""
    red, green, blue = (round(x * factor) for x in colour)
    return red, green, blue


def ribbon(
    build: Builder, points: list[tuple[float, float, float]], width: float, lift: float, strip: int
) -> None:
    """A strap laid on the clothed body along rest points (in front if z > 0), `2 * width` dm wide."""
    where = np.array(points)
    tights = build.base.vertices[TIGHTS]
    side = np.sign(where[:, 2:])
    distance = (tights[:, 0] - where[:, :1]) ** 2 + (tights[:, 1] - where[:, 1:2]) ** 2
    distance += 4 * np.maximum(0, side * (0.15 - tights[:, 2])) ** 2
    found = np.repeat(TIGHTS.start + distance.argmin(1), 2)
    edge = np.tile([[-width, 0, 0], [width, 0, 0]], (len(where), 1))
    vertices = build.vertices[found] + build.normals[found] * lift + edge
    build.attach(build.base.tights, found, vertices, grid(len(where), 2), strip)


def add_bag(build: Builder, bag: Bag, random: Random, thick: float) -> None:
    """A bag over clothes `thick` dm thick."""
    colour = shade_of(bag.colour, random)
    second = shade_of(bag.second, random) if bag.second else None
    strip = build.strip(
        cloth("bag", colour, random, pattern=bag.pattern, second=second, folds=0.5, small=True)
    )
    straps = build.strip(cloth("straps", darker(colour, 0.85), random, folds=0.3))
    sign = hand_sign(bag.hand)
    if bag.kind == "backpack":
        _backpack(build, bag, strip, straps, thick)
    elif bag.kind == "shoulder bag":
        centre = build.nearest((sign * 1.7, 0.6, 0.1)) + np.array([sign * (0.45 + thick), -0.3, 0])
        half = np.array([0.42, 0.95, 1.25]) * bag.size
        build.rigid(*rounded_box(centre, half, 0.35), strip, "root", own_scale=True)
        for front in (1, -1):
            line = [(-sign * 1.1 + sign * 2.9 * q, 5.6 - 4.6 * q, front * 0.5) for q in np.linspace(0, 1, 12)]
            ribbon(build, line, 0.15, 0.16 + thick, straps)
    else:
        _in_hand(build, bag, sign, strip, straps)


def _backpack(build: Builder, bag: Bag, strip: int, straps: int, thick: float) -> None:
    size = bag.size
    back = build.nearest((0, 3.6, -0.9)) - [0, 0, thick]
    body = rounded_box(back + np.array([0, 0.0, -0.85 * size]), np.array([1.4, 1.95, 0.8]) * size, 0.45)
    pocket = rounded_box(back + np.array([0, -0.75, -1.55 * size]), np.array([1.0, 0.8, 0.3]) * size, 0.5)
    build.rigid(*body, strip, "spine01", own_scale=True)
    build.rigid(*pocket, strip, "spine01", own_scale=True)
    for x in (-1.05, 1.05):
        line = [(x, 5.0, -0.4), (x, 5.6, 0.1)] + [(x, y, 0.5) for y in (5.2, 4.7, 4.2, 3.7, 3.2, 2.7)]
        ribbon(build, line, 0.19, 0.14 + thick, straps)


def _in_hand(build: Builder, bag: Bag, sign: int, strip: int, straps: int) -> None:
    hand = build.joint("l-hand" if sign > 0 else "r-hand")
    half = np.array(HALF_SIZE[bag.kind]) * bag.size
    bone = hand_bone(build, sign)
    if bag.kind == "suitcase":
        body = rounded_box(hand + np.array([sign * 0.2, -2.0 - half[1], -1.6]), half, 0.3)
        handle = rounded_box(hand + np.array([0, -1.2, -0.8]), (0.1, 1.0, 0.1), 0.6)
    else:
        body = rounded_box(hand + np.array([sign * 0.2, -1.1 - half[1], 0]), half, 0.35)
        handle = _loop(hand + np.array([sign * 0.2, -1.15, 0]), 0.55 * float(half[2]), 0.75)
    build.rigid(*body, strip, bone, own_scale=True)
    build.rigid(*handle, straps, bone)


def _loop(foot: Array, half_width: float, height: float) -> tuple[Array, Array]:
    """A handle: a half ring, open below, in the plane of the side of the person."""
    turn = np.linspace(0, np.pi, 12)
    outer = np.stack([np.zeros(12), np.sin(turn) * height, np.cos(turn) * half_width], 1)
    inner = outer * [1, 0.72, 0.8]
    thick = np.array([0.05, 0, 0])
    sheet = np.stack([outer - thick, inner - thick, inner + thick, outer + thick], 1)
    return sheet.reshape(-1, 3) + foot, grid(12, 4)


def add_hat(build: Builder, hat: Wrap, assets: Assets, random: Random) -> None:
    """A cap or beanie cut from the head, or a fedora."""
    strip = build.strip(cloth("hat", shade_of(hat.colour, random), random, folds=0.5))
    base, skin = build.base, build.base.skin
    if hat.kind == "fedora":
        fedora = assets.piece("clothes/fedora01")
        if fedora is not None:
            build.add(fedora, fedora.fit(build.vertices), fedora.triangles, strip, CLOTH)
            return
        crown = build.nearest((0, 7.9, 0.4))
        build.rigid(*rounded_box(crown + np.array([0, 0.1, 0]), (1.45, 0.07, 1.6), 1.0), strip, "head")
    lift = 0.34 if hat.kind == "beanie" else 0.2
    low = 7.55 if hat.kind == "beanie" else 7.72
    face = base.head[skin.triangles].mean(1) > 0.6
    face &= skin.face_height > low - 0.22 * np.clip(1.2 - skin.face_front, 0, 2)
    rise = np.clip((base.vertices[:, 1] - 7.9) / 0.5, 0, 1) * (0.25 if hat.kind == "beanie" else 0.1)
    vertices = build.vertices + build.normals * lift
    vertices[:, 1] += rise
    build.add(skin, vertices, skin.triangles[face], strip, CLOTH)
    if hat.kind == "cap":
        brow = build.nearest((0, 7.85, 1.35))
        build.rigid(*rounded_box(brow + np.array([0, -0.04, 0.45]), (0.68, 0.06, 0.72), 0.8), strip, "head")


def add_scarf(build: Builder, scarf: Wrap, random: Random, thick: float) -> None:
    """A scarf wound round the neck, one end hanging down the front."""
    colour = shade_of(scarf.colour, random)
    second = shade_of(scarf.second, random) if scarf.second else None
    fabric = cloth("scarf", colour, random, pattern=scarf.pattern, second=second, folds=1.3)
    strip = build.strip(fabric)
    tube, around = np.meshgrid(np.linspace(0, 2 * np.pi, 9), np.linspace(-np.pi, np.pi, 20))
    wide = 0.82 + 0.3 * np.cos(tube) * (1 + 0.12 * np.sin(5 * around))
    ring = np.stack(
        [
            np.sin(around) * wide,
            -0.08 + 0.38 * np.sin(tube) - 0.12 * np.cos(around),
            0.12 + np.cos(around) * wide,
        ],
        -1,
    )
    build.rigid(ring.reshape(-1, 3) + build.joint("neck"), grid(20, 9), strip, "spine01", CLOTH)
    aside = random.choice((-1, 1)) * random.uniform(0.25, 0.6)
    line = [(aside, float(y), 0.6) for y in np.linspace(5.3, random.uniform(2.4, 3.8), 7)]
    ribbon(build, line, 0.36, 0.22 + thick, strip)


def add_held(build: Builder, person: Person, random: Random) -> None:
    """A phone and a cup for each hand, drawn only in the views that hold one."""
    phone = build.strip(cloth("held", (36, 37, 42), random, folds=0))
    cup = build.strip(cloth("held", random.choice(((226, 224, 216), (196, 160, 120))), random, folds=0))
    for sign, name in ((1, "left"), (-1, "right")):
        hand = build.joint("l-hand" if sign > 0 else "r-hand") + np.array([0, 0.5, 0.75])
        bone = hand_bone(build, sign)
        build.rigid(*rounded_box(hand, (0.3, 0.55, 0.08), 0.4, 6), phone, bone, held=f"phone {name}")
        build.rigid(*rounded_box(hand, (0.32, 0.55, 0.32), 0.5, 6), cup, bone, held=f"cup {name}")
