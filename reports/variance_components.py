"""Variances of a randomised block: methods × seeds are the block, the test people are crossed with it.

Every method is trained with the same seeds, and runs of one seed share batches and initial weights. The
block takes out what a seed does to all methods alike; what is left is the noise that a comparison suffers
from. The design is that of multi-reader studies (Obuchowski and Rockette 1995, with degrees of freedom after
Hillis 2007); combined variances have Satterthwaite's degrees of freedom (1946).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import special

from reports.estimates import Floats, Integers, SeedVariance

UNEQUAL_LEVEL = 0.10
"""Level, over all methods together, at which a method's seeds are said to vary more than the others'."""
FEW_DF = 3
"""With fewer degrees of freedom in the block, the methods' own variances are averaged instead."""


def people_variance(profile: Floats) -> float:
    """Variance of a mean over people from each person's linearised part in its error, `[people]`."""
    people = len(profile)
    return float(profile @ profile) / (people * (people - 1)) if people > 1 else np.nan


def run_noise(residuals: Floats, df: int) -> float:
    """Variance of one run's mean by noise on single people, from residuals `[runs, people]`."""
    people = residuals.shape[-1]
    return float(np.square(residuals).sum()) / (df * (people - 1) * people) if people > 1 else np.nan


@dataclass(frozen=True)
class BlockVariances:
    """Mean squares of runs in a block; each `noise` is that of single people within the value beside it.

    Arrays are `[methods]`; `own` values are NaN for a method with fewer than two runs.
    """

    methods: int
    seeds: int
    complete: bool
    df: int
    """Of `ms`: (methods − 1) · (seeds − 1) where no run is missing."""
    ms: float
    noise: float
    seed_ms: float
    """Mean square between seeds; NaN where methods and seeds fall apart into groups without a link."""
    seed_noise: float
    own: Floats
    own_noise: Floats
    own_df: Integers
    residual: Floats
    """Mean square of a method's residuals in the block."""

    def pooled(self, weights: Floats, seeds: int) -> SeedVariance | None:
        """Variance that `seeds` shared seeds add to a contrast, from all methods together.

        `weights [methods]` of a difference add up to 0; those of a single mean to 1, and then what a seed
        does to all methods counts too. None when no method has two runs.
        """
        total, squares = float(weights.sum()), float(weights @ weights)
        if self.df < FEW_DF or (total and not np.isfinite(self.seed_ms)):
            return self._averaged(max(squares, total**2) / seeds)
        common = total**2 / (seeds * self.methods)
        of_ms, of_seeds = (squares / seeds - common) * self.ms, 0.0
        noise, doubt = (squares / seeds - common) * self.noise, of_ms**2 / self.df
        if total:
            of_seeds = common * self.seed_ms
            noise += common * self.seed_noise
            doubt += of_seeds**2 / (self.seeds - 1)
        return SeedVariance(of_ms + of_seeds, noise, doubt)

    def _averaged(self, size: float) -> SeedVariance | None:
        """`size` times the methods' own variances, averaged by their degrees of freedom."""
        known = self.own_df > 0
        df = int(self.own_df[known].sum())
        if not df:
            return None
        share = self.own_df[known] / df
        variance = size * float(share @ self.own[known])
        return SeedVariance(variance, size * float(share @ self.own_noise[known]), variance**2 / df)

    def lower_bound(self, weights: Floats, seeds: int) -> SeedVariance | None:
        """What the seeds add at least to a difference when variances differ between methods (Grubbs 1948).

        `weights` [methods] sum to zero. None for other contrasts, for fewer than four methods and where a
        run is missing.
        """
        if abs(weights.sum()) > 1e-12 or self.methods < 4 or not self.complete or self.df < FEW_DF:
            return None
        squares = weights**2
        each = squares * shrunk_variances(self.residual, np.float64(self.ms), self.seeds) / seeds
        variance = float(each.sum())
        doubt = float(np.square(each).sum()) / (self.seeds + 1)
        doubt = max(doubt, variance**2 / self.df)
        return SeedVariance(variance, float(squares.sum()) / seeds * self.noise, doubt)

    def of_unequal(self, weights: Floats, seeds: int) -> SeedVariance | None:
        """Variance from the methods' own seeds alone, where one of the contrast varies more than the others.

        `weights` [methods] are those of the contrast. None when none does. With two seeds even this covers
        the truth in 90 % of studies only.
        """
        involved = weights != 0
        if not (involved & self.unequal).any() or (self.own_df[involved] < 1).any():
            return None
        squares = weights[involved] ** 2 / seeds
        each = squares * self.own[involved]
        doubt = float((each**2 / self.own_df[involved]).sum())
        return SeedVariance(float(each.sum()), float(squares @ self.own_noise[involved]), doubt)

    @cached_property
    def unequal(self) -> NDArray[np.bool_]:
        """Methods whose seeds vary significantly more than the others' (F test), `[methods]`."""
        level, df = UNEQUAL_LEVEL / max(self.methods, 1), self.own_df
        if self.methods == 2:
            with np.errstate(divide="ignore", invalid="ignore"):
                return np.asarray(special.fdtrc(df, df[::-1], self.own / self.own[::-1]) < level)
        possible = (df > 0) & (self.df - df > 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            p = p_of_more_varied(self.residual, df, self.methods, np.float64(self.ms), self.df)
            return np.asarray(possible & (p < level))


def shrunk_variances(residual: Floats, ms: Floats | np.float64, seeds: int) -> Floats:
    """Each method's variance by Grubbs's estimator, shrunk towards that of all, `[..., methods]`.

    Args:
        residual: mean square of each method's residuals in a complete block, `[..., methods]`.
        ms: of the whole block, `[...]`.
        seeds: of the block.
    """
    count, whole = residual.shape[-1], np.asarray(ms)[..., None]
    excess = (count - 1) / (count - 2) * (residual * count / (count - 1) - whole / (count - 1))
    return np.asarray((2 * whole + (seeds - 1) * np.maximum(0, excess)) / (seeds + 1))


def p_of_more_varied(
    residual: Floats, residual_df: Integers | int, methods: int, ms: Floats | np.float64, df: int
) -> Floats:
    """p of the F test that a method's seeds vary as the others' do, `[..., methods]`.

    Args:
        residual: mean square of each method's residuals in the block, `[..., methods]`.
        residual_df: its degrees of freedom.
        methods: in the block.
        ms: of the whole block, `[...]`.
        df: of `ms`.
    """
    # In a complete block a method's residuals leave those of the others' own block untouched.
    apart = residual * residual_df * methods / max(methods - 1, 1)
    rest, rest_df = df * np.asarray(ms)[..., None] - apart, df - residual_df
    ratio = (apart / residual_df) / (rest / rest_df)
    return np.asarray(special.fdtrc(residual_df, rest_df, ratio))


def block_variances(means: Floats, profiles: Floats) -> BlockVariances:
    """Fit methods and seeds additively by least squares to the scores and to every person's part in them.

    Args:
        means: score of every run, `[methods, seeds]`, NaN where a run is missing.
        profiles: each person's linearised part in it, `[methods, seeds, people]`.
    """
    ran = np.isfinite(means)
    methods, seeds = int(ran.any(axis=1).sum()), int(ran.any(axis=0).sum())
    cells = np.argwhere(ran)
    design = np.zeros((len(cells), sum(ran.shape)))
    design[np.arange(len(cells)), cells[:, 0]] = 1
    design[np.arange(len(cells)), ran.shape[0] + cells[:, 1]] = 1
    inverse, rank = np.linalg.pinv(design), int(np.linalg.matrix_rank(design)) if len(cells) else 0
    scores, parts = means[ran], profiles[ran]
    fitted, fitted_parts = inverse @ scores, inverse @ parts
    left = np.zeros(ran.shape)
    left[ran] = scores - design @ fitted
    df, linked = len(cells) - rank, rank == methods + seeds - 1 and seeds > 1
    used = ran.shape[0] + np.flatnonzero(ran.any(axis=0))
    effects = fitted_parts[used] - fitted_parts[used].sum(axis=0) / max(len(used), 1)
    own_df = ran.sum(axis=1) - 1
    own, own_noise = _own(means, profiles, ran)
    return BlockVariances(
        methods=methods,
        seeds=seeds,
        complete=bool(ran.all()),
        df=df,
        ms=float(np.square(left).sum()) / df if df else np.nan,
        noise=run_noise(parts - design @ fitted_parts, df) if df else np.nan,
        seed_ms=methods * float(np.var(fitted[used], ddof=1)) if linked else np.nan,
        seed_noise=methods * run_noise(effects, seeds - 1) if linked else np.nan,
        own=own,
        own_noise=own_noise,
        own_df=own_df,
        residual=np.square(left).sum(axis=1) / np.maximum(own_df, 1),
    )


def _own(means: Floats, profiles: Floats, ran: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Each method's variance between its seeds, and the noise of single people in it, `[methods]` each."""
    own, noise = np.full(len(means), np.nan), np.full(len(means), np.nan)
    for row, used in enumerate(ran):
        if used.sum() > 1:
            own[row] = np.var(means[row, used], ddof=1)
            parts = profiles[row, used]
            noise[row] = run_noise(parts - parts.mean(axis=0), len(parts) - 1)
    return own, noise
