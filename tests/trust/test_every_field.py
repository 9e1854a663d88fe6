"""No value that a finished cell left can be changed without notice, whichever it is."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from light_runs import light_machine, light_study, run_light

from harness.launch.changes import changes_between
from harness.launch.context import Context
from harness.store.cell_run import CellRun
from harness.store.runs import RunStore
from harness.trust import run_comparison
from harness.trust.audit import audit
from harness.trust.run_comparison import Expectation
from reports.cell_views import ALTERED
from reports.stored_runs import read

Place = tuple[str | int, ...]


@pytest.fixture(scope="module")
def finished(cuhk_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fields")
    study = light_study(folder, seeds=1)
    return run_light(study, folder / "out", Context(light_machine(cuhk_root))).directory


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> CellRun:
    shutil.copytree(finished, tmp_path / "out")
    return RunStore(tmp_path / "out").cells()[0]


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Where every value of a JSON text stands that holds no others."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    if not value or not inner:
        yield place
    for key, below in inner:
        yield from places(below, (*place, key))


def changed(value: Any, place: Place) -> Any:
    """The same with another value of the same kind at one place."""
    document = copy.deepcopy(value)
    holder = document
    for key in place[:-1]:
        holder = holder[key]
    was = holder[place[-1]]
    if isinstance(was, bool):
        holder[place[-1]] = not was
    elif isinstance(was, (int, float)):
        holder[place[-1]] = was + 1
    else:
        holder[place[-1]] = f"{was}x"
    return document


@pytest.mark.parametrize("name", ["cell.json", "status.json"])
def test_a_changed_value_of_the_description_or_the_status_is_found_and_keeps_the_cell_out_of_tables(
    run: CellRun, name: str
) -> None:
    path = run.directory / name
    text = path.read_text()
    document = json.loads(text)
    assert list(audit(run)) == []
    for place in places(document):
        if place == ("format",):  # a later version's is not read at all
            continue
        path.write_text(json.dumps(changed(document, place)))
        edited = CellRun(run.directory)
        assert list(audit(edited)), place
        assert edited.status.state != "done", place
        assert [view.status for view in read([run.directory.parents[1]]).cells][:1] != ["done"], place
    path.write_text(text)
    assert (list(audit(CellRun(run.directory))), CellRun(run.directory).status.state) == ([], "done")


def test_a_cell_whose_host_was_edited_is_shown_as_altered_and_run_again_by_run(
    run: CellRun, cuhk_root: Path, tmp_path: Path
) -> None:
    path = run.directory / "cell.json"
    path.write_text(path.read_text().replace('"device": "cpu"', '"device": "gpu"'))
    (view,) = read([tmp_path / "out"]).cells
    assert (view.status, view.detail) == (
        ALTERED,
        "cell.json is not as it was written; the next run evaluates the models again",
    )
    run_light(light_study(tmp_path / "in", seeds=1), tmp_path / "out", Context(light_machine(cuhk_root)))
    again = CellRun(run.directory)
    assert (again.status.state, list(audit(again))) == ("done", [])
    assert any("cell.json" in note for note in again.notes)


@pytest.mark.parametrize("name", ["results.json", "history.jsonl"])
def test_a_changed_value_of_scores_or_history_is_found(run: CellRun, name: str) -> None:
    path = run.directory / name
    lines = [path.read_text()] if name == "results.json" else path.read_text().splitlines()
    for number, line in enumerate(lines):
        document = json.loads(line)
        for place in places(document):
            edited = [*lines[:number], json.dumps(changed(document, place)), *lines[number + 1 :]]
            path.write_text("\n".join(edited))
            assert f"{name} is not as it was written" in list(audit(run)), place


def test_a_changed_value_of_any_column_of_a_record_is_found(run: CellRun) -> None:
    path = run.records_path("cuhk-pedes", "val", "t2i")
    was = path.read_bytes()
    frame = pd.read_parquet(path)
    for name in frame.columns:
        edited = frame.copy()
        edited[name] = [frame[name].iloc[1], *frame[name].iloc[1:]]
        if not edited.astype(str).equals(frame.astype(str)):
            edited.to_parquet(path, index=False)
            assert f"records/{path.name} is not as it was written" in list(audit(run)), name
            path.write_bytes(was)


@pytest.mark.parametrize("exact", [True, False])
def test_scores_forged_with_their_checksums_differ_from_those_of_a_second_run(
    run: CellRun, finished: Path, exact: bool
) -> None:
    (again,) = RunStore(finished).cells()
    rows = run.results
    expected = Expectation(exact, "", cosine=1e-4, moved_ranks=0.02)
    searched = {"queries", "gallery", "excluded", "fingerprint", "skipped"}
    scored = {"epoch", "R1", "R5", "R10", "mAP", "mINP"}
    assert rows[0].keys() == {"target", "selection", "direction", "data"} | searched | scored
    for name in searched | (scored if exact else set()):
        run.write_results([changed(rows[0], (name,)), *rows[1:]])
        run.finish()
        found = list(run_comparison.cells_closely(run, again, expected))
        assert any(f": {name} was" in text for text in found), (name, found)


def test_why_names_every_part_of_an_identity_that_differs(run: CellRun) -> None:
    parts = run.parts
    for place in places(parts):
        assert changes_between(parts, changed(parts, place)), place
