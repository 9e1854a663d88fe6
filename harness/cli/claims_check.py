"""What `check` says of claims and looks: mistakes in the file, which claims can be decided, planned looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any

from harness.machine.words import plural
from harness.study.study import Study

if TYPE_CHECKING:
    from reports.claim_files import Claim
    from reports.claim_rules import ClaimTest
    from reports.comparison import ComparisonGroup
    from reports.power import Components, Design


@dataclass(frozen=True)
class KnownVariances:
    """What runs on a dataset are expected to vary by: a design, and the runs that measured it, if any."""

    design: Design
    variances: str
    group: ComparisonGroup | None = None


@dataclass(frozen=True)
class ClaimOutlook:
    """Whether a claim that is true would be reproduced on this benchmark in four studies of five.

    `needed` seeds do that; None where no number of seeds does, or where the study does not test the claim.
    """

    id: str
    seeds: int
    needed: int | None
    note: str = ""
    """Why it cannot be decided at all."""
    assumed: float | None = None
    """The true difference in points that is assumed where no size is claimed: the margin."""

    @property
    def decidable(self) -> bool:
        """Whether the study has the seeds."""
        return self.needed is not None and self.seeds >= self.needed


def claims_problems(study: Study) -> list[str]:
    """A mistake in the claims would otherwise show only when everything has been trained."""
    if study.claims is None:
        return []
    from reports.claim_files import ClaimsError, load_claims

    try:
        load_claims(study.claims)
    except ClaimsError as error:
        return error.lines
    return []


def claim_outlooks(study: Study, known: Mapping[str, KnownVariances]) -> list[ClaimOutlook]:
    """Every claim of the study with the seeds it needs, by the variances of its dataset."""
    if study.claims is None:
        return []
    from reports.claim_files import load_claims
    from reports.claim_rules import ClaimTest, needs_direction
    from reports.looks import planned_level

    claims = load_claims(study.claims)
    tested = [claim for claim in claims if not _untested(study, claim)]
    directions = max(1, sum(needs_direction(claim.size, claim.margin) for claim in tested))
    sized = max(1, sum(claim.size is not None for claim in tested))
    level = planned_level(len(study.looks))
    return [
        _outlook(study, claim, known, ClaimTest(claim.size, claim.margin, directions, sized, level))
        for claim in claims
    ]


def _untested(study: Study, claim: Claim) -> str:
    """Why the study says nothing about a claim; empty where it does."""
    absent = [name for name in (claim.better, claim.than) if name not in study.methods]
    if absent:
        return f"the study does not train {' or '.join(absent)}"
    if claim.dataset not in study.datasets:
        return f"the study does not train on {claim.dataset}"
    if claim.target not in ("", claim.dataset, *study.targets):
        return f"the study does not test on {claim.target}"
    if claim.preset not in ("", study.preset):
        return f"the claim is about the preset {claim.preset}"
    return ""


def _outlook(
    study: Study, claim: Claim, known: Mapping[str, KnownVariances], test: ClaimTest
) -> ClaimOutlook:
    from reports.claim_rules import seeds_needed

    seeds, why = len(study.seeds), _untested(study, claim)
    if why:
        return ClaimOutlook(claim.id, seeds, None, why)
    variances = known.get(claim.dataset)
    if variances is None:
        return ClaimOutlook(claim.id, seeds, None, f"{claim.dataset} has no test captions")
    people = variances.design.people
    trained = sum(study.plan(name).entry.trains for name in (claim.better, claim.than))
    needed = [seeds_needed(parts, people, test) for parts in _components(variances, trained)]
    counts = [count for count in needed if count is not None]
    if len(counts) <= len(needed) / 2:
        return ClaimOutlook(claim.id, seeds, None, "no number of seeds decides it")
    return ClaimOutlook(
        claim.id, seeds, int(median(counts)), assumed=test.margin if test.size is None else None
    )


def _components(known: KnownVariances, trained: int) -> list[Components]:
    """The variances of every comparison that measured some, in a block of the study's own methods.

    Args:
        known: what runs on the dataset vary by.
        trained: how many of the two methods that are compared train; the others are the same for every seed.
    """
    from reports.power import assumed, beside_untrained, measured, measured_beside_untrained

    methods = known.design.methods
    if known.group is None:
        parts = [assumed(known.design)]
    elif trained == 1 and (beside := measured_beside_untrained(known.group)):
        return [replace(each, methods=methods) for each in beside]
    else:
        parts = [replace(each, methods=methods) for _, each in measured(known.group)]
    if trained == 0:
        return [replace(each, run=0.0, seed=0.0) for each in parts]
    return [beside_untrained(each) for each in parts] if trained == 1 else parts


def outlook_lines(claims: Sequence[ClaimOutlook]) -> Iterator[str]:
    """How many claims can be decided, then a line for each that cannot."""
    if not claims:
        return
    seeds = claims[0].seeds
    count = sum(claim.decidable for claim in claims)
    yield (
        f"claims: {count} of {len(claims)} can be decided on this benchmark with {plural(seeds, 'seed')}, "
        "which means: if it is true, at least four studies of five reproduce it (by the variances of R1 "
        "where it is trained)"
    )
    if any(claim.assumed is not None for claim in claims):
        yield (
            "claims: where no size is claimed, the true difference is assumed to be no larger than the "
            "margin; a larger one needs fewer seeds"
        )
    for claim in claims:
        if claim.note:
            yield f"claims: {claim.id}: {claim.note}"
        elif not claim.decidable:
            size = "" if claim.assumed is None else f" for a true difference of {claim.assumed:g} points"
            yield f"claims: {claim.id}: needs {plural(claim.needed or 0, 'seed')}{size}"


def looks_of(study: Study) -> dict[str, Any] | None:
    """The planned looks at the study with the level of each; None where none are planned."""
    if not study.looks:
        return None
    from reports.looks import planned_level, real_level

    level = planned_level(len(study.looks))
    return {"seeds": list(study.looks), "level": level, "together": real_level(study.looks, level)}


def look_lines(study: Study) -> Iterator[str]:
    """The planned looks, in a line."""
    planned = looks_of(study)
    if planned is not None:
        yield (
            f"looks at {', '.join(map(str, planned['seeds']))} seeds, each with the level "
            f"{planned['level']:.4f}; {plural(len(study.seeds), 'seed')} now, more by --seeds"
        )
