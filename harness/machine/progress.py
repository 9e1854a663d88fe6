"""What a person sees while a study runs: one live line on a terminal, plain lines in a log."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import TaskID

LOG_SECONDS = 15.0
"""Between two lines about steps in a log."""
DRAW_SECONDS = 0.1


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

    def show(self, table: RenderableType | None) -> None:
        """A table that stands above the bars until the next one, or None, takes its place."""

    def say(self, text: str) -> None:
        """A sentence for the log."""

    def close(self) -> None:
        """Leave the terminal as it was."""


class LogProgress(Progress):
    """Plain lines, each complete and readable on its own."""

    def __init__(self, stream: TextIO | None = None, seconds: float = LOG_SECONDS) -> None:
        self._stream = stream or sys.stderr
        self._seconds = seconds
        self._spoke = time.monotonic()
        self._cell = ""
        self._epochs = 0
        self._count = Count()

    def say(self, text: str) -> None:
        """Write one line now."""
        print(text, file=self._stream, flush=True)
        self._spoke = time.monotonic()

    def begin_study(self, cells: int, finished: int, what: str = "cells") -> None:
        """Say how much there is to do."""
        self._count = Count(cells, finished, what)
        self.say(f"{cells} {what}, {finished} finished before")

    def begin_cell(self, name: str, epochs: int) -> None:
        """Say which cell starts."""
        self._cell, self._epochs = name, epochs
        self.say(f"{name}: starts")

    def on_step(
        self, epoch: int, step: int, steps: int, losses: Mapping[str, Any], pairs_per_second: float
    ) -> None:
        """A line now and then, so that a long epoch is seen to move."""
        if time.monotonic() - self._spoke >= self._seconds:
            shown = f"epoch {epoch}/{self._epochs} step {step}/{steps}"
            self.say(f"{self._cell}: {shown} {pairs_per_second:.0f} pairs/s {_losses(losses)}")

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        """One line per epoch."""
        self.say(f"{self._cell}: {_epoch_line(record, self._epochs)}")

    def working(self, what: str, done: int, total: int) -> None:
        """A line at the end, and now and then before."""
        if done >= total or time.monotonic() - self._spoke >= self._seconds:
            self.say(f"{what}: {done:,} of {total:,}")

    def end_cell(self, name: str, outcome: str) -> None:
        """Say how it ended and what is left."""
        self._count.finished += 1
        self.say(f"{name}: {outcome} ({self._count.shown()})")


class WorkerProgress(LogProgress):
    """A worker's lines; how a cell ended is for its parent to say, who counts them."""

    def end_cell(self, name: str, outcome: str) -> None:
        """Nothing."""


class LiveProgress(Progress):
    """Bars of rich: the study's and the running cell's, with what it loses and what it scores."""

    shows_tables = True

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress

        class Board(RichProgress):
            """Bars with a table above them."""

            table: RenderableType | None = None

            def get_renderables(self) -> Iterable[RenderableType]:
                yield from () if self.table is None else (self.table,)
                yield from super().get_renderables()

        self._bars = Board(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim", markup=False),
            console=Console(stderr=True),
        )
        self._bars.start()
        self._study: TaskID | None = None
        self._cell: TaskID | None = None
        self._side: TaskID | None = None
        self._name, self._epochs, self._score = "", 0, ""
        self._drawn = 0.0

    def say(self, text: str) -> None:
        """Print above the bars; what looks like markup in it is text."""
        self._bars.console.print(text, markup=False, highlight=False)

    def begin_study(self, cells: int, finished: int, what: str = "cells") -> None:
        """Show the study's bar."""
        self._study = self._bars.add_task(what, total=cells, completed=finished, note="")

    def begin_cell(self, name: str, epochs: int) -> None:
        """Show the cell's bar."""
        self._name, self._epochs, self._score = name, epochs, ""
        if self._cell is not None:
            self._bars.remove_task(self._cell)
        self._cell = self._bars.add_task(name, total=None, note="")

    def on_step(
        self, epoch: int, step: int, steps: int, losses: Mapping[str, Any], pairs_per_second: float
    ) -> None:
        """Move the cell's bar."""
        now = time.monotonic()
        if self._cell is None or (now - self._drawn < DRAW_SECONDS and step < steps):
            return
        self._drawn = now
        note = f"epoch {epoch}/{self._epochs} {pairs_per_second:.0f} pairs/s {_losses(losses)} {self._score}"
        completed = (epoch - 1) * steps + step
        self._bars.update(self._cell, total=self._epochs * steps, completed=completed, note=note)

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        """Remember the validation score for the cell's bar."""
        score = record.get("val") or {}
        if "R1" in score:
            self._score = f"val R1 {score['R1']:.1f}"

    def working(self, what: str, done: int, total: int) -> None:
        """Show a bar for as long as the work lasts."""
        if self._side is None:
            self._side = self._bars.add_task(what, total=total, note="")
        self._bars.update(self._side, description=what, completed=done, total=total)
        if done >= total:
            self._bars.remove_task(self._side)
            self._side = None

    def end_cell(self, name: str, outcome: str) -> None:
        """Move the study's bar and leave one line about the cell."""
        if self._cell is not None:
            self._bars.remove_task(self._cell)
            self._cell = None
        if self._study is not None:
            self._bars.advance(self._study)
        if self._bars.table is None:
            self.say(f"{name}: {outcome} {self._score}".rstrip())

    def show(self, table: RenderableType | None) -> None:
        """Draw the table now; what the last one said stays on the terminal when there is no next."""
        if table is None and self._bars.table is not None:
            self._bars.console.print(self._bars.table)
        self._bars.table = table
        self._bars.refresh()

    def close(self) -> None:
        """Stop drawing."""
        self._bars.stop()


class Count:
    """Cells in all and finished."""

    def __init__(self, cells: int = 0, finished: int = 0, what: str = "cells") -> None:
        self.cells, self.finished, self.what = cells, finished, what

    def shown(self) -> str:
        """As in `3 of 12 cells`."""
        return f"{self.finished} of {self.cells} {self.what}"


def _losses(losses: Mapping[str, Any]) -> str:
    return " ".join(f"{name} {float(value):.3f}" for name, value in losses.items())


def _epoch_line(record: Mapping[str, Any], epochs: int) -> str:
    parts = [f"epoch {record.get('epoch')}/{epochs}"]
    if record.get("pairs_per_second"):
        parts.append(f"{record['pairs_per_second']:.0f} pairs/s")
    parts.append(_losses(record.get("losses") or {}))
    score = record.get("val") or {}
    if "R1" in score:
        parts.append(f"val R1 {score['R1']:.2f}")
    if record.get("seconds"):
        parts.append(f"{record['seconds']:.1f} s")
    return " ".join(part for part in parts if part)


@contextmanager
def shown(live: bool | None = None) -> Iterator[Progress]:
    """Live bars when standard error is a terminal, log lines otherwise."""
    is_live = sys.stderr.isatty() if live is None else live
    progress: Progress = LiveProgress() if is_live else LogProgress()
    try:
        yield progress
    finally:
        progress.close()
