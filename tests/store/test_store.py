"""The store keeps its promises: whole files or none, one trainer per cell, nothing damaged is used."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from study_files import write_study

import reports
from harness.machine import files
from harness.machine.errors import LockedError, NewerFormatError, StoreError, StudyError
from harness.machine.files import atomic_write
from harness.store.cell_run import CellRun
from harness.store.results_table import RESULT_COLUMNS, results_rows, write_results_table
from harness.store.runs import RunStore
from harness.store.stored_cell import find_cell
from harness.study.cell import Cell, fingerprint
from harness.study.study import load_study

ROOT = Path(__file__).parents[2]


@pytest.fixture
def cells(tmp_path: Path) -> list[Cell]:
    (tmp_path / "in").mkdir()
    return load_study(write_study(tmp_path / "in")).cells()


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "out")


@pytest.fixture
def run(store: RunStore, cells: list[Cell]) -> CellRun:
    return store.open(cells[0], cells[0].parts("data", {"train": "code"}), host="here")


def result(target: str, selection: str = "val", direction: str = "t2i", **scores: float) -> dict[str, Any]:
    values = {"R1": 10.0, "R5": 20.0, "R10": 30.0, "mAP": 15.0, "mINP": 5.0, **scores}
    where = {"target": target, "selection": selection, "direction": direction, "epoch": 1}
    return {**where, **values, "queries": 12, "gallery": 6, "excluded": 0}


# -- files ----------------------------------------------------------------------------------------


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "file"
    atomic_write(path, "old")

    def fill_the_disk() -> None:
        with files.atomic_file(path) as file:
            file.write(b"half of the new")
            raise OSError(errno.ENOSPC, "full")

    with pytest.raises(OSError, match="full"):
        fill_the_disk()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


KEEP_WRITING = """
import json, sys
from pathlib import Path
from harness.machine.files import atomic_write
for number in range(1_000_000):
    atomic_write(Path(sys.argv[1]), json.dumps({"number": number, "padding": "x" * 20_000}))
"""


def test_a_folder_in_the_place_of_a_file_is_named_and_nothing_else_is_left(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError) as caught:
        atomic_write(tmp_path / "file", "new")
    assert caught.value.filename == str(tmp_path / "file")
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    for attempt in range(3):
        path.unlink(missing_ok=True)
        with subprocess.Popen([sys.executable, "-c", KEEP_WRITING, path], cwd=ROOT) as writer:
            while not path.exists():
                time.sleep(0.01)
            time.sleep(0.03 * attempt)
            writer.kill()
        assert len(json.loads(path.read_text())["padding"]) == 20_000
    files.remove_leftovers(tmp_path)
    assert os.listdir(tmp_path) == ["file.json"]


def test_a_torn_last_line_is_named_dropped_and_harms_no_later_one(run: CellRun) -> None:
    for epoch in (1, 2):
        run.append_history({"epoch": epoch, "losses": {"sdm": 1.5}})
    with (run.directory / "history.jsonl").open("a") as file:
        file.write('{"epoch": 3, "los')
    assert [line["epoch"] for line in run.history] == [1, 2]
    assert run.notes == ["history.jsonl: line 3 is damaged and left out"]
    run.append_history({"epoch": 3, "losses": {"sdm": 1.25}})
    assert [line["epoch"] for line in run.history] == [1, 2, 3]


def test_an_epoch_trained_again_counts_once_and_later_ones_are_forgotten(run: CellRun) -> None:
    for epoch, loss in ((1, 9.0), (2, 8.0), (3, 7.0), (2, 6.0)):
        run.append_history({"epoch": epoch, "loss": loss})
    assert [(line["epoch"], line["loss"]) for line in run.history] == [(1, 9.0), (2, 6.0), (3, 7.0)]
    run.truncate_after(2)
    assert [line["epoch"] for line in run.history] == [1, 2]


# -- status and lock ------------------------------------------------------------------------------


HOLD = """
import sys, time
from pathlib import Path
from harness.store.cell_run import CellRun
run = CellRun(Path(sys.argv[1]))
with run.lock():
    run.set_status("running", epoch=3)
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_cell_is_trained_by_one_process_and_left_behind_by_a_killed_one(run: CellRun) -> None:
    command = [sys.executable, "-c", HOLD, run.directory]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        assert run.status.state == "running"
        with pytest.raises(LockedError), run.lock(patience=0.1):
            pytest.fail("two processes hold one cell")
        holder.kill()
    assert run.status.state == "queued"
    assert "cut off after 3 whole epochs" in run.status.detail
    with run.lock():
        assert files.is_locked(run.directory / "lock")


