"""Does a gain survive tuning, and how large is a winner's selection bias? Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb, sqrt
from typing import Any

from reports.comparison import ComparisonGroup
from reports.statistics import Finding

SearchRecord = Mapping[str, Any]
"""One entry of `search.json`."""
Arms = Mapping[str, tuple[str, ...]]
"""By method, what the cells of its winners are called, one label per repeat of its search."""


def arms_in(group: ComparisonGroup, searches: Sequence[SearchRecord]) -> Arms:
    """The methods of a group that were trained by their recipe and by the winner of every repeat."""
    labels: dict[str, list[tuple[int, str]]] = {}
    for record in searches:
        trained_as = record.get("trained_as")
        if trained_as and trained_as != record["method"] and record["dataset"] == group.evaluation.source:
            labels.setdefault(str(record["method"]), []).append((int(record["repeat"]), str(trained_as)))
    arms = {method: tuple(label for _, label in sorted(repeats)) for method, repeats in labels.items()}
    return {
        method: tuned
        for method, tuned in arms.items()
        if all(name in group.methods for name in (method, *tuned))
    }


@dataclass(frozen=True)
class TunedGain:
    """What a method gains over the reference, in points, before and after both were tuned."""

    method: str
    untuned: Finding
    tuned: Finding
    change: Finding
    """Tuned minus untuned."""


def tuned_gains(group: ComparisonGroup, arms: Arms, metric: str) -> list[TunedGain]:
    """Every method with both arms against the reference; the three columns are three Holm families."""
    if group.reference not in arms:
        return []
    methods = [method for method in group.methods if method in arms and method != group.reference]
    untuned = [_minus(_mean((method,)), _mean((group.reference,))) for method in methods]
    tuned = [_minus(_mean(arms[method]), _mean(arms[group.reference])) for method in methods]
    change = [_minus(after, before) for after, before in zip(tuned, untuned, strict=True)]
    columns = (group.find(weights, metric) for weights in (untuned, tuned, change))
    return [TunedGain(*row) for row in zip(methods, *columns, strict=True)]


def tuned_against_recipe(group: ComparisonGroup, arms: Arms, metric: str) -> dict[str, Finding]:
    """By method, what tuning gained on fresh seeds, averaged over repeats of the search, in points."""
    methods = [method for method in group.methods if method in arms]
    weights = [_minus(_mean(arms[method]), _mean((method,))) for method in methods]
    return dict(zip(methods, group.find(weights, metric), strict=True))


def _mean(labels: Sequence[str]) -> dict[str, float]:
    return {label: 1 / len(labels) for label in labels}


def _minus(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {name: one.get(name, 0.0) - other.get(name, 0.0) for name in {**one, **other}}


@dataclass(frozen=True)
class LeadNoise:
    """How sure the winner of a search is, in points of its validation score."""

    score: float
    lead: float | None
    """Over the recipe's trial; None where that has no score."""
    least_se: float
    """Standard error of the score if all queries were independent."""
    most_se: float
    """The same if all queries of a person were answered alike."""
    within_least: int
    """Other complete trials less than `least_se` behind the winner."""
    within_most: int
    complete: int


def lead_noise(record: SearchRecord) -> LeadNoise | None:
    """The noise in the winner's lead; None without a winner, or without counts of the validation split.

    The standard error is that of a share of hits; for mAP and mINP it is an upper bound.
    """
    complete = {trial["number"]: trial["value"] for trial in record["trials"] if trial["state"] == "complete"}
    counts, winner = record.get("validation", {}), record["winner"]
    if winner not in complete or not counts.get("queries") or not counts.get("people"):
        return None
    score = float(complete[winner])
    variance = max(0.0, score * (100 - score))
    least, most = (sqrt(variance / counts[name]) for name in ("queries", "people"))
    behind = [score - value for number, value in complete.items() if number != winner]
    recipes = [
        trial["value"] for trial in record["trials"] if trial["recipe"] and trial["number"] in complete
    ]
    return LeadNoise(
        score,
        score - recipes[-1] if recipes else None,
        least,
        most,
        sum(gap < least for gap in behind),
        sum(gap < most for gap in behind),
        len(complete),
    )


def fresh_lead(group: ComparisonGroup, method: str, tuned: str, metric: str) -> float | None:
    """The winner's lead over the recipe on validation, at the best epoch, averaged over the study's seeds."""
    means = []
    for label in (tuned, method):
        best = [
            max(
                (float(line["val"][metric]) for line in cell.history if metric in line.get("val", {})),
                default=None,
            )
            for cell in group.methods[label].cells
        ]
        known = [value for value in best if value is not None]
        if not known or len(known) < len(best):
            return None
        means.append(sum(known) / len(known))
    return means[0] - means[1]


def expected_best(scores: Sequence[float], budget: int) -> float:
    """The best of `budget` of these scores, on average over all ways to take so many of them.

    What a smaller search would have found, if its trials had been drawn at random (Dodge and others, 2019).

    Raises:
        ValueError: `budget` is below 1 or above the number of scores.
    """
    ordered, count = sorted(scores), len(scores)
    if not 1 <= budget <= count:
        raise ValueError(f"a budget from 1 to {count}, got {budget}")
    ways = comb(count, budget)
    return sum(value * comb(rank, budget - 1) / ways for rank, value in enumerate(ordered))
