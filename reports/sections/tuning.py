"""The chapter on tuning: whether gains survive it, and how large the selection bias of each winner is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.store.run_files import SEARCH
from reports.comparison import JUDGED_METRICS, ComparisonGroup
from reports.context import ReportContext
from reports.document import Block, Column, Figure, Prose, Section, Table, TableCell, visible
from reports.figures import PALETTE, FigureWriter
from reports.formatting import KINDS, interval, missing, number, p_value, plural, signed, spread
from reports.sections.search import searches
from reports.statistics import Finding
from reports.tuning import (
    Arms,
    SearchRecord,
    arms_in,
    expected_best,
    fresh_lead,
    lead_noise,
    tuned_against_recipe,
    tuned_gains,
)


def section(context: ReportContext) -> Section | None:
    """One set of tables for every dataset that was searched; None when no method has both arms."""
    records = [record for run in context.stored_runs.runs for record in searches(run.path / SEARCH)]
    blocks: list[Block] = []
    for group in context.same_dataset:
        arms = arms_in(group, records)
        if arms:
            here = [record for record in records if record["dataset"] == group.evaluation.source]
            tuned = [record for record in here if record["method"] in arms]
            blocks += [*_tables(group, arms, tuned), *_budget_figure(context.figure_writer, group, tuned)]
    if not blocks:
        return None
    text = (
        "Every method was trained on the same seeds twice: by the study's recipe, and by the settings that "
        "won its own search. No seed of a search is one of these seeds; budgets stand in the next chapter."
    )
    return Section("tuning", "Does the gain survive tuning?", (Prose(text), *blocks))


def _tables(group: ComparisonGroup, arms: Arms, records: Sequence[SearchRecord]) -> list[Block]:
    made: list[Block] = []
    for metric in JUDGED_METRICS:
        made += [table for table in (_gains(group, arms, metric),) if table is not None]
        made.append(_against_recipe(group, arms, metric))
    made += [_selection_bias(group, arms, records), _budgets(group, records)]
    return [*made, *(table for table in (_repeats(group, arms, records),) if table is not None)]


def _finding(item: Finding) -> TableCell:
    estimate = item.estimate
    text = f"{signed(estimate.value, 2)} {interval(estimate, 2)}"
    return TableCell(
        text, estimate.value, note=f"p {p_value(item.p_holm)}, {item.verdict}", kind=KINDS[item.verdict]
    )


def _gains(group: ComparisonGroup, arms: Arms, metric: str) -> Table | None:
    rows = [
        (
            TableCell(gain.method, gain.method),
            *map(_finding, (gain.untuned, gain.tuned, gain.change)),
            TableCell(_survival(gain.change), gain.change.verdict),
        )
        for gain in tuned_gains(group, arms, metric)
    ]
    if not rows:
        return None
    columns = (
        Column("Method", "left"),
        Column("Δ untuned", help=f"Minus {group.reference}, both by the recipe"),
        Column("Δ tuned", help=f"Minus {group.reference}, both by the settings that won"),
        Column("Tuned − untuned", help="The difference of the two differences"),
        Column("Does tuning change the gain?", "left"),
    )
    title = f"{metric} against {group.reference}, untuned and tuned, {group.evaluation.title}"
    notes = ("Points with 95 % intervals. Holm's correction within each column.",)
    return Table(f"tuning-gains-{metric.lower()}-{group.evaluation.key}", title, columns, tuple(rows), notes)


def _survival(change: Finding) -> str:
    words: Mapping[str, str] = {
        "better": "tuning adds to it",
        "worse": "tuning takes from it",
        "tied": "no, within the margin",
        "cannot tell": "cannot tell",
    }
    return words[change.verdict]


def _against_recipe(group: ComparisonGroup, arms: Arms, metric: str) -> Table:
    columns = (
        Column("Method", "left"),
        Column("Tuned − recipe"),
        Column("p, Holm"),
        Column("Verdict", "left"),
    )
    rows = tuple(
        (
            TableCell(method, method),
            _finding(item),
            TableCell(p_value(item.p_holm), item.p_holm),
            TableCell(item.verdict, item.verdict, kind=KINDS[item.verdict]),
        )
        for method, item in tuned_against_recipe(group, arms, metric).items()
    )
    title = f"What tuning gained in {metric} on fresh seeds, {group.evaluation.title}"
    return Table(f"tuned-{metric.lower()}-{group.evaluation.key}", title, columns, rows)


def _selection_bias(group: ComparisonGroup, arms: Arms, records: Sequence[SearchRecord]) -> Table:
    columns = (
        Column("Search", "left"),
        Column("Settings", help="Searched settings that the method has, of all that the study searches over"),
        Column("Winner", help="Its validation score in the search"),
        Column(
            "Standard error", help="Of that score: if queries were independent, to all of a person's alike"
        ),
        Column(
            "Trials within it", help="Other complete trials less than one standard error behind the winner"
        ),
        Column("Lead in the search", help="Over the recipe's trial, in points"),
        Column("Lead on fresh seeds", help="Of the same settings over the recipe, on the same split"),
        Column(
            "Selection bias",
            help="Optimism of the best trial: its lead in the search less that on fresh seeds",
        ),
    )
    rows = tuple(_selection_bias_row(group, arms, record) for record in records)
    title = f"Selection bias of the best trial, {group.evaluation.title}"
    return Table(f"tuning-selection-{group.evaluation.key}", title, columns, rows)


def _selection_bias_row(group: ComparisonGroup, arms: Arms, record: SearchRecord) -> tuple[TableCell, ...]:
    has, lacks = len(record["space"]), record.get("settings_it_lacks", [])
    said = f"no {', '.join(lacks)}" if lacks else ""
    first = (
        TableCell(_named(record), _named(record)),
        TableCell(f"{has} of {has + len(lacks)}", has, note=said),
    )
    noise = lead_noise(record)
    if noise is None:
        return (*first, *[missing("no complete trial, or the size of its split is unknown")] * 6)
    fresh = fresh_lead(group, record["method"], record["trained_as"], record.get("metric", "R1"))
    known = noise.lead is not None and fresh is not None
    bias = noise.lead - fresh if noise.lead is not None and fresh is not None else None
    within = f"{noise.within_least} to {noise.within_most} of {noise.complete - 1}"
    return (
        *first,
        TableCell(number(noise.score, 2), noise.score),
        TableCell(f"{number(noise.least_se, 2)} to {number(noise.most_se, 2)}", noise.least_se),
        TableCell(within, noise.within_least),
        _points(noise.lead),
        _points(fresh),
        _points(bias) if known else missing("one of the two leads is unknown"),
    )


def _points(value: float | None) -> TableCell:
    return missing("not known") if value is None else TableCell(signed(value, 2), value)


def _named(record: SearchRecord) -> str:
    return (
        f"{record['method']}, search {record['repeat']}"
        if record.get("repeat", 1) > 1
        else str(record["method"])
    )


def _budgets(group: ComparisonGroup, records: Sequence[SearchRecord]) -> Table:
    scores = {_named(record): _complete_scores(record) for record in records}
    most = max((len(values) for values in scores.values()), default=0)
    budgets = [size for size in (1, 2, 4, 8, 16, 32, 64, 128, 256) if size < most] + ([most] if most else [])
    columns = (Column("Search", "left"), *(Column(plural(size, "trial")) for size in budgets))
    rows = tuple(
        (
            TableCell(name, name),
            *(
                TableCell(number(best, 2), best)
                if size <= len(values) and (best := expected_best(values, size)) is not None
                else missing(f"only {plural(len(values), 'complete trial')}")
                for size in budgets
            ),
        )
        for name, values in scores.items()
    )
    title = f"Expected best validation score against budget, {group.evaluation.title}"
    note = (
        "Over complete trials, as if drawn at random; a sampler that learns does better late than this says."
    )
    return Table(f"tuning-budget-{group.evaluation.key}", title, columns, rows, (note,))


def _budget_figure(
    figure_writer: FigureWriter, group: ComparisonGroup, records: Sequence[SearchRecord]
) -> list[Figure]:
    """The curves behind the table of budgets, one a search; none without two complete trials."""
    curves = {
        _named(one): [expected_best(scores, size) for size in range(1, len(scores) + 1)]
        for one in records
        if len(scores := _complete_scores(one)) > 1
    }
    if not curves:
        return []
    with figure_writer.axes(1, 1, (7.2, 3.0)) as (drawing, grid):
        axes = grid[0][0]
        for index, (name, best) in enumerate(curves.items()):
            style = ("-", "--", ":", "-.")[index // len(PALETTE) % 4]
            colour, sizes = PALETTE[index % len(PALETTE)], range(1, len(best) + 1)
            axes.plot(sizes, best, style, color=colour, lw=1.4, label=visible(name))
        axes.set_xlabel("complete trials")
        axes.set_ylabel("expected best validation score")
        axes.grid(visible=True)
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        alt = f"Expected best validation score against the number of trials, {group.evaluation.title}"
        caption = (
            "What a smaller search would have found on average; the numbers are in the table of budgets."
        )
        key = f"tuning-budget-{group.evaluation.key}"
        return [figure_writer.finish(drawing, key, alt, caption)]


def _complete_scores(record: Mapping[str, Any]) -> list[float]:
    return [float(trial["value"]) for trial in record["trials"] if trial["state"] == "complete"]


def _repeats(group: ComparisonGroup, arms: Arms, records: Sequence[SearchRecord]) -> Table | None:
    """How much searches of one method differ; None when each was searched once."""
    rows = []
    for method, labels in arms.items():
        if len(labels) < 2:
            continue
        won = [
            noise.score for record in records if record["method"] == method and (noise := lead_noise(record))
        ]
        tested = [100 * float(group.methods[label].scores["R1"].mean()) for label in labels]
        rows.append(
            (
                TableCell(method, method),
                TableCell(str(len(labels)), len(labels)),
                _deviation(won),
                TableCell(", ".join(number(score, 2) for score in tested), tested[0]),
                _deviation(tested),
            )
        )
    if not rows:
        return None
    columns = (
        Column("Method", "left"),
        Column("Searches"),
        Column("SD of the winners' validation scores"),
        Column("Test R1 of each winner", help="Mean over the study's seeds"),
        Column("SD of these"),
    )
    title = f"How much repeated searches differ, {group.evaluation.title}"
    return Table(f"tuning-repeats-{group.evaluation.key}", title, columns, tuple(rows))


def _deviation(values: Sequence[float]) -> TableCell:
    deviation = spread(values)
    return (
        missing("fewer than two winners") if deviation is None else TableCell(number(deviation, 2), deviation)
    )
