"""Searches of several methods: what is said of them is said of all."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.machine.progress import Progress
from harness.search import live_table, search_loop
from harness.search import study as searching
from harness.search.database import StorageError, search_url
from harness.search.live_table import SearchDisplay
from harness.search.search_json import recorded_searches
from harness.search.search_loop import PluginFailed, SearchProgress
from harness.search.study import SearchIncomplete
from harness.search.trial_run import TrialEnd, TrialOutcome
from harness.store.seals import write_sealed


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


def test_a_plugin_that_ends_a_search_is_named_with_search_trial_place_and_remedy() -> None:
    where = "mine.py:7: RuntimeError: a bug"
    error = PluginFailed(TrialOutcome(TrialEnd.PLUGIN_FAILED, "small/mine/lab", 3, where))
    assert str(error) == (
        f"small/mine/lab: trial 3 failed in the plugin, as every other would: {where}. "
        "Repair the plugin and run again; no stored trial binds it"
    )


@pytest.mark.parametrize(
    ("storage", "file"),
    [
        (None, "{out}/search.db"),
        ("sqlite:///trials.db", "{here}/trials.db"),
        ("sqlite:///~/trials.db", "{home}/trials.db"),
        ("sqlite:////somewhere/trials.db", "/somewhere/trials.db"),
        ("sqlite:///$TRIALS/trials.db", "{here}/named/trials.db"),
    ],
)
def test_every_worker_finds_the_database_file_wherever_it_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str | None, file: str
) -> None:
    here, home, out = tmp_path / "here", tmp_path / "home", tmp_path / "out"
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("TRIALS", "named")
    assert search_url(storage, out) == "sqlite:///" + file.format(here=here, home=home, out=out)


@pytest.mark.parametrize("storage", ["sqlite://", "sqlite:///", "sqlite:///:memory:"])
def test_a_database_that_would_end_with_its_process_is_refused(tmp_path: Path, storage: str) -> None:
    with pytest.raises(StorageError, match="ends with the process; name a file"):
        search_url(storage, tmp_path)


def test_searches_are_read_back_as_recorded_and_none_from_a_file_that_is_no_record(tmp_path: Path) -> None:
    path, searches = tmp_path / "search.json", [{"name": "a", "finished": 2}, {"name": "b"}]
    assert recorded_searches(path) == []
    write_sealed(path, {"searches": searches})
    assert recorded_searches(path) == searches
    path.write_text(path.read_text().replace('"finished": 2', '"finished": 3'))
    assert recorded_searches(path) == []
    for content in ("", "{", "[]", "3", "null", "{}", '{"searches": 3}', '{"searches": null}'):
        path.write_text(content)
        assert recorded_searches(path) == [], content
    path.write_text('{"searches": [3, "a", null, {"name": "a"}]}')
    assert recorded_searches(path) == [{"name": "a"}]


def test_the_display_of_a_search_is_refreshed_while_its_trials_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A trial may take an hour; its epochs and those of other processes are shown meanwhile."""
    running: Future[TrialOutcome] = Future()
    running.set_running_or_notify_cancel()
    shown: list[TrialOutcome | None] = []

    def budget() -> Any:
        return SimpleNamespace(missing=0 if running.done() else 1)

    def watch(progress: Any, outcome: TrialOutcome | None) -> None:
        shown.append(outcome)
        if not running.done():
            running.set_result(ended)
        assert len(shown) < 9

    ended = TrialOutcome(TrialEnd.COMPLETE, "hill", 0)
    monkeypatch.setattr(search_loop, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(search_loop, "trial_queue", lambda _: SimpleNamespace(budget=budget))
    launcher: Any = SimpleNamespace(slots=1, submit=lambda *_: running, shutdown=lambda **_: None)
    timer = threading.Timer(5.0, lambda: running.done() or running.set_result(ended))
    timer.start()
    search_loop.run_searches([SimpleNamespace(name="hill")], launcher, watch)  # type: ignore[list-item]
    timer.cancel()
    assert shown == [None, ended]
