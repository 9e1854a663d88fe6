"""Captions: what a witness says of one view of a person.

Nothing that the view hides is named, much that it shows is left out, orders and words vary, and now and then
the witness errs. Pure functions of their arguments.
"""

from __future__ import annotations

import random
import re

from harness.data.rendering.attributes import Person, View
from harness.data.rendering.grammars import GRAMMARS, HELD_OUT_GRAMMARS
from harness.data.rendering.phrases import Witness, listing, with_article
from harness.machine.seeds import seed_for

CAPTIONS_PER_IMAGE = {"plaza": 2, "station": 1, "campus": 2, "generic": 2}
# how often a thing that is seen is left out; station's witnesses are thorough
LEFT_OUT = {"upper": 0.04, "lower": 0.1, "feet": 0.4, "neck": 0.25, "head": 0.2, "hair": 0.35, "face": 0.4}
LEFT_OUT |= {"bag": 0.18, "held": 0.35, "build": 0.6, "going": 0.3}
THOROUGH = 0.5  # station leaves out this share of what others do
LEAST_TOLD = 2  # things a witness says at least, if so many are seen
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
    dwell_on: frozenset[str] = frozenset(),
) -> list[str]:
    """What witnesses say of this view: two captions, of station one (longer).

    `seed` belongs to the view; `unseen` says that the person is no train person, so that held-out sentences
    may be used; `dwell_on` names slots (`feet`, `bag`, …) that are never left out when they are seen, and
    never mistaken: the thing that matters in a planted population.
    """
    return [
        _caption(person, view, domain, random.Random(seed_for("caption", domain, seed, i)), unseen, dwell_on)
        for i in range(CAPTIONS_PER_IMAGE[domain])
    ]


def _caption(
    person: Person, view: View, domain: str, rng: random.Random, unseen: bool, dwell_on: frozenset[str]
) -> str:
    errs = rng.random() < MISTAKES and not dwell_on
    witness = Witness(person, view, domain, rng, rng.choice(MISTAKEN_PARTS) if errs else "")
    slots = _slots(witness, dwell_on)
    strange = bool(HELD_OUT_GRAMMARS[domain]) and unseen and rng.random() < HELD_OUT_SHARE
    templates = (HELD_OUT_GRAMMARS if strange else GRAMMARS)[domain]
    fitting = [template for template in templates if _fits(template, slots, dwell_on)]
    caption = fill(rng.choice(fitting or ["{A_who} {goes}."]), slots, rng)
    return caption[0].upper() + caption[1:] if domain in ("plaza", "station") else caption


def _slots(witness: Witness, dwell_on: frozenset[str]) -> dict[str, str]:
    """Every slot of the grammars; "" for what is not seen or left out."""
    rng = witness.rng
    slots = {
        name: getattr(witness, name)()
        for name in ("upper", "lower", "feet", "neck", "head", "hair", "face", "bag")
    }
    slots |= {"held": witness.held(), "build": witness.build()}
    care = THOROUGH if witness.domain == "station" else 1.0
    for name in rng.sample(sorted(slots), len(slots)):
        told = sum(bool(phrase) for phrase in slots.values())
        if name not in dwell_on and rng.random() < LEFT_OUT[name] * care and told > LEAST_TOLD:
            slots[name] = ""
    going, goes = witness.movement()
    slots["going"] = "" if rng.random() < LEFT_OUT["going"] else going
    slots |= {"goes": goes, "hairis": witness.hairis() if slots["hair"] else "", "who": witness.who()}
    slots["passes"], slots["passing"] = witness.passes()
    slots["carrying"], slots["withbag"] = witness.carried(slots["bag"]) if slots["bag"] else ("", "")
    clothes = [slots[name] for name in ("upper", "lower", "feet", "neck", "head")]
    slots["outfit"] = _outfit([phrase for phrase in clothes if phrase], rng)
    slots["rest"] = _outfit([phrase for phrase in clothes[2:] if phrase], rng)
    female = witness.person.body.sex == "female"
    slots |= dict(
        zip(("he", "his", "him"), ("she", "her", "her") if female else ("he", "his", "him"), strict=True)
    )
    return slots | {"a_who": with_article(slots["who"]), "the_who": f"the {slots['who']}"}


def _outfit(clothes: list[str], rng: random.Random) -> str:
    """The clothes as one list: from the top down, from the bottom up, or as they come to mind."""
    if not clothes:
        return ""
    draw = rng.random()
    if draw < 0.2:
        clothes = clothes[:2][::-1] + clothes[2:]
    elif draw < 0.45:
        clothes = rng.sample(clothes, len(clothes))
    return listing(clothes, rng.choice((" and ", " and ", ", and ", " with ")))


def _fits(template: str, slots: dict[str, str], dwell_on: frozenset[str]) -> bool:
    """Whether every slot outside brackets is filled, and what matters has a place in the sentence."""
    needed = re.findall(r"\{(\w+)\}", re.sub(r"\[[^\]]*\]", "", template))
    places = {name.lower() for name in re.findall(r"\{(\w+)\}", template)}
    within = {
        "feet": {"outfit", "rest"},
        "upper": {"outfit"},
        "lower": {"outfit"},
        "bag": {"carrying", "withbag"},
    }
    told = all(not slots[name] or places & ({name} | within[name]) for name in dwell_on)
    return told and all(slots[name.lower()] for name in needed)


def fill(template: str, slots: dict[str, str], rng: random.Random) -> str:
    """A template of `grammars.py` with its brackets decided, its alternatives chosen and its slots filled."""

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
