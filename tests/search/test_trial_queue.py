"""Searches: equal budgets, terms that cannot change, samplers that never replay, failures with reasons."""

from __future__ import annotations

import collections
import errno
import io
import json
import os
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import pytest
import search_stub as stub
import sqlalchemy

from harness.launch.local import InProcess
from harness.machine.errors import DataError
from harness.search import database
from harness.search.creation import create_search
from harness.search.database import StorageError, open_database, search_url
from harness.search.live_table import ROWS, trial_table
from harness.search.plan import SearchPlan
from harness.search.search_json import search_record, write_search_json
from harness.search.search_loop import run_searches
from harness.search.space import Parameter, same_point
from harness.search.trial_queue import ClaimedTrial, NoTrial, trial_queue
from harness.search.trial_run import TrialEnd, run_next_trial
from harness.search.winner import winning_trial


@pytest.fixture
def tmp_path(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory where there is one: these tests commit thousands of times."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def run(*searches: SearchPlan) -> list[dict[str, Any]]:
    for search in searches:
        create_search(search)
    run_searches(searches, InProcess(), lambda progress, outcome: None)
    return [search_record(search, trial_queue(search).trials()) for search in searches]


def test_tpe_finds_a_planted_optimum_within_the_budget(tmp_path: Path) -> None:
    (record,) = run(stub.search(tmp_path, trials=30))
    winner = record["trials"][record["winner"]]
    assert winner["value"] > 98
    assert winner["params"]["mask_ratio"] == pytest.approx(stub.OPTIMUM["mask_ratio"], abs=0.1)
    assert winner["params"]["temperature"] == pytest.approx(stub.OPTIMUM["temperature"], abs=0.015)
    random_phase = [trial["value"] for trial in record["trials"][1:10]]
    guided_phase = [trial["value"] for trial in record["trials"][15:]]
    assert sum(guided_phase) / len(guided_phase) > sum(random_phase) / len(random_phase)


@pytest.mark.parametrize("sampler", ["cmaes", "random"])
def test_every_sampler_spends_its_budget_on_distinct_points_of_the_space(
    tmp_path: Path, sampler: str
) -> None:
    (record,) = run(stub.search(tmp_path, sampler=sampler, trials=10))
    points = [trial["params"] for trial in record["trials"]]
    assert len(points) == 10
    assert all(stub.SPACE[name].admits(point[name]) for point in points for name in stub.SPACE)
    assert not any(same_point(a, b) for i, a in enumerate(points) for b in points[:i])


def test_the_recipe_is_always_the_first_trial(tmp_path: Path) -> None:
    for index, sampler in enumerate(("tpe", "random", "grid")):
        space = {
            "mask_ratio": Parameter("mask_ratio", 0.3, 0.9, step=0.2),
            "temperature": stub.SPACE["temperature"],
        }
        (record,) = run(stub.search(tmp_path / str(index), sampler=sampler, space=space, trials=2))
        assert record["trials"][0]["params"] == stub.RECIPE
        assert [trial["recipe"] for trial in record["trials"]][:2] == [True, False]


def test_a_grid_runs_every_point_once_and_the_recipe_with_them(tmp_path: Path) -> None:
    space = {
        "mask_ratio": Parameter("mask_ratio", choices=(0.3, 0.5, 0.7)),
        "temperature": Parameter("temperature", choices=(0.02, 0.05)),
    }
    (record,) = run(stub.search(tmp_path, sampler="grid", space=space, trials=6))
    points = collections.Counter(tuple(sorted(trial["params"].items())) for trial in record["trials"])
    assert len(points) == 6
    assert set(points.values()) == {1}


def test_a_small_space_is_never_tried_twice_at_the_same_point(tmp_path: Path) -> None:
    space = {
        "mask_ratio": Parameter("mask_ratio", choices=(0.3, 0.5, 0.7)),
        "temperature": Parameter("temperature", choices=(0.02, 0.05)),
    }
    for sampler in ("tpe", "cmaes", "random"):
        (record,) = run(stub.search(tmp_path / sampler, sampler=sampler, space=space, trials=6))
        assert len({tuple(sorted(trial["params"].items())) for trial in record["trials"]}) == 6


def test_a_search_cut_into_pieces_draws_the_same_points_as_one_in_one_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, pieces = stub.search(tmp_path / "whole", trials=12), stub.search(tmp_path / "pieces", trials=12)
    (undisturbed,) = run(whole)
    create_search(pieces)
    while run_next_trial([pieces]).end is not TrialEnd.NOTHING:
        # A new process has no queue cached and no sampler seeded.
        monkeypatch.setattr("harness.search.trial_queue._queues", {})
    resumed = search_record(pieces, trial_queue(pieces).trials())
    assert [trial["params"] for trial in resumed["trials"]] == [t["params"] for t in undisturbed["trials"]]


def test_every_method_gets_the_same_number_of_finished_trials(tmp_path: Path) -> None:
    unlucky = stub.Hill(tmp_path / "unlucky", fails="error")
    searches = [
        stub.search(tmp_path, name="uit", trials=9),
        stub.search(tmp_path, name="uit-mlm", trials=9, objective=unlucky, sampler="random", seed=1),
    ]
    records = run(*searches)
    assert [record["finished"] for record in records] == [9, 9]
    assert records[0]["failed"] == 0
    assert records[1]["failed"] > 0
    assert len(records[1]["trials"]) == 9 + records[1]["failed"]


@pytest.mark.parametrize(
    ("misfortune", "reason", "detail"),
    [("oom", "oom", "64 GiB"), ("nan", "nan", "step 3"), ("error", "error", "RuntimeError: planted")],
)
def test_a_failed_trial_is_recorded_with_its_reason_and_the_search_goes_on(
    tmp_path: Path, misfortune: str, reason: str, detail: str
) -> None:
    hill = stub.Hill(tmp_path / "cells", fails=misfortune)
    (record,) = run(stub.search(tmp_path, trials=12, objective=hill, sampler="random"))
    failed = [trial for trial in record["trials"] if trial["state"] == "failed"]
    assert failed
    assert all(trial["params"]["mask_ratio"] > 0.8 for trial in failed)
    assert {trial["reason"] for trial in failed} == {reason}
    assert all(detail in trial["detail"] for trial in failed)
    assert record["finished"] == 12


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "error"),
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), "error"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "oom"),
        (DataError(["no images"]), "data"),
    ],
)
def test_a_limit_that_one_trial_meets_fails_that_trial_and_the_search_goes_on(
    tmp_path: Path, error: Exception, reason: str
) -> None:
    class Meets(stub.Hill):
        def _misfortune(self, settings: Any) -> None:
            if float(settings["mask_ratio"]) > 0.8:
                raise error

    (record,) = run(stub.search(tmp_path, trials=8, objective=Meets(tmp_path / "cells"), sampler="random"))
    assert {trial["state"] for trial in record["trials"]} == {"complete", "failed"}
    assert {trial["reason"] for trial in record["trials"] if trial["state"] == "failed"} == {reason}
    assert record["finished"] == 8


