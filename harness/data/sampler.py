"""The batches of captions of an epoch: a pure function of seed and epoch. Torch-free."""

from __future__ import annotations

from typing import get_args

import numpy as np
from numpy.typing import NDArray

from harness.machine.seeds import seed_for
from harness.machine.terms import SamplingRule

SAMPLING_RULES: tuple[SamplingRule, ...] = get_args(SamplingRule)
Batch = NDArray[np.int64]

GROUP = 2
"""Captions of one person that are kept together, so that most anchors have a second positive."""


class IdentityBatches:
    """Batches of caption indices by one of three rules.

    `pairs`: every caption exactly once an epoch. A person's captions are shuffled and paired; pairs, and
    what is left single, are shuffled and laid out in batches of exactly `batch_size`, the last one holding
    the remainder. With an even batch size no pair is divided between two batches.

    `shuffle`: every caption exactly once an epoch in a random order, without regard to persons.

    `released`: as the sampler of the released UIT code. Each person draws a group size, 1 or 2, for the
    epoch; its captions are shuffled and cut into groups of that size, an incomplete last group is dropped.
    (A person with fewer captions draws a group of them with replacement.) Rounds of `batch_size / 2` persons
    drawn at random give their next group each, until fewer persons than that have one left; the stream is
    then cut into batches without regard to rounds. How many captions an epoch has depends on the draw, and a
    dataset with too few persons has none at all.

    Args:
        caption_person: [captions] the person of each caption.
        batch_size: captions per batch, over all devices.
        seed: of this axis; the same seed and epoch give the same batches in any process.
        rule: `pairs`, `shuffle` or `released`.
        group: under `released`, the largest size of a group.
    """

    def __init__(
        self,
        caption_person: NDArray[np.int64],
        batch_size: int,
        seed: int,
        rule: SamplingRule = "pairs",
        group: int = GROUP,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"a batch holds at least 1 caption, got {batch_size}")
        if rule not in SAMPLING_RULES:
            raise ValueError(f"unknown sampling rule {rule!r}: choose {', '.join(SAMPLING_RULES)}")
        self.batch_size, self.seed, self.rule, self.group = batch_size, seed, rule, group
        self._person = np.asarray(caption_person, dtype=np.int64)

    def epoch(self, epoch: int) -> list[Batch]:
        """The batches of an epoch, each [captions] of caption indices."""
        rng = np.random.default_rng(seed_for("batches", self.seed, epoch))
        rules = {"pairs": self._pairs, "shuffle": self._shuffled, "released": self._released}
        return self._in_batches(rules[self.rule](rng))

    def every_pair(self, epoch: int) -> list[Batch]:
        """Batches with every caption once, for a pass over all of them that trains nothing.

        They are drawn by the rule, but apart from the batches of the epoch; under `released`, which leaves
        captions out and repeats others, they are a plain shuffle.
        """
        rng = np.random.default_rng(seed_for("every pair", self.seed, epoch))
        stream = self._pairs(rng) if self.rule == "pairs" else self._shuffled(rng)
        return self._in_batches(stream)

    def _in_batches(self, stream: Batch) -> list[Batch]:
        return [stream[start : start + self.batch_size] for start in range(0, len(stream), self.batch_size)]

    def steps(self, epoch: int) -> int:
        """Number of batches of an epoch; only under `released` does it vary between epochs."""
        if self.rule != "released":
            return -(-len(self._person) // self.batch_size)
        return len(self.epoch(epoch))

    def _groups(self, rng: np.random.Generator) -> tuple[Batch, Batch, Batch]:
        """Captions ordered by person and shuffled within; where each group begins; how long it is."""
        shuffled = rng.permutation(len(self._person))
        order = shuffled[np.argsort(self._person[shuffled], kind="stable")]
        persons = self._person[order]
        first_of_person = np.searchsorted(persons, persons)
        starts = np.flatnonzero((np.arange(len(order)) - first_of_person) % GROUP == 0)
        lengths = np.diff(starts, append=len(order))
        return order.astype(np.int64), starts.astype(np.int64), lengths.astype(np.int64)

    def _pairs(self, rng: np.random.Generator) -> Batch:
        order, starts, lengths = self._groups(rng)
        pairs = starts[lengths == GROUP]
        # Singles are kept two by two, so that they never shift a pair across the edge of a batch.
        singles = order[rng.permutation(starts[lengths == 1])]
        odd = len(singles) % GROUP
        twos = np.concatenate(
            [
                np.stack([order[pairs], order[pairs + 1]], axis=1),
                singles[: len(singles) - odd].reshape(-1, GROUP),
            ]
        )
        return np.concatenate([rng.permutation(twos).reshape(-1), singles[len(singles) - odd :]])

    def _shuffled(self, rng: np.random.Generator) -> Batch:
        return rng.permutation(len(self._person)).astype(np.int64)

    def _released(self, rng: np.random.Generator) -> Batch:
        waiting = self._released_groups(rng)
        persons, per_round = [p for p in waiting if waiting[p]], max(1, self.batch_size // self.group)
        stream: list[Batch] = []
        while len(persons) >= per_round:
            for choice in rng.choice(len(persons), per_round, replace=False).tolist():
                stream.append(waiting[persons[choice]].pop())
            persons = [person for person in persons if waiting[person]]
        return np.concatenate(stream) if stream else np.empty(0, dtype=np.int64)

    def _released_groups(self, rng: np.random.Generator) -> dict[int, list[Batch]]:
        """The groups of captions of every person for one epoch, each [group size]."""
        order = np.argsort(self._person, kind="stable")
        persons, starts = np.unique(self._person[order], return_index=True)
        sizes = rng.integers(1, self.group + 1, len(persons)).tolist()
        groups: dict[int, list[Batch]] = {}
        for person, own, size in zip(persons.tolist(), np.split(order, starts[1:]), sizes, strict=True):
            captions = own if len(own) >= size else rng.choice(own, size, replace=True)
            shuffled = rng.permutation(captions).astype(np.int64)
            whole = len(shuffled) - len(shuffled) % size
            groups[person] = list(shuffled[:whole].reshape(-1, size))
        return groups
