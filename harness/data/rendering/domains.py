"""The four domains: camera heights and distances, light, ground, walls and things in between.

Everything here is a range or a choice that is drawn anew for every view; nothing is shared by the views of a
person but the person. Lengths are metres, angles radians, blur pixels of the finished picture.
"""

from __future__ import annotations

from dataclasses import dataclass

Range = tuple[float, float]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Domain:
    """The ranges and choices from which every view of one domain is drawn.

    `distance` and `camera_height` place the camera; `sun*`, `sky*` and `bounce*` are linear light, `shadow`
    the depth and `shadow_blur` the softness of shadows on the ground; `brightness` is the exposure aimed at;
    `wall_distance` is how far behind the person a wall stands; `occluders` may be in front of the person in
    `occluded` of the views; `props` and `crowd` are the most upright things and people behind; `blur`,
    `defocus` and `motion` are pixels, `noise` a share of full scale, `cast` the strength of a colour cast,
    `saturation` and `contrast` factors, `coarse` the share of views taken at a lower resolution.
    """

    name: str
    distance: Range
    camera_height: Range
    sun_elevation: Range
    sun: Range
    sun_colours: tuple[Colour, ...]
    sun_warmth: float
    sky: Range
    sky_colours: tuple[Colour, ...]
    bounce: Range
    bounce_colours: tuple[Colour, ...]
    shadow: Range
    shadow_blur: Range
    brightness: Range
    grounds: tuple[str, ...]
    walls: tuple[str, ...]
    wall_distance: Range
    open_sky: bool
    occluders: tuple[str, ...]
    occluded: float
    props: int
    crowd: int
    blur: Range
    defocus: Range
    motion: Range
    noise: Range
    cast: float
    saturation: Range
    contrast: Range
    coarse: float


DOMAINS: dict[str, Domain] = {
    # Daylight on a square, high cameras, hard shadows.
    "plaza": Domain(
        name="plaza",
        distance=(7, 13),
        camera_height=(3, 6),
        sun_elevation=(0.5, 1.15),
        sun=(0.9, 1.5),
        sun_colours=((1.08, 1.0, 0.88),),
        sun_warmth=0.06,
        sky=(0.34, 0.55),
        sky_colours=((0.86, 0.95, 1.12),),
        bounce=(0.16, 0.32),
        bounce_colours=((1.0, 0.95, 0.88),),
        shadow=(0.85, 0.95),
        shadow_blur=(0.3, 0.8),
        brightness=(0.9, 1.2),
        grounds=("tiles", "slabs", "asphalt", "brick", "cobble"),
        walls=("bricks", "windows", "panels", "shop", "stone", "foliage"),
        wall_distance=(4, 30),
        open_sky=True,
        occluders=("bin", "planter", "pole", "railing", "passer-by"),
        occluded=0.1,
        props=3,
        crowd=4,
        blur=(0.25, 0.6),
        defocus=(0, 0),
        motion=(0, 0),
        noise=(0.003, 0.010),
        cast=0.05,
        saturation=(0.62, 0.9),
        contrast=(0.92, 1.12),
        coarse=0.3,
    ),
    # Indoors: lamps of several colours, noise, motion blur.
    "station": Domain(
        name="station",
        distance=(4.5, 9),
        camera_height=(2.0, 3.6),
        sun_elevation=(0.9, 1.4),
        sun=(0.35, 0.75),
        sun_colours=((1.0, 0.84, 0.62), (1.0, 0.84, 0.62), (0.86, 0.98, 1.1)),
        sun_warmth=0.05,
        sky=(0.45, 0.75),
        sky_colours=((1.05, 0.95, 0.8), (0.9, 1.02, 1.0)),
        bounce=(0.16, 0.36),
        bounce_colours=((1.0, 0.96, 0.9),),
        shadow=(0.3, 0.5),
        shadow_blur=(1.8, 3.5),
        brightness=(0.95, 1.25),
        grounds=("tiles", "slabs", "polished", "dots"),
        walls=("panels", "windows", "shop", "bricks", "poster", "dark"),
        wall_distance=(1.5, 9),
        open_sky=False,
        occluders=("railing", "bin", "pole", "bench", "passer-by", "barrier"),
        occluded=0.16,
        props=2,
        crowd=4,
        blur=(0.35, 0.85),
        defocus=(0, 0.5),
        motion=(0, 1.5),
        noise=(0.006, 0.018),
        cast=0.07,
        saturation=(0.62, 0.9),
        contrast=(0.9, 1.1),
        coarse=0.35,
    ),
    # Overcast, low cameras among plants.
    "campus": Domain(
        name="campus",
        distance=(4, 9),
        camera_height=(1.0, 1.9),
        sun_elevation=(0.7, 1.4),
        sun=(0.08, 0.35),
        sun_colours=((1.0, 1.0, 0.97),),
        sun_warmth=0.02,
        sky=(0.75, 1.0),
        sky_colours=((0.97, 1.0, 1.05),),
        bounce=(0.24, 0.38),
        bounce_colours=((0.95, 1.0, 0.86),),
        shadow=(0.25, 0.35),
        shadow_blur=(2.5, 5),
        brightness=(0.9, 1.2),
        grounds=("asphalt", "grass", "slabs", "brick", "gravel", "grass"),
        walls=("foliage", "foliage", "hedge", "bricks", "windows", "stone"),
        wall_distance=(2, 14),
        open_sky=True,
        occluders=("hedge", "planter", "railing", "pole", "branches", "bench", "passer-by"),
        occluded=0.32,
        props=3,
        crowd=3,
        blur=(0.25, 0.75),
        defocus=(0, 1.1),
        motion=(0, 0),
        noise=(0.003, 0.013),
        cast=0.05,
        saturation=(0.62, 0.9),
        contrast=(0.9, 1.1),
        coarse=0.3,
    ),
    # For pre-training: cameras, grounds and walls that no other domain has.
    "generic": Domain(
        name="generic",
        distance=(3.5, 14),
        camera_height=(0.8, 4.5),
        sun_elevation=(0.5, 1.4),
        sun=(0.1, 1.2),
        sun_colours=((1.05, 1.0, 0.92), (1.0, 0.9, 0.76), (0.92, 1.0, 1.06)),
        sun_warmth=0.05,
        sky=(0.4, 0.9),
        sky_colours=((1.0, 1.0, 1.0), (0.92, 0.98, 1.08), (1.05, 0.97, 0.88)),
        bounce=(0.15, 0.35),
        bounce_colours=((1.0, 0.97, 0.92), (0.95, 1.0, 1.0)),
        shadow=(0.3, 0.9),
        shadow_blur=(0.4, 4),
        brightness=(0.85, 1.25),
        grounds=("concrete", "carpet", "wood", "sand", "concrete"),
        walls=("plain", "plain", "curtain", "concrete", "shelves", "gradient"),
        wall_distance=(1.2, 12),
        open_sky=False,
        occluders=("box", "pole", "bin"),
        occluded=0.08,
        props=2,
        crowd=2,
        blur=(0.2, 0.9),
        defocus=(0, 0.8),
        motion=(0, 0.8),
        noise=(0.003, 0.016),
        cast=0.07,
        saturation=(0.6, 0.95),
        contrast=(0.88, 1.14),
        coarse=0.3,
    ),
}
