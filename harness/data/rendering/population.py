"""Sampling of whole populations: distinct people with hold-outs, or people who differ in one thing."""

from __future__ import annotations

import dataclasses
import itertools

from harness.data.rendering.attributes import Person, signature
from harness.data.rendering.person_sampling import sample
from harness.data.rendering.planted import planted
from harness.data.rendering.wardrobe import WARDROBES


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
    """The people of a domain, in the order of their numbers; any two differ in two or more visible things.

    The hold-outs of `wardrobe.py` apply to the train people of every domain except `generic`, which
    pre-training uses before any of them. `plant` (a name of `planted.PLANTS`) makes a population in which
    people differ in the stated attribute only.

    Raises:
        ValueError: there is no such domain.
    """
    if domain not in WARDROBES:
        raise ValueError(f"unknown domain {domain}: one of {', '.join(WARDROBES)}")
    if plant:
        return planted(domain, seed, sizes.total, plant)
    people: list[Person] = []
    seen = _Seen()
    for number in range(sizes.total):
        attempts = (
            sample(domain, seed, number, attempt, "" if domain == "generic" else sizes.split_of(number))
            for attempt in itertools.count()
        )
        people.append(next(person for person in attempts if seen.admits(signature(person))))
    return people


class _Seen:
    """The signatures sampled so far.

    Two signatures differ in fewer than two fields exactly if they agree once some one field is masked; so all
    of them are kept with each field masked in turn.
    """

    def __init__(self) -> None:
        self.masked: set[tuple[str, ...]] = set()

    def admits(self, fields: tuple[str, ...]) -> bool:
        """Whether `fields` differ in at least two places from all before; if so they are kept."""
        masked = {(*fields[:i], f"any {i}", *fields[i + 1 :]) for i in range(len(fields))}
        if not self.masked.isdisjoint(masked):
            return False
        self.masked |= masked
        return True
