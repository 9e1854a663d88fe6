"""What of a run's folder is a cell, and what its store keeps beside the cells."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

import pytest
from study_files import write_study

from harness.machine.errors import StoreError
from harness.store.bundled import MANIFEST, is_bundled, left_out
from harness.store.cell_run import CellRun
from harness.store.runs import RunStore
from harness.store.seals import change_sealed
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


def test_a_description_that_was_forged_with_its_seal_gives_no_identity(runs: list[CellRun]) -> None:
    run = runs[0]
    path, whole = run.directory / "cell.json", (run.directory / "cell.json").read_bytes()
    description = run.description
    assert run.checked_identity() == description["identity"]
    cell, parts = description["cell"], description["parts"]
    contradicts = "what the identity is made of does not give the identity"
    forgeries = [
        ({"parts": {**parts, "seed": 7}}, contradicts),
        ({"identity": "0" * 64}, contradicts),
        ({"cell": {**cell, "dataset": "rstpreid"}}, contradicts),
        ({"cell": {**cell, "train": {**cell["train"], "lr": 0.5}}}, "is not the one of the identity"),
        ({"parts": {}}, "damaged"),
        ({"parts": 3}, "says nothing about the cell's identity"),
    ]
    for changes, message in forgeries:
        path.write_bytes(whole)
        change_sealed(path, **changes)
        with pytest.raises(StoreError, match=message):
            CellRun(run.directory).checked_identity()
    path.write_bytes(whole)
    moved = run.directory.with_name(runs[1].name + "x")
    shutil.copytree(run.directory, moved)
    with pytest.raises(StoreError, match=contradicts):
        CellRun(moved).checked_identity()


def test_a_cell_is_imported_where_its_description_says_so_and_nowhere_else(runs: list[CellRun]) -> None:
    run = runs[0]
    path = run.directory / "cell.json"
    cell = run.description["cell"]
    assert CellRun(run.directory).is_imported is False
    change_sealed(path, cell={**cell, "imported": "0" * 64})
    assert CellRun(run.directory).is_imported is True
    for content in ("{}", '{"cell": 3}', "{", '{"cell": null}'):
        path.write_text(content)
        assert CellRun(run.directory).is_imported is False, content
    path.unlink()
    assert CellRun(run.directory).is_imported is False


def test_a_bundle_leaves_out_the_models_that_its_manifest_does_not_name_and_nothing_else(
    store: RunStore, runs: list[CellRun]
) -> None:
    folder, manifest = runs[0].directory, store.directory.parent / MANIFEST
    (folder / "model-last.safetensors").write_bytes(b"there")
    names = ["model-val.safetensors", "model-test.safetensors", "model-last.safetensors", "results.json"]
    assert (is_bundled(store.directory), left_out(folder, names)) == (False, frozenset())
    place = f"{store.directory.name}/cells/{folder.name}"
    manifest.write_text(
        json.dumps({f"{place}/model-test.safetensors": "sha", f"{place}/results.json": "sha"})
    )
    assert is_bundled(store.directory)
    assert left_out(folder, names) == {"model-val.safetensors"}
    for damaged in ("", "{", "3", "\0"):
        manifest.write_text(damaged)
        assert left_out(folder, names) == {"model-val.safetensors", "model-test.safetensors"}, damaged
