"""What a terminal shows of a running search: the trials that run, the best, and how the latest ended."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.machine.progress import Progress
from harness.search.database import StorageError
from harness.search.plan import SearchPlan
from harness.search.search_json import write_search_json
from harness.search.search_loop import SearchProgress
from harness.search.trial_queue import trial_queue
from harness.search.trial_record import trial_record
from harness.search.trial_run import TrialEnd, TrialOutcome
from harness.search.winner import winning_trial

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial
    from rich.table import Table

ROWS = 10
"""Trials of a search that are shown, besides the best: the running ones, then the latest."""

RECORD_SECONDS = 10.0
"""Between two writings of `search.json` while trials end."""

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
        best = winning_trial(tried)
        for trial in _shown(tried, best):
            record = trial_record(trial)
            label = [_label(search)] if len(searches) > 1 else []
            style = "green" if best is not None and trial.number == best.number else _STYLES[record["state"]]
            table.add_row(*_row(record, label, names, search.epochs), style=style)
    return table


def _label(search: SearchPlan) -> str:
    return f"{search.about.get('method')} {search.about.get('dataset')}"


def _title(trials: Sequence[Sequence[FrozenTrial]]) -> str:
    states = [trial_record(trial)["state"] for tried in trials for trial in tried]
    counted = ", ".join(f"{states.count(state)} {state}" for state in _STYLES if state in states)
    return f"trials: {counted or 'none yet'}"


def _shown(trials: Sequence[FrozenTrial], best: FrozenTrial | None) -> list[FrozenTrial]:
    running = [trial for trial in trials if trial.state.name == "RUNNING"][:ROWS]
    ended = [trial for trial in trials if trial.state.is_finished()]
    latest = ended[max(0, len(ended) - (ROWS - len(running))) :]
    shown = {trial.number: trial for trial in (*([best] if best else []), *latest, *running)}
    return [shown[number] for number in sorted(shown)]


def _row(record: dict[str, Any], label: list[str], names: Sequence[str], epochs: int) -> list[str]:
    scores = [score for _, score in record["intermediate"]]
    score = record["value"] if record["value"] is not None else max(scores, default=None)
    state = record["state"] if record["reason"] is None else f"failed ({record['reason']})"
    return [
        str(record["number"]),
        *label,
        state,
        *(in_short(record["params"].get(name, "")) for name in names),
        "" if score is None else f"{score:.2f}",
        f"{record['epochs']}/{epochs}",
        f"{record['seconds']:.0f}",
    ]


def in_short(value: object) -> str:
    """A setting as text, with four digits of a number."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


class SearchDisplay:
    """Shows how each trial ended, and keeps `search.json` up to date."""

    def __init__(self, searches: Sequence[SearchPlan], out: Path, progress: Progress) -> None:
        self._searches, self._out, self._progress = searches, out, progress
        self._written = 0.0
        done = sum(trial_queue(search).budget().finished for search in searches)
        progress.begin_study(sum(search.trials for search in searches), done, "trials")
        self.draw()

    def __call__(self, progress: Sequence[SearchProgress], outcome: TrialOutcome | None) -> None:
        """Show how a trial ended, or that time has passed."""
        if outcome is not None and outcome.end not in (TrialEnd.NOTHING, TrialEnd.LOST):
            name, described = f"{outcome.search} trial {outcome.number}", self._described(outcome)
            if outcome.end in (
                TrialEnd.FAILED,
                TrialEnd.PLUGIN_FAILED,
            ):  # it is replaced by another, so it does not count as progress
                self._progress.say(f"{name}: {described}")
            else:
                self._progress.end_cell(name, described)
        if outcome is not None and time.monotonic() - self._written > RECORD_SECONDS:
            self.write()
        self.draw()

    def draw(self) -> None:
        """Show the trials as they are, on a terminal and while the database answers."""
        if self._progress.shows_tables:
            with suppress(StorageError):
                trials = [trial_queue(search).trials() for search in self._searches]
                self._progress.show(trial_table(self._searches, trials))

    def _described(self, outcome: TrialOutcome) -> str:
        search = next(search for search in self._searches if search.name == outcome.search)
        trials = trial_queue(search).trials()
        drawn = trials[outcome.number].params
        params = " ".join(f"{name}={in_short(value)}" for name, value in drawn.items())
        best = winning_trial(trials)
        so_far = f", best {best.value:.2f} (trial {best.number})" if best is not None else ""
        return f"{outcome.end.value} {outcome.detail}  {params}{so_far}"

    def write(self) -> None:
        """Write `search.json` now."""
        write_search_json(self._searches, self._out)
        self._written = time.monotonic()
