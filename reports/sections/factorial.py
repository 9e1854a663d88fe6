"""The 2³ grid of TIR, CMT and text pruning: what each adds on average, and whether they add up.

With every combination trained, the main effect of a component is the mean of the four differences "with minus
without"; an interaction of two is half the difference between a component's effect with and without the
other. All are contrasts of the eight means with weights ±1/4, so each uses every run and has the interval of
one difference between two averages of four methods. The ladder beside them is what a one-at-a-time ablation
would have shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations, product
from math import prod

from reports.attribution import shapley_weights
from reports.comparison import JUDGED_METRICS, ComparisonGroup
from reports.context import ReportContext
from reports.document import Block, Column, Figure, Prose, Section, Table, TableCell
from reports.figures import forest
from reports.formatting import KINDS, interval, p_value, plural, signed
from reports.statistics import FEW_SEEDS, Estimate, Finding, Verdict

FACTORS: Mapping[str, str] = {"tir": "TIR", "cmt": "CMT", "text_pruning": "text pruning"}
_ELSEWHERE = {"mlm": False, "itc": False, "cmpm": False, "sdm": True, "identity": True}
Grid = Mapping[tuple[bool, ...], str]
"""The method at every combination of the factors, in their order."""


def section(context: ReportContext) -> Section | None:
    """Effects and ladder for every dataset on which the grid is complete."""
    blocks: list[Block] = []
    for group in context.same_dataset:
        grid = complete_grid(group)
        if grid is None:
            continue
        for metric in JUDGED_METRICS:
            blocks += [_effects_table(group, grid, metric), _shapley_table(group, grid, metric)]
        blocks.append(_figure(context, group, grid))
        blocks.append(_ladder(context, group, grid))
    if not blocks:
        return None
    text = (
        "Every combination of the three components was trained. A main effect is what a component adds on "
        "average over the other two; an interaction is half of what two together add beyond the sum of each "
        "alone. The ladder below is what an ablation of one component at a time would have shown."
    )
    return Section("factorial", "What each component adds", (Prose(text), *blocks))


def complete_grid(group: ComparisonGroup) -> Grid | None:
    """The methods of the grid, or None when a combination has no finished run."""
    grid: dict[tuple[bool, ...], str] = {}
    for method, scores in group.methods.items():
        settings = scores.cells[0].settings
        if not all(name in settings for name in FACTORS):
            continue
        if any(settings.get(name, value) != value for name, value in _ELSEWHERE.items()):
            continue
        grid.setdefault(tuple(bool(settings[name]) for name in FACTORS), method)
    return grid if len(grid) == 2 ** len(FACTORS) else None


def effects(group: ComparisonGroup, grid: Grid, metric: str) -> dict[str, Finding]:
    """Main effects, then interactions of two and of three, by name, in points."""
    names = list(FACTORS.values())
    weights = {}
    for size in range(1, len(names) + 1):
        for chosen in combinations(range(len(names)), size):
            weights[" × ".join(names[factor] for factor in chosen)] = {
                grid[levels]: prod(1.0 if levels[factor] else -1.0 for factor in chosen) / 4
                for levels in product((False, True), repeat=len(names))
            }
    margins = [margin_of(group, name) for name in weights]
    findings = group.find(list(weights.values()), metric, margin=margins)
    return dict(zip(weights, findings, strict=True))


def margin_of(group: ComparisonGroup, name: str) -> float:
    """The margin of an effect: that of a whole difference for a main effect, half of it for two components.

    With weights of ±1/4 an interaction is half (of three components a quarter) of what they together add
    beyond the sum of their parts, so its margin shrinks alike.
    """
    return group.options.margin * 0.5 ** name.count(" × ")


_WORDS: Mapping[Verdict, str] = {
    "better": "raises it",
    "worse": "lowers it",
    "tied": "negligible",
    "cannot tell": "cannot tell",
}


def _effects_table(group: ComparisonGroup, grid: Grid, metric: str) -> Table:
    columns = (
        Column("Effect", "left"),
        Column(f"{metric}, points"),
        Column("95 % interval"),
        Column("p, Holm"),
        Column("Verdict", "left"),
        Column("Negligible within", help="the margin scaled to the effect's weight"),
    )
    link = f"table-{metric.lower()}-{group.evaluation.key}"  # the eight means, which lead on to their runs
    rows = tuple(
        (
            TableCell(name, name),
            TableCell(signed(effect.estimate.value, 2), effect.estimate.value, link),
            TableCell(interval(effect.estimate, 2), effect.estimate.low, link),
            TableCell(p_value(effect.p_holm), effect.p_holm, link),
            TableCell(
                _WORDS[effect.verdict],
                _WORDS[effect.verdict],
                flag=_flag(effect.estimate),
                kind=KINDS[effect.verdict],
            ),
            TableCell(f"±{margin_of(group, name):g}", margin_of(group, name), link),
        )
        for name, effect in effects(group, grid, metric).items()
    )
    note = (
        "Exploratory. Negligible: an effect beyond the margin in the last column is excluded by two "
        f"one-sided tests. Holm over these {len(rows)} effects."
    )
    key = f"effects-{metric.lower()}-{group.evaluation.key}"
    return Table(key, f"Effects on {metric}, {group.evaluation.title}", columns, rows, (note,))


def _shapley_table(group: ComparisonGroup, grid: Grid, metric: str) -> Table:
    """Main effects beside Shapley values, which add up to what all components together add."""
    weights = shapley_weights(list(grid))
    contrasts = [{grid[run]: weight for run, weight in one.items()} for one in weights]
    main = effects(group, grid, metric)
    link = f"table-{metric.lower()}-{group.evaluation.key}"
    rows = [
        (name, main[name].estimate, group.contrast(contrast, metric))
        for name, contrast in zip(FACTORS.values(), contrasts, strict=True)
    ]
    every, none = (grid[(on,) * len(FACTORS)] for on in (True, False))
    whole = group.contrast({every: 1.0, none: -1.0}, metric)
    cells = [
        (TableCell(name, name), _estimate_cell(effect, link), _estimate_cell(value, link))
        for name, effect, value in rows
    ]
    cells.append(
        (TableCell("together"), TableCell("not a sum", None, kind="quiet"), _estimate_cell(whole, link))
    )
    columns = (Column("Component", "left"), Column("Main effect"), Column("Shapley value"))
    note = "Points, with 95 % intervals. Shapley values add up to the last row; main effects need not."
    key = f"shapley-{metric.lower()}-{group.evaluation.key}"
    title = f"What each component is worth, {metric}, {group.evaluation.title}"
    return Table(key, title, columns, tuple(cells), (note,))


def _estimate_cell(estimate: Estimate, link: str) -> TableCell:
    return TableCell(f"{signed(estimate.value, 2)} {interval(estimate, 2)}", estimate.value, link)


def _figure(context: ReportContext, group: ComparisonGroup, grid: Grid) -> Figure:
    rows = {metric: effects(group, grid, metric) for metric in JUDGED_METRICS}
    names = list(rows["R1"])
    with context.figure_writer.axes(1, len(JUDGED_METRICS), (8.6, 0.9 + 0.34 * len(names)), sharey=True) as (
        drawing,
        axes_grid,
    ):
        for axes, metric in zip(axes_grid[0], JUDGED_METRICS, strict=True):
            estimates = [effect.estimate for effect in rows[metric].values()]
            values = [(estimate.value, estimate.low, estimate.high) for estimate in estimates]
            verdicts = [effect.verdict for effect in rows[metric].values()]
            forest(axes, names, values, verdicts, margin=group.options.margin, xlabel=f"{metric}, points")
        return context.figure_writer.finish(
            drawing,
            f"effects-{group.evaluation.key}",
            f"Main effects and interactions on {group.evaluation.title}; the numbers are in the tables",
            "Main effects and interactions with 95 % intervals. Band: the margin of a "
            "main effect, within which it is too small to matter; that of an interaction is smaller.",
        )


def _ladder(context: ReportContext, group: ComparisonGroup, grid: Grid) -> Table:
    """Each component added to nothing, and removed from everything: the one-at-a-time view."""
    count = len(FACTORS)
    columns = (
        Column("Component", "left"),
        *(
            Column(f"{text}, {metric}")
            for metric in JUDGED_METRICS
            for text in ("added to none", "added to all others")
        ),
    )
    rows = []
    for index, name in enumerate(FACTORS.values()):
        alone = tuple(position == index for position in range(count))
        without = tuple(position != index for position in range(count))
        steps = ((grid[alone], grid[(False,) * count]), (grid[(True,) * count], grid[without]))
        values = [_step(context, group, step, metric) for metric in JUDGED_METRICS for step in steps]
        rows.append((TableCell(name, name), *values))
    note = "One comparison of two methods each; the main effect above uses all eight."
    return Table(
        f"ladder-{group.evaluation.key}",
        f"One at a time on {group.evaluation.title}",
        columns,
        tuple(rows),
        (note,),
    )


def _step(context: ReportContext, group: ComparisonGroup, step: Sequence[str], metric: str) -> TableCell:
    estimate = group.contrast({step[0]: 1.0, step[1]: -1.0}, metric)
    text = f"{signed(estimate.value)} {interval(estimate)}"
    note = f"{step[0]} minus {step[1]}"
    return TableCell(text, estimate.value, context.link(group, step[0]), note, _flag(estimate))


def _flag(estimate: Estimate) -> str:
    return plural(estimate.seeds, "seed") if estimate.seeds < FEW_SEEDS else ""
