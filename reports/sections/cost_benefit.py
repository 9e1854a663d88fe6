"""The chapter on cost and benefit: what each part adds to Rank-1 beside what it costs.

Both sides are measured by one study: the difference by its finished runs, the cost by its overhead
measurement. Nothing is weighed against anything; whether a gain is worth its price is the reader's to say.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.store.run_files import OVERHEAD
from reports.comparison import ComparisonGroup
from reports.context import ReportContext
from reports.document import Block, Column, Figure, Prose, Section, Table, TableCell, visible
from reports.figures import MUTED, PALETTE
from reports.formatting import interval, missing, number, signed
from reports.sections.overhead import Measurement, measurements
from reports.statistics import Estimate

METRIC = "R1"
STEP = "training step"
COSTS = (STEP, "peak memory", "parameters used", "compute per pair")
"""Quantities of an overhead measurement that stand beside the gain, where they were measured."""
_MARKERS = "os^vDPX*"


@dataclass(frozen=True)
class _Offer:
    """What one method gains over another, and what it costs in addition."""

    method: str
    gain: Estimate
    costs: Mapping[str, Measurement]
    """By quantity."""

    @property
    def step(self) -> Measurement:
        return self.costs[STEP]


def section(context: ReportContext) -> Section | None:
    """A figure and a table per dataset and method measured against; None where nothing was measured."""
    measured = [one for run in context.stored_runs.runs for one in measurements(run.path / OVERHEAD)]
    blocks: list[Block] = []
    for group in context.same_dataset:
        for against in dict.fromkeys(one.against for one in measured):
            if offers := _offers(group, against, measured):
                blocks += [_figure(context, group, against, offers), _table(context, group, against, offers)]
    if not blocks:
        return None
    text = (
        "Each method beside the one that its cost was measured against: the difference in Rank-1, with its "
        "95 % interval for new people, and the ratio of the time of a training step, with its 95 % interval "
        "over repeated measurements. A method that gains nothing and costs more lies to the right, on the "
        "line at zero."
    )
    return Section("cost-benefit", "What is gained for it", (Prose(text), *blocks))


def _offers(group: ComparisonGroup, against: str, measured: Sequence[Measurement]) -> list[_Offer]:
    """Every method with both a difference to `against` and a measured step, in the group's order."""
    costs: dict[str, dict[str, Measurement]] = {}
    for one in measured:
        if one.against == against and one.ratio is not None:
            costs.setdefault(one.method, {})[one.quantity] = one
    if against not in group.methods:
        return []
    return [
        _Offer(method, group.contrast({method: 1.0, against: -1.0}, METRIC), costs[method])
        for method in group.methods
        if method != against and STEP in costs.get(method, {})
    ]


def _figure(context: ReportContext, group: ComparisonGroup, against: str, offers: Sequence[_Offer]) -> Figure:
    with context.figure_writer.axes(1, 1, (7.2, 3.2)) as (drawing, grid):
        axes = grid[0][0]
        axes.axhline(0, color=MUTED, lw=0.8)
        axes.axvline(1, color=MUTED, lw=0.8)
        for index, offer in enumerate(offers):
            colour, ratio = PALETTE[index % len(PALETTE)], offer.step.ratio or 1.0
            spans = ((offer.step.low, offer.step.high), (offer.gain.low, offer.gain.high))
            axes.plot(
                [spans[0][0] or ratio, spans[0][1] or ratio], [offer.gain.value] * 2, color=colour, lw=1.4
            )
            axes.plot([ratio] * 2, spans[1], color=colour, lw=1.4)
            marker = _MARKERS[index % len(_MARKERS)]
            axes.plot([ratio], [offer.gain.value], marker, color=colour, ms=6, label=visible(offer.method))
        axes.set_xlabel(f"time of a training step, ratio to {visible(against)}")
        axes.set_ylabel(f"Rank-1, points over {visible(against)}")
        axes.grid(visible=True)
        drawing.legend(loc="outside upper left", ncols=4)
        return context.figure_writer.finish(
            drawing,
            f"cost-benefit-{against}-{group.evaluation.key}",
            f"Gain in Rank-1 over {against} against the cost of a step; the numbers are in the table",
            f"Gain against cost, {group.evaluation.title}. Lines are 95 % intervals.",
        )


def _table(context: ReportContext, group: ComparisonGroup, against: str, offers: Sequence[_Offer]) -> Table:
    costs = [quantity for quantity in COSTS if any(quantity in offer.costs for offer in offers)]
    columns = (
        Column("Method", "left"),
        Column(f"Rank-1 over {against}", help="points, with the 95 % interval for new people"),
        *(Column(f"{quantity[0].upper()}{quantity[1:]}", help=f"ratio to {against}") for quantity in costs),
    )
    rows = tuple(_row(offer, costs, context.link(group, offer.method)) for offer in offers)
    title = f"Gain and cost against {against}, {group.evaluation.title}"
    return Table(f"cost-benefit-{against}-{group.evaluation.key}", title, columns, rows)


def _row(offer: _Offer, costs: Sequence[str], link: str) -> tuple[TableCell, ...]:
    return (
        TableCell(offer.method, offer.method, link),
        TableCell(f"{signed(offer.gain.value)} {interval(offer.gain)}", offer.gain.value, link),
        *(_ratio(offer.costs.get(quantity), link) for quantity in costs),
    )


def _ratio(measured: Measurement | None, link: str) -> TableCell:
    if measured is None or measured.ratio is None:
        return missing("not measured", link)
    return TableCell(f"{number(measured.ratio, 2)}×", measured.ratio, link)
