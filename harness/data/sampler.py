"""The batches of captions of an epoch: a pure function of seed and epoch. Torch-free."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from harness.machine.seeds import seed_for

Rule = Literal["clean", "released"]
Batch = NDArray[np.int64]

GROUP = 2
"""Captions of one person that are kept together, so that most anchors have a second positive."""


class IdentityBatches:
    """Identity-aware batches of caption indices.

    `clean`: every caption exactly once an epoch. A person's captions are shuffled and paired; pairs, and
    what is left single, are shuffled and laid out in batches of exactly `batch_size`, the last one holding
    the remainder. With an even batch size no pair is divided between two batches.

    `released`: rounds of `batch_size / 2` persons drawn at random, each giving its next one or two
    captions, until fewer persons than that have any left; the stream is then cut into batches without
    regard to rounds. How many captions an epoch has depends on the draw, and a dataset with too few
    persons has none at all. A person's groups come in order, so its single caption, if any, comes last.

    Args:
        caption_person: [captions] the person of each caption.
        batch_size: captions per batch, over all devices.
        seed: of this axis; the same seed and epoch give the same batches in any process.
        rule: `clean` or `released`.
    """

    def __init__(
        self, caption_person: NDArray[np.int64], batch_size: int, seed: int, rule: Rule = "clean"
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"a batch holds at least 1 caption, got {batch_size}")
        if rule not in ("clean", "released"):
            raise ValueError(f"unknown sampling rule {rule!r}: choose clean or released")
        self.batch_size, self.seed, self.rule = batch_size, seed, rule
        self._person = np.asarray(caption_person, dtype=np.int64)

    def epoch(self, epoch: int) -> list[Batch]:
        """The batches of an epoch, each [captions] of caption indices."""
        rng = np.random.default_rng(seed_for("batches", self.seed, epoch))
        stream = self._clean(rng) if self.rule == "clean" else self._released(rng)
        return [stream[start : start + self.batch_size] for start in range(0, len(stream), self.batch_size)]

    def steps(self, epoch: int) -> int:
        """Number of batches of an epoch; only under `released` does it vary between epochs."""
        if self.rule == "clean":
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

    def _clean(self, rng: np.random.Generator) -> Batch:
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

    def _released(self, rng: np.random.Generator) -> Batch:
        order, starts, lengths = self._groups(rng)
        waiting: dict[int, list[tuple[int, int]]] = {}
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            waiting.setdefault(int(self._person[order[start]]), []).append((start, length))
        persons, per_round = list(waiting), max(1, self.batch_size // GROUP)
        stream: list[Batch] = []
        while len(persons) >= per_round:
            for choice in rng.choice(len(persons), per_round, replace=False).tolist():
                start, length = waiting[persons[choice]].pop(0)
                stream.append(order[start : start + length])
            persons = [person for person in persons if waiting[person]]
        return np.concatenate(stream) if stream else np.empty(0, dtype=np.int64)
