"""Frequencies of clothes by domain, and the combinations that are held out of training.

A table maps a choice to its weight; weights need not sum to one. The three cameras' domains dress differently
(a summer square, a winter station, an autumn campus); `generic` wears everything, evenly.
"""

from __future__ import annotations

from dataclasses import dataclass

Weights = dict[str, float]


@dataclass(frozen=True)
class Wardrobe:
    """The frequencies of one domain's clothes, bags, hats and ages."""

    uppers: Weights  # without an outer garment, or under an open one
    outers: Weights
    outer_share: float
    lowers: Weights
    colours: Weights
    shoes: Weights
    bags: Weights
    bag_share: float
    hats: Weights
    hat_share: float
    scarf_share: float  # over an outer garment; a tenth of it without
    glasses: Weights  # "" is none
    old: tuple[float, float]  # Beta distribution of the age control


def weights(text: str) -> Weights:
    """The table written as `name weight, name weight, …`."""
    entries = (entry.rsplit(" ", 1) for entry in text.split(", "))
    return {name: float(weight) for name, weight in entries}


MUTED: Weights = weights(
    "black 5, dark grey 2.5, grey 2.5, light grey 1.5, white 3.5, navy 3, blue 2, "
    "light blue 1.2, beige 1.4, cream 1.1, brown 1.4, olive 1.1, green 1, teal 0.6, "
    "red 1.1, burgundy 1.1, pink 0.7, yellow 0.6, orange 0.6, purple 0.6"
)
BRIGHT: Weights = weights(
    "black 2, dark grey 1, grey 1.3, light grey 1.3, white 4.5, navy 1.8, blue 2.2, "
    "light blue 2.2, beige 1.6, cream 1.6, brown 0.8, olive 1, green 1.4, teal 1.2, "
    "red 1.8, burgundy 0.8, pink 1.6, yellow 1.5, orange 1.3, purple 1"
)
AUTUMN: Weights = weights(
    "black 3, dark grey 2, grey 2.4, light grey 1.2, white 1.8, navy 2, blue 1.6, "
    "light blue 0.8, beige 1.6, cream 1.2, brown 2, olive 2, green 1.8, teal 1, "
    "red 1.4, burgundy 1.8, pink 0.8, yellow 1.2, orange 1.2, purple 1"
)
EVEN: Weights = dict.fromkeys(MUTED, 1.0) | {"black": 2, "white": 2}

