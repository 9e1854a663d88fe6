"""`verdicts.csv`: every comparison with the reference that a report makes, one row each, as numbers."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import get_args

from reports.comparison import ComparisonGroup
from reports.statistics import Scope

VERDICT_COLUMNS = (
    *("dataset", "target", "direction", "metric", "scope", "family", "one", "other", "value", "low", "high"),
    *("se", "df", "p", "p_holm", "p_tost", "verdict", "seeds", "people", "look"),
)


def verdict_rows(groups: Sequence[ComparisonGroup]) -> list[dict[str, object]]:
    """A row for each method, metric and scope of every group.

    R1 for new people, trained and tested on the same dataset, is `primary`; everything else is `exploratory`.
    `p_holm` is corrected within the group, metric and scope, as in the tables; `p_tost` is not corrected.
    `look` is empty: nothing records how often a study was looked at.
    """
    rows = []
    for group in groups:
        evaluation = group.evaluation
        for scope in get_args(Scope):
            for (_, metric), item in group.judged(scope).items():
                first = metric == "R1" and evaluation.same_dataset and scope == "people"
                numbers = {
                    name: getattr(item, name)
                    for name in ("value", "low", "high", "se", "df", "p", "p_holm", "p_tost")
                }
                rows.append(
                    {
                        "dataset": evaluation.source,
                        "target": evaluation.target,
                        "direction": evaluation.direction,
                        "metric": metric,
                        "scope": scope,
                        "family": "primary" if first else "exploratory",
                        "one": item.one,
                        "other": item.other,
                        **{name: f"{number:.10g}" for name, number in numbers.items()},
                        "verdict": item.verdict,
                        "seeds": item.estimate.seeds,
                        "people": group.people,
                        "look": "",
                    }
                )
    return rows


def verdicts_csv(groups: Sequence[ComparisonGroup]) -> str:
    """The table as text."""
    text = io.StringIO()
    writer = csv.DictWriter(text, VERDICT_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(verdict_rows(groups))
    return text.getvalue()
