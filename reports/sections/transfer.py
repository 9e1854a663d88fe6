"""Train on one dataset, test on another: what is kept, what is lost, and whether the two share pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from harness.store.run_files import LEAKAGE, read_entries
from reports.cell_views import Evaluation
from reports.comparison import JUDGED_METRICS, ComparisonGroup
from reports.context import ReportContext
from reports.document import Block, Column, Figure, Prose, Section, Table, TableCell, visible
from reports.figures import INK
from reports.formatting import flags_as_note, interval, missing, number, plural
from reports.sections.ablation import judged_row, quoted_column
from reports.statistics import Estimate, Sample, drop, retention

"""A list of `{"source", "target", **LeakageReport.as_dict()}` that a run with transfer leaves."""
_PER_ROW = 3


def section(context: ReportContext) -> Section | None:
    """Leakage first, then heat-maps and the numbers; None without a result on another dataset."""
    if not context.transfer:
        return None
    blocks: list[Block] = [_leakage(context)]
    for preset in sorted({group.evaluation.preset for group in context.transfer}):
        groups = [group for group in context.groups if group.evaluation.preset == preset]
        blocks += [_heat_map(context, groups, metric, preset) for metric in JUDGED_METRICS]
    for group in context.transfer:
        blocks += [_table(context, group, metric) for metric in JUDGED_METRICS]
    return Section("transfer", "Transfer", tuple(blocks))


def _leakage(context: ReportContext) -> Block:
    """Pictures that a model has seen in its own training set and meets again in a target's test split."""
    entries: list[Mapping[str, Any]] = []
    for run in context.stored_runs.runs:
        entries += read_entries(run.path / LEAKAGE)
    if not entries:
        return Prose(
            "Whether training and test sets share pictures was not checked in these runs, so a transfer "
            "number may "
            "hold images the model was trained on.",
            "note",
        )
    columns = (
        *(Column(name, "left") for name in ("Trained on", "Tested on")),
        *(Column(name) for name in ("Test images", "Same file", "Same pixels", "Nearly the same", "Shared")),
    )
    rows = tuple(_leakage_row(entry) for entry in entries)
    return Table(
        "leakage",
        "Test images that the training set holds too",
        columns,
        rows,
        ("By hash of file and pixels, and by two perceptual hashes with a thumbnail correlation.",),
    )


def _leakage_row(entry: Mapping[str, Any]) -> tuple[TableCell, ...]:
    counts = [
        int(entry.get(name) or 0)
        for name in ("right_images", "exact_files", "exact_pixels", "near", "shared")
    ]
    share = 100 * counts[-1] / counts[0] if counts[0] else 0.0
    named = [str(entry.get(name, "")) for name in ("source", "target")]
    return (
        *(TableCell(name, name) for name in named),
        *(TableCell(f"{count:,}", count) for count in counts[:-1]),
        TableCell(
            f"{counts[-1]:,} ({number(share, 2)} %)", counts[-1], kind="alert" if counts[-1] else "quiet"
        ),
    )


def _same_dataset_group(context: ReportContext, evaluation: Evaluation) -> ComparisonGroup | None:
    for group in context.same_dataset:
        candidate = group.evaluation
        if (candidate.preset, candidate.source, candidate.population) == (
            evaluation.preset,
            evaluation.source,
            evaluation.population,
        ):
            return group
    return None


def _samples(
    same_dataset: ComparisonGroup, transfer: ComparisonGroup, method: str, metric: str
) -> tuple[Sample, Sample] | None:
    """The scores of the models that were tested on both datasets, seed by seed."""
    if method not in same_dataset.methods or method not in transfer.methods:
        return None
    here, there = same_dataset.methods[method], transfer.methods[method]
    seeds = [cell.seed for cell in here.cells]
    others = [cell.seed for cell in there.cells]
    shared = [seed for seed in seeds if seed in others]
    if not shared:
        return None
    rows = [seeds.index(seed) for seed in shared], [others.index(seed) for seed in shared]
    return (
        Sample(here.scores[metric][rows[0]], same_dataset.person, here.untrained),
        Sample(there.scores[metric][rows[1]], transfer.person, there.untrained),
    )


def _table(context: ReportContext, group: ComparisonGroup, metric: str) -> Table:
    """Score, loss and retention of every method on one pair of datasets."""
    columns: tuple[Column, ...] = (
        Column("Method", "left"),
        Column(metric, help="with its 95 % interval"),
        Column("Verdict", "left", help="for new people, after Holm's correction over this table"),
        Column(f"to {group.reference}", help="for new people, with its 95 % interval"),
        Column("p", help="after Holm's correction over this table"),
        Column("Same dataset", help="tested on the dataset that the method was trained on"),
        Column("Drop", help="same dataset minus transfer, with its 95 % interval"),
        Column("Retention", help="transfer ÷ same dataset, with its 95 % interval"),
    )
    methods = context.methods_of(group)
    rows = [_row(context, group, method, metric) for method in methods]
    quoted, notes = quoted_column([_published(context, group, method, metric) for method in methods])
    if quoted:
        columns = (*columns, Column("Published"))
        rows = [(*row, cell) for row, cell in zip(rows, quoted, strict=True)]
    table = Table(
        f"transfer-{metric.lower()}-{group.evaluation.key}",
        f"{metric}, {group.evaluation.title}",
        columns,
        tuple(rows),
        (*group.notes, "Exploratory: outside the primary family.", *notes),
        data_notes=context.data_notes(group),
    )
    return flags_as_note(table, group.most_seeds)


