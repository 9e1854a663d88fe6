"""The first screen: the outcome in a sentence, drawn, and what would decide the rest."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from statistics import mean
from typing import TYPE_CHECKING

from reports.comparison import METRICS, ComparisonGroup
from reports.context import ReportContext
from reports.document import Block, Figure, Prose, TemplateBlock
from reports.figures import forest
from reports.formatting import duration, listed, number, plural
from reports.ledger import tally
from reports.power import comparisons, detectable
from reports.sections.retrieval import first_query

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MORE_SEEDS = (3, 5, 10, 20)
PANELS = 3
"""Datasets whose plots stand beside each other."""


def blocks(context: ReportContext, outcome: str) -> list[Block]:
    """The outcome, its plots, what was decided, what would decide the rest, and one query."""
    made: list[Block] = [Prose(outcome, "lead")]
    made += [plot for groups in _plots(context) if (plot := forest_plot(context, groups)) is not None]
    decided = " ".join(filter(None, (_decided(context), tally(context.rulings))))
    if decided:
        made.append(Prose(decided, "decided"))
    made += what_would_decide(context)
    for group in context.same_dataset[:1]:
        made += first_query(group)
    return made


def _plots(context: ReportContext) -> list[list[ComparisonGroup]]:
    """The groups that share a plot: those of a preset with the same methods, a few at a time."""
    with_rows = [group for group in context.same_dataset if _rows(group)]
    by_rows: dict[tuple[object, ...], list[ComparisonGroup]] = {}
    for group in with_rows:
        by_rows.setdefault((group.evaluation.preset, group.reference, *_rows(group)), []).append(group)
    return [
        alike[start : start + PANELS] for alike in by_rows.values() for start in range(0, len(alike), PANELS)
    ]


def _rows(group: ComparisonGroup) -> list[str]:
    return [method for method, metric in group.against_reference if metric == "R1"]


def forest_plot(context: ReportContext, groups: Sequence[ComparisonGroup]) -> Figure | None:
    """Every method's difference to the reference with its verdict; None without a comparison.

    One dataset has a panel for each metric; several have one of R1 each.
    """
    if not groups or not (rows := _rows(groups[0])):
        return None
    first, single = groups[0], len(groups) == 1
    panels = [(group, metric) for group in groups for metric in (METRICS if single else METRICS[:1])]
    size = (4.3 * max(2, len(panels)) if len(panels) < 3 else 3.6 * len(panels), 0.62 + 0.26 * len(rows))
    titles = listed([group.evaluation.title for group in groups])
    with context.figure_writer.axes(1, len(panels), size, sharey=True) as (drawing, grid):
        outside = [
            _panel(axes, group, metric, rows, "" if single else group.evaluation.title)
            for axes, (group, metric) in zip(grid[0], panels, strict=True)
        ]
        return context.figure_writer.finish(
            drawing,
            "forest-" + "-".join(group.evaluation.key for group in groups),
            f"Differences to {first.reference} on {titles} with 95 % intervals and verdicts; "
            "the numbers are in the table",
            f"{titles}: difference of every method to {first.reference} with its 95 % interval. Band: "
            f"±{first.options.margin:g} points, within which methods count as tied."
            + (" An arrow at the edge: outside the plot, with its value." if any(outside) else ""),
        )


def _panel(axes: Axes, group: ComparisonGroup, metric: str, rows: Sequence[str], title: str) -> bool:
    """Draw one panel; whether a difference lies outside it."""
    items = [group.against_reference[method, metric] for method in rows]
    values = [(item.estimate.value, item.estimate.low, item.estimate.high) for item in items]
    outside = forest(
        axes,
        rows,
        values,
        [item.verdict for item in items],
        margin=group.options.margin,
        xlabel=f"{metric}, points against {group.reference}",
        limits_from=_near(group, metric) or values,
        words=True,
    )
    if title:
        axes.set_title(title)
    return outside


def _near(group: ComparisonGroup, metric: str) -> list[tuple[float, float, float]]:
    """The differences that a plot's limits must hold: those of methods that train."""
    return [
        (item.estimate.value, item.estimate.low, item.estimate.high)
        for (method, of), item in group.against_reference.items()
        if of == metric and not group.methods[method].untrained
    ]


def _decided(context: ReportContext) -> str:
    """How many comparisons of R1 have a verdict, in a sentence; empty without a comparison."""
    verdicts = [
        item.verdict
        for group in context.same_dataset
        for (_, metric), item in group.against_reference.items()
        if metric == "R1"
    ]
    if not verdicts:
        return ""
    decided = sum(verdict != "cannot tell" for verdict in verdicts)
    return f"R1: {decided} of {plural(len(verdicts), 'comparison')} decided."


def what_would_decide(context: ReportContext) -> list[Block]:
    """What more seeds would show where a comparison is undecided, what they cost, and the command."""
    several = len(context.same_dataset) > 1
    lines = []
    for group in context.same_dataset:
        if any(
            item.verdict == "cannot tell"
            for (_, metric), item in group.against_reference.items()
            if metric == "R1"
        ):
            step = _next_seeds(group)
            text, command = _no_seeds_decide(group) if step is None else _decide_line(group, *step)
            where = f" on {group.evaluation.title}" if several else ""
            lines.append({"text": f"To decide the rest{where}: {text}", "command": command})
    return [TemplateBlock("decide.html", {"lines": lines})] if lines else []


def _next_seeds(group: ComparisonGroup) -> tuple[int, float, float] | None:
    """More seeds, the difference that they would show, and the one that these show; None when not known."""
    trained = [scores for scores in group.methods.values() if not scores.untrained]
    seeds = min((len(scores.cells) for scores in trained), default=0)
    count = comparisons(group)
    now = detectable(group, comparisons=count)
    if now is None:
        return None
    for more in MORE_SEEDS:
        then = detectable(group, seeds=more, comparisons=count)
        if more > seeds and then is not None and then <= 0.8 * now:
            return more, then, now
    return None


def _no_seeds_decide(group: ComparisonGroup) -> tuple[str, str]:
    """More seeds change little: what a larger test set would show, where the variances are known."""
    then = detectable(group, people=4 * group.people, comparisons=comparisons(group))
    if then is None:
        return "power is not known, for no two methods have two seeds.", ""
    return (
        "more seeds alone would not do; with four times the test people, differences of "
        f"{number(then)} points would be found four times out of five.",
        "",
    )


def _decide_line(group: ComparisonGroup, seeds: int, then: float, now: float) -> tuple[str, str]:
    """So many seeds with what they cost and show, and the command that runs them, where any runs here."""
    cells = [
        cell
        for scores in group.methods.values()
        for cell in scores.cells
        if cell.trains and not cell.imported
    ]
    missing = sum(
        max(0, seeds - len(scores.cells))
        for scores in group.methods.values()
        if not scores.untrained and not any(cell.imported for cell in scores.cells)
    )
    seconds = missing * mean(cell.seconds for cell in cells) if cells else 0.0
    cost = f", about {duration(seconds)} of training," if seconds else ""
    shown = (
        f"{plural(seeds, 'seed')}{cost} find a difference of {number(then)} points of R1 four times out of "
        f"five (now {number(now)})"
    )
    if not cells:
        return f"{shown}.", ""
    run = cells[0].run.path
    words = ["python", "-m", "harness", "run", str(run / "study.yaml"), "--seeds", str(seeds)]
    words += ["--datasets", group.evaluation.source, "--out", str(run)]
    return f"{shown}:", shlex.join(words)
