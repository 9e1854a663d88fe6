"""The ledger of claims: which runs speak of each claim, and what they say of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

from harness.machine.errors import ExitCode
from harness.store.run_files import CLAIMS
from reports.claim_files import Claim, load_claims
from reports.claim_rules import (
    UNDECIDED,
    Judgement,
    judge_claim,
    needs_direction,
)
from reports.comparison import ComparisonGroup
from reports.published import backbone_family
from reports.single_runs import SingleRuns, single_runs
from reports.statistics import Estimate, Finding, Scope, holm
from reports.stored_runs import StoredRuns


@dataclass(frozen=True)
class ScopedJudgement:
    """What a claim comes to in one scope."""

    judgement: Judgement
    why: str
    estimate: Estimate
    runs: SingleRuns
    """Where one more pair of single runs would lie."""


@dataclass(frozen=True)
class Ruling:
    """A claim's judgement under one preset; `preset` is empty when it was not run."""

    claim: Claim
    judgement: Judgement
    """On this benchmark, which is what a published number is about."""
    why: str
    group: ComparisonGroup | None = None
    scopes: Mapping[Scope, ScopedJudgement] | None = None

    @property
    def preset(self) -> str:
        """The preset of the runs that speak of it."""
        return self.group.evaluation.preset if self.group is not None else ""


@dataclass(frozen=True)
class _Evidence:
    """A claim with the group that speaks of it, and its difference in every scope."""

    claim: Claim
    group: ComparisonGroup
    findings: Mapping[Scope, Finding]


def rulings(stored_runs: StoredRuns, groups: Sequence[ComparisonGroup]) -> list[Ruling]:
    """Every claim of the runs, judged once for each preset it was run under, corrected over the ledger."""
    listed = [entry for claim in _claims(stored_runs) for entry in _evidence(groups, claim)]
    return _judged(listed)


def _claims(stored_runs: StoredRuns) -> list[Claim]:
    """The claims of the runs, each once. Different claims of one id get the name of their run's folder."""
    run_of: dict[Claim, str] = {}
    for run in stored_runs.runs:
        if (run.path / CLAIMS).is_file():
            for claim in load_claims(run.path / CLAIMS):
                run_of.setdefault(claim, run.path.name)
    named = Counter(claim.id for claim in run_of)
    return [
        replace(claim, id=f"{claim.id} [{run}]") if named[claim.id] > 1 else claim
        for claim, run in run_of.items()
    ]


def _evidence(groups: Sequence[ComparisonGroup], claim: Claim) -> list[_Evidence | Ruling]:
    about = [
        group
        for group in groups
        if group.evaluation.source == claim.dataset
        and group.evaluation.target == (claim.target or claim.dataset)
        and claim.preset in ("", group.evaluation.preset)
    ]
    entries = [_of_group(group, claim) for group in about]
    spoken = [entry for entry in entries if isinstance(entry, _Evidence)]
    if spoken:
        return [*spoken]
    return entries[:1] or [Ruling(claim, "not run", f"nothing was trained on {claim.dataset} and finished")]


def _of_group(group: ComparisonGroup, claim: Claim) -> _Evidence | Ruling:
    absent = [name for name in (claim.better, claim.than) if name not in group.methods]
    if absent:
        return Ruling(claim, "not run", f"no finished run of {' or '.join(absent)}")
    backbones = {
        backbone_family(str(cell.settings.get("backbone", "")))
        for name in (claim.better, claim.than)
        for cell in group.methods[name].cells
    }
    if claim.backbone and backbones != {claim.backbone}:
        why = f"ran with {', '.join(sorted(backbones))}, the claim is about {claim.backbone}"
        return Ruling(claim, "not run", why)
    weights = [{claim.better: 1.0, claim.than: -1.0}]
    findings = {
        scope: group.find(weights, claim.metric, margin=claim.margin, scope=scope)[0]
        for scope in get_args(Scope)
    }
    return _Evidence(claim, group, findings)


def _judged(listed: Sequence[_Evidence | Ruling]) -> list[Ruling]:
    """Judge all claims together: directions by Holm's p, single runs by a level divided by their number."""
    evidence = [entry for entry in listed if isinstance(entry, _Evidence)]
    directions = [each for each in evidence if needs_direction(each.claim.size, each.claim.margin)]
    sized = sum(each.claim.size is not None for each in evidence)
    corrected = {
        scope: dict(
            zip(map(id, directions), holm([each.findings[scope].p for each in directions]), strict=True)
        )
        for scope in get_args(Scope)
    }
    return [
        entry
        if isinstance(entry, Ruling)
        else _rule(entry, {scope: corrected[scope].get(id(entry), 1.0) for scope in corrected}, sized)
        for entry in listed
    ]


def _rule(evidence: _Evidence, p: Mapping[Scope, float], sized: int) -> Ruling:
    claim, alpha = evidence.claim, evidence.group.options.verdict_level
    scopes = {}
    for scope, finding in evidence.findings.items():
        runs = single_runs(finding.estimate, evidence.findings["benchmark"].estimate, alpha / max(1, sized))
        judgement, why = judge_claim(
            finding.estimate, claim.size, claim.margin, p=p[scope], runs=runs, alpha=alpha
        )
        if finding.obstacle:
            judgement, why = "underpowered", finding.note
        scopes[scope] = ScopedJudgement(judgement, why, finding.estimate, runs)
    first = scopes["benchmark"]
    return Ruling(claim, first.judgement, first.why, evidence.group, scopes)


def exit_code(judgements: Collection[Judgement], *, allow_undecided: bool = False) -> ExitCode:
    """What `report --check` ends with: 0 only when every claim was decided and none contradicted.

    `allow_undecided` accepts a claim that its runs cannot decide, and none that was not run.
    """
    if "not reproduced" in judgements:
        return ExitCode.DIFFERS
    refused = UNDECIDED - {"underpowered"} if allow_undecided else UNDECIDED
    return ExitCode.UNDECIDED if not judgements or refused & set(judgements) else ExitCode.DONE


def tally(ruled: Sequence[Ruling]) -> str:
    """How many claims were decided and how, in a sentence; empty without claims."""
    if not ruled:
        return ""
    count = Counter(ruling.judgement for ruling in ruled)
    undecided = sum(count[judgement] for judgement in UNDECIDED)
    rare: tuple[Judgement, ...] = (
        "real but smaller than the margin",
        "smaller than claimed",
        "larger than claimed",
    )
    parts = [
        f"{count['reproduced']} reproduced",
        *(f"{count[judgement]} {judgement}" for judgement in rare if count[judgement]),
        f"{count['not reproduced']} contradicted",
        f"{count['underpowered']} undecided",
        f"{count['not run']} not run",
    ]
    return f"Claims: decided {len(ruled) - undecided} of {len(ruled)} on this benchmark ({', '.join(parts)})."
