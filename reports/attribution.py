"""What each switch of a grid adds: Shapley values and the ablation path, as weights of scores. Pure.

A run is a tuple of booleans: which switches it has on. Write its score as a sum of products of ±1,
v(x) = Σ b_T · Π_{i∈T} x_i. Only products of an odd number of switches tell all on from all off, and by
symmetry each is shared equally among its switches. On a full 2^k grid that is the Shapley value
(Shapley 1953) of the game "score with these switches on".

With four or five switches half of the runs are enough: those with an even number of the first four on (the
design I = ABCD of Box and Hunter, 1961). There a product cannot be separated from its alias and is taken for
the shorter of the two, so a main effect is never taken for three switches acting together. Either way the
values sum to the score with all on minus that with all off.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from math import prod

from harness.machine.grids import MOST_SWITCHES, Levels, runs_of

Weights = Mapping[Levels, float]
"""Of the runs' scores: the sum of weight times score is the quantity."""
Term = frozenset[int]


def design(present: Sequence[Levels]) -> list[Levels] | None:
    """Of the runs that are there, those to attribute by: the full grid, else its half, else None."""
    if not present or not 1 <= len(present[0]) <= MOST_SWITCHES:
        return None
    switches, there = len(present[0]), set(present)
    for wanted in (list(product((False, True), repeat=switches)), runs_of(switches)):
        if there.issuperset(wanted):
            return wanted
    return None


def shapley_weights(runs: Sequence[Levels]) -> list[dict[Levels, float]]:
    """One mapping per switch: how much each run's score counts for what the switch adds.

    Args:
        runs: a full grid, or the half that `runs_of` gives.
    """
    switches = len(runs[0])
    weights: list[dict[Levels, float]] = [dict.fromkeys(runs, 0.0) for _ in range(switches)]
    for terms in _alias_classes(runs):
        if len(terms[0]) % 2 == 0:
            continue
        for term in terms:
            for switch in term:
                for run in runs:
                    share = 2 * _sign(terms[0], run) / (len(runs) * len(terms) * len(term))
                    weights[switch][run] += share
    return weights


def shapley(scores: Mapping[Levels, float]) -> list[float]:
    """What each switch adds to the score, which sums to that with all on minus that with all off.

    Args:
        scores: by run, of a full grid or of the half that `runs_of` gives.

    Raises:
        ValueError: runs are missing.
    """
    runs = _design_of(scores)
    return [_weighted(weights, scores) for weights in shapley_weights(runs)]


@dataclass(frozen=True)
class PathStep:
    """One switch turned on."""

    switch: int
    gain: float
    """The score after it minus the score before."""
    weights: Weights
    """The gain as a weighted sum of the runs' scores."""


def ablation_path(scores: Mapping[Levels, float]) -> list[PathStep]:
    """From all off to all on, each time the switch that raises the score most (Fawcett and Hoos, 2016).

    The gains sum to the score with all on minus that with all off. In half a grid some combinations between
    have no run; their scores are those that the terms of the half predict.

    Raises:
        ValueError: runs are missing.
    """
    runs = _design_of(scores)
    classes, steps = _alias_classes(runs), list[PathStep]()
    here: Levels = (False,) * len(runs[0])
    while not all(here):
        before = _prediction(runs, classes, here)
        candidates = []
        for switch in (index for index, on in enumerate(here) if not on):
            there = (*here[:switch], True, *here[switch + 1 :])
            after = _prediction(runs, classes, there)
            weights = {run: after[run] - before[run] for run in runs}
            candidates.append(PathStep(switch, _weighted(weights, scores), weights))
        best = max(candidates, key=lambda step: (step.gain, -step.switch))
        steps.append(best)
        here = (*here[: best.switch], True, *here[best.switch + 1 :])
    return steps


def _design_of(scores: Mapping[Levels, float]) -> list[Levels]:
    runs = design(list(scores))
    if runs is None:
        raise ValueError("neither every combination of the switches has a score nor the half that is enough")
    return runs


def _weighted(weights: Weights, scores: Mapping[Levels, float]) -> float:
    return sum(weight * scores[run] for run, weight in weights.items())


def _sign(term: Term, run: Levels) -> int:
    return prod(1 if run[switch] else -1 for switch in term)


def _alias_classes(runs: Sequence[Levels]) -> list[list[Term]]:
    """Products of switches that these runs cannot tell apart, of each class only the shortest."""
    switches = len(runs[0])
    classes: dict[tuple[int, ...], list[Term]] = {}
    for size in range(switches + 1):
        for chosen in combinations(range(switches), size):
            term = frozenset(chosen)
            terms = classes.setdefault(tuple(_sign(term, run) for run in runs), [])
            if not terms or len(terms[0]) == len(term):
                terms.append(term)
    return list(classes.values())


def _prediction(runs: Sequence[Levels], classes: Sequence[Sequence[Term]], at: Levels) -> dict[Levels, float]:
    """The score at any combination, as weights of the runs' scores; of a run itself, its own score."""
    return {
        run: sum(
            _sign(terms[0], run) * sum(_sign(term, at) for term in terms) / len(terms) for terms in classes
        )
        / len(runs)
        for run in runs
    }
