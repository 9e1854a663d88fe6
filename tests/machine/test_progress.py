"""A log is made of whole lines; a terminal shows bars; neither lets a name or an error act as markup."""

from __future__ import annotations

import io

import pytest

from harness.machine.progress import LiveProgress, LogProgress, Progress, WorkerProgress, shown

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
    assert "failed (error): [bold]no[/bold] [/x] val R1 41.2" in capfd.readouterr().err


def test_without_a_terminal_there_are_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", io.StringIO())
    with shown() as progress:
        assert type(progress) is LogProgress
