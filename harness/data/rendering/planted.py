"""Planted populations: people who differ in one stated attribute only."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from harness.data.rendering.attributes import BAG_PATTERNS, COLOURS, Bag, Garment, Person, Shoes
from harness.data.rendering.person_sampling import sample
from harness.machine.seeds import seed_for

UPPER = Garment("sweater", "male_casualsuit03", "grey", hem=-0.2)
LOWER = Garment("trousers", "male_casualsuit03", "dark grey", hem=-8.2)
SHOES = Shoes("sneakers", "shoes01", "white", "white")
BAG = Bag("shoulder bag", "beige", hand="left", size=1.15)


def planted(domain: str, seed: int, people: int, plant: str) -> list[Person]:
    """A population whose people differ in one known attribute only.

    Everybody is one person in one outfit (body, hair, clothes, `look`: all the same) except for

    * `fine:shoes-colour` — the colours of the shoes and of their soles (380 people);
    * `fine:bag-pattern` — the pattern of a bag of one colour and the pattern's other colour (76 people, the
      plain bag among them);
    * `coarse:colour` — the colours of the plain upper and lower garment (380 people).

    A larger population consists of groups of that many, each of another body and hair; within a
    group nothing else differs.

    Raises:
        ValueError: for an unknown plant.
    """
    if plant not in PLANTS:
        raise ValueError(f"unknown planted truth {plant}: one of {', '.join(PLANTS)}")
    drawn: list[Person] = []
    group = 0
    while len(drawn) < people:
        options = PLANTS[plant](_plain(sample(domain, seed, group)))
        order = np.random.default_rng(seed_for("planted", domain, seed, group, plant)).permutation(
            len(options)
        )
        drawn += [dataclasses.replace(options[i], number=len(drawn) + k) for k, i in enumerate(order)]
        group += 1
    return drawn[:people]


def _plain(person: Person) -> Person:
    """The outfit every planted population starts from: a long-sleeved plain sweater over plain trousers."""
    return dataclasses.replace(
        person,
        body=dataclasses.replace(person.body, weight=0.5),
        upper=UPPER,
        outer=None,
        lower=LOWER,
        legs="",
        shoes=SHOES,
        bag=BAG,
        hat=None,
        scarf=None,
        glasses="",
    )


def _pairs() -> list[tuple[str, str]]:
    return list(itertools.permutations(COLOURS, 2))


def _shoe_variants(same: Person) -> list[Person]:
    return [
        dataclasses.replace(same, shoes=dataclasses.replace(SHOES, colour=a, sole=b)) for a, b in _pairs()
    ]


def _bag_variants(same: Person) -> list[Person]:
    assert same.bag is not None
    seconds = [
        colour for colour in COLOURS if colour not in (same.bag.colour, "cream", "light grey", "white")
    ]
    patterned = itertools.product([name for name in BAG_PATTERNS if name != "plain"], seconds)
    bags = [
        same.bag,
        *(dataclasses.replace(same.bag, pattern=name, second=other) for name, other in patterned),
    ]
    return [dataclasses.replace(same, bag=bag) for bag in bags]


def _colour_variants(same: Person) -> list[Person]:
    return [
        dataclasses.replace(
            same, upper=dataclasses.replace(UPPER, colour=a), lower=dataclasses.replace(LOWER, colour=b)
        )
        for a, b in _pairs()
    ]


PLANTS = {
    "fine:shoes-colour": _shoe_variants,
    "fine:bag-pattern": _bag_variants,
    "coarse:colour": _colour_variants,
}