class _NoScore(stub.Hill):
    def __call__(self, settings: Any, report_epoch: Any) -> float:
        return float("nan")


def test_a_search_in_which_everything_fails_is_given_up_and_says_so(tmp_path: Path) -> None:
    search = stub.search(tmp_path, trials=4, objective=_NoScore(tmp_path))
    create_search(search)
    (end,) = run_searches([search], InProcess(), lambda progress, outcome: None)
    assert end.budget.exhausted
    assert end.budget.finished == 0
    assert end.budget.failed == search.failures_allowed + 1
    assert {t["reason"] for t in search_record(search, trial_queue(search).trials())["trials"]} == {"nan"}


def test_a_search_given_up_for_a_passing_reason_is_finished_by_the_next_run(tmp_path: Path) -> None:
    broken = stub.search(tmp_path, trials=4, objective=_NoScore(tmp_path), sampler="random")
    (given_up,) = run(broken)
    assert (given_up["finished"], given_up["failed"]) == (0, broken.failures_allowed + 1)
    (again,) = run(replace(broken, objective=stub.Hill(tmp_path / "cells")))
    assert again["finished"] == 4
    assert again["failed"] == given_up["failed"]
    finished = [trial for trial in again["trials"] if trial["state"] == "complete"]
    assert [trial["recipe"] for trial in finished] == [True, False, False, False]