def test_looking_at_a_cell_never_keeps_it_from_being_trained(run: CellRun) -> None:
    run.set_status("running")
    for _ in range(50):
        assert run.status.state == "queued"
        with run.lock(patience=0.5):
            pass


def test_a_failure_keeps_its_reason_epoch_and_seconds(run: CellRun) -> None:
    run.set_status("running", epoch=4, seconds=12.5)
    run.fail("oom", "CUDA out of memory")
    status = run.status
    assert (status.state, status.reason, status.detail) == ("failed", "oom", "CUDA out of memory")
    assert (status.epoch, status.seconds) == (4, 12.5)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"state": 3', "null"])
def test_a_damaged_status_is_taken_for_unfinished(run: CellRun, content: str) -> None:
    run.finish()
    (run.directory / "status.json").write_text(content)
    assert run.status.state == "queued"


def test_a_cell_that_an_older_version_finished_keeps_its_results_and_history(
    store: RunStore, run: CellRun
) -> None:
    run.write_results([result("cuhk-pedes")])
    run.finish()
    status = json.loads((run.directory / "status.json").read_text())
    del status["checksums"], status["seal"]
    (run.directory / "status.json").write_text(json.dumps(status))
    (run.directory / "history.jsonl").write_text('{"epoch": 1}\n')
    run.append_history({"epoch": 2})
    assert (run.status.state, len(run.results), len(results_rows(store))) == ("done", 1, 1)
    assert [line["epoch"] for line in run.history] == [1, 2]
    assert run.notes == []


def test_a_cell_of_a_newer_format_is_refused_by_name_and_left_as_it_is(
    store: RunStore, run: CellRun, cells: list[Cell]
) -> None:
    path = run.directory / "cell.json"
    path.write_text(json.dumps({**run.description, "format": 7}))
    before = path.read_bytes()
    named = rf"{run.name}.cell\.json: of format 7, and this version reads up to 1; update it"
    with pytest.raises(NewerFormatError, match=named):
        results_rows(store)
    with pytest.raises(NewerFormatError, match=named):
        store.open(cells[0], cells[0].parts("data", {"train": "code"}))
    assert path.read_bytes() == before


# -- checkpoints and models -----------------------------------------------------------------------


def test_a_checkpoint_returns_what_was_saved_and_only_the_newest_is_kept(run: CellRun) -> None:
    for epoch in (1, 2):
        run.save_checkpoint({"epoch": epoch, "weights": torch.full((3,), float(epoch))}, epoch)
    state = run.load_checkpoint()
    assert state is not None
    assert state["epoch"] == 2
    assert torch.equal(state["weights"], torch.full((3,), 2.0))
    assert len(list((run.directory / "checkpoint").iterdir())) == 1


def test_a_checkpoint_with_one_changed_byte_is_set_aside_and_named(run: CellRun) -> None:
    run.save_checkpoint({"weights": torch.arange(1000.0)}, 1)
    (path,) = (run.directory / "checkpoint").glob("*.pt")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))
    assert run.load_checkpoint() is None
    assert not path.exists()
    assert "does not match its name; set aside" in run.notes[0]


def test_the_history_in_a_checkpoint_ends_with_its_epoch_though_training_went_on(run: CellRun) -> None:
    for epoch in (1, 2):
        run.append_history({"epoch": epoch})
    run.save_checkpoint({"epoch": 1}, 1)
    for _ in range(2):
        run.truncate_after(1)
        assert run.load_checkpoint() == {"epoch": 1}
    assert run.notes == []


def test_a_history_with_scores_of_no_query_is_not_damaged(run: CellRun) -> None:
    run.append_history({"epoch": 1, "val": {"R1": float("nan")}})
    run.save_checkpoint({"epoch": 1}, 1)
    run.load_checkpoint()
    assert run.notes == []


