"""Which progress a person sees: the live display of a terminal, plain lines in a log, or nothing."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from harness.machine.live_progress import LiveProgress
from harness.machine.progress import LogProgress, Progress


class QuietProgress(Progress):
    """Shows nothing: errors and results are printed by others."""


@contextmanager
def shown(live: bool | None = None, *, quiet: bool = False) -> Iterator[Progress]:
    """A live display when standard error is a terminal that can move its cursor, log lines otherwise.

    Args:
        live: whether to draw a live display; None looks at the terminal.
        quiet: show nothing at all.
    """
    is_live = _can_move_cursor() if live is None else live
    progress = QuietProgress() if quiet else LiveProgress() if is_live else LogProgress()
    try:
        yield progress
    finally:
        progress.close()


def _can_move_cursor() -> bool:
    return sys.stderr.isatty() and os.environ.get("TERM", "").lower() not in ("", "dumb", "unknown")
