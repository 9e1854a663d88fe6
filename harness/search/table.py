"""The trials of a running search as a table for a terminal: what runs, what is best, how the last ended."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.search import record
from harness.search.trials import SearchPlan

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial
    from rich.table import Table

ROWS = 10
"""Trials of a search that are shown, besides the best: the running ones, then the latest."""

_STYLES = {"complete": "", "running": "cyan", "pruned": "dim", "failed": "red", "queued": "dim"}


def trial_table(searches: Sequence[SearchPlan], trials: Sequence[Sequence[FrozenTrial]]) -> Table:
    """One row per trial, the best of each search in green; `trials` are those of each search, by number."""
    from rich.table import Table

    names = list(dict.fromkeys(name for search in searches for name in search.space))
    table = Table(box=None, pad_edge=False, header_style="bold", title_justify="left", title_style="")
    table.title = _title(trials)
    table.add_column("trial", justify="right")
    if len(searches) > 1:
        table.add_column("search")
    table.add_column("state")
    for name in names:
        table.add_column(name.replace("_", " "), justify="right")
    for heading in (str(searches[0].about.get("metric", "score")), "epoch", "seconds"):
        table.add_column(heading, justify="right")
    for search, tried in zip(searches, trials, strict=True):
        best = record.best(tried)
        for trial in _shown(tried, best):
            one = record.trial_record(trial)
            label = [_label(search)] if len(searches) > 1 else []
            style = "green" if best is not None and trial.number == best.number else _STYLES[one["state"]]
            table.add_row(*_row(one, label, names, search.epochs), style=style)
    return table


def _label(search: SearchPlan) -> str:
    return f"{search.about.get('method')} {search.about.get('dataset')}"


def _title(trials: Sequence[Sequence[FrozenTrial]]) -> str:
    states = [record.trial_record(trial)["state"] for tried in trials for trial in tried]
    counted = ", ".join(f"{states.count(state)} {state}" for state in _STYLES if state in states)
    return f"trials: {counted or 'none yet'}"


def _shown(trials: Sequence[FrozenTrial], best: FrozenTrial | None) -> list[FrozenTrial]:
    running = [trial for trial in trials if trial.state.name == "RUNNING"][:ROWS]
    ended = [trial for trial in trials if trial.state.is_finished()]
    latest = ended[max(0, len(ended) - (ROWS - len(running))) :]
    shown = {trial.number: trial for trial in (*([best] if best else []), *latest, *running)}
    return [shown[number] for number in sorted(shown)]


def _row(one: dict[str, Any], label: list[str], names: Sequence[str], epochs: int) -> list[str]:
    scores = [score for _, score in one["intermediate"]]
    score = one["value"] if one["value"] is not None else max(scores, default=None)
    state = one["state"] if one["reason"] is None else f"failed ({one['reason']})"
    return [
        str(one["number"]),
        *label,
        state,
        *(in_short(one["params"].get(name, "")) for name in names),
        "" if score is None else f"{score:.2f}",
        f"{one['epochs']}/{epochs}",
        f"{one['seconds']:.0f}",
    ]


def in_short(value: object) -> str:
    """A setting as a person reads it: four digits of a number."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
