"""Looks at a study while its seeds grow: levels that keep the chance of a false verdict. Pure.

Every look at level α is another chance of a false verdict. Looks that were planned before the first one share
the chance: each gets the same smaller level (Pocock 1977). For looks that were not planned, the chance that
any of them finds a difference where there is none is computed and printed. Both by the recursion of
Armitage, McPherson and Rowe (1969) for a mean that grows by independent parts, one a seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np

from reports.estimates import ALPHA
from reports.formatting import listed, number, plural

_POINTS = 64
"""Of the Gauss-Legendre rule by which the density of the sum is followed."""


@cache
def real_level(seeds: tuple[int, ...], level: float = ALPHA) -> float:
    """Chance that any of several looks at `level` rejects where there is no difference.

    Args:
        seeds: at each look, rising.
        level: two-sided, of each look.
    """
    from scipy import stats  # slow to import, and only planned looks need it

    bound = float(stats.norm.isf(level / 2))
    grid, weights = (bound * part for part in np.polynomial.legendre.leggauss(_POINTS))
    # Density of the standardised sum among studies that no look has rejected yet.
    density = stats.norm.pdf(grid)
    for before, now in pairwise(seeds):
        added = np.sqrt(now - before)
        sums = (grid[:, None] * np.sqrt(now) - grid[None, :] * np.sqrt(before)) / added
        density = (stats.norm.pdf(sums) * np.sqrt(now) / added) @ (weights * density)
    return float(1 - weights @ density)


@cache
def planned_level(looks: int, alpha: float = ALPHA) -> float:
    """The level of each of several planned, evenly spaced looks that together have the level `alpha`."""
    if looks < 2:
        return alpha
    from scipy import optimize

    evenly = tuple(range(1, looks + 1))

    def excess(level: float) -> float:
        return real_level(evenly, level) - alpha

    return float(optimize.brentq(excess, alpha / looks / 2, alpha, xtol=1e-6))


@dataclass(frozen=True)
class Looks:
    """The looks at a study: at how many seeds each was planned, and at how many they were taken."""

    planned: tuple[int, ...] = ()
    taken: tuple[int, ...] = ()
    alpha: float = ALPHA

    @property
    def number(self) -> int:
        """Which look this is, from 1."""
        return max(1, len(self.taken))

    @property
    def level(self) -> float:
        """The level of verdicts at each look."""
        return planned_level(len(self.planned), self.alpha)

    @property
    def as_planned(self) -> bool:
        """Whether every look that was taken had been planned."""
        return set(self.taken) <= set(self.planned)

    @property
    def real_level(self) -> float:
        """The chance of a false difference over the planned looks, or those taken where others were."""
        looks = self.planned if self.planned and self.as_planned else self.taken
        return real_level(looks, self.level) if len(looks) > 1 else self.level

    @property
    def sentence(self) -> str:
        """What a reader must know of the looks; empty for a single one of a study that planned none."""
        share = f"{number(100 * self.real_level)} %"
        if self.planned and self.as_planned:
            later = [count for count in self.planned if count > max(self.taken, default=0)]
            following = f" The next: `run` with --seeds {later[0]}." if later and self.taken else ""
            return (
                f"Look {self.number} of {len(self.planned)} (planned at {_counts(self.planned)}): each has "
                f"the level {self.level:.4f}; over all of them the chance of a false difference is {share} "
                f"for one comparison.{following}"
            )
        if self.planned:
            return (
                f"Look {self.number}: looks were planned at {_counts(self.planned)}, and taken at "
                f"{_counts(self.taken)}. With level {self.level:.4f} each, the chance of a false difference "
                f"is {share} for one comparison over all looks."
            )
        if len(self.taken) < 2:
            return ""
        return (
            f"Look {self.number} (at {_counts(self.taken)}), not planned: with level {self.alpha:g} each, "
            f"the chance of a false difference is {share} for one comparison over all looks, not "
            f"{100 * self.alpha:g} %. Plan looks by seeds: {{looks: [3, 5, 10]}}."
        )


def _counts(seeds: Sequence[int]) -> str:
    return f"{listed([str(count) for count in seeds])} {plural(seeds[-1], 'seed').split()[-1]}"
