"""The first screen: the outcome in a sentence, drawn, and what would decide the rest."""

from __future__ import annotations

import shlex
from statistics import mean

from harness.store.stored_cell import options_again
from reports.comparison import JUDGED_METRICS, ComparisonGroup
from reports.context import ReportContext
from reports.document import Block, Figure, Prose, TemplateBlock
from reports.figures import forest
from reports.formatting import duration, listed, number, plural
from reports.ledger import tally
from reports.power import comparisons, detectable
from reports.sections.retrieval import first_query

MORE_SEEDS = (3, 5, 10, 20)


def blocks(context: ReportContext, outcome: str) -> list[Block]:
    """The outcome, its plots, what was decided, what would decide the rest, and one query."""
    made: list[Block] = [Prose(outcome, "lead"), *_plots(context)]
    decided = " ".join(filter(None, (_decided(context), tally(context.rulings))))
    if decided:
        made.append(Prose(decided, "decided"))
    made += what_would_decide(context)
    for group in context.same_dataset[:1]:
        made += first_query(group)
    return made


def _plots(context: ReportContext) -> list[Block]:
    """A plot of R1 for every dataset, of one dataset also of mAP, and how to read them."""
    groups = [group for group in context.same_dataset if group.against_reference]
    if not groups:
        return []
    metrics = JUDGED_METRICS if len(groups) == 1 else JUDGED_METRICS[:1]
    width = 4.1 if len(groups) < 3 else 3.5
    drawn = [forest_plot(context, group, metric, width) for group in groups for metric in metrics]
    margins = listed([f"±{margin:g}" for margin in dict.fromkeys(group.options.margin for group in groups)])
    outside = " Arrows lead outside the plot." if any(cut for _, cut in drawn) else ""
    how = (
        f"Difference of every method to {listed(list(dict.fromkeys(group.reference for group in groups)))} "
        f"for new people, with its 95 % interval. Band: {margins} points, within which methods "
        f"count as tied.{outside}"
    )
    return [*(figure for figure, _ in drawn), Prose(how, "note")]


def forest_plot(
    context: ReportContext, group: ComparisonGroup, metric: str, width: float
) -> tuple[Figure, bool]:
    """Every method's difference to the reference with its verdict; whether anything lies outside the plot."""
    items = {method: item for (method, of), item in group.against_reference.items() if of == metric}
    values = [(item.value, item.low, item.high) for item in items.values()]
    near = [(item.value, item.low, item.high) for method, item in items.items() if _trains(group, method)]
    title = group.evaluation.title
    with context.figure_writer.axes(1, 1, (width, 0.82 + 0.26 * len(items))) as (drawing, grid):
        axes = grid[0][0]
        outside = forest(
            axes,
            list(items),
            values,
            [item.verdict for item in items.values()],
            margin=group.options.margin,
            xlabel=f"points against {group.reference}",
            limits_from=near or values,
            words=True,
        )
        axes.set_title(f"{metric} on {title}")
        figure = context.figure_writer.finish(
            drawing,
            f"forest-{'' if metric == JUDGED_METRICS[0] else metric.lower() + '-'}{group.evaluation.key}",
            f"{metric}: differences to {group.reference} on {title} with 95 % intervals and verdicts; the "
            "numbers are in the table",
            "",
        )
    return figure, outside


def _trains(group: ComparisonGroup, method: str) -> bool:
    return not group.methods[method].untrained


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
    return f"R1: {decided} of {plural(len(verdicts), 'comparison')} decided for new people."


def is_undecided(group: ComparisonGroup) -> bool:
    """Whether a comparison of R1 with the reference has no verdict for new people."""
    return any(
        item.verdict == "cannot tell"
        for (_, metric), item in group.against_reference.items()
        if metric == "R1"
    )


def _largest_undecided(group: ComparisonGroup) -> float:
    """The largest measured difference in R1 to the reference that has no verdict, in points."""
    return max(
        abs(item.estimate.value)
        for (_, metric), item in group.against_reference.items()
        if metric == "R1" and item.verdict == "cannot tell"
    )


def what_would_decide(context: ReportContext) -> list[Block]:
    """What more seeds could find where comparisons of R1 are open, a line for each dataset."""
    lines = undecided(context)
    return [TemplateBlock("decide.html", {"lines": lines})] if lines else []


def undecided(context: ReportContext) -> list[dict[str, str]]:
    """For each dataset with an undecided comparison: what more seeds would show and cost, and the command.

    Returns:
        `{"text", "command"}`; the command is empty where no run of seeds would do.
    """
    several = len(context.same_dataset) > 1
    lines = []
    for group in context.same_dataset:
        if is_undecided(group):
            step = _next_seeds(group)
            text, command = _no_seeds_decide(group) if step is None else _decide_line(group, *step)
            where = f" on {group.evaluation.title}" if several else ""
            lines.append({"text": f"Undecided{where}: {text}", "command": command})
    return lines


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
    cost = f", about {duration(seconds)} of training summed over cells," if seconds else ""
    largest = _largest_undecided(group)
    smaller = f"; those undecided here are at most {number(largest)}" if largest < then else ""
    shown = (
        f"{plural(seeds, 'seed')}{cost} would find a difference of {number(then)} points of R1 four times "
        f"out of five (now {number(now)}){smaller}"
    )
    if not cells:
        return f"{shown}.", ""
    run = cells[0].run.path
    words = ["python", "-m", "harness", "run", str(run / "study.yaml"), "--seeds", str(seeds)]
    words += ["--datasets", group.evaluation.source, "--out", str(run)]
    words += options_again(run, [cell.recorded for cell in cells])
    return f"{shown}:", shlex.join(words)
