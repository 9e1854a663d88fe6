"""The attributes of a rendered person and of one view of them: the ground truth of every picture.

A population is a pure function of (domain, seed, how many, plant): it needs numpy only, no geometry, and does
not depend on how many processes draw it. `wardrobe.py` says what people of a domain wear how often.

Lengths are decimetres of the rest pose (y up, 0 at the hips, soles near -8.6, top of the head near 8.3);
colours are names of `COLOURS`, `DENIM` or `HAIR_COLOURS`, whose values are sRGB, 0..255.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, TypeVar

RGB = tuple[int, int, int]
Record = TypeVar("Record")

DOMAINS = ("plaza", "station", "campus", "generic")
SIDES = ("front", "back", "left", "right")
GAITS = ("walking", "standing")

COLOURS: dict[str, RGB] = {
    "black": (30, 30, 32),
    "dark grey": (66, 67, 70),
    "grey": (112, 113, 115),
    "light grey": (172, 173, 174),
    "white": (222, 221, 216),
    "cream": (218, 209, 188),
    "beige": (190, 171, 140),
    "brown": (96, 68, 50),
    "navy": (36, 44, 74),
    "blue": (60, 88, 132),
    "light blue": (142, 170, 198),
    "teal": (54, 102, 106),
    "green": (62, 96, 68),
    "olive": (94, 94, 62),
    "yellow": (198, 166, 88),
    "orange": (178, 104, 62),
    "red": (142, 46, 46),
    "burgundy": (92, 32, 44),
    "pink": (204, 152, 162),
    "purple": (92, 66, 114),
}
DENIM: dict[str, RGB] = {
    "blue denim": (72, 85, 110),
    "dark denim": (45, 51, 66),
    "light denim": (128, 146, 172),
    "black denim": (38, 38, 42),
}
HAIR_COLOURS: dict[str, RGB] = {
    "black": (26, 23, 21),
    "dark brown": (46, 34, 27),
    "brown": (72, 51, 37),
    "auburn": (112, 60, 38),
    "blond": (172, 142, 98),
    "grey": (142, 140, 136),
}

# kind -> ((mesh, who wears it), …); "base" is cut from the base mesh's own clothing surface
MESHES: dict[str, tuple[tuple[str, str], ...]] = {
    "t-shirt": (("male_casualsuit04", "any"), ("female_casualsuit01", "female"), ("base", "any")),
    "tank top": (("base", "any"),),
    "shirt": (("male_casualsuit02", "any"),),
    "blouse": (("female_casualsuit02", "female"),),
    "polo shirt": (("male_casualsuit06", "any"),),
    "sweater": (("male_casualsuit03", "any"), ("base", "any")),
    "hoodie": (("base", "any"),),
    "dress": (("base", "female"),),
    "jacket": (("male_casualsuit05", "any"), ("base", "any")),
    "puffer jacket": (("base", "any"),),
    "coat": (("base", "any"),),
    "cardigan": (("female_elegantsuit01", "female"),),
    "gilet": (("base", "any"),),
    "suit jacket": (("male_elegantsuit01", "male"),),
    "jeans": (("male_casualsuit03", "any"),),
    "trousers": (("male_casualsuit03", "any"),),
    "shorts": (("male_casualsuit03", "any"),),
    "skirt": (("base", "female"),),
    "leggings": (("base", "female"),),
}
UPPER_KINDS = ("t-shirt", "tank top", "shirt", "blouse", "polo shirt", "sweater", "hoodie", "dress")
OUTER_KINDS = ("jacket", "puffer jacket", "coat", "cardigan", "gilet", "suit jacket")
LOWER_KINDS = ("jeans", "trousers", "shorts", "skirt", "leggings")
PATTERNS = (
    "plain",
    "stripes",
    "pinstripes",
    "checks",
    "floral",
    "dots",
    "two-tone",
    "print",
    "sleeves",
    "side-stripe",
)
# stripes: horizontal; two-tone: `second` above the chest line; print: a motif on the chest in `second`;
# sleeves: the sleeves in `second`; side-stripe: a stripe down the outside of each trouser leg in `second`
SHOE_KINDS = ("sneakers", "shoes", "boots")
SHOE_MESHES = ("shoes01", "shoes02", "shoes03", "shoes04", "shoes05", "shoes06")
BAG_KINDS = ("backpack", "shoulder bag", "handbag", "shopping bag", "suitcase")
BAG_PATTERNS = ("plain", "stripes", "pinstripes", "checks", "dots", "two-tone")
HAT_KINDS = ("cap", "beanie", "fedora")
HAIR_STYLES = (
    *("bob01", "bob02", "braid01", "long01", "ponytail01"),
    *("short01", "short02", "short03", "short04", "afro01", "bald"),
)
HELD = ("", "phone", "cup")


@dataclass(frozen=True)
class Garment:
    """One piece of clothing; `second` is the other colour of a pattern ("" when plain)."""

    kind: str
    mesh: str  # a folder of the MakeHuman clothes, or "base"
    colour: str  # a name of COLOURS, or of DENIM for jeans
    pattern: str = "plain"
    second: str = ""
    sleeve: float = 1.0  # where the sleeve ends along the arm: 0 shoulder, 1 wrist
    hem: float = 0.0  # rest height of the lower hem, decimetres
    neck: str = "crew"  # crew | v
    open: bool = False  # an outer garment worn open: `Person.upper` shows in front

    @property
    def sleeves(self) -> str:
        """The sleeve's length in a word: sleeveless, short, three-quarter or long."""
        steps = ((0.25, "sleeveless"), (0.55, "short"), (0.85, "three-quarter"))
        return next((word for limit, word in steps if self.sleeve < limit), "long")

    @property
    def length(self) -> str:
        """The hem's height in a word: waist, hip, thigh, knee, calf or ankle."""
        steps = ((-0.9, "waist"), (-1.9, "hip"), (-3.0, "thigh"), (-4.6, "knee"), (-6.4, "calf"))
        return next((word for limit, word in steps if self.hem > limit), "ankle")


