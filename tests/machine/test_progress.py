"""A log is made of whole lines; a terminal has one display; neither lets a name or an error act as markup."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest

from harness.machine.display import QuietProgress, shown
from harness.machine.forecast import Forecast
from harness.machine.live_progress import LiveProgress
from harness.machine.progress import (
    Event,
    LogProgress,
    Progress,
    RelayedProgress,
    WorkerProgress,
)

LINE = {"epoch": 2, "losses": {"sdm": 1.5}, "pairs_per_second": 300.0, "val": {"R1": 41.25}, "seconds": 3.21}


def a_cell(progress: Progress) -> None:
    progress.begin_study(3, 1)
    progress.begin_cell("plaza.uit.0", 2)
    progress.working("decoding plaza train", 5, 10)
    progress.working("decoding plaza train", 10, 10)
    progress.on_step(1, 4, 8, {"sdm": 2.0}, 250.0)
    progress.on_epoch(LINE)
    progress.end_cell("plaza.uit.0", "failed (error): [bold]no[/bold] [/x]")


def test_a_log_says_what_runs_how_it_goes_and_what_is_left() -> None:
    stream = io.StringIO()
    a_cell(LogProgress(stream, seconds=0))
    assert stream.getvalue().splitlines() == [
        "3 cells, 1 finished before",
        "plaza.uit.0: starts",
        "decoding plaza train: 5 of 10",
        "decoding plaza train: 10 of 10",
        "plaza.uit.0: epoch 1/2 step 4/8 250 pairs/s sdm 2.000",
        "plaza.uit.0: epoch 2/2 300 pairs/s sdm 1.500 val R1 41.25 3.2 s",
        "plaza.uit.0: failed (error): [bold]no[/bold] [/x] (2 of 3 cells)",
    ]


def test_a_log_is_not_flooded_by_steps() -> None:
    stream = io.StringIO()
    progress = LogProgress(stream, seconds=3600)
    for step in range(1000):
        progress.on_step(1, step, 1000, {"sdm": 2.0}, 250.0)
    assert stream.getvalue() == ""


def test_a_worker_leaves_the_count_to_its_parent() -> None:
    stream = io.StringIO()
    a_cell(WorkerProgress(stream, seconds=0))
    assert "of 3 cells" not in stream.getvalue()


def test_a_terminal_shows_what_the_log_says_and_markup_stays_text(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    progress = LiveProgress()
    try:
        a_cell(progress)
    finally:
        progress.close()
    shown = capfd.readouterr().err
    # A cell's last line is about the model that is quoted: no score of the last epoch is added to it.
    assert "plaza.uit.0: failed (error): [bold]no[/bold] [/x]\n" in shown


def test_without_a_terminal_there_are_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    with shown() as progress:
        assert type(progress) is LogProgress


def displayed(width: int) -> tuple[LiveProgress, Callable[[], list[str]]]:
    """A display on a terminal of that width, and its lines."""
    from rich.console import Console

    console = Console(file=io.StringIO(), force_terminal=True, width=width, color_system=None)
    progress = LiveProgress(console)
    return progress, lambda: [line.plain for line in progress.drawn(width) if hasattr(line, "plain")]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_of_the_display_is_longer_than_the_terminal_and_the_numbers_stay(width: int) -> None:
    progress, lines = displayed(width)
    try:
        progress.begin_study(14, 3)
        for slot, name in enumerate(
            ("rendered-plaza.uit-no-tir-by-loss.0.8d1b751bf36d", "plaza.uit.1.855cc5177f02")
        ):
            progress.relay(slot, ("begin_cell", (name, 6)))
            progress.relay(slot, ("on_epoch", ({"epoch": 1, "val": {"R1": 12.34}},)))
            progress.relay(slot, ("on_step", (2, 40, 75, {"sdm": 2.0, "cmt": 1.0}, 23.4)))
        study, one, other = lines()
        assert all(len(line) <= width for line in (study, one, other))
        for numbers in ("3/14 cells", "2 run", "47", "left"):
            assert numbers in study
        for line in (one, other):
            assert "epoch 2/6" in line
            assert "23 pairs/s" in line
        assert ".1" in other
        assert "8d1b751bf36d" not in one
    finally:
        progress.close()


def test_the_last_line_of_a_finished_cell_fits_eighty_columns(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    progress = LiveProgress()
    progress.end_cell(
        "rendered-plaza.uit-no-tir.12.ce0557f6d78d", "done, chosen on val: epoch 12, val R1 73.4"
    )
    progress.close()
    assert (
        "rendered-plaza.uit-no-tir.12: done, chosen on val: epoch 12, val R1 73.4\n" in capfd.readouterr().err
    )


def test_time_left_is_known_from_the_first_steps_on() -> None:
    forecast = Forecast(cells=10)
    assert forecast.left(0.0) is None
    forecast.begin("a", 0.0)
    forecast.begin("b", 0.0)
    assert forecast.left(5.0) is None
    forecast.moved("a", 0.1)
    forecast.moved("b", 0.1)
    # A cell takes 100 s: 8 of them wait, and two have 90 s left; two run at once.
    assert forecast.left(10.0) == pytest.approx((8 * 100 + 2 * 90) / 2)
    forecast.moved("a", 1.0)
    forecast.end("a", 100.0)
    assert forecast.took == [100.0]
    before = forecast.left(100.0)
    forecast.count()
    assert forecast.left(100.0) == before  # one that has ended does not wait, counted or not


def test_a_resumed_cell_is_not_taken_for_a_fast_one() -> None:
    forecast = Forecast(cells=1)
    forecast.begin("a", 0.0)
    forecast.moved("a", 0.5)
    forecast.moved("a", 0.6)
    assert forecast.left(10.0) == pytest.approx(0.4 * 100)


def test_what_a_worker_reports_reaches_the_log_of_its_parent_with_the_same_lines() -> None:
    stream, events = io.StringIO(), list[Event]()
    a_cell(RelayedProgress(events.append, seconds=0))
    parent = LogProgress(stream, seconds=0)
    for event in events:
        parent.relay(0, event)
    assert stream.getvalue().splitlines() == [
        "plaza.uit.0: starts",
        "decoding plaza train: 5 of 10",
        "decoding plaza train: 10 of 10",
        "plaza.uit.0: epoch 1/2 step 4/8 250 pairs/s sdm 2.000",
        "plaza.uit.0: epoch 2/2 300 pairs/s sdm 1.500 val R1 41.25 3.2 s",
    ]


def test_a_terminal_that_cannot_move_its_cursor_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setenv("TERM", "dumb")
    with shown() as progress:
        assert type(progress) is LogProgress
    monkeypatch.setenv("TERM", "xterm")
    with shown() as progress:
        assert type(progress) is LiveProgress
    with shown(quiet=True) as progress:
        assert type(progress) is QuietProgress