def test_failed_points_of_a_grid_are_run_again_by_the_next_run(tmp_path: Path) -> None:
    space = {
        "mask_ratio": Parameter("mask_ratio", choices=(0.3, 0.7, 0.9)),
        "temperature": Parameter("temperature", choices=(0.02,)),
    }
    hill = stub.Hill(tmp_path / "cells", fails="oom")
    broken = stub.search(tmp_path, sampler="grid", space=space, trials=3, objective=hill)
    (record,) = run(broken)
    assert [trial["state"] for trial in record["trials"]] == ["complete", "complete", "failed"]
    (again,) = run(replace(broken, objective=stub.Hill(tmp_path / "cells")))
    assert [trial["state"] for trial in again["trials"]] == ["complete", "complete", "failed", "complete"]
    assert again["trials"][3]["params"] == again["trials"][2]["params"]
    assert run(broken) == [again]


def test_a_pruned_trial_says_at_which_epoch_and_counts_as_finished(tmp_path: Path) -> None:
    hill = stub.Hill(tmp_path / "cells", epochs=6)
    (record,) = run(
        stub.search(tmp_path, trials=16, epochs=6, objective=hill, sampler="random", pruner="median")
    )
    pruned = [trial for trial in record["trials"] if trial["state"] == "pruned"]
    assert pruned
    assert record["finished"] == 16
    for trial in pruned:
        assert trial["pruned_at"] == trial["epochs"] == trial["intermediate"][-1][0]
        assert 2 <= trial["pruned_at"] < 6
        assert trial["value"] == trial["intermediate"][-1][1]
    assert record["trials"][record["winner"]]["state"] == "complete"
    assert record["epochs_trained"] == sum(trial["epochs"] for trial in record["trials"]) < 16 * 6


def test_a_trial_is_never_pruned_after_its_last_epoch(tmp_path: Path) -> None:
    # Two epochs, judged after both: the worse half would be pruned when nothing is left to save.
    hill = stub.Hill(tmp_path / "cells", epochs=2, late=True)
    (record,) = run(
        stub.search(tmp_path, trials=12, epochs=2, objective=hill, sampler="random", pruner="median")
    )
    assert {trial["state"] for trial in record["trials"]} == {"complete"}
    assert record["epochs_trained"] == 12 * 2


def test_a_small_space_is_never_tried_twice_in_different_brackets_of_hyperband(tmp_path: Path) -> None:
    space = {
        "mask_ratio": Parameter("mask_ratio", choices=(0.3, 0.5, 0.7)),
        "temperature": Parameter("temperature", choices=(0.01, 0.02, 0.05, 0.1)),
    }
    hill = stub.Hill(tmp_path / "cells", epochs=27)
    (record,) = run(
        stub.search(tmp_path, trials=12, epochs=27, objective=hill, space=space, pruner="hyperband")
    )
    assert len({tuple(sorted(trial["params"].items())) for trial in record["trials"]}) == 12


def test_hyperband_prunes_too(tmp_path: Path) -> None:
    hill = stub.Hill(tmp_path / "cells", epochs=9)
    search = stub.search(tmp_path, trials=16, epochs=9, objective=hill, sampler="tpe", pruner="hyperband")
    (record,) = run(search)
    assert record["finished"] == 16
    assert any(trial["state"] == "pruned" for trial in record["trials"])


def test_a_pruned_trial_never_wins(tmp_path: Path) -> None:
    def trial(state: optuna.trial.TrialState, value: float) -> optuna.trial.FrozenTrial:
        return optuna.trial.create_trial(state=state, value=value, params={}, distributions={})

    complete, pruned = optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED
    trials = [trial(complete, 40.0), trial(pruned, 90.0), trial(complete, 50.0), trial(complete, 50.0)]
    for number, each in enumerate(trials):
        each.number = number
    winner = winning_trial(trials)
    assert winner is not None
    assert winner.number == 2
    assert winning_trial([]) is None


