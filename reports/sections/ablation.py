"""The result tables: every method beside the reference, on one dataset at a time, with the forest plot."""

from __future__ import annotations

from collections.abc import Sequence

from reports.comparison import METRICS, ComparisonGroup
from reports.context import ReportContext
from reports.document import Block, Column, Figure, Prose, Section, Table, TableCell
from reports.figures import forest
from reports.formatting import (
    difference_value,
    interval,
    mean_of,
    missing,
    number,
    p_value,
    plural,
    seeds_value,
    signed,
    verdict_value,
)
from reports.stored_runs import Place

SHOWN = ("R1", "R5", "R10", "mAP", "mINP")


def sections(context: ReportContext) -> list[Section]:
    """One section for each dataset that methods were trained and tested on."""
    return [_section(context, arena) for arena in context.homes]


def _section(context: ReportContext, arena: ComparisonGroup) -> Section:
    blocks: list[Block] = [Prose(_setting(arena)), *(Prose(note, "note") for note in arena.notes)]
    blocks.append(result_table(context, arena, "R1"))
    if len(arena.methods) > 1 and arena.reference in arena.methods:
        blocks.append(_forest(context, arena))
    blocks.append(result_table(context, arena, "mAP"))
    blocks.append(_metrics_table(context, arena))
    if arena.remaining:
        blocks.append(_pairs_table(context, arena))
    return Section(f"results-{arena.place.key}", f"Results on {arena.place.title}", tuple(blocks))


def _setting(arena: ComparisonGroup) -> str:
    return (
        f"Text to image: {plural(arena.queries, 'caption')} of {plural(arena.people, 'person', 'people')}, "
        "each "
        f"searched in {plural(arena.gallery, 'image')} of the test split. The epoch is chosen on "
        "validation; the "
        "last epoch and the epoch chosen on the test split stand beside it, only to show what choosing on "
        "the test "
        "split would add."
    )


def result_table(context: ReportContext, arena: ComparisonGroup, metric: str) -> Table:
    """Headline, difference, verdict, then last epoch, test-selected epoch and their gap for one metric."""
    reference = arena.reference
    columns = (
        Column("Method", "left"),
        Column(metric, help="chosen on validation; mean ± standard deviation over seeds"),
        Column(f"Difference to {reference}", help="95 % interval over test people and seeds"),
        Column("Verdict", "left", help="after Holm's correction over this table"),
        Column("Last epoch"),
        Column("Chosen on test", help="not a result: the test split was used to choose the epoch"),
        Column("Optimism", help="chosen on test minus chosen on validation, with its 95 % interval"),
        Column("Published"),
    )
    rows = tuple(_row(context, arena, method, metric) for method in context.methods_of(arena))
    return Table(
        f"{metric.lower()}-{arena.place.key}",
        f"{metric} on {arena.place.title}",
        columns,
        rows,
        _notes(arena),
    )