WARDROBES: dict[str, Wardrobe] = {
    "plaza": Wardrobe(
        uppers={
            "t-shirt": 5,
            "tank top": 1.6,
            "shirt": 3,
            "blouse": 1.6,
            "polo shirt": 1.2,
            "sweater": 1,
            "dress": 2.4,
        },
        outers={"jacket": 3, "cardigan": 1.5, "suit jacket": 1, "gilet": 0.6},
        outer_share=0.18,
        lowers={"jeans": 3, "trousers": 3, "shorts": 3.5, "skirt": 2.6, "leggings": 0.8},
        colours=BRIGHT,
        shoes={"sneakers": 5, "shoes": 4, "boots": 0.5},
        bags={"backpack": 2, "shoulder bag": 3, "handbag": 3, "shopping bag": 3, "suitcase": 0.4},
        bag_share=0.58,
        hats={"cap": 3, "fedora": 2, "beanie": 0.3},
        hat_share=0.26,
        scarf_share=0.1,
        glasses={"": 7, "glasses": 1, "sunglasses": 2.4},
        old=(0.7, 1.9),
    ),
    "station": Wardrobe(
        uppers={
            "t-shirt": 1.6,
            "shirt": 3.4,
            "blouse": 1.6,
            "polo shirt": 0.6,
            "sweater": 3,
            "hoodie": 1,
            "dress": 0.8,
        },
        outers={
            "coat": 4,
            "suit jacket": 3,
            "jacket": 2.5,
            "puffer jacket": 1.6,
            "cardigan": 1,
            "gilet": 0.6,
        },
        outer_share=0.68,
        lowers={"trousers": 5, "jeans": 3, "skirt": 1.6, "leggings": 0.6, "shorts": 0.3},
        colours=MUTED,
        shoes={"shoes": 5, "sneakers": 3, "boots": 2},
        bags={"suitcase": 3, "handbag": 2.4, "shoulder bag": 3, "backpack": 2.4, "shopping bag": 1},
        bag_share=0.72,
        hats={"beanie": 2, "fedora": 1.6, "cap": 1.4},
        hat_share=0.2,
        scarf_share=0.34,
        glasses={"": 6, "glasses": 1.8, "sunglasses": 0.3},
        old=(0.8, 1.6),
    ),
    "campus": Wardrobe(
        uppers={
            "t-shirt": 2.4,
            "sweater": 3,
            "hoodie": 4.5,
            "shirt": 2,
            "polo shirt": 0.5,
            "blouse": 0.7,
            "dress": 0.7,
        },
        outers={"puffer jacket": 3, "jacket": 3.6, "gilet": 1.6, "coat": 1.2, "cardigan": 1.4},
        outer_share=0.45,
        lowers={"jeans": 5, "trousers": 2.6, "leggings": 1.8, "shorts": 1.4, "skirt": 1.4},
        colours=AUTUMN,
        shoes={"sneakers": 6, "boots": 2.4, "shoes": 1},
        bags={"backpack": 6, "shoulder bag": 2.4, "shopping bag": 1, "handbag": 0.8},
        bag_share=0.7,
        hats={"beanie": 3, "cap": 2.4, "fedora": 0.3},
        hat_share=0.3,
        scarf_share=0.3,
        glasses={"": 5, "glasses": 2, "sunglasses": 0.4},
        old=(0.35, 2.6),
    ),
    "generic": Wardrobe(
        uppers=dict.fromkeys(("t-shirt", "shirt", "sweater", "hoodie"), 2.0)
        | dict.fromkeys(("tank top", "blouse", "polo shirt", "dress"), 1.4),
        outers=dict.fromkeys(("jacket", "puffer jacket", "coat", "cardigan", "gilet", "suit jacket"), 1.0),
        outer_share=0.42,
        lowers=dict.fromkeys(("jeans", "trousers"), 2.0)
        | dict.fromkeys(("shorts", "skirt", "leggings"), 1.3),
        colours=EVEN,
        shoes=dict.fromkeys(("sneakers", "shoes", "boots"), 1.0),
        bags=dict.fromkeys(("backpack", "shoulder bag", "handbag", "shopping bag", "suitcase"), 1.0),
        bag_share=0.66,
        hats=dict.fromkeys(("cap", "beanie", "fedora"), 1.0),
        hat_share=0.3,
        scarf_share=0.25,
        glasses={"": 6, "glasses": 1, "sunglasses": 1},
        old=(0.6, 1.8),
    ),
}

