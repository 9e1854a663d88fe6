"""Who won where: every method's per-query scores on one target, and what the statistics make of them.

An arena is a set of methods trained on one source under one preset and judged by the same queries. Nothing is
ever compared across arenas, so presets, training sets and test sets cannot mix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np

from reports import statistics
from reports.statistics import Bootstrap, Comparison, Estimate, Floats, Integers
from reports.stored_runs import CellView, Place, QueryScores, StoredRuns

METRICS = ("R1", "mAP")
"""Metrics that are compared by statistics; the others are shown as means."""
SELECTED_ON_VAL = "val"
SELECTED_ON_TEST = "test"


@dataclass(frozen=True)
class ComparisonOptions:
    """How a report judges: the margin in percentage points, and the seed and number of random draws."""

    margin: float = statistics.MARGIN
    alpha: float = statistics.ALPHA
    resamples: int = statistics.RESAMPLES
    seed: int = 0


@dataclass(frozen=True)
class MethodScores:
    """One method in an arena: its finished cells by seed and their scores, ``[seeds, queries]`` each."""

    label: str
    cells: tuple[CellView, ...]
    scores: Mapping[str, Floats]
    """By arm: ``R1`` and ``mAP`` as selected on validation, ``R1 gap`` and ``mAP gap`` what selecting on the
    test split adds."""

    @property
    def seedless(self) -> bool:
        """Whether the method does not train, so that seeds change nothing."""
        return not any(cell.trains for cell in self.cells)


@dataclass(frozen=True)
class ComparisonGroup:
    """One table's worth of evidence; estimates are in percent."""

    place: Place
    reference: str
    contestants: Mapping[str, MethodScores]
    person: Integers
    gallery: int
    options: ComparisonOptions
    excluded: int = 0
    """Queries without a positive in the gallery."""
    skipped: int = 0
    """Broken images left out of the test split."""
    chance: float = float("nan")
    """Expected R1 of a random ranking, in percent."""
    notes: tuple[str, ...] = ()

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods with finished cells, in the study's order."""
        return tuple(self.contestants)

    @property
    def queries(self) -> int:
        """Queries every method answered."""
        return len(self.person)

    @cached_property
    def people(self) -> int:
        """Persons the queries belong to."""
        return int(self.person.max()) + 1

    @cached_property
    def bootstrap(self) -> Bootstrap:
        """One set of draws for every arm ``metric/method`` of the arena."""
        arms = {
            f"{arm}/{name}": one.scores[arm] for name, one in self.contestants.items() for arm in one.scores
        }
        still = {
            f"{arm}/{name}" for name, one in self.contestants.items() if one.seedless for arm in one.scores
        }
        return statistics.crossed_bootstrap(
            arms,
            self.person,
            resamples=self.options.resamples,
            seed=self.options.seed,
            seedless=frozenset(still),
        )

    def mean(self, method: str, arm: str) -> Estimate:
        """A method's mean with its interval."""
        return self.contrast({method: 1.0}, arm)

    def contrast(self, weights: Mapping[str, float], arm: str) -> Estimate:
        """A weighted sum of methods' means with its interval."""
        named = {f"{arm}/{name}": weight for name, weight in weights.items()}
        return self.bootstrap.contrast(named, self.options.alpha).scaled(100)

    @cached_property
    def planned(self) -> Mapping[tuple[str, str], Comparison]:
        """Every method against the reference, by (method, metric); a Holm family for each metric."""
        others = [name for name in self.methods if name != self.reference]
        return self._family([(name, self.reference) for name in others if self.reference in self.methods])

    @cached_property
    def remaining(self) -> Mapping[tuple[str, str, str], Comparison]:
        """The pairs without the reference, by (one, other, metric); a second Holm family for each metric."""
        pairs = list(combinations([name for name in self.methods if name != self.reference], 2))
        found = self._compare(pairs)
        return {(item.one, item.other, metric): item for metric in METRICS for item in found[metric]}

    def _family(self, pairs: Sequence[tuple[str, str]]) -> Mapping[tuple[str, str], Comparison]:
        found = self._compare(pairs)
        return {(item.one, metric): item for metric in METRICS for item in found[metric]}

    def _compare(self, pairs: Sequence[tuple[str, str]]) -> dict[str, list[Comparison]]:
        return {
            metric: [
                _named(item)
                for item in statistics.compare(
                    self.bootstrap,
                    [(f"{metric}/{one}", f"{metric}/{other}") for one, other in pairs],
                    permutations=self.options.resamples,
                    seed=self.options.seed,
                    margin=self.options.margin,
                    alpha=self.options.alpha,
                )
            ]
            for metric in METRICS
        }

    def means(self, method: str, metric: str, selection: str = SELECTED_ON_VAL) -> list[float]:
        """A metric of every seed, in percent, as the run itself recorded it; missing ones are left out."""
        scores = (cell.score(self.place, selection, metric) for cell in self.contestants[method].cells)
        return [score for score in scores if score is not None]