NARROWER = Parameter("mask_ratio", 0.3, 0.8)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"space": {**stub.SPACE, "mask_ratio": NARROWER}}, "space.mask_ratio.high: was 0.9, is now 0.8"),
        ({"space": {"mask_ratio": stub.SPACE["mask_ratio"]}}, "space.temperature: was"),
        ({"trials": 4}, "trials: 5 were asked for before, now 4"),
        ({"epochs": 4}, "epochs: was 3, is now 4"),
        ({"sampler": "random"}, "sampler: was tpe, is now random"),
        ({"pruner": "median"}, "pruner: was none, is now median"),
        ({"terms": {"recipe": {"lr": 2e-5}}}, "recipe"),
    ],
)
def test_a_changed_space_or_budget_of_a_stored_search_is_refused_by_name(
    tmp_path: Path, change: dict[str, Any], named: str
) -> None:
    search = stub.search(tmp_path, trials=5)
    run(search)
    before = [(trial.number, trial.state) for trial in trial_queue(search).trials()]
    with pytest.raises(StorageError, match=named.replace(".", r"\.")):
        create_search(replace(search, **change))
    assert [(trial.number, trial.state) for trial in trial_queue(search).trials()] == before


@pytest.mark.parametrize("sampler", ["tpe", "random", "cmaes"])
def test_more_trials_of_a_finished_search_continue_it_as_if_asked_for_at_once(
    tmp_path: Path, sampler: str
) -> None:
    first = stub.search(tmp_path / "grown", sampler=sampler, trials=4, pruner="median")
    run(first)
    (grown,) = run(replace(first, trials=14))
    (at_once,) = run(stub.search(tmp_path / "whole", sampler=sampler, trials=14, pruner="median"))
    wanted = ("number", "state", "params", "value", "intermediate")
    assert [[trial[name] for name in wanted] for trial in grown["trials"]] == [
        [trial[name] for name in wanted] for trial in at_once["trials"]
    ]
    assert (grown["finished"], grown["trials_allotted"]) == (14, 14)


def test_terms_of_a_search_of_which_no_trial_finished_bind_nobody(tmp_path: Path) -> None:
    code = {"code": {"plugin (method)": "one"}}
    broken = stub.search(tmp_path, trials=3, objective=_NoScore(tmp_path), terms=code)
    run(broken)
    repaired = replace(
        broken, objective=stub.Hill(tmp_path / "cells"), terms={"code": {"plugin (method)": "other"}}
    )
    (record,) = run(repaired)
    assert [trial["state"] for trial in record["trials"]] == ["complete"] * 3
    with pytest.raises(StorageError, match="the code of plugin"):
        create_search(broken)


def test_terms_bind_while_a_trial_of_another_process_runs_on_them(tmp_path: Path) -> None:
    search = stub.search(tmp_path, trials=3)
    create_search(search)
    assert isinstance(trial_queue(search).claim(), ClaimedTrial)
    with pytest.raises(StorageError, match="epochs: was 3, is now 4"):
        create_search(replace(search, epochs=4))


def test_running_a_finished_search_again_adds_nothing(tmp_path: Path) -> None:
    search = stub.search(tmp_path, trials=5)
    assert run(search) == run(search)


def test_a_search_that_died_while_it_was_being_made_is_made_whole(tmp_path: Path) -> None:
    search = stub.search(tmp_path, trials=3)
    database = open_database(search.url, create=True)
    optuna.create_study(study_name=search.name, storage=database.storage, direction="maximize")
    (record,) = run(search)
    assert record["trials"][0]["params"] == stub.RECIPE
    assert record["finished"] == 3


def test_two_queues_of_one_search_never_give_the_same_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = stub.search(tmp_path, trials=4)
    create_search(search)
    claims = []
    for _ in range(4):
        monkeypatch.setattr("harness.search.trial_queue._queues", {})
        claims.append(trial_queue(search).claim())
    assert all(isinstance(claim, ClaimedTrial) for claim in claims)
    assert len({claim.number for claim in claims if isinstance(claim, ClaimedTrial)}) == 4
    assert trial_queue(search).claim() is NoTrial.WAIT


