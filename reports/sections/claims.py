"""The claims ledger: what a paper says, judged on these runs by an equivalence test.

A claim names two methods, a dataset and, where it has been read, a size. Its interval is the 90 % one, for
two one-sided tests at 5 % (Schuirmann 1987). *Reproduced*: the interval lies within the claimed size ±
margin. *Not reproduced*: it lies outside. *Underpowered*: it does neither, or there is a single seed. A claim
without a size is reproduced by a significant difference in its direction, and not reproduced by an interval
that lies within ±margin of zero or on the other side. Each preset is judged on its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from harness.machine.errors import ExitCode, HarnessError
from harness.store.run_files import CLAIMS as FILE
from reports.comparison import METRICS, ComparisonGroup
from reports.context import ReportContext
from reports.document import Column, Prose, Section, Table, TableCell
from reports.formatting import NOTHING, number, signed
from reports.published import backbone_family
from reports.statistics import ALPHA, MARGIN, Estimate

Judgement = Literal["reproduced", "not reproduced", "underpowered", "not run"]
_KINDS = {"reproduced": "yes", "not reproduced": "no", "underpowered": "unknown", "not run": "quiet"}
_KEYS = {
    "id",
    "says",
    "better",
    "than",
    "dataset",
    "target",
    "backbone",
    "metric",
    "size",
    "source",
    "preset",
}
_UNDECIDED = frozenset({"underpowered", "not run"})
_NEEDED = ("id", "better", "than", "dataset")


class ClaimsError(HarnessError):
    """A file of claims that cannot be used: a line for every mistake, with its place."""


@dataclass(frozen=True)
class Claim:
    """One claim: `better` scores higher than `than`, by `size` points where that is known."""

    id: str
    better: str
    than: str
    dataset: str
    says: str = ""
    target: str = ""
    backbone: str = ""
    preset: str = ""
    metric: str = "R1"
    size: float | None = None
    source: str = ""
    margin: float = MARGIN


@dataclass(frozen=True)
class Ruling:
    """A claim's judgement under one preset; `preset` is empty when it was not run."""

    claim: Claim
    judgement: Judgement
    why: str
    preset: str = ""
    estimate: Estimate | None = None
    link: str = ""


def load_claims(path: Path) -> list[Claim]:
    """Read a file of claims. Raises ClaimsError with every mistake."""
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ClaimsError([f"{path}: {' '.join(str(error).split())}"]) from error
    entries = values.get("claims") if isinstance(values, Mapping) else None
    if not isinstance(entries, list):
        raise ClaimsError([f"{path}: needs a list under the key 'claims'"])
    margin = values.get("margin", MARGIN)
    errors = [f"{path}: unknown key {key!r}" for key in values if key not in ("margin", "claims")]
    if not _is_finite(margin) or margin <= 0:
        errors.append(f"{path}: margin: must be more than 0, got {margin!r}")
    errors += [
        f"{path}: claim {place}: {text}"
        for place, entry in enumerate(entries, 1)
        for text in _mistakes(entry)
    ]
    ids = Counter(
        entry["id"] for entry in entries if isinstance(entry, Mapping) and _is_name(entry.get("id"))
    )
    errors += [f"{path}: {count} claims are called {name!r}" for name, count in ids.items() if count > 1]
    if errors:
        raise ClaimsError(errors)
    return [Claim(**entry, margin=float(margin)) for entry in entries]


def _mistakes(entry: Any) -> Iterable[str]:
    if not isinstance(entry, Mapping):
        yield "must be a mapping"
        return
    yield from (f"unknown key {key!r}" for key in entry if key not in _KEYS)
    yield from (f"{key} is missing" for key in _NEEDED if entry.get(key) in (None, ""))
    for key in sorted(_KEYS - {"size", "metric"}):
        if entry.get(key) not in (None, "") and not _is_name(entry[key]):
            yield f"{key}: must be text, got {entry[key]!r}"
    if _is_name(entry.get("better")) and entry["better"] == entry.get("than"):
        yield "better and than name the same method"
    size, metric = entry.get("size"), entry.get("metric", "R1")
    if size is not None and not _is_finite(size):
        yield f"size: must be a number of points or null, got {size!r}"
    if metric not in METRICS:
        yield f"metric: must be one of {', '.join(METRICS)}, got {metric!r}"


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and bool(np.isfinite(value))


def rulings(context: ReportContext) -> list[Ruling]:
    """Every claim of the runs, judged once for each preset it was run under."""
    claims = {
        claim.id: claim
        for run in context.stored_runs.runs
        if (run.path / FILE).is_file()
        for claim in load_claims(run.path / FILE)
    }
    return [ruling for claim in claims.values() for ruling in _rule(context, claim)]


def _rule(context: ReportContext, claim: Claim) -> list[Ruling]:
    groups = [
        group
        for group in context.groups
        if group.evaluation.source == claim.dataset
        and group.evaluation.target == (claim.target or claim.dataset)
        and claim.preset in ("", group.evaluation.preset)
    ]
    ruled = [_judged(context, group, claim) for group in groups]
    found = [ruling for ruling in ruled if ruling.judgement != "not run"]
    if found:
        return found
    return ruled[:1] or [Ruling(claim, "not run", f"nothing was trained on {claim.dataset} and finished")]


