"""The scores of several methods on one test set, reduced to what the estimator needs.

A score matrix is `[seeds, queries]`, 0 to 1, and becomes the mean score of every run, in points, and each
person's linearised part in the error of that mean. Captions of a person are no independent draws, so the
person is the unit that varies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from reports.estimates import ALPHA, FEW_SEEDS, Estimate, Floats, Integers, Scope, VarianceParts, t_bound
from reports.variance_components import BlockVariances, block_variances, people_variance, run_noise

NEAR = 5.0
"""Closer than this to 0 or 100 % the people in a sample are too alike to show how people vary."""


@dataclass(frozen=True)
class ScoreBlock:
    """All runs of several methods on one test set; `weights` name methods, e.g. `{"uit": 1, "irra": -1}`.

    `means [methods, seeds]` is in points, NaN where a run is missing; `profiles [methods, seeds, people]`
    holds each person's part in the error of a mean. `still_means [untrained]` and `still_profiles [untrained,
    people]` are those of the methods that do not train. `counts [people]` are captions.
    """

    trained: tuple[str, ...]
    untrained: tuple[str, ...]
    counts: Floats
    means: Floats
    profiles: Floats
    still_means: Floats
    still_profiles: Floats

    @property
    def methods(self) -> tuple[str, ...]:
        """Every method, the trained ones first."""
        return self.trained + self.untrained

    @property
    def people(self) -> int:
        """Number of people the queries belong to."""
        return len(self.counts)

    @cached_property
    def ran(self) -> NDArray[np.bool_]:
        """Which runs there are, `[methods, seeds]`."""
        return np.isfinite(self.means)

    @cached_property
    def variances(self) -> BlockVariances:
        """The mean squares behind every contrast."""
        return block_variances(self.means, self.profiles)

    @property
    def unequal(self) -> tuple[str, ...]:
        """Methods whose seeds vary significantly more than the others'."""
        return tuple(name for name, is_so in zip(self.trained, self.variances.unequal, strict=True) if is_so)

    @cached_property
    def averages(self) -> Mapping[str, float]:
        """Mean score of every method over its runs; NaN without any."""
        runs = (self.means[row, ran] for row, ran in enumerate(self.ran))
        means = [float(scores.mean()) if len(scores) else np.nan for scores in runs]
        return dict(zip(self.methods, [*means, *map(float, self.still_means)], strict=True))

    def own_parts(self, method: str) -> VarianceParts:
        """The variances of one method's mean, from its own runs alone."""
        if method in self.untrained:
            profile = self.still_profiles[self.untrained.index(method)]
            return VarianceParts(1, people_variance(profile), 0.0, 0.0, untrained=True)
        row = self.trained.index(method)
        runs = self.profiles[row, self.ran[row]]
        seeds = len(runs)
        if not seeds:
            return VarianceParts(0, np.nan, np.nan, np.nan)
        profile, seed, noise = runs.mean(axis=0), np.nan, 0.0
        if seeds > 1:
            seed = float(self.variances.own[row]) / seeds
            noise = run_noise(runs - profile, seeds - 1) / seeds
        return VarianceParts(seeds, people_variance(profile), seed, noise)

    def contrast(
        self,
        weights: Mapping[str, float],
        alpha: float = ALPHA,
        scope: Scope = "people",
        *,
        own_seeds: bool = True,
    ) -> Estimate:
        """Estimate a weighted sum of methods' means over the seeds that all its methods ran with.

        Of several estimates of the seeds' variance the one with the widest interval is kept. Without a shared
        seed nothing is known (NaN). With a single one `seeds` is 1, and where no method has more, the
        interval speaks of these runs only. `own_seeds` judges a method whose seeds vary far more than the
        others' by its own seeds as well.
        """
        value, profile, vector, seeds = self._combined(weights)
        if not np.isfinite(value):
            return Estimate.unknown()
        if not vector.any():
            seeds, parts = FEW_SEEDS, []
        else:
            of = self.variances
            variances = (
                of.pooled(vector, seeds),
                of.lower_bound(vector, seeds),
                of.of_unequal(vector, seeds) if own_seeds else None,
            )
            parts = [part for part in variances if part is not None]
        people, df = self._over_people(weights, profile), float(max(self.people - 1, 1))
        if scope == "benchmark":
            options = [(part.variance, part.df) for part in parts]
            options = options or [(np.nan, 1.0) if vector.any() else (0.0, df)]
        else:
            options = [part.with_people(people, df) for part in parts] or [(people, df)]
        variance, df = max(options, key=lambda option: np.sqrt(option[0]) * t_bound(alpha / 2, option[1]))
        return Estimate.of(value, variance, df, seeds, alpha, bounds=_bounds(weights))

    def gains(self, weights: Mapping[str, float]) -> Floats:
        """Each person's part in the total of a contrast, `[people]`.

        Reversing its sign is, for a difference, swapping the scores of the two methods for this person.
        """
        value, profile, _, _ = self._combined(weights)
        return profile * float(self.counts.mean()) + self.counts * value

    def _combined(self, weights: Mapping[str, float]) -> tuple[float, Floats, Floats, int]:
        """Value of a contrast, its profile `[people]`, its weights `[trained]`, and the seeds it rests on."""
        vector = self.vector(weights)
        still = np.array([weights.get(name, 0.0) for name in self.untrained])
        value = float(still @ self.still_means)
        profile, rows = still @ self.still_profiles, vector != 0
        shared = self.ran[rows].all(axis=0)
        if not rows.any():
            return value, profile, vector, 0
        if not shared.any():
            return np.nan, profile, vector, 0
        value += float(vector[rows] @ self.means[rows][:, shared].mean(axis=1))
        profile = profile + np.tensordot(vector[rows], self.profiles[rows][:, shared].mean(axis=1), axes=1)
        return value, profile, vector, int(shared.sum())

    def vector(self, weights: Mapping[str, float]) -> Floats:
        """The weights of the trained methods, `[trained]`."""
        return np.array([weights.get(name, 0.0) for name in self.trained])

    def shared_seeds(self, weights: Mapping[str, float]) -> int:
        """How many seeds all trained methods of a contrast ran with."""
        return int(self.ran[self.vector(weights) != 0].all(axis=0).sum())

    def over_people(self, weights: Mapping[str, float]) -> float:
        """Variance of a contrast because people differ, noise of these runs on single people included."""
        return self._over_people(weights, self._combined(weights)[1])

    def _over_people(self, weights: Mapping[str, float], profile: Floats) -> float:
        """Variance of a contrast over people, with two pseudo-people where the real ones are too alike.

        Near 0 or 100 % nearly everybody agrees, and so does a sample, without the variance being zero. Of
        the pseudo-people one is found by one side of the contrast only, the other by the other side only.
        """
        plain = people_variance(profile)
        named = {name: weight for name, weight in weights.items() if weight}
        varies = plain > 1e-9
        if varies and all(NEAR <= self.averages[name] <= 100 - NEAR for name in named):
            return plain
        reach = 50 * max(sum(map(abs, named.values())), abs(sum(named.values())))
        people = self.people + 2
        return max(plain, float(profile @ profile + 2 * reach**2) / (people * (people - 1)))


def _bounds(weights: Mapping[str, float]) -> tuple[float, float]:
    """The least and the largest weighted sum of percentages: 0 and 100 of a mean, ±100 of a difference."""
    each = np.array(list(weights.values()), dtype=float)
    return 100 * float(each[each < 0].sum()), 100 * float(each[each > 0].sum())


def score_block(
    scores: Mapping[str, Floats], person: Integers, untrained: frozenset[str] = frozenset()
) -> ScoreBlock:
    """Reduce scores to a `ScoreBlock`.

    Args:
        scores: by method, `[seeds, queries]` of 0 to 1; a missing run is a row of NaN. Trained methods have
            the same seeds in the same rows. An untrained method has one row.
        person: the person of each query, `[queries]`.
        untrained: the methods that do not train.

    Raises:
        ValueError: a matrix does not fit `person` or the other methods.
    """
    person = np.unique(person, return_inverse=True)[1]
    trained = tuple(name for name in scores if name not in untrained)
    still = tuple(name for name in scores if name in untrained)
    rows = {len(scores[name]) for name in trained}
    for name, matrix in scores.items():
        if matrix.ndim != 2 or matrix.shape[1] != len(person) or not matrix.size:
            raise ValueError(
                f"{name}: scores must be [seeds, queries] with {len(person)} queries, got {matrix.shape}"
            )
    if len(rows) > 1:
        raise ValueError("trained methods need the same seeds, row by row; a missing run is a row of NaN")
    order = np.argsort(person, kind="stable")
    starts = np.flatnonzero(np.diff(person[order], prepend=-1))
    counts = np.bincount(person).astype(np.float64)

    def reduced(names: tuple[str, ...], seeds: int) -> tuple[Floats, Floats]:
        means, profiles = np.full((len(names), seeds), np.nan), np.zeros((len(names), seeds, len(counts)))
        for row, name in enumerate(names):
            points = 100 * np.asarray(scores[name], dtype=np.float64)
            means[row] = points.mean(axis=1)
            sums = np.add.reduceat(points[:, order], starts, axis=1)
            profiles[row] = (sums - counts * means[row][:, None]) / counts.mean()
        return means, profiles

    means, profiles = reduced(trained, rows.pop() if rows else 1)
    still_means, still_profiles = reduced(still, 1)
    return ScoreBlock(trained, still, counts, means, profiles, still_means[:, 0], still_profiles[:, 0])
