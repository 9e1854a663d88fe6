"""Two runs of one cell, number by number: what must be the same, how closely, and what is not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.machine import environment
from harness.machine.errors import StoreError
from harness.machine.terms import METRICS, SELECTIONS, Selection
from harness.store import weights
from harness.store.cell_run import CellRun, EvaluationKey, evaluation_key
from harness.store.runs import RunStore

if TYPE_CHECKING:
    import pandas as pd

    from harness.launch.context import Context
    from harness.study.cell import Cell

COSINE = {"fp32": 1e-4, "bf16": 2e-2, "released": 2e-2}
"""By how much a cosine may move on other hardware: sums of a few hundred terms in another order move float32
features by 1e-6 relative, layer by layer, and half precision rounds each at 4e-3."""
MOVED_RANKS = {"fp32": 0.02, "bf16": 0.1, "released": 0.1}
"""Share of queries whose rank may move with that, by near ties; one query always may."""
LEAST_SPREAD = 0.5
"""Points of a score: standard deviation between runs, where a store's own seeds show less."""
CLEAR = 3.0
"""Standard errors of a difference that count as a difference."""
_SCORED = ("epoch", *METRICS)
_WHAT_WAS_SEARCHED = ("queries", "gallery", "excluded", "fingerprint", "skipped")
"""Values of a row of results that rounding does not move."""
TIMES = {"seconds", "data_seconds", "evaluation_seconds", "pairs_per_second", "peak_memory"}


@dataclass(frozen=True)
class Expectation:
    """How closely a second run must agree with the first, and why."""

    exact: bool
    basis: str
    cosine: float = 0.0
    moved_ranks: float = 0.0


def expectation(
    run: CellRun,
    context: Context,
    cell: Cell,
    *,
    evaluate_only: bool,
    trained_on: Mapping[str, Any] | None = None,
) -> Expectation:
    """Bit for bit where the same kind of device sums in the same order, tolerance elsewhere.

    The same kind of device is one of which everything recorded is the same: processor or GPU, threads,
    versions of torch, NumPy, Pillow, CUDA and cuDNN, attention kernels, whether compiled; on a GPU also
    deterministic kernels, then and now.

    Args:
        run: The cell as it was run first.
        context: Where it is run again.
        cell: What it is.
        evaluate_only: Its models are evaluated again, not trained.
        trained_on: What was recorded of the second training; default: what is known before it.
    """
    then = run.recorded.get("trained_on") or {}
    now = trained_on or environment.arithmetic(context.fabric(cell).device)
    moved = environment.arithmetic_moved(then, now)
    if then.get("mixed"):
        moved.append("machine on the way")
    on_gpu = now["device"] != "cpu"
    if not moved and (not on_gpu or context.machine.deterministic):
        return Expectation(True, f"bit for bit: same {'GPU' if on_gpu else 'processor and threads'}")
    why = f"another {' and '.join(moved)}" if moved else "kernels of a GPU that are not deterministic"
    if evaluate_only:
        cosine, share = COSINE[cell.train.precision], MOVED_RANKS[cell.train.precision]
        basis = f"{why}: cosines within {cosine:g}, ranks of {share:.0%} of the queries may move by near ties"
        return Expectation(False, basis, cosine, share)
    return Expectation(False, f"{why}: scores within {CLEAR:g} standard errors of what seeds differ by")


def named(evaluation: EvaluationKey) -> str:
    """An evaluation in words."""
    target, selection, direction = evaluation
    return f"{target} {direction}, selected on {selection}"


# -- a store against itself -----------------------------------------------------------------------


def contradictions(frame: pd.DataFrame, row: Mapping[str, Any]) -> Iterator[str]:
    """Scores of a row that its per-query records do not give."""
    where = named(evaluation_key(row))
    valid = frame[frame["positives"] > 0]
    rank = valid["rank"].to_numpy(dtype=float, na_value=np.nan)
    means = {f"R{k}": 100 * np.mean(rank <= k) if len(rank) else math.nan for k in (1, 5, 10)}
    means |= {name: 100 * valid[column].mean() for name, column in (("mAP", "ap"), ("mINP", "inp"))}
    for name, mean in means.items():
        stored = row.get(name)
        if not isinstance(stored, (int, float)) or not _close(float(stored), float(mean)):
            yield f"{where}: {name} is stored as {stored}, its records give {mean:.4f}"
    if row.get("queries") != len(valid):
        yield f"{where}: {row.get('queries')} queries are stored, there are records of {len(valid)}"