def _notes(arena: ComparisonGroup) -> tuple[str, ...]:
    few = sorted(
        {len(one.cells) for one in arena.contestants.values() if not one.seedless and len(one.cells) < 3}
    )
    notes = ["± is the standard deviation over seeds."]
    if arena.planned:
        family = plural(len(arena.planned) // len(METRICS), "comparison")
        notes[0] += (
            " Verdicts: paired bootstrap over people crossed with seeds and a paired permutation test, Holm "
            f"over {family}; tied means the whole interval lies within ±{arena.options.margin:g} points."
        )
    if few:
        notes.append(
            "Numbers marked with their seeds come from fewer than 3: their spread is a guess"
            + (", and one seed allows no verdict." if 1 in few else ".")
        )
    return tuple(notes)


def _row(context: ReportContext, arena: ComparisonGroup, method: str, metric: str) -> tuple[TableCell, ...]:
    link = context.link(arena, method)
    name = TableCell(method, method, link, kind="strong" if method == arena.reference else "")
    if method not in arena.methods:
        gap = context.gap(arena, method)
        return (
            name,
            gap,
            gap,
            TableCell(gap.note, kind="missing"),
            gap,
            gap,
            gap,
            _published(context, arena, method, metric),
        )
    trains = not arena.contestants[method].seedless
    shown = {
        selection: seeds_value(arena.means(method, metric, selection), link, trains=trains)
        for selection in ("val", "last", "test")
    }
    return (
        name,
        shown["val"],
        *judged(arena, method, metric, link),
        shown["last"],
        shown["test"],
        _optimism(context, arena, method, metric),
        _published(context, arena, method, metric),
    )


def judged(arena: ComparisonGroup, method: str, metric: str, link: str) -> tuple[TableCell, TableCell]:
    """Difference to the reference and verdict, or why there are none."""
    if method == arena.reference:
        return TableCell("reference", None, kind="quiet"), TableCell("", None)
    if (method, metric) not in arena.planned:
        why = missing(f"{arena.reference} has no finished run here")
        return why, why
    item = arena.planned[method, metric]
    return difference_value(item, link), verdict_value(item, arena.options.margin)


def _optimism(context: ReportContext, arena: ComparisonGroup, method: str, metric: str) -> TableCell:
    chosen = mean_of(arena.means(method, metric, "val"))
    best = mean_of(arena.means(method, metric, "test"))
    if chosen is None or best is None:
        return missing("no test-selected result", context.link(arena, method))
    link, text = context.link(arena, method), signed(best - chosen)
    if f"{metric} gap" in arena.contestants[method].scores:
        text += f" {interval(arena.mean(method, f'{metric} gap'))}"
    return TableCell(text, best - chosen, link)


def _published(context: ReportContext, arena: ComparisonGroup, method: str, metric: str) -> TableCell:
    cells = context.cells_of(arena, method)
    backbone = str(cells[0].settings.get("backbone", "")) if cells else ""
    base = cells[0].base if cells else method
    return context.published.value(base, backbone, arena.place.target, metric)


def _forest(context: ReportContext, arena: ComparisonGroup) -> Figure:
    # An untrained method lies so far off that the others could not be told apart.
    rows = [
        method
        for method, one in arena.contestants.items()
        if method != arena.reference and not (one.seedless and len(arena.methods) > 2)
    ]
    with context.studio.axes(1, len(METRICS), (8.6, 0.9 + 0.34 * len(rows)), sharey=True) as (drawing, grid):
        for axes, metric in zip(grid[0], METRICS, strict=True):
            items = [arena.planned[method, metric] for method in rows]
            values = [(item.estimate.value, item.estimate.low, item.estimate.high) for item in items]
            verdicts = [item.verdict for item in items]
            label = f"{metric}, points against {arena.reference}"
            forest(axes, rows, values, verdicts, margin=arena.options.margin, xlabel=label)
        return context.studio.finish(
            drawing,
            f"forest-{arena.place.key}",
            (
                f"Differences to {arena.reference} on {arena.place.title} with 95 % intervals; the numbers "
                "are "
                "in the table"
            ),
            f"Difference of every method to {arena.reference} with its 95 % interval. "
            f"Band: ±{arena.options.margin:g} points, within which methods count as tied. "
            "Triangles up or down: better or worse; square: tied; circle: cannot tell.",
        )


def _metrics_table(context: ReportContext, arena: ComparisonGroup) -> Table:
    """Every metric in both directions, chosen on validation."""
    columns = [Column("Method", "left")]
    columns += [Column(f"{arrow} {metric}") for arrow in ("T→I", "I→T") for metric in SHOWN]
    rows = []
    for method in arena.methods:
        link = context.link(arena, method)
        cells = arena.contestants[method].cells
        values = []
        for direction in ("t2i", "i2t"):
            place = Place(**{**vars(arena.place), "direction": direction})
            for metric in SHOWN:
                scores = [score for cell in cells if (score := cell.score(place, "val", metric)) is not None]
                values.append(_plain_mean(scores, link))
        rows.append((TableCell(method, method, link), *values))
    title = f"Every metric on {arena.place.title}, chosen on validation"
    return Table(
        f"metrics-{arena.place.key}", title, tuple(columns), tuple(rows), ("Means over seeds, in percent.",)
    )


def _plain_mean(scores: Sequence[float], link: str) -> TableCell:
    mean = mean_of(scores)
    if mean is None:
        return missing("not evaluated in this direction", link)
    return TableCell(number(mean), mean, link, ", ".join(number(score, 2) for score in scores))


def _pairs_table(context: ReportContext, arena: ComparisonGroup) -> Table:
    """The pairs that leave the reference out."""
    columns = (
        Column("Method", "left"),
        Column("against", "left"),
        *(
            column
            for metric in METRICS
            for column in (Column(metric), Column("p, Holm"), Column("Verdict", "left"))
        ),
    )
    rows = []
    for one, other in dict.fromkeys((one, other) for one, other, _ in arena.remaining):
        row = [
            TableCell(one, one, context.link(arena, one)),
            TableCell(other, other, context.link(arena, other)),
        ]
        for metric in METRICS:
            item = arena.remaining[one, other, metric]
            row += [
                difference_value(item, context.link(arena, one)),
                TableCell(p_value(item.p_holm), item.p_holm, context.link(arena, one)),
                verdict_value(item, arena.options.margin),
            ]
        rows.append(tuple(row))
    note = f"A family of its own: Holm over {plural(len(rows), 'pair')}, for each metric."
    title = f"All other pairs on {arena.place.title}"
    return Table(f"pairs-{arena.place.key}", title, columns, tuple(rows), (note,), folded=True)
