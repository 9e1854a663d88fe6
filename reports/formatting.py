"""How numbers are put into words: one place, so that every table and figure says them the same way."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from harness.machine.words import plural as plural
from reports.cell_views import CellView
from reports.document import Table, TableCell
from reports.statistics import FEW_SEEDS, Comparison, Estimate, Finding

NOTHING = "—"
EXACT = 9
"""Digits that are looked at before rounding: 17.85 computed in two ways is not shown as 17.8 and as 17.9."""
KINDS = {"better": "better", "worse": "worse", "tied": "tied", "cannot tell": "unknown"}


def number(value: float | None, digits: int = 1) -> str:
    """A number with a true minus sign; a dash when there is none."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{round(value, EXACT):,.{digits}f}".replace("-", "−")


def signed(value: float | None, digits: int = 1) -> str:
    """A difference, always with its sign; what rounds to zero has none."""
    if value is None or not math.isfinite(value):
        return NOTHING
    text = f"{round(value, EXACT):+,.{digits}f}"
    return text[1:] if float(text.replace(",", "")) == 0 else text.replace("-", "−")


def interval(estimate: Estimate, digits: int = 1, *, sign: bool = True) -> str:
    """`[low, high]`."""
    show = signed if sign else number
    if not math.isfinite(estimate.low):
        return "[unknown]"
    return f"[{show(estimate.low, digits)}, {show(estimate.high, digits)}]"


def p_value(p: float) -> str:
    """A p-value to three places."""
    if not math.isfinite(p):
        return NOTHING
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def spread(values: Sequence[float]) -> float | None:
    """Sample standard deviation over seeds; None below two."""
    if len(values) < 2:
        return None
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))


def mean_of(values: Sequence[float]) -> float | None:
    """Mean over seeds; None when there are none."""
    return sum(values) / len(values) if values else None


def duration(seconds: float) -> str:
    """Seconds in words: `40 seconds`, `12 minutes`, `3.5 hours`."""
    if seconds < 90:
        return plural(round(seconds), "second")
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def listed(names: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


def seeds_value(
    values: Sequence[float], link: str = "", *, trains: bool = True, digits: int = 1
) -> TableCell:
    """Mean ± standard deviation over seeds, flagged when seeds are few."""
    mean = mean_of(values)
    if mean is None:
        return missing("no finished run", link)
    width = spread(values)
    text = number(mean, digits) + (f" ± {number(width, digits)}" if width is not None and trains else "")
    few = trains and len(values) < FEW_SEEDS
    note = f"{plural(len(values), 'seed')}: {', '.join(number(value, 2) for value in values)}"
    if not trains:
        note = "does not train, so seeds change nothing"
    return TableCell(text, mean, link, note, plural(len(values), "seed") if few else "")


def difference_value(item: Comparison, link: str = "", shared: int | None = None) -> TableCell:
    """A difference with its interval; marked where it rests on fewer seeds (`shared`) than the scores."""
    estimate = item.estimate
    note = (
        f"p = {p_value(estimate.p)} with seeds, {p_value(item.p_permutation)} by permutation, "
        f"{p_value(item.p_holm)} after Holm; {estimate.df:.0f} degrees of freedom"
    )
    return TableCell(
        f"{signed(estimate.value)} {interval(estimate)}", estimate.value, link, note, over(shared)
    )


def over(shared: int | None) -> str:
    """On which seeds a difference rests, where a score rests on more; empty where on the same."""
    return "" if shared is None else f"over the {plural(shared, 'shared seed')}"


def corrected_p(item: Finding, link: str = "") -> TableCell:
    """The p-value after Holm; where the seeds allow none, why."""
    why = {0: "no shared seed", 1: "one seed"}.get(item.estimate.seeds, "") if item.obstacle else ""
    return TableCell(why or p_value(item.p_holm), item.p_holm, link)


def verdict_value(item: Comparison, margin: float) -> TableCell:
    """The verdict, with a flag when seeds are few."""
    text = f"tied within ±{margin:g}" if item.verdict == "tied" else item.verdict
    flag = plural(item.estimate.seeds, "seed") if item.few_seeds else ""
    order = {"better": 3.0, "tied": 2.0, "cannot tell": 1.0, "worse": 0.0}[item.verdict]
    return TableCell(text, order, "", f"p after Holm {p_value(item.p_holm)}", flag, KINDS[item.verdict])


def judged_difference(item: Comparison, link: str = "", shared: int | None = None) -> TableCell:
    """Difference, interval and verdict in one place, for tables of several datasets."""
    shown = difference_value(item, link)
    flag = over(shared) or (plural(item.estimate.seeds, "seed") if item.few_seeds else "")
    return TableCell(shown.text, shown.sort, link, shown.note, flag, KINDS[item.verdict], word=item.verdict)


def flags_as_note(table: Table, most: int) -> Table:
    """The table with one note in place of its marks of few seeds.

    Only where no method that trains has more than `most` seeds and those are few; methods with fewer
    keep their mark.
    """
    common = plural(most, "seed")
    rows = tuple(
        tuple(replace(cell, flag="") if cell.flag == common else cell for cell in row) for row in table.rows
    )
    if most >= FEW_SEEDS or rows == table.rows:
        return table
    others = any(cell.flag.endswith(("seed", "seeds")) for row in rows for cell in row)
    marked = ", where not marked otherwise" if others else ""
    verdict = ", and allow no verdict" if most == 1 else ""
    note = f"Numbers of trained methods come from {common}{marked}: their spread is a guess{verdict}."
    return replace(table, rows=rows, notes=(*table.notes, note))


def naming_cells(cell: CellView) -> tuple[TableCell, ...]:
    """The first cells of a row that describes one run: method, dataset and seed."""
    return (
        TableCell(cell.method, cell.method, cell.anchor),
        TableCell(cell.dataset, cell.dataset),
        TableCell(str(cell.seed), cell.seed),
    )


def missing(why: str, link: str = "") -> TableCell:
    """An empty place that says why it is empty."""
    return TableCell(NOTHING, None, link, why, "", "missing")
