"""Drawing whole populations of people: distinct, with hold-outs, or with a planted truth."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from harness.data.rendering.attributes import Person, signature
from harness.data.rendering.planted import planted
from harness.data.rendering.tailor import sample
from harness.data.rendering.wardrobe import WARDROBES

LEAST_DIFFERENCES = 2  # fields of `signature` in which any two people of an unplanted population differ


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How many people each split has; people are numbered train first, then val, then test."""

    train: int
    val: int
    test: int

    def split_of(self, number: int) -> str:
        """The split of the person with this number."""
        return "train" if number < self.train else "val" if number < self.train + self.val else "test"

    @property
    def total(self) -> int:
        """All people."""
        return self.train + self.val + self.test


def population(domain: str, seed: int, sizes: Sizes, plant: str = "") -> list[Person]:
    """The people of a domain, in the order of their numbers; no two of them look the same.

    The hold-outs of `wardrobe.py` apply to the train people of every domain except `generic`, which is the
    vocabulary lesson before any of them. `plant` (a name of `planted.PLANTS`) makes a population in which
    only the stated thing tells people apart.
    """
    if domain not in WARDROBES:
        raise ValueError(f"unknown domain {domain}: one of {', '.join(WARDROBES)}")
    if plant:
        return planted(domain, seed, sizes.total, plant)
    people: list[Person] = []
    codes = _Codes(sizes.total)
    for number in range(sizes.total):
        attempts = (
            sample(domain, seed, number, attempt, "" if domain == "generic" else sizes.split_of(number))
            for attempt in itertools.count()
        )
        people.append(next(person for person in attempts if codes.admits(signature(person))))
    return people


class _Codes:
    """The signatures drawn so far, as integers, to compare a new one with all of them at once."""

    def __init__(self, capacity: int) -> None:
        self.numbers: dict[tuple[int, str], int] = {}
        self.drawn = np.zeros((capacity, 0), np.int32)
        self.count = 0

    def admits(self, fields: Sequence[str]) -> bool:
        """Whether `fields` differ enough from every signature before; if so they are kept."""
        code = np.array(
            [self.numbers.setdefault((i, text), len(self.numbers)) for i, text in enumerate(fields)]
        )
        if self.count == 0:
            self.drawn = np.zeros((len(self.drawn), len(code)), np.int32)
        differences = (self.drawn[: self.count] != code).sum(axis=1)
        if self.count and differences.min() < LEAST_DIFFERENCES:
            return False
        self.drawn[self.count] = code
        self.count += 1
        return True