def test_a_trial_taken_over_by_another_worker_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stolen(stub.Hill):
        def __call__(self, settings: Any, report_epoch: Any) -> float:
            queue = trial_queue(search)
            (running,) = [trial for trial in queue.trials() if trial.state is optuna.trial.TrialState.RUNNING]
            queue.database.storage.set_trial_user_attr(running._trial_id, "owner", "elsewhere/1/1")
            queue.database.storage.record_heartbeat(running._trial_id)
            return super().__call__(settings, report_epoch)

    search = stub.search(tmp_path, trials=2, objective=Stolen(tmp_path / "cells"))
    create_search(search)
    assert run_next_trial([search]).end is TrialEnd.LOST
    (trial,) = trial_queue(search).trials()
    assert trial.state is optuna.trial.TrialState.RUNNING
    assert trial.user_attrs["owner"] == "elsewhere/1/1"


def test_a_worker_on_another_machine_is_dead_when_its_heartbeat_is_old_and_not_before(tmp_path: Path) -> None:
    search = stub.search(tmp_path, trials=1)
    create_search(search)
    claim = trial_queue(search).claim()
    assert isinstance(claim, ClaimedTrial)
    claim.trial.set_user_attr("owner", "another-machine:1:1/99/99")
    assert trial_queue(search).claim() is NoTrial.WAIT
    with sqlite3.connect(tmp_path / "search.db") as database:
        database.execute("UPDATE trial_heartbeats SET heartbeat = datetime('now', '-1 hour')")
    taken = trial_queue(search).claim()
    assert isinstance(taken, ClaimedTrial)
    assert (taken.number, taken.resumed) == (claim.number, True)


def test_a_trial_that_kills_every_worker_fails_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = stub.search(tmp_path, trials=1, sampler="random")
    create_search(search)
    numbers = []
    for _ in range(5):
        claim = trial_queue(search).claim()
        assert isinstance(claim, ClaimedTrial)
        numbers.append(claim.number)
        monkeypatch.setattr("harness.search.trial_queue._mine", set())
    assert numbers == [0, 0, 0, 0, 1]
    record = search_record(search, trial_queue(search).trials())["trials"][0]
    assert record["state"] == "failed"
    assert "killed 4 times after epoch 0" in record["detail"]


def test_the_record_discloses_every_trial_and_needs_no_database(tmp_path: Path) -> None:
    hill = stub.Hill(tmp_path / "cells", fails="nan")
    search = stub.search(tmp_path, trials=6, objective=hill, sampler="random")
    (record,) = run(search)
    write_search_json([search], tmp_path)
    (tmp_path / "search.db").unlink()
    (written,) = json.loads((tmp_path / "search.json").read_text())["searches"]
    assert written == json.loads(json.dumps(record))
    assert [trial["number"] for trial in written["trials"]] == list(range(6 + written["failed"]))
    assert written["space"]["mask_ratio"] == {"low": 0.3, "high": 0.9, "log": False, "recipe": 0.7}


def test_the_live_table_shows_what_runs_what_is_best_and_how_the_latest_ended(tmp_path: Path) -> None:
    from rich.console import Console

    searches = [
        stub.search(tmp_path, trials=40, sampler="random", about={"method": method, "dataset": "hill"})
        for method in ("uit", "baseline")
    ]
    searches[1] = replace(
        searches[1], name="stub/baseline/hill", objective=stub.Hill(tmp_path / "bad", fails="oom")
    )
    tried = run(*searches)
    running = stub.search(tmp_path, name="stub/irra/hill", about={"method": "irra", "dataset": "hill"})
    create_search(running)
    assert isinstance(trial_queue(running).claim(), ClaimedTrial)
    shown = [*searches, running]
    console = Console(width=110, record=True, file=io.StringIO())
    console.print(trial_table(shown, [trial_queue(search).trials() for search in shown]))
    lines = [line.split() for line in console.export_text().splitlines()]
    assert lines[0] == f"trials: 80 complete, 1 running, {tried[1]['failed']} failed".split()
    for search, record in zip(searches, tried, strict=True):
        best = record["trials"][record["winner"]]
        mine = [line for line in lines if search.about["method"] in line]
        assert str(best["number"]) in [line[0] for line in mine]
        assert mine[-1][0] == str(record["trials"][-1]["number"])
        assert len(mine) <= ROWS + 1
        assert any(f"{best['value']:.2f}" in line for line in mine)
    assert ["0", "irra", "hill", "running", "0.7", "0.02", "0/3", "0"] in lines