def _judged(context: ReportContext, group: ComparisonGroup, claim: Claim) -> Ruling:
    absent = [name for name in (claim.better, claim.than) if name not in group.methods]
    if absent:
        return Ruling(claim, "not run", f"no finished run of {' or '.join(absent)}")
    backbones = {
        backbone_family(str(cell.settings.get("backbone", "")))
        for name in (claim.better, claim.than)
        for cell in group.methods[name].cells
    }
    if claim.backbone and backbones != {claim.backbone}:
        return Ruling(
            claim, "not run", f"ran with {', '.join(sorted(backbones))}, the claim is about {claim.backbone}"
        )
    estimate = group.contrast({claim.better: 1.0, claim.than: -1.0}, claim.metric)
    judgement, why = judge_claim(estimate, claim.size, claim.margin)
    return Ruling(claim, judgement, why, group.evaluation.preset, estimate, context.link(group, claim.better))


def judge_claim(estimate: Estimate, size: float | None, margin: float) -> tuple[Judgement, str]:
    """Judge a measured difference in points against a claimed `size` (None: a direction only)."""
    if estimate.seeds < 2 or not np.isfinite(estimate.se):
        return "underpowered", "a single seed cannot separate method from luck"
    low, high = estimate.interval(2 * ALPHA)
    if size is None:
        return _judge_direction(estimate, low, high, margin)
    if size - margin <= low and high <= size + margin:
        return "reproduced", f"the 90 % interval lies within {number(size, 2)} ± {margin:g}"
    if high < size - margin:
        return "not reproduced", "smaller than claimed"
    if low > size + margin:
        return "not reproduced", "larger than claimed"
    return (
        "underpowered",
        f"the 90 % interval is too wide to tell {number(size, 2)} ± {margin:g} from something else",
    )


def _judge_direction(estimate: Estimate, low: float, high: float, margin: float) -> tuple[Judgement, str]:
    if estimate.p < ALPHA and estimate.value > 0 and not high <= margin:
        return "reproduced", "significantly better; the claimed size is unread"
    if high <= margin:
        return "not reproduced", f"no better by more than {margin:g} points; the claimed size is unread"
    return "underpowered", "neither better nor equal can be shown; the claimed size is unread"


def exit_code(judgements: Collection[Judgement], *, allow_undecided: bool = False) -> ExitCode:
    """What `report --check` ends with: 0 only when every claim was decided and none contradicted."""
    if "not reproduced" in judgements:
        return ExitCode.DIFFERS
    undecided = not judgements or bool(_UNDECIDED & set(judgements))
    return ExitCode.UNDECIDED if undecided and not allow_undecided else ExitCode.DONE


def tally(ruled: Sequence[Ruling]) -> str:
    """How many claims were decided and how, in a sentence; empty without claims."""
    if not ruled:
        return ""
    count = Counter(ruling.judgement for ruling in ruled)
    decided = count["reproduced"] + count["not reproduced"]
    parts = [
        f"{count['reproduced']} reproduced",
        f"{count['not reproduced']} contradicted",
        f"{count['underpowered']} undecided",
        f"{count['not run']} not run",
    ]
    return f"Claims: {decided} of {len(ruled)} decided ({', '.join(parts)})."


def section(context: ReportContext) -> Section | None:
    """The ledger; None when no run states claims."""
    ruled = rulings(context)
    if not ruled:
        return None
    columns = (
        Column("Claim", "text"),
        Column("Judgement", "left"),
        Column("Why", "text"),
        Column("Claimed"),
        Column("Measured", help="with the 90 % interval of two one-sided tests"),
        Column("Preset", "left"),
        Column("Source", "text"),
    )
    table = Table("claims", "Claims and what these runs say of them", columns, tuple(map(_row, ruled)))
    text = (
        "Judged by an equivalence test: reproduced when the 90 % interval of the measured difference lies "
        "within the "
        "claimed size ± the margin, not reproduced when it lies outside, underpowered when it does neither. "
        "Claims "
        "whose size has not been read are judged by direction alone. Presets are judged apart."
    )
    return Section("claims", "Claims", (Prose(text), table))


def short_tables(context: ReportContext) -> list[Table]:
    """The ledger for a terminal: claims by their ids, without reasons and sources; nothing without claims."""
    ruled = rulings(context)
    columns = tuple(Column(name, "left") for name in ("Claim", "Judgement", "Claimed", "Measured", "Preset"))
    rows = []
    for ruling in ruled:
        _, judgement, _, claimed, measured, preset, _ = _row(ruling)
        rows.append((TableCell(ruling.claim.id), judgement, claimed, measured, preset))
    return [Table("claims-short", "Claims", columns, tuple(rows))] if rows else []


def _row(ruling: Ruling) -> tuple[TableCell, ...]:
    claim, estimate = ruling.claim, ruling.estimate
    measured = TableCell(NOTHING, None, note=ruling.why, kind="missing")
    if estimate is not None:
        low, high = estimate.interval(2 * ALPHA)
        measured = TableCell(
            f"{signed(estimate.value, 2)} [{signed(low, 2)}, {signed(high, 2)}]", estimate.value, ruling.link
        )
    claimed = TableCell("unread", None, kind="quiet")
    if claim.size is not None:
        claimed = TableCell(signed(claim.size, 2), claim.size)
    return (
        TableCell(claim.says or f"{claim.better} > {claim.than} on {claim.dataset}", claim.id),
        TableCell(ruling.judgement, ruling.judgement, kind=_KINDS[ruling.judgement]),
        TableCell(ruling.why, ruling.why),
        claimed,
        measured,
        TableCell(ruling.preset or NOTHING, ruling.preset or None),
        TableCell(claim.source, claim.source, kind="quiet"),
    )
