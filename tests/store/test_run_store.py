"""What of a run's folder is a cell, and what its store keeps beside the cells."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from study_files import write_study

from harness.machine.errors import StoreError
from harness.store.cell_run import CellRun
from harness.store.runs import RunStore
from harness.study.study import load_study


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(tmp_path / "out")


@pytest.fixture
def runs(store: RunStore, tmp_path: Path) -> list[CellRun]:
    (tmp_path / "in").mkdir()
    cells = load_study(write_study(tmp_path / "in")).cells()[:3]
    return [store.open(cell, cell.parts("data", {"train": "code"})) for cell in cells]


def test_what_lies_beside_the_cells_of_a_run_is_no_cell(store: RunStore, runs: list[CellRun]) -> None:
    folder = store.directory / "cells"
    (folder / ".copied-by-a-killed-process").mkdir()
    (folder / "of another program").mkdir()
    (folder / "of another program" / "cell.json").mkdir()
    (folder / "notes.txt").write_text("mine")
    assert [run.name for run in store.all_cells()] == sorted(run.name for run in runs)
    assert [run.name for run in RunStore(store.directory).cells()] == sorted(run.name for run in runs)


def test_a_folder_without_cells_has_none(tmp_path: Path) -> None:
    assert RunStore(tmp_path).all_cells() == RunStore(tmp_path / "nothing").cells() == []


def test_a_cell_is_named_by_the_beginning_of_its_folder_and_by_nothing_less(
    store: RunStore, runs: list[CellRun]
) -> None:
    for run in runs:
        assert store.cell(run.name).directory == store.cell(run.name[:-3]).directory == run.directory
    with pytest.raises(StoreError, match="3 cells called ''"):
        store.cell("")
    with pytest.raises(StoreError, match="no cell called 'nothing'"):
        store.cell("nothing")


def test_the_list_of_a_datasets_files_is_read_back_and_a_damaged_one_is_none_and_kept_anew(
    store: RunStore,
) -> None:
    rows = [{"split": "train", "path": "é/a.jpg", "bytes": 5}, {"split": "test", "path": "b.jpg", "bytes": 7}]
    assert store.files_of("0123") is None
    store.keep_files("0123", rows)
    assert store.files_of("0123") == rows
    assert store.files_of("4567") is None
    path = store.directory / "data" / "0123.json.gz"
    whole = path.read_bytes()
    for damaged in (b"", whole[:-9], b"nonsense", gzip.compress(b"{"), gzip.compress(b'{"a": 1}')):
        path.write_bytes(damaged)
        assert store.files_of("0123") is None, damaged
    store.keep_files("0123", rows)
    assert path.read_bytes() == whole


def test_a_study_that_is_missing_or_damaged_is_empty(store: RunStore, runs: list[CellRun]) -> None:
    assert (store.study(), store.reference) == ({}, "")
    path = store.directory / "study.yaml"
    for content in (b"- a\n", b"a: [", b"\xff\xfe\x00", b""):
        path.write_bytes(content)
        assert (store.study(), store.reference) == ({}, ""), content
    path.write_text("methods: [irra, {name: uit}, baseline]\n")
    assert store.reference == "uit"
    path.write_text("methods: [{name: irra}, baseline]\n")
    assert store.reference == "irra"


def test_a_list_of_current_cells_that_is_damaged_leaves_every_cell(
    store: RunStore, runs: list[CellRun]
) -> None:
    store.make_current([(runs[0].cell, runs[0])])
    assert [run.name for run in store.cells()] == [runs[0].name]
    for content in ("[]", "{", ""):
        (store.directory / "current.json").write_text(content)
        assert len(store.cells()) == 3