def test_the_record_keeps_searches_that_a_narrowed_run_did_not_touch(tmp_path: Path) -> None:
    first, second = (stub.search(tmp_path, name=f"s/{name}/d", trials=2) for name in ("uit", "baseline"))
    run(first, second)
    write_search_json([first, second], tmp_path)
    whole = json.loads((tmp_path / "search.json").read_text())
    write_search_json([second], tmp_path)
    assert json.loads((tmp_path / "search.json").read_text()) == whole
    assert [search["name"] for search in whole["searches"]] == ["s/baseline/d", "s/uit/d"]


# -- databases that cannot be used ---------------------------------------------------------------


def snapshot(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("search.db*") if path.suffix != ".lock"}


def test_a_corrupt_database_is_one_clear_error_and_stays_as_it_is(tmp_path: Path) -> None:
    search = stub.search(tmp_path, trials=3)
    run(search)
    raw = bytearray((tmp_path / "search.db").read_bytes())
    raw[4096 : 4096 * 12] = b"\xff" * (4096 * 11)
    (tmp_path / "search.db").write_bytes(raw)
    before = snapshot(tmp_path)
    with pytest.raises(StorageError, match="corrupt"):
        open_database(search.url, create=True)
    assert snapshot(tmp_path) == before


CHANGES = {
    "a setting": "UPDATE trial_params SET param_value = param_value * 1.01 WHERE trial_id = 2",
    "a score": "UPDATE trial_values SET value = value + 1 WHERE trial_id = 2",
    "an epoch's score": "UPDATE trial_intermediate_values SET intermediate_value = 99 WHERE trial_id = 2",
    "a checksum": "UPDATE trial_user_attributes SET value_json = '0' WHERE trial_id = 2 AND key LIKE 'chec%'",
    "a number": "UPDATE trials SET number = 7 WHERE trial_id = 2",
    "a state": "UPDATE trials SET state = 'COMPLETF' WHERE trial_id = 2",
    "a note": "UPDATE trial_user_attributes SET value_json = '{' WHERE trial_id = 2",
    "a trial": "DELETE FROM trials WHERE trial_id = 2",
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_trial_that_was_changed_in_the_database_is_refused_and_never_compared(
    tmp_path: Path, change: str
) -> None:
    search = stub.search(tmp_path, trials=3)
    run(search)
    with sqlite3.connect(tmp_path / "search.db") as connection:
        assert connection.execute(CHANGES[change]).rowcount
    connection.close()
    other = replace(search, about={**search.about, "another": "process"})  # which has nothing in memory
    with pytest.raises(StorageError, match=r"search\.db: the search database is damaged"):
        trial_queue(other).trials()
    with pytest.raises(StorageError, match=r"search\.db: the search database is damaged"):
        create_search(other)


def test_a_setting_that_was_changed_while_its_trial_was_cut_off_is_refused(tmp_path: Path) -> None:
    search = stub.search(tmp_path, trials=3)
    create_search(search)
    claim = trial_queue(search).claim()
    assert isinstance(claim, ClaimedTrial)
    with sqlite3.connect(tmp_path / "search.db") as connection:
        connection.execute("UPDATE trial_params SET param_value = param_value * 1.01")
    connection.close()
    with pytest.raises(StorageError, match="trial 0 of stub/uit/hill is not what was written"):
        trial_queue(replace(search, about={})).claim()


@pytest.mark.parametrize(("content", "message"), [(b"not a database at all " * 400, "corrupt"), (b"", None)])
def test_a_file_that_is_no_database_is_refused_and_an_empty_one_is_filled(
    tmp_path: Path, content: bytes, message: str | None
) -> None:
    (tmp_path / "search.db").write_bytes(content)
    url = f"sqlite:///{tmp_path / 'search.db'}"
    if message is None:
        assert optuna.get_all_study_names(open_database(url, create=True).storage) == []
    else:
        with pytest.raises(StorageError, match=message):
            open_database(url, create=True)
        assert snapshot(tmp_path) == {"search.db": content}


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "search.db") as database:
        database.execute("CREATE TABLE songs (name TEXT)")
    before = snapshot(tmp_path)
    with pytest.raises(StorageError, match="another program"):
        open_database(f"sqlite:///{tmp_path / 'search.db'}", create=True)
    assert snapshot(tmp_path) == before


