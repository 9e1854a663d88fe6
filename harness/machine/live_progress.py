"""The display of a running study on a terminal: a line for the study, one for each cell that runs.

One process draws it. No line is longer than the terminal is wide: what does not fit is left out from the
right, and names are shortened before numbers are.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.machine.forecast import about
from harness.machine.progress import Count, Progress, losses_text

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

DRAWS_PER_SECOND = 4
BAR = 16
"""Characters of the study's bar, where there is room for it."""
NAME_AT_LEAST = 12
"""Characters that stay of a name when it is shortened."""


@dataclass
class CellLine:
    """What is known of a cell that runs, or of work beside training."""

    name: str = ""
    numbers: list[str] = field(default_factory=list)
    """In the order of their worth: the last ones are left out where room is short."""
    speed: float = 0.0
    score: str = ""
    side: str = ""
    """Work beside training, with how far it is."""


class LiveProgress(Progress):
    """The study's line with cells done, speed and time left; below it the cells that run."""

    shows_tables = True

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self._table: RenderableType | None = None
        self._count = Count(what="")
        self._lines: dict[object, CellLine] = {}
        self._epochs: dict[object, int] = {}
        self._names: dict[object, str] = {}
        self._lock = threading.RLock()
        self._workers: dict[int, _Worker] = {}
        self._live = Live(
            _Board(self),
            console=console or Console(stderr=True, highlight=False),
            refresh_per_second=DRAWS_PER_SECOND,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=True,
            vertical_overflow="crop",
        )
        self._live.start()

    # -- what is reported -------------------------------------------------------------------------

    def worker(self, slot: int) -> Progress:
        """The line of a worker's cell."""
        with self._lock:
            return self._workers.setdefault(slot, _Worker(self))

    def say(self, text: str) -> None:
        """Print above the display; what looks like markup in it is text."""
        self._live.console.print(text, markup=False, highlight=False)

    def begin_study(self, cells: int, finished: int, what: str = "cells") -> None:
        """Show the study's line."""
        self._count.what = what
        self._count.forecast.cells, self._count.forecast.finished = cells, finished

    def begin_cell(self, name: str, epochs: int) -> None:
        """Show the cell's line."""
        self.begin(self, name, epochs)

    def on_step(
        self, epoch: int, step: int, steps: int, losses: Mapping[str, Any], pairs_per_second: float
    ) -> None:
        """Move the cell's line."""
        self.step(self, epoch, step, steps, losses, pairs_per_second)

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        """Remember the validation score for the cell's line."""
        self.epoch(self, record)

    def working(self, what: str, done: int, total: int) -> None:
        """Show it for as long as the work lasts."""
        self.side(self, what, done, total)

    def idle(self) -> None:
        """Take the cell's line away."""
        self.end(self)

    def end_cell(self, name: str, outcome: str) -> None:
        """Count the cell and leave one line about it."""
        self.end(self)
        self._count.ended()
        if self._table is None:
            self.say(f"{short_name(name)}: {outcome}")

    def show(self, table: RenderableType | None) -> None:
        """Draw the table now; what the last one said stays on the terminal when there is no next."""
        if table is None and self._table is not None:
            self._live.console.print(self._table)
        self._table = table
        self._live.refresh()

    def close(self) -> None:
        """Stop drawing."""
        self._lines.clear()
        self._count.forecast.cells = 0
        self._table = None
        self._live.stop()

    # -- who reports it ---------------------------------------------------------------------------

    def begin(self, who: object, name: str, epochs: int) -> None:
        """A cell starts at a worker, or here."""
        with self._lock:
            self._count.forecast.begin(who, time.monotonic())
            self._lines[who], self._epochs[who] = CellLine(short_name(name)), epochs
            self._names[who] = name

    def step(
        self,
        who: object,
        epoch: int,
        step: int,
        steps: int,
        losses: Mapping[str, Any],
        pairs_per_second: float,
    ) -> None:
        """A cell has made a step."""
        with self._lock:
            line, epochs = self._lines.setdefault(who, CellLine()), self._epochs.get(who, 0)
            if epochs:
                self._count.forecast.moved(who, (epoch - 1 + step / steps) / epochs)
            line.speed, line.side = pairs_per_second, ""
            line.numbers = [
                f"epoch {epoch}/{epochs}",
                f"{pairs_per_second:.0f} pairs/s",
                f"step {step}/{steps}",
                losses_text(losses),
            ]

    def epoch(self, who: object, record: Mapping[str, Any]) -> None:
        """A cell has finished an epoch."""
        score = record.get("val") or {}
        if "R1" in score:
            with self._lock:
                self._lines.setdefault(who, CellLine()).score = f"val R1 {score['R1']:.1f}"

    def side(self, who: object, what: str, done: int, total: int) -> None:
        """Work beside training goes on, or is done."""
        with self._lock:
            line = self._lines.setdefault(who, CellLine())
            line.speed = 0.0
            what = what.replace(self._names.get(who, ""), "").strip() or what
            line.side = "" if done >= total else f"{what} {done:,}/{total:,}"
            if not line.side and not line.name:
                del self._lines[who]

    def end(self, who: object) -> None:
        """Nothing runs there."""
        with self._lock:
            self._count.forecast.end(who, time.monotonic())
            self._lines.pop(who, None)

    # -- what is drawn ----------------------------------------------------------------------------

    def drawn(self, width: int) -> Iterable[RenderableType]:
        """The table and the lines, none longer than `width` characters."""
        from rich.text import Text

        with self._lock:
            if self._table is not None:
                yield self._table
            if self._count.forecast.cells:
                yield Text(self._study_line(width), no_wrap=True, overflow="crop", style="bold")
            for line in self._lines.values():
                yield Text(cell_line(line, width), no_wrap=True, overflow="crop")

    def _study_line(self, width: int) -> str:
        forecast = self._count.forecast
        left = forecast.left(time.monotonic())
        running, speed = len(forecast.running), sum(line.speed for line in self._lines.values())
        cells = f"{forecast.finished}/{forecast.cells} {self._count.what}"
        until = f"about {about(left)} left" if left is not None else "time left not known yet"
        if forecast.finished >= forecast.cells:
            until = "finishing"
        parts = [
            cells,
            *([f"{running} running"] if running else []),
            *([f"{speed:.0f} pairs/s"] if speed else []),
        ]
        text = " · ".join([*parts, until])
        if len(text) > width:  # the same numbers with fewer letters
            until = until.removeprefix("about ").replace("time left not known yet", "? left")
            text = fitting([cells, until, f"{speed:.0f}/s", f"{running} run"], width, "  ")
        if len(text) + BAR + 3 <= width:
            done = sum((forecast.finished, *(pace.done for pace in forecast.running.values())))
            full = min(BAR, round(BAR * done / forecast.cells))
            text = f"[{'#' * full}{'-' * (BAR - full)}] {text}"
        return text


