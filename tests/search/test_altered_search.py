"""What is altered in a search's database from outside: it is noticed, or it enters no table."""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import search_stub as stub

from harness.launch.local import InProcess
from harness.search.creation import create_search
from harness.search.database import StorageError, sqlite_url
from harness.search.plan import SearchPlan
from harness.search.search_json import search_record
from harness.search.search_loop import run_searches
from harness.search.trial_queue import ClaimedTrial, trial_queue

HOLDS_TRIALS = (
    *("trials", "trial_params", "trial_values", "trial_intermediate_values", "trial_user_attributes"),
    *("trial_system_attributes", "study_user_attributes", "study_directions"),
)


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.fixture(scope="module")
def ended(memory: Path) -> SearchPlan:
    """A search with complete, pruned and failed trials, three of its eight still to come."""
    hill = stub.Hill(memory / "cells", epochs=6, fails="oom")
    search = stub.search(memory, trials=13, epochs=6, objective=hill, sampler="random", pruner="median")
    create_search(search)
    run_searches([search], InProcess(), lambda progress, outcome: None)
    states = {trial["state"] for trial in record_of(search)["trials"]}
    assert states == {"complete", "pruned", "failed"}
    return search


def record_of(search: SearchPlan) -> dict[str, Any]:
    create_search(search)
    return search_record(search, trial_queue(search).trials())


@pytest.fixture
def copied(ended: SearchPlan, memory: Path) -> Iterator[tuple[SearchPlan, Path]]:
    """A copy of it that no process has open."""
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        path = Path(folder) / "search.db"
        shutil.copyfile(memory / "search.db", path)
        yield replace(ended, url=sqlite_url(path)), path


