"""`verdicts.csv`: every comparison with the reference that a report makes, one row each, as numbers.

The verdict itself is decided by `reports.statistics.judge`, that of a claim by `reports.claim_rules`.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from reports.comparison import ComparisonGroup
from reports.families import family_of
from reports.ledger import Ruling
from reports.looks import Looks
from reports.statistics import Scope

_NUMBERS = ("value", "low", "high", "se", "df", "p", "p_holm", "p_tost")
_COUNTS = ("seeds", "people", "look")
VERDICT_COLUMNS = (
    *("dataset", "target", "direction", "metric", "scope", "family", "one", "other"),
    *_NUMBERS,
    "verdict",
    *_COUNTS,
)


def verdict_rows(groups: Sequence[ComparisonGroup], look: int) -> list[dict[str, object]]:
    """A row for each method, metric and scope of every group.

    R1 for new people, trained and tested on the same dataset, is `primary`; everything else is `exploratory`.
    `p_holm` is corrected within metric and scope, that of R1 on the same dataset over all datasets, as in the
    tables; `p_tost` is not corrected. `look` says which look at the growing study this is.
    """
    rows = []
    for group in groups:
        evaluation = group.evaluation
        for scope in get_args(Scope):
            for (_, metric), item in group.judged(scope).items():
                numbers = {name: getattr(item, name) for name in _NUMBERS}
                rows.append(
                    {
                        "dataset": evaluation.source,
                        "target": evaluation.target,
                        "direction": evaluation.direction,
                        "metric": metric,
                        "scope": scope,
                        "family": family_of(group, metric, scope),
                        "one": item.one,
                        "other": item.other,
                        **numbers,
                        "verdict": item.verdict,
                        "seeds": item.estimate.seeds,
                        "people": group.people,
                        "look": look,
                    }
                )
    return rows


def verdicts_csv(groups: Sequence[ComparisonGroup], look: int = 1) -> str:
    """The table as text; what is not known is an empty field."""
    text = io.StringIO()
    writer = csv.DictWriter(text, VERDICT_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in verdict_rows(groups, look):
        known = {name: _known(cell) for name, cell in row.items()}
        writer.writerow(
            {name: f"{cell:.10g}" if isinstance(cell, float) else cell for name, cell in known.items()}
        )
    return text.getvalue()


def read_verdicts(path: Path) -> list[dict[str, object]]:
    """The rows of a `verdicts.csv`: numbers as numbers, names as texts, None for what is not known."""
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: _read(name, text) for name, text in row.items()} for row in csv.DictReader(file)]


def _read(name: str, text: str) -> object:
    if name in _COUNTS:
        return int(text)
    if name in _NUMBERS:
        return float(text) if text else None
    return text


def report_json(
    groups: Sequence[ComparisonGroup], rulings: Sequence[Ruling], looks: Looks
) -> dict[str, object]:
    """What a report says, for programs: comparisons as in `verdicts.csv`, claims, looks; unknown is null."""
    return {
        "comparisons": [
            {name: _known(cell) for name, cell in row.items()} for row in verdict_rows(groups, looks.number)
        ],
        "claims": [_claim(ruling) for ruling in rulings],
        "looks": {
            "number": looks.number,
            "planned": list(looks.planned),
            "taken": list(looks.taken),
            "level": looks.level,
            "real_level": looks.real_level,
        },
    }


def _known(cell: object) -> object:
    return None if isinstance(cell, float) and not math.isfinite(cell) else cell


def _claim(ruling: Ruling) -> dict[str, object]:
    return {
        "id": ruling.claim.id,
        "preset": ruling.preset,
        "size": ruling.claim.size,
        "margin": ruling.claim.margin,
        "judgement": ruling.judgement,
        "why": ruling.why,
        "scopes": {
            scope: {
                "judgement": scoped.judgement,
                "why": scoped.why,
                **{name: _known(getattr(scoped.estimate, name)) for name in ("value", "se", "df")},
                "single_runs": [_known(scoped.runs.low), _known(scoped.runs.high)],
            }
            for scope, scoped in (ruling.scopes or {}).items()
        },
    }
