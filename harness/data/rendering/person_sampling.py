"""Sampling of one person from the frequencies of a domain."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable

import numpy as np

from harness.data.rendering.attributes import (
    MESHES,
    RGB,
    SHOE_MESHES,
    Bag,
    Body,
    Garment,
    Person,
    Shoes,
    Wrap,
)
from harness.data.rendering.wardrobe import (
    BAG_COLOURS,
    BAG_PATTERN_WEIGHTS,
    DENIM_WEIGHTS,
    HAIR,
    HELD_OUT_GARMENTS,
    HELD_OUT_PAIRS,
    HELD_OUT_SHARE,
    LOWER_COLOURS,
    MEN_ONLY,
    SHOE_COLOURS,
    SKIRT_COLOURS,
    UPPER_PATTERNS,
    WARDROBES,
    WOMEN_ONLY,
    Wardrobe,
    Weights,
)
from harness.machine.seeds import seed_for

SKIN: dict[str, tuple[RGB, RGB]] = {
    "caucasian": ((206, 160, 134), (178, 130, 104)),
    "asian": ((200, 156, 124), (168, 122, 92)),
    "african": ((132, 92, 70), (78, 54, 44)),
}


def sample(domain: str, seed: int, number: int, attempt: int = 0, split: str = "") -> Person:
    """One person; a train person never wears what is held out, a val or test person does so more often."""
    draws = itertools.count()
    while True:
        rng = np.random.default_rng(seed_for("person", domain, seed, number, attempt, next(draws)))
        person = _PersonSampler(rng, WARDROBES[domain], split).person(number)
        if split != "train" or not holds_out(person):
            return person


def holds_out(person: Person) -> list[str]:
    """What of a person is held out of training: garment kinds and colour pairs, named."""
    worn: Iterable[Garment | Wrap | None] = (person.upper, person.outer, person.lower, person.hat)
    found = [thing.kind for thing in worn if thing is not None and thing.kind in HELD_OUT_GARMENTS]
    if person.lower is not None and (person.top.colour, person.lower.colour) in HELD_OUT_PAIRS:
        found.append(f"{person.top.colour} over {person.lower.colour}")
    return found


class _PersonSampler:
    """Samples one person, part after part, from one wardrobe."""

    def __init__(self, rng: np.random.Generator, wardrobe: Wardrobe, split: str) -> None:
        self.rng = rng
        self.wardrobe = wardrobe
        self.pair: tuple[str, str] | None = None
        self.garment = ""
        if split in ("val", "test"):
            if rng.random() < HELD_OUT_SHARE:
                self.pair = sorted(HELD_OUT_PAIRS)[rng.integers(len(HELD_OUT_PAIRS))]
            elif rng.random() < HELD_OUT_SHARE:
                self.garment = sorted(HELD_OUT_GARMENTS)[rng.integers(len(HELD_OUT_GARMENTS))]

    def pick(self, weights: Weights, without: frozenset[str] = frozenset()) -> str:
        names = [name for name in weights if name not in without]
        bounds = list(itertools.accumulate(weights[name] for name in names))
        return names[min(bisect.bisect_right(bounds, self.rng.random() * bounds[-1]), len(names) - 1)]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def between(self, low: float, high: float) -> float:
        return round(float(self.rng.uniform(low, high)), 3)

    def person(self, number: int) -> Person:
        body = self.body()
        outer = self.outer(body.sex)
        upper = self.upper(body.sex, outer)
        lower = None if upper.kind == "dress" else self.lower(body.sex, outer)
        hair = self.pick(HAIR[body.sex] | ({"afro01": 2.5} if body.race == "african" else {}))
        short = lower is None or lower.kind == "skirt"
        return Person(
            number=number,
            look=int(self.rng.integers(2**31)),
            body=body,
            hair=hair,
            hair_colour=self.hair_colour(body),
            beard=body.sex == "male" and self.chance(0.25),
            glasses=self.pick(self.wardrobe.glasses),
            upper=upper,
            outer=outer,
            lower=lower,
            legs=self.pick({"black": 3, "dark grey": 1, "beige": 1}) if short and self.chance(0.35) else "",
            shoes=self.shoes(),
            bag=self.bag() if self.chance(self.wardrobe.bag_share) else None,
            hat=self.hat(),
            scarf=self.scarf(outer is not None),
        )

    def body(self) -> Body:
        sex = "female" if self.chance(0.5) else "male"
        race = list(SKIN)[int(self.rng.integers(len(SKIN)))]
        light, dark = SKIN[race]
        mix = self.rng.random()
        return Body(
            sex=sex,
            race=race,
            skin=tuple(round(a * mix + b * (1 - mix)) for a, b in zip(light, dark, strict=True)),  # type: ignore[arg-type]
            old=round(float(self.rng.beta(*self.wardrobe.old)), 3),
            weight=round(float(np.clip(self.rng.normal(0.5, 0.17), 0.15, 0.95)), 3),
            muscle=self.between(0.35, 0.7),
            height=self.between(0.2, 0.8),
            scale=self.between(0.95, 1.04),
        )

    def hair_colour(self, body: Body) -> str:
        if body.old > 0.6 and self.chance(0.8):
            return "grey"
        if body.race != "caucasian":
            return self.pick({"black": 4, "dark brown": 2, "brown": 0.6})
        return self.pick({"black": 1, "dark brown": 2, "brown": 3, "blond": 2.4, "auburn": 1.2, "grey": 0.15})

    def kinds(self, weights: Weights, sex: str) -> Weights:
        barred = WOMEN_ONLY if sex == "male" else MEN_ONLY
        return {kind: weight for kind, weight in weights.items() if kind not in barred}

    def mesh(self, kind: str, sex: str) -> str:
        fitting = [mesh for mesh, who in MESHES[kind] if who in ("any", sex)]
        return fitting[int(self.rng.integers(len(fitting)))]

    def outer(self, sex: str) -> Garment | None:
        if self.garment != "gilet" and not self.chance(self.wardrobe.outer_share):
            return None
        kind = self.garment if self.garment == "gilet" else self.pick(self.kinds(self.wardrobe.outers, sex))
        colour = self.pair[0] if self.pair else self.pick(self.wardrobe.colours)
        opened = self.chance(0.45)
        pattern = "plain" if opened else self.pick(UPPER_PATTERNS[kind])
        return Garment(
            kind=kind,
            mesh=self.mesh(kind, sex),
            colour=colour,
            pattern=pattern,
            second=self.second(pattern, colour),
            sleeve=0.16 if kind == "gilet" else 1.0,
            hem=self.between(-4.6, -1.8) if kind == "coat" else self.between(-0.5, 0.3),
            neck="v" if kind in ("suit jacket", "cardigan") else "crew",
            open=opened,
        )

    def upper(self, sex: str, outer: Garment | None) -> Garment:
        kinds = self.kinds(self.wardrobe.uppers, sex)
        kind = self.pick(kinds, without=frozenset({"dress", "tank top", "hoodie"}) if outer else frozenset())
        if self.garment == "polo shirt" and outer is None:
            kind = self.garment
        if self.pair and kind == "dress":
            kind = "t-shirt"
        colour = self.pair[0] if self.pair and outer is None else self.pick(self.wardrobe.colours)
        while outer is not None and colour == outer.colour:
            colour = self.pick(self.wardrobe.colours)
        pattern = self.pick(UPPER_PATTERNS[kind]) if outer is None else "plain"
        return Garment(
            kind=kind,
            mesh=self.mesh(kind, sex),
            colour=colour,
            pattern=pattern,
            second=self.second(pattern, colour),
            sleeve=self.sleeve(kind),
            hem=self.between(-6.4, -2.0) if kind == "dress" else self.between(-0.5, 0.4),
            neck="v" if kind in ("t-shirt", "sweater", "dress") and self.chance(0.35) else "crew",
        )

    def sleeve(self, kind: str) -> float:
        if kind == "tank top":
            return 0.14
        if kind in ("t-shirt", "polo shirt", "blouse"):
            return 0.41
        if kind == "dress":
            return {"sleeveless": 0.14, "short": 0.41, "long": 1.0}[
                self.pick({"sleeveless": 7, "short": 9, "long": 4})
            ]
        return 0.68 if kind == "shirt" and self.chance(0.25) else 1.0

    def second(self, pattern: str, colour: str) -> str:
        return "" if pattern == "plain" else self.pick(self.wardrobe.colours, without=frozenset({colour}))

    def lower(self, sex: str, outer: Garment | None) -> Garment:
        kinds = self.kinds(self.wardrobe.lowers, sex)
        if outer is not None and outer.kind in ("coat", "puffer jacket"):
            kinds.pop("shorts", None)
        kind = "trousers" if outer is not None and outer.kind == "suit jacket" else self.pick(kinds)
        if self.pair:
            kind = "jeans" if "denim" in self.pair[1] else kind if kind != "jeans" else "trousers"
        colours = DENIM_WEIGHTS if kind == "jeans" else SKIRT_COLOURS if kind == "skirt" else LOWER_COLOURS
        colour = self.pair[1] if self.pair else self.pick(colours)
        pattern = self.pick(UPPER_PATTERNS[kind])
        hems = {"shorts": (-3.9, -2.4), "skirt": (-6.6, -2.0)}
        return Garment(
            kind=kind,
            mesh="male_elegantsuit01"
            if outer is not None and outer.kind == "suit jacket"
            else self.mesh(kind, sex),
            colour=colour,
            pattern=pattern,
            second=self.second(pattern, colour),
            hem=self.between(*hems[kind]) if kind in hems else -8.2,
        )

    def shoes(self) -> Shoes:
        kind = self.pick(self.wardrobe.shoes)
        colour = self.pick(SHOE_COLOURS[kind])
        sole = self.pick({"white": 3, colour: 3, "black": 1}) if kind == "sneakers" else colour
        socks = self.pick({"white": 3, "black": 3, "grey": 1, "red": 0.3, "": 4})
        mesh = SHOE_MESHES[int(self.rng.integers(len(SHOE_MESHES)))]
        return Shoes(kind, mesh, colour, sole, "" if kind == "boots" else socks)

    def bag(self) -> Bag:
        kind = self.pick(self.wardrobe.bags)
        colour = self.pick(BAG_COLOURS)
        pattern = self.pick(BAG_PATTERN_WEIGHTS)
        second = "" if pattern == "plain" else self.pick(BAG_COLOURS, without=frozenset({colour}))
        return Bag(
            kind, colour, pattern, second, "left" if self.chance(0.5) else "right", self.between(0.8, 1.15)
        )

    def hat(self) -> Wrap | None:
        if self.garment == "fedora":
            return Wrap("fedora", self.pick(self.wardrobe.colours))
        if not self.chance(self.wardrobe.hat_share):
            return None
        return Wrap(self.pick(self.wardrobe.hats), self.pick(self.wardrobe.colours))

    def scarf(self, over_outer: bool) -> Wrap | None:
        if not self.chance(self.wardrobe.scarf_share * (1.0 if over_outer else 0.1)):
            return None
        colour, pattern = self.pick(self.wardrobe.colours), self.pick({"plain": 4, "stripes": 1, "checks": 1})
        return Wrap("scarf", colour, pattern, self.second(pattern, colour))
