"""Noun phrases for each thing that a view shows, in the words of a domain."""

from __future__ import annotations

import random
from collections.abc import Sequence

from harness.data.rendering.attributes import Bag, Garment, Person, View, Wrap
from harness.data.rendering.vocabulary import (
    BUILD,
    COLOUR_NAMES,
    HAIR_COLOUR_NAMES,
    HAIR_NAMES,
    MISTAKEN_COLOURS,
    MISTAKEN_KINDS,
    NAMES,
    PASSES,
    PASSING,
    PATTERN_WAYS,
    WHO,
    Words,
)

# The least share of the picture's pixels at which a part is seen well enough to be named.
SEEN = {"upper": 0.03, "outer": 0.03, "lower": 0.02, "legs": 0.015, "shoes": 0.006, "socks": 0.005}
SEEN |= {"bag": 0.008, "straps": 0.004, "hat": 0.005, "scarf": 0.005, "hair": 0.004, "skin": 0.008}
SEEN |= {"glasses": 0.0008, "beard": 0.0015, "print": 0.004, "held": 0.0012}
UNDER_OPEN = 0.01  # of an upper garment between the edges of an open outer one
LENGTHS = {"thigh": ("short ", "thigh-length "), "knee": ("knee-length ", "")}
LENGTHS |= {"calf": ("long ", "calf-length "), "ankle": ("long ", "ankle-length ")}
MOVES = {
    "walking": (("walking", "walks"), ("strolling", "strolls"), ("moving", "moves"), ("striding", "strides")),
    "standing": (("standing", "stands"), ("waiting", "waits"), ("standing still", "stands still")),
}
WAYS = {  # of "side" for a person whose left side is seen
    ("walking", "front"): ("towards the camera", "toward us", "this way"),
    ("walking", "back"): ("away from the camera", "away", "off, seen from behind"),
    ("walking", "side"): ("to the left", "across the picture", "past the camera", "from right to left"),
    ("standing", "front"): ("facing the camera", "seen from the front", "facing us"),
    ("standing", "back"): ("with the back turned", "seen from behind", "facing away"),
    ("standing", "side"): ("sideways", "in profile", "seen from the side", "facing left"),
}
PLURAL = frozenset({"jeans", "trousers", "shorts", "leggings"})
SHORT_HAIR = ("short01", "short02", "short03", "short04")


def with_article(phrase: str) -> str:
    """The phrase after "a" or "an"."""
    return f"{'an' if phrase[0].lower() in 'aeiou' else 'a'} {phrase}"


def listing(phrases: Sequence[str], conjunction: str = " and ") -> str:
    """The phrases joined as a list."""
    if len(phrases) < 3:
        return conjunction.lstrip(",").join(phrases)
    return ", ".join(phrases[:-1]) + conjunction + phrases[-1]


def mirrored(phrase: str) -> str:
    """The phrase with left and right exchanged."""
    swap = {"left": "right", "right": "left"}
    return " ".join(swap.get(word, word) for word in phrase.split())


