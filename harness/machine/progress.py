"""What a person sees while a study runs: one live display on a terminal, plain lines in a log.

The process that runs the study owns the display. Workers send what they report to it (`RelayedProgress`) and
write nothing themselves.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TextIO

from harness.machine.forecast import Forecast, about

if TYPE_CHECKING:
    from rich.console import RenderableType

LOG_SECONDS = 15.0
"""Between two lines about steps in a log."""
RELAY_SECONDS = 0.5
"""Between two reports of steps that a worker sends."""

Event = tuple[str, tuple[Any, ...]]
"""A call of a method of `Progress`: its name and arguments."""


class Progress:
    """Reports of a running study; this one says nothing.

    `on_step` and `on_epoch` are what the training loop calls; the others are called around it.
    """

    shows_tables = False
    """Whether `show` has any effect; making a table of thousands of trials takes a while."""

    def begin_study(self, cells: int, finished: int, what: str = "cells") -> None:
        """So many cells (or trials of a search) in all, so many of them finished before."""

    def begin_cell(self, name: str, epochs: int) -> None:
        """A cell starts, or resumes."""

    def on_step(
        self, epoch: int, step: int, steps: int, losses: Mapping[str, Any], pairs_per_second: float
    ) -> None:
        """`step` of the `steps` of `epoch` (both from 1) are done."""

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        """An epoch is complete: its line of the history."""

    def working(self, what: str, done: int, total: int) -> None:
        """Work beside training: a cache build, an evaluation."""

    def end_cell(self, name: str, outcome: str) -> None:
        """A cell ended: `done`, or `failed (oom): …`."""

    def idle(self) -> None:
        """Whoever reports here runs nothing now."""

    def show(self, table: RenderableType | None) -> None:
        """A table that stands above the bars until the next one, or None, takes its place."""

    def say(self, text: str) -> None:
        """A sentence for the log."""

    def close(self) -> None:
        """Leave the terminal as it was."""

    def worker(self, slot: int) -> Progress:
        """Where the reports of a worker go."""
        return self

    def relay(self, slot: int, event: Event) -> None:
        """Show what a worker reported."""
        name, arguments = event
        getattr(self.worker(slot), name)(*arguments)


class RelayedProgress(Progress):
    """A worker's reports, sent to the process that owns the display."""

    def __init__(self, send: Callable[[Event], None], seconds: float = RELAY_SECONDS) -> None:
        self._send = send
        self._seconds = seconds
        self._sent = -seconds

    def begin_cell(self, name: str, epochs: int) -> None:
        """Send it."""
        self._send(("begin_cell", (name, epochs)))

    def on_step(
        self, epoch: int, step: int, steps: int, losses: Mapping[str, Any], pairs_per_second: float
    ) -> None:
        """Send a step now and then."""
        if time.monotonic() - self._sent >= self._seconds:
            self._sent = time.monotonic()
            numbers = {name: float(value) for name, value in losses.items()}
            self._send(("on_step", (epoch, step, steps, numbers, float(pairs_per_second))))

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        """Send it."""
        self._send(("on_epoch", (dict(record),)))

    def working(self, what: str, done: int, total: int) -> None:
        """Send it now and then, and when it is done."""
        if done >= total or time.monotonic() - self._sent >= self._seconds:
            self._sent = time.monotonic()
            self._send(("working", (what, done, total)))

    def end_cell(self, name: str, outcome: str) -> None:
        """How a cell ended is for the parent to say, who counts them; here it runs no more."""
        self._send(("idle", ()))

    def say(self, text: str) -> None:
        """Send it."""
        self._send(("say", (text,)))