def _close(first: float, second: float) -> bool:
    # Means in another order of summation, of records as they are kept.
    return (first != first and second != second) or math.isclose(first, second, rel_tol=1e-9, abs_tol=1e-7)


# -- two runs -------------------------------------------------------------------------------------


def histories(then: Sequence[Mapping[str, Any]], now: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """What the lines of two histories say differently, times left out."""
    if len(then) != len(now):
        yield f"history: {len(then)} epochs then, {len(now)} now"
    for before, after in zip(then, now, strict=False):
        first, second = (dict(_flat(line)) for line in (before, after))
        moved = [name for name in first if first[name] != second.get(name)]
        if moved:
            name = moved[0]
            more = f" (and {len(moved) - 1} more values)" if len(moved) > 1 else ""
            yield f"epoch {before['epoch']}: {name} was {first[name]}, is {second.get(name)}{more}"
            return  # what follows differs because of this


def _flat(line: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in line.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif name not in TIMES:
            yield prefix + name, None if value != value else value


def models(then: CellRun, now: CellRun) -> Iterator[str]:
    """Selections whose models, of those that were kept, do not have the same weights to the bit.

    One that is not there is compared with nothing: `audit` says so where it should be there.
    """
    for selection in then.kept_models:
        if not then.model_path(selection).exists():
            continue
        first, second = (weights.digest(run.model_path(selection)) for run in (then, now))
        if first != second:
            yield f"the model selected on {selection}: its weights are not the ones that training gives now"


LEFT_OUT = {"top": "images found", "top_score": "similarities of the images found"}
"""Columns of records that evidence which was made small may lack, and what they hold."""


def lacking(then: CellRun, now: CellRun) -> Iterator[str]:
    """What the second run has and the first lacks, so that nothing of it was compared."""
    kept = {evaluation_key(row) for row in then.results}
    missing = [key for key in map(evaluation_key, now.results) if key not in kept]
    for direction in sorted({key[2] for key in missing}):
        targets = sorted({key[0] for key in missing if key[2] == direction})
        yield f"{direction} records on {', '.join(targets)}"
    yield from _columns_left_out(then, now, kept)


def _columns_left_out(then: CellRun, now: CellRun, kept: Iterable[EvaluationKey]) -> Iterator[str]:
    """Columns that evidence was made small by; all evaluations on a target have the same."""
    by_target = {key[0]: key for key in sorted(kept, reverse=True)}
    gone: dict[str, list[str]] = {}
    for target, key in sorted(by_target.items()):
        try:
            before, after = (set(run.records(*key).columns) for run in (then, now))
        except StoreError:
            continue
        for column in LEFT_OUT.keys() & (after - before):
            gone.setdefault(column, []).append(target)
    for column, targets in sorted(gone.items()):
        where = "" if len(targets) == len(by_target) else f" on {', '.join(targets)}"
        yield f"{LEFT_OUT[column]} ({column}){where}"


def cells_closely(
    then: CellRun, now: CellRun, expected: Expectation, selections: Sequence[Selection] = SELECTIONS
) -> Iterator[str]:
    """Every score and record of the selections: equal to the bit, or within the expectation's tolerance."""
    results = {evaluation_key(row): row for row in now.results}
    for row in then.results:
        evaluation = evaluation_key(row)
        if evaluation[1] not in selections:
            continue
        if evaluation not in results:
            yield f"{named(evaluation)}: was evaluated then and is not now"
            continue
        yield from _values(
            row, results[evaluation], (*_WHAT_WAS_SEARCHED, *(_SCORED if expected.exact else ()))
        )
        try:
            yield from records(
                then.records(*evaluation), now.records(*evaluation), named(evaluation), expected
            )
        except StoreError as error:
            yield f"{named(evaluation)}: {error}"


def _values(then: Mapping[str, Any], now: Mapping[str, Any], names: Sequence[str]) -> Iterator[str]:
    for name in names:
        before, after = then.get(name), now.get(name)
        if before != after and not (before != before and after != after):
            yield f"{named(evaluation_key(then))}: {name} was {before}, is {after}"


def records(then: pd.DataFrame, now: pd.DataFrame, where: str, expected: Expectation) -> Iterator[str]:
    """Columns of per-query records that differ, each with its first query and how many there are."""
    if len(then) != len(now):
        yield f"{where}: {len(then)} records then, {len(now)} now"
        return
    now = now.drop(columns=LEFT_OUT.keys() - set(then.columns), errors="ignore")
    if expected.exact:
        names = [name for name in then.columns if name in now.columns]
        yield from (f"{where}: column {name} is missing" for name in set(then.columns) ^ set(now.columns))
        for name in names:
            yield from _column(then, now, name, where, _moved(then[name], now[name]))
        return
    for name in ("query", "person_id", "positives"):
        yield from _column(then, now, name, where, _moved(then[name], now[name]))
    if "top_score" in then:
        distance = np.abs(_matrix(then["top_score"]) - _matrix(now["top_score"]))
        yield from _column(then, now, "top_score", where, (distance > expected.cosine).any(axis=1))
    ranks = _moved(then["rank"], now["rank"])
    if ranks.sum() > max(1, expected.moved_ranks * len(ranks)):
        yield from _column(then, now, "rank", where, ranks)


def _matrix(column: pd.Series[Any]) -> np.ndarray[Any, Any]:
    return np.stack(column.to_list()) if len(column) else np.zeros((0, 0))


def _moved(then: pd.Series[Any], now: pd.Series[Any]) -> np.ndarray[Any, Any]:
    """`[queries]`: which values differ; two missing ones are the same."""
    pairs = zip(then, now, strict=True)
    return np.array([not _same(before, after) for before, after in pairs], dtype=bool)


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, np.ndarray) or isinstance(after, np.ndarray):
        return np.array_equal(before, after)
    import pandas as pd

    missing = [bool(pd.isna(value)) for value in (before, after)]
    return all(missing) if any(missing) else bool(before == after)


def _column(
    then: pd.DataFrame, now: pd.DataFrame, name: str, where: str, moved: np.ndarray[Any, Any]
) -> Iterator[str]:
    if moved.any():
        first = int(np.flatnonzero(moved)[0])
        before, after = then[name].iloc[first], now[name].iloc[first]
        count = int(moved.sum())
        many = f" ({count:,} of {len(moved):,} queries)" if count > 1 else ""
        yield f"{where}: query {then['query'].iloc[first]}: {name} was {before}, is {after}{many}"


# -- other hardware -------------------------------------------------------------------------------


def scores_loosely(store: RunStore, then: CellRun, now: CellRun, cell: Cell) -> Iterator[str]:
    """Scores that differ by more than two seeds would.

    Training carries the last bit of the first step to every later one, so a run on other hardware is like a
    run with another seed: the difference of two has a standard error of √2 times the spread between seeds.
    """
    results = {evaluation_key(row): row for row in now.results}
    for row in then.results:
        evaluation = evaluation_key(row)
        if evaluation not in results:
            yield f"{named(evaluation)}: was evaluated then and is not now"
            continue
        yield from _values(row, results[evaluation], _WHAT_WAS_SEARCHED)
        for score in METRICS:
            allowed = CLEAR * math.sqrt(2) * spread(store, cell, evaluation, score)
            before, after = float(row[score]), float(results[evaluation][score])
            if abs(before - after) > allowed:
                moved = f"{score} was {before:.2f}, is {after:.2f}"
                yield f"{named(evaluation)}: {moved}, more than {allowed:.2f} apart"


def spread(store: RunStore, cell: Cell, evaluation: EvaluationKey, score: str) -> float:
    """Standard deviation of a score between seeds, pooled over the methods of a store; at least 0.5 points.

    Without two seeds of any method it is what a draw of the queries' persons would give.
    """
    by_method: dict[str, list[float]] = {}
    people = 0
    for run in store.cells():
        if run.status.state != "done":
            continue
        other = run.cell
        if other.dataset == cell.dataset and other.trains:
            rows = [row for row in run.results if evaluation_key(row) == evaluation]
            by_method.setdefault(other.method, []).extend(float(row[score]) for row in rows)
            people = max([people, *(int(row["queries"]) for row in rows)])
    several = [values for values in by_method.values() if len(values) > 1]
    if several:
        freedom = sum(len(values) - 1 for values in several)
        pooled = sum(float(np.var(values)) * len(values) for values in several) / freedom
        return max(LEAST_SPREAD, math.sqrt(pooled))
    return max(LEAST_SPREAD, 100 * math.sqrt(0.25 / max(people, 1)))
