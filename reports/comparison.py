"""Who won where: every method's per-query scores on one target, and what the statistics make of them.

A group is a set of methods trained on one source under one preset and judged by the same queries. Nothing is
ever compared across groups, so presets, training sets and test sets cannot mix.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations

import numpy as np

from reports import statistics
from reports.cell_views import CellView, Evaluation, QueryScores
from reports.statistics import Comparison, Estimate, Finding, Floats, Integers, Scope, ScoreBlock
from reports.stored_runs import StoredRuns

JUDGED_METRICS = ("R1", "mAP")
"""Metrics that are compared by statistics; the others are shown as means."""
PRIMARY_METRIC = "R1"
"""The metric of the primary family: it holds the comparisons with the reference but those of transfer."""
DIRECTION = "t2i"
"""What is compared: captions that look for pictures."""
SELECTED_ON_VAL = "val"
SELECTED_ON_TEST = "test"


@dataclass(frozen=True)
class ComparisonOptions:
    """How a report judges: margin in points, levels, and the seed and number of random permutations."""

    margin: float = statistics.MARGIN
    alpha: float = statistics.ALPHA
    resamples: int = statistics.PERMUTATIONS
    seed: int = 0
    level: float | None = None
    """Chance of any false verdict in a family at this look; `alpha` unless looks were planned."""

    @property
    def verdict_level(self) -> float:
        """The level that verdicts are given at."""
        return self.alpha if self.level is None else self.level


@dataclass(frozen=True)
class MethodScores:
    """One method in a group: its finished cells by seed and their scores, `[seeds, queries]` each."""

    label: str
    cells: tuple[CellView, ...]
    scores: Mapping[str, Floats]
    """By metric, as selected on validation."""

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
    relatives: list[ComparisonGroup] = field(default_factory=list, compare=False, repr=False)
    """The groups, itself included, whose comparisons of R1 are the study's primary family; none elsewhere."""
    _measured: dict[tuple[str, Scope], list[Comparison]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def queries(self) -> int:
        """Queries every method answered."""
        return len(self.person)

    @cached_property
    def people(self) -> int:
        """Persons the queries belong to."""
        return int(self.person.max()) + 1

    @property
    def most_seeds(self) -> int:
        """The largest number of seeds that a method that trains has; 0 without one."""
        return max((len(method.cells) for method in self.methods.values() if not method.untrained), default=0)

    def fewer_shared_seeds(self, one: str, other: str) -> int | None:
        """Seeds that the difference of two methods rests on, where a score of theirs has more; else None.

        A difference is taken over the seeds that both ran with, a score over all of its method.
        """
        ran = [
            {cell.seed for cell in self.methods[name].cells}
            for name in (one, other)
            if not self.methods[name].untrained
        ]
        return len(ran[0] & ran[1]) if len(ran) == 2 and ran[0] != ran[1] else None

    @cached_property
    def namesakes(self) -> Mapping[str, str]:
        """By a second name of a method its first, which alone is compared; the reference comes first.

        Two names are of one method where every seed of both is the same training, as where a search is won by
        the recipe: their difference is 0 whatever is tested, and no finding.
        """
        found: dict[str, str] = {}
        first: dict[str, dict[int, tuple[object, ...]]] = {}
        for name in sorted(self.methods, key=lambda name: name != self.reference):
            ran = {cell.seed: cell.training for cell in self.methods[name].cells}
            same = next((other for other, runs in first.items() if runs == ran and all(ran.values())), "")
            if same:
                found[name] = same
            else:
                first[name] = ran
        return found

    def why_not_compared(self, method: str) -> str:
        """Why a method has no comparison with the reference, in words."""
        if method in self.namesakes:
            return f"the same training as {self.namesakes[method]}, which is compared"
        return f"{self.reference} has no finished run here"

    @cached_property
    def blocks(self) -> Mapping[str, ScoreBlock]:
        """By metric, the scores of all methods with one row for each seed that any of them ran with."""
        return {metric: self._block(metric) for metric in JUDGED_METRICS}

    def _block(self, metric: str) -> ScoreBlock:
        still = frozenset(name for name, method in self.methods.items() if method.untrained)
        seeds = sorted(
            {cell.seed for method in self.methods.values() for cell in method.cells if cell.trains}
        )
        scores = {}
        for name, method in self.methods.items():
            if name in still:
                scores[name] = method.scores[metric].mean(axis=0, keepdims=True)
                continue
            scores[name] = np.full((len(seeds), self.queries), np.nan)
            scores[name][[seeds.index(cell.seed) for cell in method.cells]] = method.scores[metric]
        return statistics.score_block(scores, self.person, still)

    def mean(self, method: str, metric: str, scope: Scope = "people") -> Estimate:
        """A method's mean with its interval."""
        return self.contrast({method: 1.0}, metric, scope)

    def contrast(self, weights: Mapping[str, float], metric: str, scope: Scope = "people") -> Estimate:
        """A weighted sum of methods' means with its interval."""
        return self.blocks[metric].contrast(weights, self.options.alpha, scope)

    def find(
        self,
        contrasts: Sequence[Mapping[str, float]],
        metric: str,
        *,
        margin: float | Sequence[float] | None = None,
        scope: Scope = "people",
    ) -> list[Finding]:
        """Judge weighted sums of methods as one family; the margin is the report's unless given."""
        return statistics.find(
            self.blocks[metric],
            contrasts,
            permutations=self.options.resamples,
            seed=self.options.seed,
            margin=self.options.margin if margin is None else margin,
            alpha=self.options.alpha,
            level=self.options.verdict_level,
            scope=scope,
        )

    @cached_property
    def against_reference(self) -> Mapping[tuple[str, str], Comparison]:
        """Every method against the reference, by (method, metric), for new people."""
        return self._judged("people")

    @cached_property
    def on_benchmark(self) -> Mapping[tuple[str, str], Comparison]:
        """The same for new runs on this very test set."""
        return self._judged("benchmark")

    def judged(self, scope: Scope) -> Mapping[tuple[str, str], Comparison]:
        """Every method against the reference, by (method, metric)."""
        return self.against_reference if scope == "people" else self.on_benchmark

    def family(self, metric: str) -> list[ComparisonGroup]:
        """The groups whose comparisons of a metric with the reference are corrected together."""
        return self.relatives or [self] if metric == PRIMARY_METRIC else [self]

    def family_size(self, metric: str) -> int:
        """How many comparisons with the reference are corrected together."""
        return sum(len(one.measured(metric, "people")) for one in self.family(metric))

    def _judged(self, scope: Scope) -> dict[tuple[str, str], Comparison]:
        found = {}
        for metric in JUDGED_METRICS:
            family = self.family(metric)
            owners = [one for one in family for _ in one.measured(metric, scope)]
            items = [item for one in family for item in one.measured(metric, scope)]
            judged = statistics.corrected(items, self.options.verdict_level)
            for owner, item in zip(owners, judged, strict=True):
                if owner is self:
                    found[item.one, metric] = item
        return found

    def measured(self, metric: str, scope: Scope) -> list[Comparison]:
        """Every method against the reference, before any correction: without verdicts."""
        if (metric, scope) not in self._measured:
            others = [name for name in self.methods if name not in (self.reference, *self.namesakes)]
            pairs = [(name, self.reference) for name in others if self.reference in self.methods]
            self._measured[metric, scope] = statistics.compare_each(
                self.blocks[metric],
                pairs,
                permutations=self.options.resamples,
                seed=self.options.seed,
                margin=self.options.margin,
                alpha=self.options.alpha,
                scope=scope,
            )
        return self._measured[metric, scope]

    @cached_property
    def other_pairs(self) -> Mapping[tuple[str, str, str], Comparison]:
        """The pairs without the reference, by (one, other, metric); a second family for each metric."""
        others = [name for name in self.methods if name not in (self.reference, *self.namesakes)]
        pairs = list(combinations(others, 2))
        found = {metric: self._pairs(pairs, metric) for metric in JUDGED_METRICS}
        return {(item.one, item.other, metric): item for metric in JUDGED_METRICS for item in found[metric]}

    def _pairs(self, pairs: Sequence[tuple[str, str]], metric: str) -> list[Comparison]:
        findings = self.find([{one: 1.0, other: -1.0} for one, other in pairs], metric)
        return [
            Comparison(**vars(each), one=one, other=other)
            for (one, other), each in zip(pairs, findings, strict=True)
        ]

    def optimism(self, method: str, metric: str) -> list[float]:
        """What choosing the epoch on the test split adds to each run, in points.

        No interval is given: it cannot be negative, and its mean over few runs is far from normal.
        """
        gains = []
        for cell in self.methods[method].cells:
            best, chosen = (
                cell.score(self.evaluation, selection, metric)
                for selection in (SELECTED_ON_TEST, SELECTED_ON_VAL)
            )
            if best is not None and chosen is not None:
                gains.append(best - chosen)
        return gains

    def means(self, method: str, metric: str, selection: str = SELECTED_ON_VAL) -> list[float]:
        """A metric of every seed, in percent, as the run itself recorded it; missing ones are left out."""
        scores = (cell.score(self.evaluation, selection, metric) for cell in self.methods[method].cells)
        return [score for score in scores if score is not None]


def comparison_groups(
    stored_runs: StoredRuns, options: ComparisonOptions, *, transfer: bool = True
) -> list[ComparisonGroup]:
    """Every group with at least one finished method, in the study's order, transfer last.

    Without `transfer`, only those tested on their training dataset are read.
    """
    evaluations = {
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

    ranked = sorted(evaluations, key=rank)
    made = (_comparison_group(stored_runs, evaluation, options) for evaluation in ranked)
    groups = [group for group in made if group is not None]
    for group in groups:
        group.relatives.extend(other for other in groups if _are_relatives(group, other))
    return groups


def _are_relatives(group: ComparisonGroup, other: ComparisonGroup) -> bool:
    """Whether both belong to the primary family of one preset: tested on the dataset they are trained on."""
    return (
        group.evaluation.same_dataset
        and other.evaluation.same_dataset
        and group.evaluation.preset == other.evaluation.preset
    )


def _position(order: Sequence[str], name: str) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order), name)


def _comparison_group(
    stored_runs: StoredRuns, evaluation: Evaluation, options: ComparisonOptions
) -> ComparisonGroup | None:
    read: dict[str, list[tuple[CellView, QueryScores]]] = {}
    for cell in stored_runs.cells:
        if cell.status != "done" or not evaluation.holds(cell):
            continue
        scores = cell.query_scores(evaluation, SELECTED_ON_VAL)
        if scores is not None:
            read.setdefault(cell.method, []).append((cell, scores))
    if not read:
        return None
    shared, notes = _shared_queries([scores for rows in read.values() for _, scores in rows])
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
    label: str, rows: Sequence[tuple[CellView, QueryScores]], shared: Integers
) -> MethodScores:
    rows = sorted(rows, key=lambda row: row[0].seed)
    scores = _matrices([scores.only(shared) for _, scores in rows])
    return MethodScores(label, tuple(cell for cell, _ in rows), scores)


def _matrices(runs: Sequence[QueryScores]) -> dict[str, Floats]:
    """By metric, scores of 0 to 1, `[seeds, queries]`."""
    return {
        "R1": np.stack([(run.rank == 1).astype(np.float64) for run in runs]),
        "mAP": np.stack([run.ap for run in runs]),
    }