def change(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        for statement in statements:
            connection.execute(statement)


def rows_of(path: Path, table: str) -> list[int]:
    """A row of each kind: of trials by state, of notes by name, else the first and the last."""
    kind = {"trials": "state", "trial_user_attributes": "key", "study_user_attributes": "key"}.get(table)
    query = f"SELECT max(rowid) FROM {table} GROUP BY {kind}" if kind else f"SELECT min(rowid) FROM {table}"
    with closing(sqlite3.connect(path)) as connection:
        return [row[0] for row in connection.execute(query) if row[0] is not None]


def columns_of(path: Path, table: str) -> list[tuple[str, str]]:
    with closing(sqlite3.connect(path)) as connection:
        return [(row[1], row[2]) for row in connection.execute(f"PRAGMA table_info({table})")]


def other_value(kind: str) -> str:
    """What a value of a column's type is replaced by, in SQL."""
    if kind.startswith(("INT", "FLOAT", "NUMERIC")):
        return "{column} * 2 + 1"
    if kind.startswith("DATE"):
        return "'2001-02-03 04:05:06.000000'"
    return "replace(replace(replace({column}, '1', '2'), 'COMPLETE', 'PRUNED'), 'a', 'b') || ' '"


def is_noticed(search: SearchPlan, before: dict[str, Any]) -> bool:
    """Whether an altered search is refused; where it is not, its record must be what it was."""
    try:
        record = record_of(search)
    except StorageError:
        return True
    assert {**record, "storage": ""} == {**before, "storage": ""}
    return False


@pytest.mark.parametrize("table", HOLDS_TRIALS)
def test_whatever_value_is_altered_in_the_database_is_noticed_or_enters_no_table(
    copied: tuple[SearchPlan, Path], ended: SearchPlan, table: str
) -> None:
    search, path = copied
    whole, before = path.read_bytes(), record_of(ended)
    noticed = []
    for row in rows_of(path, table):
        for column, kind in columns_of(path, table):
            path.write_bytes(whole)
            value = other_value(kind).format(column=column)
            try:
                change(path, f"UPDATE {table} SET {column} = {value} WHERE rowid = {row}")
            except sqlite3.IntegrityError:
                continue
            if is_noticed(search, before):
                noticed.append(column)
    assert noticed or table == "trial_system_attributes"


@pytest.mark.parametrize("table", HOLDS_TRIALS)
def test_whatever_row_is_deleted_from_the_database_is_noticed_or_entered_no_table(
    copied: tuple[SearchPlan, Path], ended: SearchPlan, table: str
) -> None:
    search, path = copied
    whole, before = path.read_bytes(), record_of(ended)
    for row in rows_of(path, table):
        path.write_bytes(whole)
        change(path, f"DELETE FROM {table} WHERE rowid = {row}")
        is_noticed(search, before)


COPY_OF_A_TRIAL = (
    "INSERT INTO trials (number, study_id, state) SELECT max(number) + 1, 1, '{state}' FROM trials",
    "INSERT INTO trial_params (trial_id, param_name, param_value, distribution_json) SELECT (SELECT "
    "max(trial_id) FROM trials), param_name, param_value, distribution_json FROM trial_params "
    "WHERE trial_id = 1",
    "INSERT INTO trial_values (trial_id, objective, value, value_type) VALUES ((SELECT max(trial_id) FROM "
    "trials), 0, 99.9, 'FINITE')",
    "INSERT INTO trial_user_attributes (trial_id, key, value_json) SELECT (SELECT max(trial_id) FROM "
    "trials), key, value_json FROM trial_user_attributes WHERE trial_id = 1",
)


@pytest.mark.parametrize("notes", [True, False])
@pytest.mark.parametrize("state", ["COMPLETE", "PRUNED", "FAIL", "RUNNING", "WAITING"])
def test_a_trial_added_by_another_program_is_noticed(
    copied: tuple[SearchPlan, Path], state: str, notes: bool
) -> None:
    search, path = copied
    statements = [text.format(state=state) for text in COPY_OF_A_TRIAL]
    change(path, *(statements if notes else statements[:3]))
    if state == "RUNNING" and not notes:
        # Like one whose process died while it was being made; it has no score, so it enters no table.
        assert record_of(search)["trials"][-1]["value"] is None
        return
    with pytest.raises(StorageError, match="is not what was written"):
        record_of(search)


def test_the_last_trials_deleted_from_the_database_are_missed(copied: tuple[SearchPlan, Path]) -> None:
    search, path = copied
    change(path, "DELETE FROM trials WHERE trial_id >= (SELECT max(trial_id) - 1 FROM trials)")
    with pytest.raises(StorageError, match=r"trial \d+ of stub/uit/hill is not what was written"):
        record_of(search)


def test_terms_that_are_deleted_do_not_let_other_terms_take_their_place(
    copied: tuple[SearchPlan, Path],
) -> None:
    search, path = copied
    change(path, "DELETE FROM study_user_attributes WHERE key = 'terms'")
    with pytest.raises(StorageError, match="the terms of stub/uit/hill are missing"):
        record_of(search)
    changed = replace(search, terms={"train": {"lr": 2e-5}})
    with pytest.raises(StorageError, match="damaged"):
        record_of(changed)


def test_terms_that_are_altered_are_not_those_of_a_study_that_asks_for_the_altered_ones(
    copied: tuple[SearchPlan, Path],
) -> None:
    search, path = copied
    change(
        path,
        "UPDATE study_user_attributes SET value_json = replace(value_json, '\"epochs\": 6', '\"epochs\": 7') "
        "WHERE key = 'terms'",
    )
    with pytest.raises(StorageError, match="the terms of stub/uit/hill are not what was written"):
        create_search(replace(search, epochs=7))


@pytest.mark.parametrize("count", ["made", "trials", "forgiven"])
def test_a_count_of_a_search_that_is_altered_is_noticed(copied: tuple[SearchPlan, Path], count: str) -> None:
    search, path = copied
    change(
        path,
        f"UPDATE study_user_attributes SET value_json = replace(value_json, '\"{count}\": ', "
        f"'\"{count}\": 1') WHERE key = 'counts'",
    )
    with pytest.raises(StorageError, match="the counts of stub/uit/hill are not what was written"):
        trial_queue(search).budget()


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE trial_intermediate_values SET intermediate_value = intermediate_value + 1",
        "INSERT INTO trial_intermediate_values (trial_id, step, intermediate_value, intermediate_value_type) "
        "VALUES (1, 9, 99.0, 'FINITE')",
        "UPDATE trial_user_attributes SET value_json = replace(value_json, 'seconds\": ', 'seconds\": 7') "
        "WHERE key = 'history'",
        "UPDATE trial_params SET param_value = param_value * 1.01",
    ],
)
def test_a_trial_that_is_altered_while_it_runs_is_never_finished(tmp_path: Path, statement: str) -> None:
    search = stub.search(tmp_path, trials=2)
    create_search(search)
    queue = trial_queue(search)
    claim = queue.claim()
    assert isinstance(claim, ClaimedTrial)
    queue.report(claim, 1, 20.0, 1.0)
    change(tmp_path / "search.db", statement)
    with pytest.raises(StorageError, match="trial 0 of stub/uit/hill is not what was written"):
        queue.complete(claim, 20.0)


def test_a_trial_that_was_cut_off_between_its_note_and_its_report_loses_no_epoch(tmp_path: Path) -> None:
    search = stub.search(tmp_path, trials=2)
    create_search(search)
    queue = trial_queue(search)
    claim = queue.claim()
    assert isinstance(claim, ClaimedTrial)
    queue.report(claim, 1, 20.0, 1.0)
    queue.report(claim, 2, 30.0, 2.0)
    change(
        tmp_path / "search.db",
        "DELETE FROM trial_intermediate_values WHERE step = 2",
        "UPDATE trial_user_attributes SET value_json = '\"gone/1/1\"' WHERE key = 'owner'",
        "UPDATE trial_heartbeats SET heartbeat = datetime('now', '-1 hour')",
    )
    taken = trial_queue(replace(search, about={})).claim()
    assert isinstance(taken, ClaimedTrial)
    assert (taken.number, taken.resumed, taken.seconds) == (0, True, 2.0)
    (trial,) = trial_queue(search).trials()
    assert trial.intermediate_values == {1: 20.0, 2: 30.0}
