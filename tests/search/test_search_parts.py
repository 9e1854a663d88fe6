"""Searches of several methods: what is said of them is said of all."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.machine.progress import Progress
from harness.search import live_table
from harness.search import study as searching
from harness.search.live_table import SearchDisplay
from harness.search.search_loop import SearchProgress
from harness.search.study import SearchIncomplete


def progress_of(name: str, trials: int, finished: int) -> SearchProgress:
    search: Any = SimpleNamespace(name=name, trials=trials)
    budget: Any = SimpleNamespace(finished=finished)
    return SearchProgress(search, budget)


@pytest.fixture
def empty_queues(monkeypatch: pytest.MonkeyPatch) -> None:
    """No trial failed; so many are finished as the search's `finished` says."""

    def queue(search: Any) -> Any:
        return SimpleNamespace(
            trials=list, budget=lambda: SimpleNamespace(finished=getattr(search, "finished", 0))
        )

    for module in (searching, live_table):
        monkeypatch.setattr(module, "trial_queue", queue)


@pytest.mark.parametrize("short", [0, 1, 2])
def test_no_winner_is_compared_whichever_method_is_short_of_its_budget(
    empty_queues: None, short: int
) -> None:
    names = ("uit", "irra", "baseline")
    ends = [progress_of(name, 8, 5 if number == short else 8) for number, name in enumerate(names)]
    with pytest.raises(SearchIncomplete) as caught:
        searching._require_equal_budgets(ends)
    assert caught.value.lines[:-1] == [f"{names[short]}: 5 of 8 trials finished"]
    searching._require_equal_budgets([progress_of(name, 8, 8) for name in names])


def test_progress_counts_the_trials_of_all_searches(empty_queues: None, tmp_path: Path) -> None:
    said: list[tuple[Any, ...]] = []

    class Watched(Progress):
        def begin_study(self, cells: int, finished: int, what: str = "cells") -> None:
            said.append((cells, finished, what))

    searches: Any = [SimpleNamespace(trials=8, finished=3), SimpleNamespace(trials=5, finished=1)]
    SearchDisplay(searches, tmp_path, Watched())
    assert said == [(13, 4, "trials")]