UPPER_PATTERNS: dict[str, Weights] = {
    "t-shirt": {"plain": 3, "stripes": 1.5, "print": 1.5, "sleeves": 1, "two-tone": 0.8},
    "tank top": {"plain": 3, "stripes": 1, "print": 0.7, "dots": 0.4},
    "shirt": {"plain": 3, "checks": 2, "pinstripes": 1.4, "dots": 0.4},
    "blouse": {"plain": 2.4, "floral": 1.4, "dots": 1, "pinstripes": 0.6},
    "polo shirt": {"plain": 2.4, "stripes": 1.4, "two-tone": 1},
    "sweater": {"plain": 3, "stripes": 1.5, "two-tone": 1},
    "hoodie": {"plain": 3, "print": 1.5, "two-tone": 1, "sleeves": 1},
    "dress": {"plain": 2.4, "floral": 1.6, "stripes": 0.8, "checks": 0.7, "dots": 1},
    "jacket": {"plain": 3, "sleeves": 1, "two-tone": 0.8, "checks": 0.5},
    "puffer jacket": {"plain": 3, "two-tone": 1},
    "coat": {"plain": 4, "checks": 0.8},
    "cardigan": {"plain": 3, "stripes": 0.7},
    "gilet": {"plain": 4},
    "suit jacket": {"plain": 3, "pinstripes": 0.8, "checks": 0.4},
    "jeans": {"plain": 1},
    "leggings": {"plain": 4, "side-stripe": 0.5},
    "trousers": {"plain": 5, "side-stripe": 0.9, "checks": 0.5, "pinstripes": 0.4},
    "shorts": {"plain": 4, "side-stripe": 0.6, "checks": 0.7},
    "skirt": {"plain": 3, "floral": 1, "checks": 1, "dots": 0.6, "stripes": 0.5},
}
LOWER_COLOURS: Weights = weights(
    "black 4, navy 2.2, grey 1.8, dark grey 2, light grey 0.8, beige 1.8, brown 1.2, "
    "olive 0.9, white 1.1, cream 0.6, burgundy 0.5, blue 0.6, teal 0.2"
)
SKIRT_COLOURS: Weights = LOWER_COLOURS | {"red": 0.9, "pink": 0.7, "green": 0.7, "yellow": 0.6, "purple": 0.5}
DENIM_WEIGHTS: Weights = {"blue denim": 3, "dark denim": 2.4, "light denim": 2, "black denim": 1.6}
SHOE_COLOURS: dict[str, Weights] = {
    "sneakers": {
        "white": 4,
        "black": 3,
        "grey": 1.6,
        "navy": 0.8,
        "red": 0.9,
        "blue": 0.6,
        "pink": 0.4,
        "yellow": 0.3,
    },
    "shoes": {"black": 4, "brown": 3, "beige": 1, "navy": 0.7, "grey": 0.6, "burgundy": 0.6, "white": 0.6},
    "boots": {"black": 3, "brown": 3, "beige": 1, "dark grey": 0.7, "olive": 0.4},
}
BAG_COLOURS: Weights = weights(
    "black 3, grey 1.2, navy 1.2, brown 1.3, red 1, blue 0.9, green 0.8, beige 0.9, "
    "olive 0.6, burgundy 0.6, yellow 0.5, pink 0.5, white 0.5, orange 0.4, purple 0.4"
)
BAG_PATTERN_WEIGHTS: Weights = {"plain": 6, "two-tone": 1.2, "stripes": 1, "checks": 0.6, "dots": 0.6}
WOMEN_ONLY = frozenset({"dress", "blouse", "cardigan", "skirt", "leggings"})
MEN_ONLY = frozenset({"suit jacket"})
HAIR: dict[str, Weights] = {
    "female": {
        "bob01": 2,
        "bob02": 2,
        "braid01": 1.5,
        "long01": 3,
        "ponytail01": 3,
        "short03": 0.7,
        "short04": 1,
    },
    "male": {
        "short01": 2,
        "short02": 2,
        "short03": 2,
        "short04": 2,
        "bald": 1.2,
        "long01": 0.5,
        "ponytail01": 0.3,
    },
}

# Never on a train person of the three cameras' domains; a share of val and test people wears them.
HELD_OUT_GARMENTS = frozenset({"polo shirt", "gilet", "fedora"})
HELD_OUT_PAIRS = frozenset(  # (colour of the outermost upper garment, colour of the lower one)
    {
        ("white", "beige"),
        ("burgundy", "navy"),
        ("green", "black"),
        ("navy", "white"),
        ("red", "blue denim"),
        ("yellow", "grey"),
        ("light blue", "brown"),
        ("black", "olive"),
        ("grey", "light denim"),
        ("orange", "dark denim"),
        ("pink", "dark grey"),
        ("beige", "navy"),
    }
)
HELD_OUT_SHARE = 0.2  # of val and test people are given a held-out pair; as many again a held-out garment
