"""How long a study still takes, from what its cells took so far. Pure: the caller brings the time."""

from __future__ import annotations

from dataclasses import dataclass, field

RESUMED = 0.2
"""A cell whose first report lies behind this share of its training has resumed."""
COMPLETE = 0.999
"""The share of its training from which a cell that ends counts as one that shows how long cells take."""


@dataclass
class CellPace:
    """How far a running cell is; `done` is the share of its training, 0 to 1."""

    began: float
    start: float | None = None
    """The share that was done when it began; None until it reports."""
    done: float = 0.0

    def whole(self, now: float) -> float | None:
        """Seconds that the whole cell takes at its pace; None while nothing is known."""
        progress = self.done - (self.start or 0.0)
        return (now - self.began) / progress if progress > 0 else None


@dataclass
class Forecast:
    """Cells in all and finished, what finished ones took, and how far the running ones are."""

    cells: int = 0
    finished: int = 0
    running: dict[object, CellPace] = field(default_factory=dict)
    """By whoever runs them."""
    took: list[float] = field(default_factory=list)
    """Seconds that whole cells took."""
    ending: int = 0
    """Cells that run no more and are not counted yet."""

    def begin(self, who: object, now: float) -> None:
        """A cell begins."""
        self.running[who], self.ending = CellPace(now), 0

    def moved(self, who: object, share: float) -> None:
        """The cell has done this share of its training."""
        if (pace := self.running.get(who)) is not None:
            if pace.start is None:
                pace.start = share if share > RESUMED else 0.0
            pace.done = share

    def end(self, who: object, now: float) -> None:
        """Nothing runs there any more; a cell that trained to its end shows how long cells take."""
        pace = self.running.pop(who, None)
        self.ending += pace is not None
        if pace is not None and pace.done >= COMPLETE and (whole := pace.whole(now)) is not None:
            self.took.append(whole)

    def count(self) -> None:
        """A cell has ended."""
        self.finished, self.ending = self.finished + 1, max(0, self.ending - 1)

    def left(self, now: float) -> float | None:
        """Seconds until the last cell ends; None while no cell has shown how long it takes.

        Every cell is taken to be as long as those seen so far on average; as many run at once as do now.
        """
        wholes = {who: whole for who, pace in self.running.items() if (whole := pace.whole(now)) is not None}
        known = [*self.took, *wholes.values()]
        if not known:
            return None
        mean = sum(known) / len(known)
        of_running = [(1 - pace.done) * wholes.get(who, mean) for who, pace in self.running.items()]
        waiting = max(0, self.cells - self.finished - self.ending - len(self.running)) * mean
        return max([(waiting + sum(of_running)) / max(1, len(self.running)), *of_running])


def about(seconds: float) -> str:
    """A time in short: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