def _row(context: ReportContext, group: ComparisonGroup, method: str, metric: str) -> tuple[TableCell, ...]:
    link = context.link(group, method)
    name = TableCell(method, method, link, kind="strong" if method == group.reference else "")
    if method not in group.methods:
        gap = context.gap(group, method)
        return (name, gap, TableCell(gap.note, kind="missing"), *([gap] * 5))
    mean = group.mean(method, metric)
    same_dataset = _same_dataset_group(context, group.evaluation)
    samples = _samples(same_dataset, group, method, metric) if same_dataset is not None else None
    lost, kept, unmoved = (missing("no result on the dataset that it was trained on", link),) * 3
    if samples is not None:
        unmoved = TableCell(number(100 * samples[0].mean), 100 * samples[0].mean, link)
        lost = _estimate_value(drop(*samples).scaled(100), 1, link)
        kept = _estimate_value(retention(*samples).scaled(100), 0, link, unit=" %")
    few = plural(mean.seeds, "seed") if mean.seeds < 3 else ""
    return (
        name,
        TableCell(f"{number(mean.value)} {interval(mean, sign=False)}", mean.value, link, flag=few),
        *judged_row(group, method, metric, link, "people"),
        unmoved,
        lost,
        kept,
    )


def _published(context: ReportContext, group: ComparisonGroup, method: str, metric: str) -> TableCell:
    base, conditions = context.conditions(group, method)
    return context.published.transferred(base, conditions, metric)


def _estimate_value(estimate: Estimate, digits: int, link: str, unit: str = "") -> TableCell:
    text = f"{number(estimate.value, digits)}{unit} {interval(estimate, digits, sign=False)}"
    return TableCell(text, estimate.value, link)


def _heat_map(context: ReportContext, groups: Sequence[ComparisonGroup], metric: str, preset: str) -> Figure:
    """One panel per method: rows are training sets, columns test sets, with the interval's half width."""
    sources = list(dict.fromkeys(group.evaluation.source for group in groups))
    targets = [
        name
        for name in context.stored_runs.datasets
        if any(name == group.evaluation.target for group in groups)
    ]
    targets += sorted({group.evaluation.target for group in groups} - set(targets))
    methods = [name for name in context.stored_runs.methods if any(name in group.methods for group in groups)]
    columns = min(_PER_ROW, len(methods))
    rows = -(-len(methods) // columns)
    size = (1.2 + columns * (0.55 + 0.62 * len(targets)), rows * (0.75 + 0.5 * len(sources)))
    panels = {name: _panel(groups, name, metric, sources, targets) for name in methods}
    measured = np.concatenate([values[np.isfinite(values)] for values, _ in panels.values()])
    low, top = float(measured.min()), float(measured.max())
    with context.figure_writer.axes(rows, columns, size, sharex=True, sharey=True) as (drawing, grid):
        for axes, name in zip(grid.flat, methods, strict=False):
            _draw_panel(axes, *panels[name], low, top)
            axes.set_title(visible(name))
            axes.set_xticks(
                np.arange(len(targets)) + 0.5, [visible(name) for name in targets], rotation=30, ha="right"
            )
            axes.set_yticks(np.arange(len(sources)) + 0.5, [visible(name) for name in sources])
        for axes in grid.flat[max(0, len(methods) - columns) : len(methods)]:
            axes.tick_params(labelbottom=True)  # also above an empty place of the last row
        for axes in grid.flat[len(methods) :]:
            axes.set_visible(False)
        key = f"transfer-{metric.lower()}" + ("" if preset == "clean" else f"-{preset}")
        return context.figure_writer.finish(
            drawing,
            key,
            (
                f"{metric} of every method by training set (rows) and test set (columns); numbers are in the "
                "tables"
            ),
            f"{metric} by training set (rows) and test set (columns), with half the width of the 95 % "
            "interval. "
            "On the diagonal both are the same.",
        )


def _panel(
    groups: Sequence[ComparisonGroup],
    method: str,
    metric: str,
    sources: Sequence[str],
    targets: Sequence[str],
) -> tuple[Any, Any]:
    values = np.full((len(sources), len(targets)), np.nan)
    widths = values.copy()
    for group in groups:
        if method in group.methods:
            at = sources.index(group.evaluation.source), targets.index(group.evaluation.target)
            mean = group.mean(method, metric)
            values[at], widths[at] = mean.value, (mean.high - mean.low) / 2
    return values, widths


def _draw_panel(axes: Any, values: Any, widths: Any, low: float, top: float) -> None:
    import seaborn

    colours = seaborn.color_palette("mako_r", as_cmap=True)
    axes.pcolormesh(
        np.ma.masked_invalid(values), cmap=colours, vmin=0.6 * low, vmax=top * 1.15, edgecolors="none"
    )
    for (row, column), value in np.ndenumerate(values):
        text = "—" if not np.isfinite(value) else f"{number(value)}\n±{number(widths[row, column])}"
        on_dark = np.isfinite(value) and value > 0.6 * low + 0.4 * (1.15 * top - 0.6 * low)
        colour = "#fefefe" if on_dark else "#111213" if np.isfinite(value) else INK
        axes.text(column + 0.5, row + 0.5, text, ha="center", va="center", fontsize=7.5, color=colour)
    axes.set_xlim(0, values.shape[1])
    axes.set_ylim(values.shape[0], 0)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)