@dataclass(frozen=True)
class Shoes:
    """Footwear: `sole` is drawn as a rim along the ground, `socks` is a colour or "" for bare ankles."""

    kind: str
    mesh: str
    colour: str
    sole: str
    socks: str = ""


@dataclass(frozen=True)
class Bag:
    """A bag, carried on `hand`'s side; `second` is the pattern's other colour."""

    kind: str
    colour: str
    pattern: str = "plain"
    second: str = ""
    hand: str = "left"
    size: float = 1.0


@dataclass(frozen=True)
class Wrap:
    """A hat or a scarf."""

    kind: str
    colour: str
    pattern: str = "plain"  # scarves also: stripes, checks
    second: str = ""


@dataclass(frozen=True)
class Body:
    """MakeHuman's macro controls (0..1) and the words captions use for them."""

    sex: str  # female | male
    race: str  # a macro target's name: caucasian, african, asian
    skin: RGB
    old: float  # 0 young … 1 old
    weight: float
    muscle: float
    height: float
    scale: float

    @property
    def age(self) -> str:
        """The age in a word: young, adult, middle-aged or older."""
        return next(
            (w for limit, w in ((0.12, "young"), (0.4, "adult"), (0.6, "middle-aged")) if self.old < limit),
            "older",
        )

    @property
    def build(self) -> str:
        """The build in a word: slim, average or heavy."""
        return "slim" if self.weight < 0.36 else "heavy" if self.weight > 0.66 else "average"


@dataclass(frozen=True)
class Person:
    """Everything that stays the same over a person's views."""

    number: int  # the identity's number within its population, from 0
    look: int  # seeds whatever of the appearance has no attribute: shades, folds, the face
    body: Body
    hair: str
    hair_colour: str
    beard: bool
    glasses: str  # "" | glasses | sunglasses
    upper: Garment
    outer: Garment | None
    lower: Garment | None  # None under a dress
    legs: str  # "" bare or covered by `lower`; else the colour of tights under a skirt or dress
    shoes: Shoes
    bag: Bag | None = None
    hat: Wrap | None = None
    scarf: Wrap | None = None

    @property
    def top(self) -> Garment:
        """The outermost garment of the upper body."""
        return self.outer or self.upper


@dataclass(frozen=True)
class View:
    """One picture of a person, as far as a caption may depend on it.

    `visible` maps a part to the share of the picture's pixels that show it; a missing key means 0. Keys:
    `skin hair upper outer lower legs shoes socks bag straps hat scarf glasses beard print held`.
    `upper` under an open `outer` counts only what shows between its edges; `legs` are tights; `straps` are
    a bag's straps (not counted in `bag`); `print` is the motif on the chest; `held` is what `holding` names.
    """

    side: str  # the side of the person that is seen: front, back, left, right
    facing: float  # 1 turned to the camera, 0.5 in profile, 0 turned away
    gait: str  # walking | standing
    holding: str = ""  # "" | phone | cup
    hidden_by: str = ""  # the thing in front of the person, "" when nothing is
    visible: dict[str, float] = field(default_factory=dict)

    def sees(self, part: str) -> float:
        """The share of the picture's pixels that show `part`."""
        return self.visible.get(part, 0.0)


def signature(person: Person) -> tuple[str, ...]:
    """What can be seen of a person, field by field; two identities differ in at least one of them."""
    upper_shows = person.outer is None or person.outer.open
    return (
        person.body.sex,
        person.body.age,
        person.hair,
        "" if person.hair == "bald" else person.hair_colour,
        f"{person.beard} {person.glasses}",
        *_garment(person.upper if upper_shows else None),
        *_garment(person.outer),
        *_garment(person.lower),
        person.legs,
        person.shoes.kind,
        f"{person.shoes.colour}/{person.shoes.sole}",
        *(("", "", "") if person.bag is None else (person.bag.kind, person.bag.colour, _pattern(person.bag))),
        *(("", "") if person.hat is None else (person.hat.kind, person.hat.colour)),
        "" if person.scarf is None else f"{person.scarf.colour} {_pattern(person.scarf)}",
    )


def _garment(worn: Garment | None) -> tuple[str, str, str, str]:
    if worn is None:
        return ("", "", "", "")
    return (worn.kind, worn.colour, _pattern(worn), f"{worn.sleeves} {worn.length} {worn.open}")


def _pattern(thing: Garment | Bag | Wrap) -> str:
    return f"{thing.pattern} {thing.second}".strip()


def to_record(thing: Any) -> dict[str, Any]:
    """A person or view as plain JSON data."""
    return dataclasses.asdict(thing)


def person_from_record(record: dict[str, Any]) -> Person:
    """The inverse of `to_record` for a person."""

    def part(kind: type[Record], value: dict[str, Any] | None) -> Record | None:
        return None if value is None else kind(**value)

    body = Body(**{**record["body"], "skin": tuple(record["body"]["skin"])})
    parts = {name: part(Garment, record[name]) for name in ("upper", "outer", "lower")}
    wraps = {name: part(Wrap, record[name]) for name in ("hat", "scarf")}
    return Person(
        **{
            **record,
            "body": body,
            **parts,
            **wraps,
            "shoes": Shoes(**record["shoes"]),
            "bag": part(Bag, record["bag"]),
        }
    )


def view_from_record(record: dict[str, Any]) -> View:
    """The inverse of `to_record` for a view."""
    return View(**record)
