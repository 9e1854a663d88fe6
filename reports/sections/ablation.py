"""The result tables: every method beside the reference, on one dataset at a time, with the forest plot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.machine.terms import METRICS
from reports.cell_views import Evaluation
from reports.comparison import JUDGED_METRICS, ComparisonGroup
from reports.context import ReportContext
from reports.document import Block, Column, Prose, Section, Table, TableCell
from reports.families import family_of
from reports.formatting import (
    corrected_p,
    difference_value,
    flags_as_note,
    listed,
    mean_of,
    missing,
    number,
    over,
    plural,
    seeds_value,
    signed,
    verdict_value,
)
from reports.sections.all_tests import tests_table
from reports.sections.elsewhere import marked
from reports.statistics import FEW_SEEDS, Scope


def sections(context: ReportContext) -> list[Section]:
    """One section for each dataset that methods were trained and tested on."""
    return [_section(context, group) for group in context.same_dataset]


def _section(context: ReportContext, group: ComparisonGroup) -> Section:
    blocks: list[Block] = [Prose(_setting(context, group)), *(Prose(note, "note") for note in group.notes)]
    blocks.append(result_table(context, group, "R1"))
    blocks.append(result_table(context, group, "mAP"))
    blocks.append(_metrics_table(context, group))
    if group.against_reference:
        blocks.append(tests_table(context, group))
    if group.other_pairs:
        blocks.append(_pairs_table(context, group))
    return Section(f"results-{group.evaluation.key}", f"Results on {group.evaluation.title}", tuple(blocks))


def _setting(context: ReportContext, group: ComparisonGroup) -> str:
    """What the tables hold; captions, people and images are counted on the first screen."""
    others = [name for name in group.methods if name in context.elsewhere]
    but = f" How the epoch of {listed(others)} was chosen is not known." if others else ""
    return (
        "Text to image: captions search the images of the test split. The last epoch and the epoch chosen on "
        f"the test split stand last, only to show what choosing on the test split would add.{but}"
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
        (*_notes(group, metric), *notes),
        data_notes=context.data_notes(group),
    )
    return flags_as_note(table, group.most_seeds)


def _columns(reference: str, metric: str) -> tuple[Column, ...]:
    return (
        Column("Method", "left"),
        Column(metric, help="chosen on validation; mean ± standard deviation over seeds"),
        Column("Verdict", "left", help="for new people, after Holm's correction"),
        Column(f"Difference to {reference}", help="for new people: 95 % interval over people and seeds"),
        Column("p", help="for new people, after Holm's correction"),
        Column("On this benchmark", "left", help="verdict for new runs on this very test set"),
        Column("Difference there", help="95 % interval over seeds alone"),
        Column("p there", help="on this benchmark, after Holm's correction"),
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


def _notes(group: ComparisonGroup, metric: str) -> tuple[str, ...]:
    few = sorted(
        {
            len(method.cells)
            for method in group.methods.values()
            if not method.untrained and len(method.cells) < FEW_SEEDS
        }
    )
    notes = ["± is the standard deviation over seeds."]
    if group.against_reference:
        notes += [*_tests_notes(group, metric), *reading_notes(group, metric)]
    if few and group.most_seeds >= FEW_SEEDS:
        notes.append(
            "Numbers marked with their seeds come from fewer than 3: their spread is a guess"
            + (", and one seed allows no verdict." if 1 in few else ".")
        )
    return tuple(notes)


def reading_notes(group: ComparisonGroup, metric: str) -> list[str]:
    """What of the rows would seem to contradict itself without a word: other seeds, other corrections."""
    notes = []
    items = [item for (_, name), item in group.against_reference.items() if name == metric]
    for item in items:
        shared = group.fewer_shared_seeds(item.one, item.other)
        if shared is not None:
            notes.append(f"Difference of {item.one}: {over(shared)}; scores: over all seeds of each method.")
    if any(item.verdict == "cannot tell" and item.low * item.high > 0 for item in items if not item.obstacle):
        notes.append(
            "p is adjusted by Holm, the interval is not: it may leave out 0 where the verdict is cannot tell."
        )
    return notes


def _tests_notes(group: ComparisonGroup, metric: str) -> tuple[str, str]:
    """Which tests the verdicts rest on, what they are corrected for, and to which family they belong."""
    family = plural(group.family_size(metric), "comparison")
    of = " on all datasets" if len(group.family(metric)) > 1 else ""
    kind = f"{metric}: exploratory."
    if family_of(group, metric, "people") == "primary":
        kind = f"{metric}: the primary family for new people; exploratory on this benchmark."
    tests = (
        "Verdicts for new people: t-test with seeds as blocks and people crossed with them, and a paired "
        "permutation test; on this benchmark: the t-test with runs alone. Holm over "
        f"{family}{of}; tied: two one-sided tests exclude more than ±{group.options.margin:g} points, Holm "
        "likewise."
    )
    return tests, kind


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
            *([gap] * 8),
        )
    trains = not group.methods[method].untrained
    shown = {
        selection: seeds_value(group.means(method, metric, selection), link, trains=trains)
        for selection in ("val", "last", "test")
    }
    return (
        name,
        shown["val"],
        *judged_row(group, method, metric, link, "people"),
        *judged_row(group, method, metric, link, "benchmark"),
        replace(shown["last"], flag=""),
        replace(shown["test"], flag=""),
        _optimism(context, group, method, metric),
    )


def judged_row(
    group: ComparisonGroup, method: str, metric: str, link: str, scope: Scope
) -> tuple[TableCell, TableCell, TableCell]:
    """Verdict, difference to the reference and corrected p in one scope, or why there are none."""
    if method == group.reference:
        return TableCell("", None), TableCell("reference", None, kind="quiet"), TableCell("", None)
    if (method, metric) not in group.judged(scope):
        why = missing(group.why_not_compared(method))
        return why, why, why
    item = group.judged(scope)[method, metric]
    shared = group.fewer_shared_seeds(method, group.reference)
    difference = difference_value(item, link, shared)
    return verdict_value(item, group.options.margin), difference, corrected_p(item, link)


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
    columns += [Column(f"{arrow} {metric}") for arrow in ("T→I", "I→T") for metric in METRICS]
    rows = []
    for method in group.methods:
        link = context.link(group, method)
        cells = group.methods[method].cells
        values = []
        for direction in ("t2i", "i2t"):
            evaluation = Evaluation(**{**vars(group.evaluation), "direction": direction})
            for metric in METRICS:
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
            for metric in JUDGED_METRICS
            for column in (Column(metric), Column("p, Holm"), Column("Verdict", "left"))
        ),
    )
    rows = []
    for one, other in dict.fromkeys((one, other) for one, other, _ in group.other_pairs):
        row = [
            TableCell(one, one, context.link(group, one)),
            TableCell(other, other, context.link(group, other)),
        ]
        for metric in JUDGED_METRICS:
            item = group.other_pairs[one, other, metric]
            row += [
                difference_value(item, context.link(group, one), group.fewer_shared_seeds(one, other)),
                corrected_p(item, context.link(group, one)),
                verdict_value(item, group.options.margin),
            ]
        rows.append(tuple(row))
    note = f"Exploratory, a family of its own: Holm over {plural(len(rows), 'pair')}, for each metric."
    title = f"All other pairs on {group.evaluation.title}"
    table = Table(f"pairs-{group.evaluation.key}", title, columns, tuple(rows), (note,), folded=True)
    return flags_as_note(table, group.most_seeds)