class Harmful:
    """What makes a folder when it is unpickled by a reader that runs code."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_a_checkpoint_cannot_bring_code_along(run: CellRun, tmp_path: Path) -> None:
    run.save_checkpoint({"epoch": 1, "harm": Harmful(tmp_path / "code-ran")}, 1)
    assert run.load_checkpoint() is None
    assert not (tmp_path / "code-ran").exists()
    assert "set aside" in run.notes[0]


def test_two_selections_of_one_epoch_share_one_file(run: CellRun) -> None:
    weights = {"weight": torch.rand(4, 5), "half": torch.rand(3).half()}
    run.save_model("val", weights, 3)
    run.save_model("last", weights, 3)
    run.save_model("test", weights, 2)
    inodes = {selection: run.model_path(selection).stat().st_ino for selection in ("val", "last", "test")}
    assert inodes["val"] == inodes["last"] != inodes["test"]
    run.save_model("last", weights, 3)
    loaded = run.load_model("last")
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)
    assert [run.model_epoch(selection) for selection in ("val", "test")] == [3, 2]


def test_other_weights_of_the_same_epoch_get_a_file_of_their_own(run: CellRun) -> None:
    run.save_model("val", {"weight": torch.zeros(3)}, 3)
    run.save_model("last", {"weight": torch.ones(3)}, 3)
    assert torch.equal(run.load_model("last")["weight"], torch.ones(3))
    assert torch.equal(run.load_model("val")["weight"], torch.zeros(3))


def test_a_name_that_several_cells_have_is_refused_with_their_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cells: list[Cell]
) -> None:
    monkeypatch.chdir(tmp_path)
    parts = cells[0].parts("data", {})
    for name in ("one", "two"):
        RunStore(Path("runs") / name).open(cells[0], parts)
        (Path("runs") / name / "study.yaml").write_text("name: x\n")
    run_name = cells[0].directory_name(fingerprint(parts))
    with pytest.raises(StudyError) as caught:
        find_cell(run_name[:20])
    folders = [f"  runs/{name}/cells/{run_name}" for name in ("one", "two")]
    assert str(caught.value).splitlines()[1:] == folders
    assert find_cell(folders[1].strip()).directory == tmp_path / folders[1].strip()
    assert find_cell(folders[1].strip()[:-6]).directory == tmp_path / folders[1].strip()  # its name shortened


def test_a_model_with_one_changed_weight_is_refused(run: CellRun) -> None:
    run.save_model("val", {"weight": torch.rand(100)}, 1)
    content = bytearray(run.model_path("val").read_bytes())
    content[-7] ^= 1
    run.model_path("val").write_bytes(bytes(content))
    with pytest.raises(StoreError, match="not the ones that were written"):
        run.load_model("val")


# -- records and results --------------------------------------------------------------------------


def test_records_come_back_as_they_were(run: CellRun) -> None:
    frame = pd.DataFrame(
        {"query": [0, 1], "rank": pd.array([3, None], dtype="Int64"), "top": [[1, 2], [0, 1]]}
    )
    run.save_records("cuhk-pedes", "val", "t2i", frame)
    back = run.records("cuhk-pedes", "val", "t2i")
    assert back["rank"].isna().tolist() == [False, True]
    assert [list(top) for top in back["top"]] == [[1, 2], [0, 1]]


def test_damaged_records_are_refused(run: CellRun) -> None:
    run.save_records("cuhk-pedes", "val", "t2i", pd.DataFrame({"query": range(5000), "ap": [0.1234] * 5000}))
    (path,) = (run.directory / "records").iterdir()
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(StoreError, match=r"cuhk-pedes\.val\.t2i\.parquet"):
        run.records("cuhk-pedes", "val", "t2i")


def test_results_csv_has_one_row_per_score_and_one_for_a_cell_without(
    store: RunStore, cells: list[Cell]
) -> None:
    runs = [store.open(cell, cell.parts("data", {})) for cell in cells[:3]]
    store.make_current(list(zip(cells[:3], runs, strict=True)))
    rows = [result("cuhk-pedes", selection, way) for selection in ("val", "last") for way in ("t2i", "i2t")]
    runs[0].write_results(rows)
    runs[0].finish()
    runs[1].fail("nan", "diverged at step 3")
    with write_results_table(store).open() as file:
        table = list(csv.DictReader(file))
    assert list(table[0]) == list(RESULT_COLUMNS)
    assert [row["status"] for row in table] == ["done"] * 4 + ["failed", "queued"]
    done = [row for row in table if row["status"] == "done"]
    assert len(done) == 4
    assert {row["R1"] for row in done} == {"10.0000"}
    (failed,) = [row for row in table if row["status"] == "failed"]
    assert (failed["reason"], failed["R1"], failed["queries"]) == ("nan", "", "")
    assert table == sorted(table, key=lambda row: (row["dataset"], row["method"], int(row["seed"])))


def test_results_do_not_depend_on_the_order_in_which_cells_ran(tmp_path: Path, cells: list[Cell]) -> None:
    texts = []
    for name, order in (("forward", cells), ("backward", cells[::-1])):
        store = RunStore(tmp_path / name)
        for cell in order:
            run = store.open(cell, cell.parts("data", {}), host=name)
            run.write_results([result(cell.dataset, R1=cell.seed + 0.5)])
            run.finish()
        texts.append(write_results_table(store).read_text())
    assert texts[0] == texts[1]


@pytest.mark.parametrize("name", ["cell.json", "status.json", "results.json", "records/here.val.t2i.parquet"])
def test_a_file_that_changes_after_it_was_read_is_noticed_at_the_next_look(
    store: RunStore, cells: list[Cell], name: str
) -> None:
    run = store.open(cells[0], cells[0].parts("data", {}))
    run.write_results([result(cells[0].dataset, R1=10.0)])
    run.save_records("here", "val", "t2i", pd.DataFrame({"rank": [1, 2]}))
    run.finish()
    assert run.is_intact
    assert results_rows(store)[0]["status"] == "done"
    path = run.directory / name
    content = path.read_bytes()
    changed = {
        b"PAR1": b"PAR2",
        b'"R1": 10.0': b'"R1": 90.0',
        b'"seed": 0': b'"seed": 9',
        b'"epoch": 0': b'"epoch": 9',
    }
    before = next(text for text in changed if text in content)
    path.write_bytes(content.replace(before, changed[before], 1))
    assert not run.is_intact
    assert [row["status"] for row in results_rows(store)] == ["queued"]


def test_a_cell_asked_for_anew_replaces_the_one_of_other_settings(store: RunStore, cells: list[Cell]) -> None:
    old = store.open(cells[0], cells[0].parts("old data", {}))
    other = store.open(cells[1], cells[1].parts("data", {}))
    store.make_current([(cells[0], old), (cells[1], other)])
    new = store.open(cells[0], cells[0].parts("new data", {}))
    store.make_current([(cells[0], new)])
    assert {run.name for run in store.cells()} == {new.name, other.name}
    assert {run.name for run in store.all_cells()} == {old.name, new.name, other.name}
    assert len(results_rows(store)) == 2


def test_a_damaged_description_is_set_aside_and_written_anew(store: RunStore, cells: list[Cell]) -> None:
    parts = cells[0].parts("data", {})
    run = store.open(cells[0], parts)
    run.finish()
    (run.directory / "cell.json").write_text('{"identity": ')
    again = store.open(cells[0], parts)
    assert again.description["parts"] == json.loads(json.dumps(parts))
    assert again.status.state == "done"
    assert any("cell.json: damaged" in note for note in again.notes)


@pytest.mark.parametrize(
    ("was", "became"),
    [('"method": "uit"', '"method": "uiu"'), ('"lr": ', '"lr": 1'), ('"seed": 0', '"seed": 4')],
)
def test_a_description_with_a_changed_word_is_set_aside_and_labels_no_result(
    store: RunStore, run: CellRun, cells: list[Cell], was: str, became: str
) -> None:
    path = run.directory / "cell.json"
    before = run.description["cell"]
    path.write_text(path.read_text().replace(was, became, 1))
    assert run.description["cell"] != before
    assert store.open(cells[0], cells[0].parts("data", {"train": "code"})).description["cell"] == before
    assert any("cell.json: damaged" in note for note in run.notes)
    assert results_rows(store)[0]["method"] == "uit"


def test_a_description_of_the_same_cell_asked_for_by_another_study_is_kept(
    store: RunStore, run: CellRun, cells: list[Cell]
) -> None:
    before = (run.directory / "cell.json").read_bytes()
    other = replace(cells[0], study="another", targets=(cells[0].dataset,))
    store.open(other, other.parts("data", {"train": "code"}))
    assert (run.directory / "cell.json").read_bytes() == before


def test_a_cell_is_found_by_the_beginning_of_its_name(store: RunStore, run: CellRun) -> None:
    assert store.cell(run.name[:-4]).directory == run.directory
    with pytest.raises(StoreError, match="no cell called 'nothing'"):
        store.cell("nothing")


def test_which_methods_each_key_of_train_reached_is_kept_and_shown_on_the_page(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    train = {"backbone": "tiny", "pretrained": "none", "image_size": [96, 32], "mask_ratio": 0.4}
    store = RunStore(tmp_path / "out")
    store.write_study(load_study(write_study(tmp_path / "in", methods=["uit", "baseline"], train=train)))
    kept = json.loads((store.directory / "train-keys.json").read_text())
    assert kept["reach"]["mask_ratio"] == ["uit"]
    page = reports.build([store.directory]).path.read_text()
    assert "What each key of train: reaches in small" in page
    assert ">mask_ratio<" in page
