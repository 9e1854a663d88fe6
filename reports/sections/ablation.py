"""The result tables: every method beside the reference, on one dataset at a time, with the forest plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from reports.cell_views import Evaluation
from reports.comparison import METRICS, ComparisonGroup
from reports.context import ReportContext
from reports.document import Block, Column, Prose, Section, Table, TableCell
from reports.formatting import (
    difference_value,
    flags_as_note,
    listed,
    mean_of,
    missing,
    number,
    p_value,
    plural,
    seeds_value,
    signed,
    verdict_value,
)
from reports.sections.elsewhere import marked

SHOWN = ("R1", "R5", "R10", "mAP", "mINP")


def sections(context: ReportContext) -> list[Section]:
    """One section for each dataset that methods were trained and tested on."""
    return [_section(context, group) for group in context.same_dataset]


def _section(context: ReportContext, group: ComparisonGroup) -> Section:
    blocks: list[Block] = [Prose(_setting(context, group)), *(Prose(note, "note") for note in group.notes)]
    blocks.append(result_table(context, group, "R1"))
    blocks.append(result_table(context, group, "mAP"))
    blocks.append(_metrics_table(context, group))
    if group.other_pairs:
        blocks.append(_pairs_table(context, group))
    return Section(f"results-{group.evaluation.key}", f"Results on {group.evaluation.title}", tuple(blocks))


def _setting(context: ReportContext, group: ComparisonGroup) -> str:
    others = [name for name in group.methods if name in context.elsewhere]
    but = f" How the epoch of {listed(others)} was chosen is not known." if others else ""
    return (
        f"Text to image: {plural(group.queries, 'caption')} of {plural(group.people, 'person', 'people')}, "
        "each "
        f"searched in {plural(group.gallery, 'image')} of the test split. The epoch is chosen on "
        "validation; the "
        "last epoch and the epoch chosen on the test split stand beside it, only to show what choosing on "
        "the test "
        f"split would add.{but}"
    )


def result_table(context: ReportContext, group: ComparisonGroup, metric: str) -> Table:
    """Score, verdict, difference and p-value, then last epoch, test-selected epoch and their gap."""
    methods = context.methods_of(group)
    quoted, notes = quoted_column([_published(context, group, method, metric) for method in methods])
    rows = [_row(context, group, method, metric) for method in methods]
    if quoted:
        rows = [(*row, cell) for row, cell in zip(rows, quoted, strict=True)]
    table = Table(
        f"{metric.lower()}-{group.evaluation.key}",
        f"{metric} on {group.evaluation.title}",
        (*_columns(group.reference, metric), *([Column("Published")] if quoted else [])),
        tuple(rows),
        (*_notes(group), *notes),
        data_notes=context.data_notes(group),
    )
    return flags_as_note(table, group.common_seeds)


def _columns(reference: str, metric: str) -> tuple[Column, ...]:
    return (
        Column("Method", "left"),
        Column(metric, help="chosen on validation; mean ± standard deviation over seeds"),
        Column("Verdict", "left", help="after Holm's correction over this table"),
        Column(f"Difference to {reference}", help="95 % interval over test people and seeds"),
        Column("p", help="after Holm's correction over this table"),
        Column("Last epoch"),
        Column("Chosen on test", help="not a result: the test split was used to choose the epoch"),
        Column("Optimism", help="chosen on test minus chosen on validation: the mean, and each run"),
    )


def quoted_column(quoted: Sequence[TableCell]) -> tuple[Sequence[TableCell], tuple[str, ...]]:
    """A column of published numbers, or, where no row has one for the same reason, that reason as a note."""
    reasons = {cell.note for cell in quoted}
    if len(reasons) == 1 and all(cell.kind == "missing" for cell in quoted):
        return [], (f"Published numbers: {quoted[0].text}.",)
    return quoted, ()


def _notes(group: ComparisonGroup) -> tuple[str, ...]:
    few = sorted(
        {
            len(method.cells)
            for method in group.methods.values()
            if not method.untrained and len(method.cells) < 3
        }
    )
    notes = ["± is the standard deviation over seeds."]
    if group.against_reference:
        family = plural(len(group.against_reference) // len(METRICS), "comparison")
        notes[0] += (
            " Verdicts: t-test with seeds as blocks and people crossed with them, and a paired permutation "
            f"test, Holm over {family}; tied: two one-sided tests exclude more than ±"
            f"{group.options.margin:g} points, Holm likewise."
        )
    if few and group.common_seeds is None:
        notes.append(
            "Numbers marked with their seeds come from fewer than 3: their spread is a guess"
            + (", and one seed allows no verdict." if 1 in few else ".")
        )
    return tuple(notes)


def _row(context: ReportContext, group: ComparisonGroup, method: str, metric: str) -> tuple[TableCell, ...]:
    link = context.link(group, method)
    name = TableCell(method, method, link, kind="strong" if method == group.reference else "")
    name = marked(context, method, name)
    if method not in group.methods:
        gap = context.gap(group, method)
        return (
            name,
            gap,
            TableCell(gap.note, kind="missing"),
            *([gap] * 5),
        )
    trains = not group.methods[method].untrained
    shown = {
        selection: seeds_value(group.means(method, metric, selection), link, trains=trains)
        for selection in ("val", "last", "test")
    }
    difference, verdict = judged(group, method, metric, link)
    return (
        name,
        shown["val"],
        verdict,
        difference,
        _p_cell(group, method, metric, link),
        replace(shown["last"], flag=""),
        replace(shown["test"], flag=""),
        _optimism(context, group, method, metric),
    )


def _p_cell(group: ComparisonGroup, method: str, metric: str, link: str) -> TableCell:
    item = group.against_reference.get((method, metric))
    return TableCell("") if item is None else TableCell(p_value(item.p_holm), item.p_holm, link)


def judged(group: ComparisonGroup, method: str, metric: str, link: str) -> tuple[TableCell, TableCell]:
    """Difference to the reference and verdict, or why there are none."""
    if method == group.reference:
        return TableCell("reference", None, kind="quiet"), TableCell("", None)
    if (method, metric) not in group.against_reference:
        why = missing(f"{group.reference} has no finished run here")
        return why, why
    item = group.against_reference[method, metric]
    return difference_value(item, link), verdict_value(item, group.options.margin)


def _optimism(context: ReportContext, group: ComparisonGroup, method: str, metric: str) -> TableCell:
    gaps, link = group.optimism(method, metric), context.link(group, method)
    mean = mean_of(gaps)
    if mean is None:
        return missing("no test-selected result", link)
    each = f" ({', '.join(signed(gap) for gap in gaps)})" if len(gaps) > 1 else ""
    return TableCell(f"{signed(mean)}{each}", mean, link)


def _published(context: ReportContext, group: ComparisonGroup, method: str, metric: str) -> TableCell:
    base, conditions = context.conditions(group, method)
    return context.published.value(base, conditions, metric)


def _metrics_table(context: ReportContext, group: ComparisonGroup) -> Table:
    """Every metric in both directions, chosen on validation."""
    columns = [Column("Method", "left")]
    columns += [Column(f"{arrow} {metric}") for arrow in ("T→I", "I→T") for metric in SHOWN]
    rows = []
    for method in group.methods:
        link = context.link(group, method)
        cells = group.methods[method].cells
        values = []
        for direction in ("t2i", "i2t"):
            evaluation = Evaluation(**{**vars(group.evaluation), "direction": direction})
            for metric in SHOWN:
                scores = [
                    score for cell in cells if (score := cell.score(evaluation, "val", metric)) is not None
                ]
                values.append(_plain_mean(scores, link))
        rows.append((marked(context, method, TableCell(method, method, link)), *values))
    title = f"Every metric on {group.evaluation.title}, {context.chosen}"
    return Table(
        f"metrics-{group.evaluation.key}",
        title,
        tuple(columns),
        tuple(rows),
        ("Means over seeds, in percent.",),
    )


def _plain_mean(scores: Sequence[float], link: str) -> TableCell:
    mean = mean_of(scores)
    if mean is None:
        return missing("not evaluated in this direction", link)
    return TableCell(number(mean), mean, link, ", ".join(number(score, 2) for score in scores))


def _pairs_table(context: ReportContext, group: ComparisonGroup) -> Table:
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
    for one, other in dict.fromkeys((one, other) for one, other, _ in group.other_pairs):
        row = [
            TableCell(one, one, context.link(group, one)),
            TableCell(other, other, context.link(group, other)),
        ]
        for metric in METRICS:
            item = group.other_pairs[one, other, metric]
            row += [
                difference_value(item, context.link(group, one)),
                TableCell(p_value(item.p_holm), item.p_holm, context.link(group, one)),
                verdict_value(item, group.options.margin),
            ]
        rows.append(tuple(row))
    note = f"A family of its own: Holm over {plural(len(rows), 'pair')}, for each metric."
    title = f"All other pairs on {group.evaluation.title}"
    table = Table(f"pairs-{group.evaluation.key}", title, columns, tuple(rows), (note,), folded=True)
    return flags_as_note(table, group.common_seeds)