def test_a_locked_database_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search = stub.search(tmp_path, trials=3)
    create_search(search)
    monkeypatch.setattr(database, "_LOOK_SECONDS", 0.1)
    other = sqlite3.connect(tmp_path / "search.db")
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(StorageError, match="locked by another program"):
        open_database(search.url, create=True)
    other.rollback()
    other.close()
    open_database(search.url, create=True)


def test_a_missing_database_is_not_made_by_a_worker(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="there is no search database"):
        trial_queue(stub.search(tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nonsense", "not a database URL"),
        ("mysql://host/db", "SQLite or PostgreSQL, not in 'mysql'"),
        ("sqlite://", "in memory"),
    ],
)
def test_a_url_that_cannot_hold_a_search_is_refused(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(StorageError, match=message):
        search_url(url, tmp_path)


def test_an_unreachable_server_is_one_clear_error_without_the_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setenv("PGPASSWORD", "")
    monkeypatch.setenv("TEST_STORAGE_PASSWORD", "open-sesame-4711")
    url = search_url("postgresql://me:$TEST_STORAGE_PASSWORD@127.0.0.1:9/db", tmp_path)
    with pytest.raises(StorageError) as caught:
        open_database(url, create=True)
    message = str(caught.value)
    assert "127.0.0.1" in message
    assert "cannot be used as a search database" in message
    assert "\n" not in message
    assert "open-sesame-4711" not in message + url


def test_a_database_that_comes_back_costs_nothing_and_one_that_does_not_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([True, True, False])

    def flaky() -> int:
        if next(failures):
            raise optuna.exceptions.StorageInternalError("away")
        return 7

    assert database.retry_while_unavailable(flaky, "sqlite:///x", patience=5) == 7
    failures = iter([True] * 100)
    with pytest.raises(StorageError, match=r"the search database is gone: away"):
        database.retry_while_unavailable(flaky, "sqlite:///x", patience=0.2)


def test_a_database_that_is_restarted_while_it_is_opened_costs_a_search_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def restarting(*arguments: Any) -> Any:
        if next(away, False):
            raise sqlalchemy.exc.OperationalError("SELECT 1", {}, Exception("the system is starting up"))
        return opened(*arguments)

    opened, away = database._rdb, iter([True, True])
    monkeypatch.setattr(database, "_rdb", restarting)
    search = stub.search(tmp_path, trials=2)
    create_search(search)
    assert next(away, "spent") == "spent"
    away = iter([True, True])
    monkeypatch.setattr("harness.search.trial_queue._queues", {})
    assert trial_queue(search).budget().missing == 2
    assert next(away, "spent") == "spent"
    away = iter([True])
    with pytest.raises(StorageError, match="starting up"):
        open_database(search.url, create=False)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (sqlalchemy.exc.OperationalError, "the search database is gone: no answer"),
        (sqlalchemy.exc.ProgrammingError, "cannot be used as a search database: no answer"),
    ],
)
def test_a_database_that_fails_while_a_search_is_made_is_one_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: type[sqlalchemy.exc.DBAPIError], message: str
) -> None:
    def fails(**arguments: Any) -> None:
        raise kind("INSERT", {}, Exception("no answer"))

    monkeypatch.setattr(optuna, "create_study", fails)
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 0.2)
    with pytest.raises(StorageError, match=message):
        create_search(stub.search(tmp_path))


def test_two_seeds_of_a_search_and_two_methods_draw_other_points_and_the_same_search_the_same(
    tmp_path: Path,
) -> None:
    one = stub.search(tmp_path / "one", sampler="random", trials=3)
    again = replace(one, url=stub.search(tmp_path / "again").url)
    seed = replace(one, url=stub.search(tmp_path / "seed").url, seed=one.seed + 1)
    name = replace(one, name=f"{one.name}-other", url=stub.search(tmp_path / "name").url)
    drawn = [
        [trial["params"] for trial in record["trials"][1:]]
        for search in (one, again, seed, name)
        for record in run(search)
    ]
    assert drawn[0] == drawn[1]
    assert all(drawn[0][0] != other[0] for other in drawn[2:])
