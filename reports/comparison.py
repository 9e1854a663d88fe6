"""Who won where: every method's per-query scores on one target, and what the statistics make of them.

A group is a set of methods trained on one source under one preset and judged by the same queries. Nothing is
ever compared across groups, so presets, training sets and test sets cannot mix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations

import numpy as np

from reports import statistics
from reports.statistics import Bootstrap, Comparison, Estimate, Floats, Integers
from reports.stored_runs import CellView, Evaluation, QueryScores, StoredRuns

METRICS = ("R1", "mAP")
"""Metrics that are compared by statistics; the others are shown as means."""
DIRECTION = "t2i"
"""What is compared: captions that look for pictures."""
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
    """One method in a group: its finished cells by seed and their scores, ``[seeds, queries]`` each."""

    label: str
    cells: tuple[CellView, ...]
    scores: Mapping[str, Floats]
    """By arm: ``R1`` and ``mAP`` as selected on validation, ``R1 gap`` and ``mAP gap`` what selecting on the
    test split adds."""

    @property
    def untrained(self) -> bool:
        """Whether the method does not train, so that seeds change nothing."""
        return not any(cell.trains for cell in self.cells)


@dataclass(frozen=True)
class ComparisonGroup:
    """One table's worth of evidence; estimates are in percent."""

    evaluation: Evaluation
    reference: str
    methods: Mapping[str, MethodScores]
    """Methods with finished cells, in the study's order."""
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
    def queries(self) -> int:
        """Queries every method answered."""
        return len(self.person)

    @cached_property
    def people(self) -> int:
        """Persons the queries belong to."""
        return int(self.person.max()) + 1

    @cached_property
    def bootstrap(self) -> Bootstrap:
        """One set of draws for every arm ``metric/method`` of the group."""
        arms = {f"{arm}/{name}": one.scores[arm] for name, one in self.methods.items() for arm in one.scores}
        still = {f"{arm}/{name}" for name, one in self.methods.items() if one.untrained for arm in one.scores}
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
    def against_reference(self) -> Mapping[tuple[str, str], Comparison]:
        """Every method against the reference, by (method, metric); a Holm family for each metric."""
        others = [name for name in self.methods if name != self.reference]
        return self._family([(name, self.reference) for name in others if self.reference in self.methods])

    @cached_property
    def other_pairs(self) -> Mapping[tuple[str, str, str], Comparison]:
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
        scores = (cell.score(self.evaluation, selection, metric) for cell in self.methods[method].cells)
        return [score for score in scores if score is not None]


def _named(item: Comparison) -> Comparison:
    """The comparison with its arms' ``metric/`` prefix removed."""
    return replace(item, one=item.one.partition("/")[2], other=item.other.partition("/")[2])


def comparison_groups(
    stored_runs: StoredRuns, options: ComparisonOptions, *, transfer: bool = True
) -> list[ComparisonGroup]:
    """Every group with at least one finished method, in the study's order, transfer last.

    Without `transfer`, only those tested on their training dataset are read.
    """
    places = {
        evaluation
        for cell in stored_runs.cells
        for target in cell.targets(DIRECTION)
        if (
            evaluation := Evaluation(cell.preset, cell.dataset, target, DIRECTION, cell.population)
        ).same_dataset
        or transfer
    }
    order = list(stored_runs.datasets)

    def rank(evaluation: Evaluation) -> tuple[object, ...]:
        where = _position(order, evaluation.source), _position(order, evaluation.target)
        return (evaluation.preset, not evaluation.same_dataset, *where, evaluation.population)

    found = (_comparison_group(stored_runs, evaluation, options) for evaluation in sorted(places, key=rank))
    return [group for group in found if group is not None]


def _position(order: Sequence[str], name: str) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order), name)


def _comparison_group(
    stored_runs: StoredRuns, evaluation: Evaluation, options: ComparisonOptions
) -> ComparisonGroup | None:
    read: dict[str, list[tuple[CellView, QueryScores, QueryScores | None]]] = {}
    for cell in stored_runs.cells:
        if cell.status != "done" or not evaluation.holds(cell):
            continue
        scores = cell.query_scores(evaluation, SELECTED_ON_VAL)
        if scores is not None:
            read.setdefault(cell.method, []).append(
                (cell, scores, cell.query_scores(evaluation, SELECTED_ON_TEST))
            )
    if not read:
        return None
    shared, notes = _shared_queries([scores for rows in read.values() for _, scores, _ in rows])
    if not len(shared):
        return None
    ordered = [name for name in stored_runs.methods if name in read]
    first = read[ordered[0]][0][0]
    of = first.people(evaluation, SELECTED_ON_VAL)
    person = np.unique([of[int(query)] for query in shared], return_inverse=True)[1].astype(np.int64)
    row = first.row(evaluation, SELECTED_ON_VAL) or {}
    return ComparisonGroup(
        evaluation,
        stored_runs.reference,
        {name: _method_scores(name, read[name], shared) for name in ordered},
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


def _method_scores(
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