class LogProgress(Progress):
    """Plain lines, each complete and readable on its own."""

    def __init__(self, stream: TextIO | None = None, seconds: float = LOG_SECONDS) -> None:
        self._stream = stream or sys.stderr
        self._seconds = seconds
        self._spoke = time.monotonic()
        self._cell = ""
        self._epochs = 0
        self._count = Count()
        self._lock = threading.RLock()
        self._workers: dict[int, LogProgress] = {}

    def worker(self, slot: int) -> Progress:
        """Lines about a worker's cell, in this log; how many are left is known here."""
        with self._lock:
            if slot not in self._workers:
                worker = WorkerProgress(self._stream, self._seconds)
                worker._lock, worker._count = self._lock, self._count
                self._workers[slot] = worker
            return self._workers[slot]

    def say(self, text: str) -> None:
        """Write one line now."""
        with self._lock:
            self._stream.write(f"{text}\n")
            self._stream.flush()
        self._spoke = time.monotonic()

    def begin_study(self, cells: int, finished: int, what: str = "cells") -> None:
        """Say how much there is to do."""
        self._count.what = what
        self._count.forecast.cells, self._count.forecast.finished = cells, finished
        self.say(f"{cells} {what}, {finished} finished before")

    def begin_cell(self, name: str, epochs: int) -> None:
        """Say which cell starts."""
        self._cell, self._epochs = name, epochs
        self._count.forecast.begin(self, time.monotonic())
        self.say(f"{name}: starts")

    def on_step(
        self, epoch: int, step: int, steps: int, losses: Mapping[str, Any], pairs_per_second: float
    ) -> None:
        """A line now and then, so that a long epoch is seen to move."""
        if self._epochs:
            self._count.forecast.moved(self, (epoch - 1 + step / steps) / self._epochs)
        if time.monotonic() - self._spoke >= self._seconds:
            shown = f"epoch {epoch}/{self._epochs} step {step}/{steps}"
            self.say(f"{self._cell}: {shown} {pairs_per_second:.0f} pairs/s {losses_text(losses)}")

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        """One line per epoch."""
        self.say(f"{self._cell}: {_epoch_line(record, self._epochs)}")

    def working(self, what: str, done: int, total: int) -> None:
        """A line at the end, and now and then before."""
        if done >= total or time.monotonic() - self._spoke >= self._seconds:
            self.say(f"{what}: {done:,} of {total:,}")

    def idle(self) -> None:
        """Nothing runs here."""
        self._count.forecast.end(self, time.monotonic())

    def end_cell(self, name: str, outcome: str) -> None:
        """Say how it ended, what is left and about how long that takes."""
        self.idle()
        self._count.ended()
        left = self._count.forecast.left(time.monotonic())
        time_left = f", about {about(left)} left" if left is not None and left >= 1 else ""
        self.say(f"{name}: {outcome} ({self._count.shown()}{time_left})")


class WorkerProgress(LogProgress):
    """A worker's lines; how a cell ended is for its parent to say, who counts them."""

    def end_cell(self, name: str, outcome: str) -> None:
        """Nothing."""


class Count:
    """Cells in all and finished, and the forecast that rests on them."""

    def __init__(self, cells: int = 0, finished: int = 0, what: str = "cells") -> None:
        self.what = what
        self.forecast = Forecast(cells, finished)

    def ended(self) -> None:
        """One more has ended."""
        self.forecast.count()

    def shown(self) -> str:
        """As in `3 of 12 cells`."""
        return f"{self.forecast.finished} of {self.forecast.cells} {self.what}"


def losses_text(losses: Mapping[str, Any]) -> str:
    """Losses by name, with three digits."""
    return " ".join(f"{name} {float(value):.3f}" for name, value in losses.items())


def _epoch_line(record: Mapping[str, Any], epochs: int) -> str:
    parts = [f"epoch {record.get('epoch')}/{epochs}"]
    if record.get("pairs_per_second"):
        parts.append(f"{record['pairs_per_second']:.0f} pairs/s")
    parts.append(losses_text(record.get("losses") or {}))
    score = record.get("val") or {}
    if "R1" in score:
        parts.append(f"val R1 {score['R1']:.2f}")
    if record.get("seconds"):
        parts.append(f"{record['seconds']:.1f} s")
    return " ".join(part for part in parts if part)
