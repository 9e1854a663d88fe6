"""A finished run whose records are not as they were written is left out of every number, and named."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import stores
from stores import Truth
from typer.testing import CliRunner

import reports
from harness.cli.verbs import app
from harness.store.cell_run import CellRun
from harness.store.runs import RunStore
from reports.comparison import ComparisonOptions, comparison_groups
from reports.stored_runs import read

QUICK = ComparisonOptions(resamples=300)
RECORD = "rendered-plaza.val.t2i.parquet"


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    """Two methods, two seeds each."""
    truth = Truth(r1={"uit": 60.0, "baseline": 50.0}, seeds=2, people=30, epochs=2)
    return stores.write(tmp_path / "run", truth)


def record_of(run: CellRun) -> Path:
    return run.directory / "records" / RECORD


def forge(path: Path) -> None:
    """Rank every query first."""
    frame = pd.read_parquet(path)
    frame["rank"] = 1
    frame.to_parquet(path, index=False)


def forge_unseen(path: Path) -> None:
    """The same size and time, another content: what a look at the folder does not show."""
    was = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(was.st_atime_ns, was.st_mtime_ns))


def drop_checksums(run: CellRun) -> None:
    """As an older version finished it."""
    path = run.directory / "status.json"
    status = json.loads(path.read_text())
    del status["checksums"], status["seal"]
    path.write_text(json.dumps(status))


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (forge, f"its record was altered after it was written: records/{RECORD}; the next run"),
        (forge_unseen, f"its record was altered after it was written: records/{RECORD}; delete it, and"),
        (Path.unlink, f"its record is gone: records/{RECORD}; the next run evaluates the models again"),
    ],
)
def test_a_run_whose_record_was_altered_is_left_out_with_its_reason(
    store: RunStore, damage: Callable[[Path], None], said: str
) -> None:
    run = store.cells()[0]
    damage(record_of(run))
    stored_runs = read([store.directory])
    (group,) = comparison_groups(stored_runs, QUICK)
    assert {name: [cell.seed for cell in one.cells] for name, one in group.methods.items()} == {
        "uit": [0, 1],
        "baseline": [1],
    }
    made = reports.build([store.directory], options=QUICK)
    page = made.path.read_text()
    first_screen = page[page.index("<header>") : page.index('id="results-rendered-plaza"')]
    for text in (first_screen, made.table_text.replace("\n", " ")):
        assert f"Left out: {run.name}: {said}" in text
    assert "1 left out, its results are not as they were written" in first_screen
    assert f"Left out: {run.name}" in (store.directory / "report" / "report.md").read_text()
    shown = {
        one.name: page[page.index(f'id="cell-{one.name}"') :].split("</summary>")[0] for one in store.cells()
    }
    assert [name for name, summary in shown.items() if "R1" not in summary] == [run.name]


def test_a_run_with_its_records_altered_counts_as_unfinished_in_the_table(store: RunStore) -> None:
    run = store.cells()[0]
    forge(record_of(run))
    reports.build([store.directory], options=QUICK)
    rows = pd.read_csv(store.directory / "results.csv").set_index("cell")
    assert rows.loc[run.name, "status"] == "queued"
    assert pd.isna(rows.loc[run.name, "R1"])
    assert set(rows.drop(run.name)["status"]) == {"done"}


def test_no_claim_is_judged_from_an_altered_record(tmp_path: Path) -> None:
    same = Truth(
        r1={"uit": 60.0, "baseline": 60.0},
        people=1000,
        seed_sd=0.05,
        directions=("t2i",),
        selections=("val",),
        epochs=1,
    )
    store = stores.write(tmp_path / "run", same)
    claim = "claims: [{id: gain, better: uit, than: baseline, dataset: rendered-plaza, size: 40}]"
    (store.directory / "claims.yaml").write_text(claim)
    for run in store.cells():
        if ".uit." in run.name:
            forge(record_of(run))
    done = CliRunner().invoke(app, ["report", str(store.directory), "--check"])
    assert "gain: not run" in done.stdout
    assert done.stdout.count("Left out: ") == 3


def test_a_copy_that_was_not_altered_takes_the_place_of_one_that_was(store: RunStore, tmp_path: Path) -> None:
    whole = stores.write(
        tmp_path / "copy", Truth(r1={"uit": 60.0, "baseline": 50.0}, seeds=2, people=30, epochs=2)
    )
    forge(record_of(store.cells()[0]))
    assert {cell.status for cell in read([store.directory, whole.directory]).cells} == {"done"}


def test_an_altered_history_draws_no_curve_and_costs_no_score(store: RunStore) -> None:
    run = store.cells()[0]
    lines = (run.directory / "history.jsonl").read_text().splitlines(keepends=True)
    (run.directory / "history.jsonl").write_text(lines[0])
    (cell,) = (cell for cell in read([store.directory]).cells if cell.directory == run.name)
    assert cell.history == ()
    assert cell.status == "done"
    assert cell.results


def test_runs_without_checksums_are_used_and_said_to_have_none(store: RunStore) -> None:
    first, second, *_ = store.cells()
    drop_checksums(first)
    drop_checksums(second)
    record_of(second).unlink()
    cells = {cell.directory: cell for cell in read([store.directory]).cells}
    assert cells[first.name].status == "done"
    assert f"its record is gone: records/{RECORD}" in cells[second.name].detail
    page = reports.build([store.directory], options=QUICK).path.read_text()
    assert "1 finished run of run left no checksums" in page


def test_more_altered_runs_than_can_be_read_are_counted(tmp_path: Path) -> None:
    store = stores.write(
        tmp_path, Truth(r1={"uit": 60.0, "baseline": 50.0}, seeds=4, people=20, directions=("t2i",))
    )
    for run in store.cells()[:7]:
        record_of(run).unlink()
    text = reports.build([tmp_path], options=QUICK).table_text.replace("\n", " ")
    assert text.count("Left out: ") == 6
    assert "Left out: 2 more runs, for the like." in text