class Captioner:
    """Names what one view of one person shows, in the words of one domain.

    `mistaken` is the part the caption gets wrong ("" for none): another colour or kind is named instead.
    """

    def __init__(
        self, person: Person, view: View, domain: str, rng: random.Random, mistaken: str = ""
    ) -> None:
        self.person = person
        self.view = view
        self.domain = domain
        self.rng = rng
        self.mistaken = mistaken

    def saw(self, part: str) -> bool:
        """Whether the view shows enough of `part` to name it."""
        return self.view.sees(part) >= SEEN[part]

    def often(self, share: float) -> bool:
        """True in this share of all cases."""
        return self.rng.random() < share

    def say(self, words: Words) -> str:
        """One of the words for a thing: mostly one of the domain's own."""
        own = words[self.domain]
        return self.rng.choice(own if own and (self.domain == "generic" or self.often(0.75)) else words[""])

    def colour(self, name: str, part: str = "") -> str:
        """A word for a colour."""
        if part and part == self.mistaken and name in MISTAKEN_COLOURS:
            name = self.rng.choice(MISTAKEN_COLOURS[name])
        return self.say(COLOUR_NAMES[name])

    def kind(self, name: str, part: str = "") -> str:
        """A word for a kind of thing."""
        if part and part == self.mistaken and name in MISTAKEN_KINDS and self.often(0.4):
            name = MISTAKEN_KINDS[name]
        return self.say(NAMES[name])

    # -- who -----------------------------------------------------------------------------------------------
    def who(self) -> str:
        """The person in a word or two; the age only where face or hair show it."""
        body = self.person.body
        if self.often(0.08):
            return self.say(WHO["person"]["any"])
        shows_age = self.view.facing > 0.4 or (
            body.age == "older" and self.person.hair_colour == "grey" and self.saw("hair")
        )
        age = body.age if shows_age and body.age != "adult" and self.often(0.5) else "any"
        word = self.say(WHO[body.sex][age])
        return (
            f"{self.say(BUILD[body.build])} {word}" if body.build != "average" and self.often(0.15) else word
        )

    def build(self) -> str:
        """The build in a word; "" for an average one."""
        return "" if self.person.body.build == "average" else self.say(BUILD[self.person.body.build])

    # -- clothes -------------------------------------------------------------------------------------------
    def upper(self) -> str:
        """What covers the upper body, "" when it is not seen."""
        person = self.person
        if person.outer is None:
            return with_article(self.garment(person.upper, "upper")) if self.saw("upper") else ""
        if not self.saw("outer"):
            return ""
        outer = self.garment(person.outer, "outer")
        if not (person.outer.open and self.view.sees("upper") >= UNDER_OPEN):
            return with_article(outer)
        under = with_article(f"{self.colour(person.upper.colour, 'upper')} {self.under()}")
        return self.rng.choice(
            (
                f"{with_article('open ' + outer)} over {under}",
                f"{with_article(outer)} with {under} underneath",
                f"{with_article('unbuttoned ' + outer)} over {under}",
                f"{under} under {with_article(outer)}",
                with_article(outer),
            )
        )

    def under(self) -> str:
        """The garment under an open one: between its edges little more than a colour is seen."""
        return self.rng.choice((self.kind(self.person.upper.kind), "top", "shirt"))

    def lower(self) -> str:
        """What covers the legs: trousers, a skirt, or tights under a dress; "" when it is not seen."""
        worn = self.person.lower
        legs = (
            f"{self.colour(self.person.legs)} {self.kind('tights')}"
            if self.person.legs and self.saw("legs")
            else ""
        )
        if worn is None or not self.saw("lower"):
            return legs
        phrase = self.garment(worn, "lower")
        if worn.kind in PLURAL:
            phrase = f"a pair of {phrase}" if self.often(0.12) else phrase
        else:
            phrase = with_article(phrase)
        return (
            f"{phrase} {self.rng.choice(('and', 'with', 'over'))} {legs}"
            if legs and self.often(0.5)
            else phrase
        )

    def garment(self, worn: Garment, part: str) -> str:
        """A garment with colour, sometimes cut and pattern, without an article."""
        noun = self.cut(worn) + self.kind(worn.kind, part)
        colour = self.colour(worn.colour, part)
        if worn.pattern == "print" and not self.saw("print"):
            return f"{colour} {noun}"
        pattern = worn.pattern if self.often(0.85) else "plain"
        return self.patterned(colour, worn.second, pattern, noun)

    def cut(self, worn: Garment) -> str:
        """Words about sleeves or length, mostly none."""
        if worn.kind in ("skirt", "dress", "coat", "shorts"):
            if worn.kind == "shorts" and worn.length == "knee":
                return self.rng.choice(("", "", "knee-length ", "long "))
            return self.rng.choice(("", *LENGTHS.get(worn.length, ("",)))) if self.often(0.7) else ""
        if worn.kind in ("shirt", "sweater") and self.often(0.25):
            return {"long": "long-sleeved ", "three-quarter": "three-quarter-sleeved "}.get(worn.sleeves, "")
        return ""

    def patterned(self, colour: str, second: str, pattern: str, noun: str) -> str:
        """Colour, pattern and noun, in one of the ways to say it."""
        if pattern == "plain":
            return f"plain {colour} {noun}" if self.often(0.06) else f"{colour} {noun}"
        other = self.colour(second)
        way = self.rng.choice(PATTERN_WAYS[pattern])
        return way.format(colour=colour, noun=noun, other=other, an_other=with_article(other))

    def feet(self) -> str:
        """Shoes, perhaps with socks; "" when they are not seen."""
        shoes = self.person.shoes
        if not self.saw("shoes"):
            return ""
        phrase = f"{self.colour(shoes.colour, 'shoes')} {self.kind(shoes.kind, 'shoes')}"
        if shoes.sole != shoes.colour and self.view.sees("shoes") > 1.5 * SEEN["shoes"] and self.often(0.35):
            phrase += f" with {self.colour(shoes.sole)} soles"
        elif shoes.socks and self.saw("socks") and self.often(0.35):
            phrase += f" and {self.colour(shoes.socks)} {self.kind('socks')}"
        return phrase

    def head(self) -> str:
        """A hat, "" when there is none to be seen."""
        return self.wrap(self.person.hat, "hat")

    def neck(self) -> str:
        """A scarf, "" when there is none to be seen."""
        return self.wrap(self.person.scarf, "scarf")

    def wrap(self, worn: Wrap | None, part: str) -> str:
        """A hat or scarf with its article."""
        if worn is None or not self.saw(part):
            return ""
        return with_article(
            self.patterned(self.colour(worn.colour, part), worn.second, worn.pattern, self.kind(worn.kind))
        )

    # -- hair and face -------------------------------------------------------------------------------------
    def hair(self) -> str:
        """The hair as something one has: "long blond hair", "a brown ponytail"; "" when it is not seen."""
        style = self.person.hair
        if style == "bald":
            bare = self.person.hat is None and self.saw("skin")
            return self.rng.choice(("a bald head", "a shaved head", "a bare head")) if bare else ""
        if not self.saw("hair"):
            return ""
        colour = self.say(HAIR_COLOUR_NAMES[self.person.hair_colour])
        if style == "afro01":
            return self.rng.choice(
                (f"{with_article(colour)} afro", f"curly {colour} hair", f"{colour} frizzy hair")
            )
        if style == "ponytail01" and self.view.facing < 0.7 and self.often(0.7):
            return self.rng.choice((f"{with_article(colour)} ponytail", f"{colour} hair in a ponytail"))
        if style == "braid01" and self.view.facing < 0.7 and self.often(0.6):
            return self.rng.choice(
                (
                    f"{with_article(colour)} braid",
                    f"{colour} hair in a braid",
                    f"{with_article(colour)} plait",
                )
            )
        length = (
            "" if self.often(0.25) else self.say(HAIR_NAMES["short" if style in SHORT_HAIR else style]) + " "
        )
        return f"{colour} hair" if " at " in length else f"{length}{colour} hair"

    def hairis(self) -> str:
        """The hair's colour alone, after "hair is"; "" when it is not seen."""
        seen = self.person.hair != "bald" and self.saw("hair")
        return self.say(HAIR_COLOUR_NAMES[self.person.hair_colour]) if seen else ""

    def face(self) -> str:
        """Glasses or a beard, as "wearing glasses" or "with a beard"; "" when neither is seen."""
        found = []
        if self.person.glasses and self.saw("glasses"):
            found.append(f"{self.rng.choice(('wearing', 'with'))} {self.kind(self.person.glasses)}")
        if self.person.beard and self.saw("beard"):
            found.append(f"with {with_article(self.kind('beard'))}".replace("a facial", "facial"))
        return self.rng.choice(found) if found else ""

    # -- things carried ------------------------------------------------------------------------------------
    def bag(self) -> str:
        """The bag with its article, or the straps of a bag behind; "" when neither is seen."""
        bag = self.person.bag
        if bag is None:
            return ""
        if self.saw("bag") or (
            bag.kind == "backpack" and self.view.sees("bag") >= SEEN["straps"] and self.view.facing < 0.5
        ):
            return with_article(self.described(bag))
        return (
            f"the straps of {with_article(self.kind(bag.kind))}"
            if bag.kind == "backpack" and self.saw("straps")
            else ""
        )

    def described(self, bag: Bag) -> str:
        """A bag's colour, pattern and kind."""
        size = "" if self.often(0.85) else "large " if bag.size > 1.05 else "small " if bag.size < 0.9 else ""
        pattern = bag.pattern if self.view.sees("bag") > 1.5 * SEEN["bag"] else "plain"
        return size + self.patterned(
            self.colour(bag.colour, "bag"), bag.second, pattern, self.kind(bag.kind, "bag")
        )

    def carried(self, bag: str) -> tuple[str, str]:
        """Two ways to say that `bag` is carried: after "is" (carrying …) and after the person (with …)."""
        kind = self.person.bag.kind if self.person.bag else ""
        his = "her" if self.person.body.sex == "female" else "his"
        hand = self.person.bag.hand if self.person.bag and self.often(0.4) else ""
        if bag.startswith("the straps"):
            return f"wearing {bag.removeprefix('the straps of ')}", f"with {bag} over the shoulders"
        if kind == "backpack":
            where = self.rng.choice(("", f" on {his} back", " on the back", " over both shoulders"))
            return f"{self.rng.choice(('carrying', 'wearing'))} {bag}{where}", f"with {bag}{where}"
        if kind == "shoulder bag":
            where = self.rng.choice(
                (
                    "",
                    " across the body",
                    f" at {his} {hand} hip" if hand else " at the hip",
                    " slung over the shoulder",
                )
            )
            return f"{self.rng.choice(('carrying', 'wearing'))} {bag}{where}", f"with {bag}{where}"
        if kind == "suitcase":
            verbs = (
                ("pulling", "wheeling", "dragging")
                if self.view.gait == "walking"
                else ("holding", "waiting with")
            )
            return f"{self.rng.choice(verbs)} {bag}", self.rng.choice(
                (f"with {bag}", f"with {bag} behind {his} back")[:1]
            )
        where = f" in {his} {hand} hand" if hand else self.rng.choice(("", f" in {his} hand", " in one hand"))
        return f"{self.rng.choice(('carrying', 'holding'))} {bag}{where}", f"with {bag}{where}"

    def held(self) -> str:
        """What is done with a thing in the other hand: "looking at a phone"; "" when it is not seen."""
        if not self.view.holding or not self.saw("held"):
            return ""
        thing = with_article(self.kind(self.view.holding))
        verbs = (
            ("looking at", "holding", "using") if self.view.holding == "phone" else ("holding", "carrying")
        )
        return f"{self.rng.choice(verbs)} {thing}"

    # -- movement ------------------------------------------------------------------------------------------
    def passes(self) -> tuple[str, str]:
        """What the person does at this place, as "crosses the square" and as "crossing the square"."""
        return self.say(PASSES[self.view.gait]), self.say(PASSING[self.view.gait])

    def movement(self) -> tuple[str, str]:
        """What the person does, as "walking away" and as "walks away"; a person who stands never walks.

        Where to is left unsaid when the view is oblique (more than 45° off front or back).
        """
        ing, plain = self.rng.choice(MOVES[self.view.gait])
        seen = "side" if self.view.side in ("left", "right") else self.view.side
        oblique = seen != "side" and abs(self.view.facing - 0.5) < 0.35
        way = "" if oblique else self.rng.choice((*WAYS[(self.view.gait, seen)], ""))
        way = mirrored(way) if self.view.side == "right" else way
        way = f", {way}" if way.startswith(("seen", "in profile")) else f" {way}".rstrip()
        return ing + way, plain + way
