"""The chapter on claims: what a paper says, and what these runs say of it, in three ways."""

from __future__ import annotations

from reports.context import ReportContext
from reports.document import Column, Prose, Section, Table, TableCell
from reports.formatting import NOTHING, signed
from reports.ledger import Ruling, ScopedJudgement
from reports.statistics import Scope

_KINDS = {
    "reproduced": "yes",
    "real but smaller than the margin": "yes",
    "not reproduced": "no",
    "underpowered": "unknown",
    "not run": "quiet",
}


def section(context: ReportContext) -> Section | None:
    """The ledger; None when no run states claims."""
    if not context.rulings:
        return None
    columns = (
        Column("Claim", "text"),
        Column("On this benchmark", "left", help="judged by new runs on this very test set"),
        Column("Why", "text"),
        Column("For new people", "left", help="the same for people who are not in the test set"),
        Column("Claimed"),
        Column("Measured here", help="new runs on this test set; with the 90 % interval"),
        Column("For new people, measured", help="new runs and new people; with the 90 % interval"),
        Column("One more pair of runs", help="where the difference of two single runs would lie"),
        Column("Preset", "left"),
        Column("Source", "text"),
    )
    rows = tuple(_row(context, ruling) for ruling in context.rulings)
    table = Table("claims", "Claims and what these runs say of them", columns, rows)
    text = (
        "A published number is about its test set and comes from single runs. So a claim is judged on this "
        "benchmark (only runs vary), for new people (runs and people vary), and by the interval in which one "
        "more pair of single runs would lie: only a size outside that is contradicted. With a size, "
        "reproduced means that the difference is shown (one-sided, 95 %) to be at least the size less the "
        "margin. Without one, the direction is judged by a p corrected over all such claims (Holm), and a "
        "difference that is real may be smaller than the margin. Presets are judged apart."
    )
    return Section("claims", "Claims", (Prose(text), table))


def short_tables(context: ReportContext) -> list[Table]:
    """The ledger for a terminal: claims by their ids, without reasons and sources; nothing without claims."""
    names = ("Claim", "On this benchmark", "For new people", "Claimed", "Measured here", "Preset")
    columns = tuple(Column(name, "left") for name in names)
    rows = []
    for ruling in context.rulings:
        _, judgement, _, for_people, claimed, measured, _, _, preset, _ = _row(context, ruling)
        rows.append((TableCell(ruling.claim.id), judgement, for_people, claimed, measured, preset))
    return [Table("claims-short", "Claims", columns, tuple(rows))] if rows else []


def _row(context: ReportContext, ruling: Ruling) -> tuple[TableCell, ...]:
    claim = ruling.claim
    claimed = TableCell("no size claimed", None, kind="quiet")
    if claim.size is not None:
        claimed = TableCell(signed(claim.size, 2), claim.size)
    here, people = (_scoped(ruling, scope) for scope in ("benchmark", "people"))
    link = context.link(ruling.group, claim.better) if ruling.group is not None else ""
    return (
        TableCell(claim.says or f"{claim.better} > {claim.than} on {claim.dataset}", claim.id),
        _judgement(ruling.judgement),
        TableCell(ruling.why, ruling.why),
        _judgement(people.judgement if people is not None else "not run", people),
        claimed,
        _measured(here, ruling.why, link),
        _measured(people, ruling.why, link),
        _single_runs(here, ruling.why, link),
        TableCell(ruling.preset or NOTHING, ruling.preset or None),
        TableCell(claim.source, claim.source, kind="quiet"),
    )


def _scoped(ruling: Ruling, scope: Scope) -> ScopedJudgement | None:
    return None if ruling.scopes is None else ruling.scopes[scope]


def _judgement(judgement: str, scoped: ScopedJudgement | None = None) -> TableCell:
    note = scoped.why if scoped is not None else ""
    return TableCell(judgement, judgement, note=note, kind=_KINDS.get(judgement, "unknown"))


def _measured(scoped: ScopedJudgement | None, why: str, link: str) -> TableCell:
    if scoped is None:
        return TableCell(NOTHING, None, note=why, kind="missing")
    value, (low, high) = scoped.estimate.value, scoped.estimate.interval(0.1)
    return TableCell(f"{signed(value, 2)} [{signed(low, 2)}, {signed(high, 2)}]", value, link)


def _single_runs(scoped: ScopedJudgement | None, why: str, link: str) -> TableCell:
    if scoped is None:
        return TableCell(NOTHING, None, note=why, kind="missing")
    runs = scoped.runs
    return TableCell(f"[{signed(runs.low, 2)}, {signed(runs.high, 2)}]", runs.low, link)
