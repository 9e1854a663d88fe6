"""`run --reuse RUNS`: the same training is not done twice, and nothing else is taken for the same."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from light_runs import RECIPE, light_machine, light_study
from typer.testing import CliRunner

from harness.cli.verbs import app
from harness.launch.cells import LaunchOptions, prepare_study, run_cells
from harness.launch.context import Context
from harness.store.cell_run import CellRun
from harness.store.runs import RunStore
from harness.study.study import Study


def ran(study: Study, out: Path, root: Path, *reuse: Path) -> list[CellRun]:
    """The finished cells of a study."""
    context, store = Context(light_machine(root)), RunStore(out)
    prepare_study(study, store, context)
    options = replace(LaunchOptions(context.machine, workers=1), reuse=reuse)
    runs = [run for _, run in run_cells(study.cells(), store, context, options)]
    assert {run.status.state for run in runs} == {"done"}
    return runs


def trained_at(run: CellRun) -> int:
    return (run.directory / "history.jsonl").stat().st_mtime_ns


def test_a_cell_that_another_study_finished_is_copied_with_every_file(
    cuhk_root: Path, tmp_path: Path
) -> None:
    (first,) = ran(light_study(tmp_path / "a", name="first", seeds=1), tmp_path / "one", cuhk_root)
    second = light_study(tmp_path / "b", name="second", seeds=2)
    same, other = ran(second, tmp_path / "two", cuhk_root, tmp_path / "one")
    assert same.name == first.name
    assert trained_at(same) == trained_at(first)
    assert other.name != first.name
    names = [path.relative_to(first.directory) for path in first.directory.rglob("*") if path.is_file()]
    for name in names:
        assert (same.directory / name).read_bytes() == (first.directory / name).read_bytes()


def test_a_cell_of_other_settings_or_with_altered_files_is_trained_anew(
    cuhk_root: Path, tmp_path: Path
) -> None:
    (first,) = ran(light_study(tmp_path / "a", seeds=1), tmp_path / "one", cuhk_root)
    longer = light_study(tmp_path / "b", seeds=1, train={**RECIPE, "epochs": 2})
    (unlike,) = ran(longer, tmp_path / "two", cuhk_root, tmp_path / "one")
    assert unlike.name != first.name
    history = first.directory / "history.jsonl"
    history.write_text(history.read_text().replace("1", "2", 1))
    (again,) = ran(light_study(tmp_path / "a", seeds=1), tmp_path / "three", cuhk_root, tmp_path / "one")
    assert again.name == first.name
    assert (again.directory / "history.jsonl").read_text() != history.read_text()


def test_a_folder_without_cells_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    answer = CliRunner().invoke(app, ["run", "smoke", "--reuse", "nowhere"])
    assert answer.exit_code == 2
    assert "--reuse nowhere: no run with cells lies there" in answer.stderr


def test_a_cell_of_which_one_byte_differs_at_the_same_size_and_time_is_trained_anew(
    cuhk_root: Path, tmp_path: Path
) -> None:
    """As a disk leaves it that lost a bit: a copy would carry the damage into another study."""
    (first,) = ran(light_study(tmp_path / "a", seeds=1), tmp_path / "one", cuhk_root)
    model = first.model_path("val")
    sound, status = model.read_bytes(), model.stat()
    with model.open("r+b") as file:
        file.seek(len(sound) - 1)
        file.write(bytes([sound[-1] ^ 1]))
    os.utime(model, ns=(status.st_atime_ns, status.st_mtime_ns))
    (again,) = ran(light_study(tmp_path / "a", seeds=1), tmp_path / "two", cuhk_root, tmp_path / "one")
    assert again.name == first.name
    assert trained_at(again) != trained_at(first)
