"""The first screen: the outcome in a sentence, drawn, and what would decide the rest."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from statistics import mean

from reports.comparison import METRICS, ComparisonGroup
from reports.context import ReportContext
from reports.document import Block, Figure, Prose, TemplateBlock
from reports.figures import forest
from reports.formatting import duration, listed, number, plural
from reports.ledger import tally
from reports.power import comparisons, detectable
from reports.sections.retrieval import first_query

MORE_SEEDS = (3, 5, 10, 20)


def blocks(context: ReportContext, outcome: str) -> list[Block]:
    """The outcome, the plot of every dataset, the claims, what would decide the rest, and one query."""
    made: list[Block] = [Prose(outcome, "lead")]
    made += [figure for group in context.same_dataset if (figure := forest_plot(context, group))]
    decided = tally(context.rulings)
    if decided:
        made.append(Prose(decided))
    made += what_would_decide(context)
    for group in context.same_dataset[:1]:
        made += first_query(group)
    return made


def forest_plot(context: ReportContext, group: ComparisonGroup) -> Figure | None:
    """Every method's difference to the reference with its verdict; None without a comparison."""
    rows = [method for method, metric in group.against_reference if metric == "R1"]
    if not rows:
        return None
    size = (8.6, 0.85 + 0.3 * len(rows))
    with context.figure_writer.axes(1, len(METRICS), size, sharey=True) as (drawing, grid):
        for axes, metric in zip(grid[0], METRICS, strict=True):
            items = [group.against_reference[method, metric] for method in rows]
            values = [(item.estimate.value, item.estimate.low, item.estimate.high) for item in items]
            near = [
                value
                for method, value in zip(rows, values, strict=True)
                if not group.methods[method].untrained
            ]
            forest(
                axes,
                rows,
                values,
                [item.verdict for item in items],
                margin=group.options.margin,
                xlabel=f"{metric}, points against {group.reference}",
                limits_from=near or values,
                words=True,
            )
        return context.figure_writer.finish(
            drawing,
            f"forest-{group.evaluation.key}",
            f"Differences to {group.reference} on {group.evaluation.title} with 95 % intervals and verdicts; "
            "the numbers are in the table",
            f"{group.evaluation.title}: difference of every method to {group.reference}, with its 95 % "
            f"interval. Band: ±{group.options.margin:g} points, within which methods count as tied. An arrow "
            "at the edge stands for a difference outside the plot, with its value.",
        )


def what_would_decide(context: ReportContext) -> list[Block]:
    """What more seeds would show where a comparison is undecided, what they cost, and the command."""
    lines = []
    for group in context.same_dataset:
        undecided = [
            method
            for (method, metric), item in group.against_reference.items()
            if metric == "R1" and item.verdict == "cannot tell"
        ]
        step = _next_seeds(group) if undecided else None
        if step is not None:
            lines.append(_decide_line(group, undecided, *step))
        elif undecided:
            lines.append(_no_seeds_decide(group, undecided))
    if not lines:
        return []
    return [TemplateBlock("decide.html", {"lines": lines})]


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


def _no_seeds_decide(group: ComparisonGroup, undecided: Sequence[str]) -> dict[str, str]:
    """More seeds change little: what a larger test set would show, where the variances are known."""
    count = comparisons(group)
    then = detectable(group, people=4 * group.people, comparisons=count)
    more = (
        f"; with four times the test people, differences of {number(then)} points would be found"
        if then is not None
        else ": no two methods have two seeds"
    )
    start = f"Undecided on {group.evaluation.title}: {listed(undecided)}."
    few = "More seeds alone would not decide much" if then is not None else "Power is not known"
    return {"text": f"{start} {few}{more}.", "command": ""}


def _decide_line(
    group: ComparisonGroup, undecided: Sequence[str], seeds: int, then: float, now: float
) -> dict[str, str]:
    cells = [cell for scores in group.methods.values() for cell in scores.cells if cell.trains]
    missing = sum(
        max(0, seeds - len(scores.cells)) for scores in group.methods.values() if not scores.untrained
    )
    minutes = missing * mean(cell.seconds for cell in cells) / 60 if cells else 0.0
    cost = f", in about {duration(60 * minutes)} of training" if minutes else ""
    run = cells[0].run.path if cells else next(iter(group.methods.values())).cells[0].run.path
    words = ["python", "-m", "harness", "run", str(run / "study.yaml"), "--seeds", str(seeds)]
    words += ["--datasets", group.evaluation.source, "--out", str(run)]
    return {
        "text": f"Undecided on {group.evaluation.title}: {listed(undecided)}. With {plural(seeds, 'seed')} a "
        f"true difference of {number(then)} points would be found four times out of five (now {number(now)})"
        f"{cost}:",
        "command": shlex.join(words),
    }
