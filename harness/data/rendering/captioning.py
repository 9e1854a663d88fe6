"""Captions of one view of a person, made from its attributes by grammars.

Nothing that the view hides is named, much that it shows is left out, orders and words vary, and about six of
a hundred captions contain a mistake. Pure functions of their arguments.
"""

from __future__ import annotations

import random
import re

from harness.data.rendering.attributes import Person, View
from harness.data.rendering.grammars import GRAMMARS, HELD_OUT_GRAMMARS
from harness.data.rendering.phrases import Captioner, listing, with_article
from harness.machine.seeds import seed_for

CAPTIONS_PER_IMAGE = {"plaza": 2, "station": 1, "campus": 2, "generic": 2}
# how often a thing that is seen is left out; station's captions are thorough
LEFT_OUT = {"upper": 0.04, "lower": 0.1, "feet": 0.4, "neck": 0.25, "head": 0.2, "hair": 0.35, "face": 0.4}
LEFT_OUT |= {"bag": 0.18, "held": 0.35, "build": 0.6, "going": 0.3}
THOROUGH = 0.5  # station leaves out this share of what others do
LEAST_NAMED = 2  # things a caption names at least, if so many are seen
MISTAKES = 0.06  # share of captions with a mistake
HELD_OUT_SHARE = 0.4  # of an unseen person's captions that use a sentence no train person has
MISTAKEN_PARTS = ("upper", "outer", "lower", "shoes", "bag", "hat", "scarf")


def captions(
    person: Person,
    view: View,
    domain: str,
    seed: int,
    *,
    unseen: bool = False,
    always_named: frozenset[str] = frozenset(),
) -> list[str]:
    """The captions of this view: two, or one longer caption in the domain `station`.

    `seed` belongs to the view; `unseen` says that the person is no train person, so that held-out sentences
    may be used; `always_named` names slots (`feet`, `bag`, …) that are never left out when they are seen, and
    never mistaken: the attribute that distinguishes a planted population.
    """
    return [
        _caption(
            person, view, domain, random.Random(seed_for("caption", domain, seed, i)), unseen, always_named
        )
        for i in range(CAPTIONS_PER_IMAGE[domain])
    ]


def _caption(
    person: Person, view: View, domain: str, rng: random.Random, unseen: bool, always_named: frozenset[str]
) -> str:
    mistaken = rng.random() < MISTAKES and not always_named
    captioner = Captioner(person, view, domain, rng, rng.choice(MISTAKEN_PARTS) if mistaken else "")
    slots = _slots(captioner, always_named)
    held_out = bool(HELD_OUT_GRAMMARS[domain]) and unseen and rng.random() < HELD_OUT_SHARE
    templates = (HELD_OUT_GRAMMARS if held_out else GRAMMARS)[domain]
    fitting = [template for template in templates if _fits(template, slots, always_named)]
    caption = fill(rng.choice(fitting or ["{A_who} {goes}."]), slots, rng)
    return caption[0].upper() + caption[1:] if domain in ("plaza", "station") else caption


def _slots(captioner: Captioner, always_named: frozenset[str]) -> dict[str, str]:
    """Every slot of the grammars; "" for what is not seen or left out."""
    rng = captioner.rng
    slots = {
        name: getattr(captioner, name)()
        for name in ("upper", "lower", "feet", "neck", "head", "hair", "face", "bag")
    }
    slots |= {"held": captioner.held(), "build": captioner.build()}
    care = THOROUGH if captioner.domain == "station" else 1.0
    for name in rng.sample(sorted(slots), len(slots)):
        named = sum(bool(phrase) for phrase in slots.values())
        if name not in always_named and rng.random() < LEFT_OUT[name] * care and named > LEAST_NAMED:
            slots[name] = ""
    going, goes = captioner.movement()
    slots["going"] = "" if rng.random() < LEFT_OUT["going"] else going
    slots |= {"goes": goes, "hairis": captioner.hairis() if slots["hair"] else "", "who": captioner.who()}
    slots["passes"], slots["passing"] = captioner.passes()
    slots["carrying"], slots["withbag"] = captioner.carried(slots["bag"]) if slots["bag"] else ("", "")
    clothes = [slots[name] for name in ("upper", "lower", "feet", "neck", "head")]
    slots["outfit"] = _outfit([phrase for phrase in clothes if phrase], rng)
    slots["rest"] = _outfit([phrase for phrase in clothes[2:] if phrase], rng)
    female = captioner.person.body.sex == "female"
    slots |= dict(
        zip(("he", "his", "him"), ("she", "her", "her") if female else ("he", "his", "him"), strict=True)
    )
    return slots | {"a_who": with_article(slots["who"]), "the_who": f"the {slots['who']}"}


def _outfit(clothes: list[str], rng: random.Random) -> str:
    """The clothes as one list: from the top down, from the bottom up, or in random order."""
    if not clothes:
        return ""
    draw = rng.random()
    if draw < 0.2:
        clothes = clothes[:2][::-1] + clothes[2:]
    elif draw < 0.45:
        clothes = rng.sample(clothes, len(clothes))
    return listing(clothes, rng.choice((" and ", " and ", ", and ", " with ")))


def _fits(template: str, slots: dict[str, str], always_named: frozenset[str]) -> bool:
    """Whether every slot outside brackets is filled, and the sentence has all of `always_named`."""
    needed = re.findall(r"\{(\w+)\}", re.sub(r"\[[^\]]*\]", "", template))
    present = {name.lower() for name in re.findall(r"\{(\w+)\}", template)}
    within = {
        "feet": {"outfit", "rest"},
        "upper": {"outfit"},
        "lower": {"outfit"},
        "bag": {"carrying", "withbag"},
    }
    fits = all(not slots[name] or present & ({name} | within[name]) for name in always_named)
    return fits and all(slots[name.lower()] for name in needed)


def fill(template: str, slots: dict[str, str], rng: random.Random) -> str:
    """A template of `grammars.py` with options and alternatives chosen and its slots filled."""

    def bracket(match: re.Match[str]) -> str:
        names = re.findall(r"\{(\w+)\}", match[1])
        return match[1] if all(slots[name.lower()] for name in names) else ""

    def slot(match: re.Match[str]) -> str:
        text = slots[match[1].lower()]
        return text[0].upper() + text[1:] if match[1][0].isupper() else text

    text = re.sub(r"\[([^\[\]]*)\]", bracket, template)
    text = re.sub(r"\{(\w+)\}", slot, text)
    text = re.sub(r"\(([^()]*\|[^()]*)\)", lambda match: rng.choice(match[1].split("|")), text)
    return re.sub(r"\s+([.,;:?])", r"\1", re.sub(r"  +", " ", text)).replace("..", ".").strip()