def _named(item: Comparison) -> Comparison:
    """The comparison with its arms' ``metric/`` prefix removed."""
    return replace(item, one=item.one.partition("/")[2], other=item.other.partition("/")[2])


def arenas(
    frames: StoredRuns, options: ComparisonOptions, direction: str = "t2i", *, away: bool = True
) -> list[ComparisonGroup]:
    """Every arena of the runs that has at least one finished method; homes first, in the study's order.

    Without ``away``, homes alone are read.
    """
    places = {
        place
        for cell in frames.cells
        for target in cell.targets(direction)
        if (place := Place(cell.preset, cell.dataset, target, direction, cell.population)).home or away
    }
    order = list(frames.datasets)

    def rank(place: Place) -> tuple[object, ...]:
        where = _position(order, place.source), _position(order, place.target)
        return (place.preset, not place.home, *where, place.population)

    found = (_arena(frames, place, options) for place in sorted(places, key=rank))
    return [arena for arena in found if arena is not None]


def _position(order: Sequence[str], name: str) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order), name)


def _arena(frames: StoredRuns, place: Place, options: ComparisonOptions) -> ComparisonGroup | None:
    read: dict[str, list[tuple[CellView, QueryScores, QueryScores | None]]] = {}
    for cell in frames.cells:
        if cell.status != "done" or not place.holds(cell):
            continue
        scores = cell.query_scores(place, SELECTED_ON_VAL)
        if scores is not None:
            read.setdefault(cell.method, []).append(
                (cell, scores, cell.query_scores(place, SELECTED_ON_TEST))
            )
    if not read:
        return None
    shared, notes = _shared_queries([scores for rows in read.values() for _, scores, _ in rows])
    if not len(shared):
        return None
    ordered = [name for name in frames.methods if name in read]
    first = read[ordered[0]][0][0]
    of = first.people(place, SELECTED_ON_VAL)
    person = np.unique([of[int(query)] for query in shared], return_inverse=True)[1].astype(np.int64)
    row = first.row(place, SELECTED_ON_VAL) or {}
    return ComparisonGroup(
        place,
        frames.reference,
        {name: _contestant(name, read[name], shared) for name in ordered},
        person,
        int(row.get("gallery") or 0),
        options,
        int(row.get("excluded") or 0),
        int(row.get("skipped") or 0),
        _chance(read[ordered[0]][0][1], shared, int(row.get("gallery") or 0)),
        notes,
    )


def _chance(scores: QueryScores, shared: Integers, gallery: int) -> float:
    positives = scores.only(shared).positives
    return 100 * float(positives.mean()) / gallery if gallery else float("nan")


def _shared_queries(all_scores: Sequence[QueryScores]) -> tuple[Integers, tuple[str, ...]]:
    """Queries that every cell answered, and a remark when some did not answer all."""
    shared = all_scores[0].query
    for scores in all_scores[1:]:
        shared = np.intersect1d(shared, scores.query)
    most = max(len(scores.query) for scores in all_scores)
    if len(shared) == most:
        return shared, ()
    return shared, (f"Compared on the {len(shared):,} queries all cells share, of up to {most:,}.",)


def _contestant(
    label: str, rows: Sequence[tuple[CellView, QueryScores, QueryScores | None]], shared: Integers
) -> MethodScores:
    rows = sorted(rows, key=lambda row: row[0].seed)
    scores = _matrices([scores.only(shared) for _, scores, _ in rows])
    optimists = [other.only(shared) for _, _, other in rows if other is not None]
    if len(optimists) == len(rows) and all(len(one.query) == len(shared) for one in optimists):
        best = _matrices(optimists)
        scores |= {f"{metric} gap": best[metric] - scores[metric] for metric in METRICS}
    return MethodScores(label, tuple(cell for cell, _, _ in rows), scores)


def _matrices(runs: Sequence[QueryScores]) -> dict[str, Floats]:
    """By metric, scores of 0 to 1, ``[seeds, queries]``."""
    return {
        "R1": np.stack([(one.rank == 1).astype(np.float64) for one in runs]),
        "mAP": np.stack([one.ap for one in runs]),
    }