class _Worker(Progress):
    """The line of one worker's cell on the display."""

    def __init__(self, board: LiveProgress) -> None:
        self._board = board

    def begin_cell(self, name: str, epochs: int) -> None:
        self._board.begin(self, name, epochs)

    def on_step(
        self, epoch: int, step: int, steps: int, losses: Mapping[str, Any], pairs_per_second: float
    ) -> None:
        self._board.step(self, epoch, step, steps, losses, pairs_per_second)

    def on_epoch(self, record: Mapping[str, Any]) -> None:
        self._board.epoch(self, record)

    def working(self, what: str, done: int, total: int) -> None:
        self._board.side(self, what, done, total)

    def idle(self) -> None:
        self._board.end(self)

    def say(self, text: str) -> None:
        self._board.say(text)


class _Board:
    """The display as rich draws it."""

    def __init__(self, progress: LiveProgress) -> None:
        self._progress = progress

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from self._progress.drawn(options.max_width)


def short_name(name: str) -> str:
    """A cell's name without its hash: `plaza.uit.0.8d1b751bf36d` is `plaza.uit.0`."""
    head, _, tail = name.rpartition(".")
    return head if head and len(tail) == 12 and set(tail) <= set("0123456789abcdef") else name


def cell_line(line: CellLine, width: int) -> str:
    """A running cell in so many characters: its name is shortened before its numbers are left out."""
    numbers = [line.side] if line.side else [*line.numbers[:2], line.score, *line.numbers[2:]]
    numbers = [text for text in numbers if text] or ["starts"]
    room = width - 2 - len(numbers[0]) - sum(2 + len(text) for text in numbers[1:3])
    name = shortened(line.name, max(NAME_AT_LEAST, room - 2)) if line.name else ""
    return fitting([text for text in (name, *numbers) if text], width, "  ")


def shortened(name: str, room: int) -> str:
    """A name in so many characters; its end, which tells cells apart, stays."""
    return name if len(name) <= room else "…" + name[len(name) - room + 1 :]


def fitting(parts: Iterable[str], width: int, between: str) -> str:
    """As many parts as fit, from the left; the first is cut where it alone is too long."""
    text = ""
    for part in parts:
        longer = f"{text}{between}{part}" if text else part
        if len(longer) > width:
            break
        text = longer
    return text or next(iter(parts), "")[:width]
