"""What finished runs need no more is listed with its size, and removed only when asked to."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from study_files import write_study
from typer.testing import CliRunner

from harness.cli import free
from harness.cli.verbs import app
from harness.store.cell_run import CellRun
from harness.store.disk_use import bytes_of, removable
from harness.store.runs import RunStore
from harness.study.study import load_study


@pytest.fixture
def run(tmp_path: Path) -> CellRun:
    """A finished cell that keeps everything; `last` is the model of `val`, `test` another."""
    (tmp_path / "in").mkdir()
    cell = load_study(write_study(tmp_path / "in")).cells()[0]
    store = RunStore(tmp_path / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.yaml").write_text("name: small\n")
    run = store.open(cell, cell.parts("data", {"train": "code"}))
    run.append_history({"epoch": 1})
    run.save_model("val", {"weight": torch.zeros(1000)}, 1)
    run.save_model("last", {"weight": torch.zeros(1000)}, 1)
    run.save_model("test", {"weight": torch.ones(1000)}, 2)
    run.save_checkpoint({"epoch": 2}, 2)
    run.write_results([])
    run.finish()
    return run


def invoke(run: CellRun, *arguments: str) -> str:
    done = CliRunner().invoke(app, ["free", str(run.directory.parents[1]), *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_nothing_is_removed_before_it_is_asked_for(run: CellRun) -> None:
    before = sorted(run.directory.rglob("*"))
    found = json.loads(invoke(run, "--json"))
    (cell,) = found["cells"]
    assert (found["removed"], cell["what"]) == (False, ["model-last", "model-test", "checkpoint"])
    assert "add --yes to do it" in invoke(run)
    assert sorted(run.directory.rglob("*")) == before


def test_the_bytes_named_are_the_bytes_freed(run: CellRun) -> None:
    def on_disk() -> int:
        return sum(size for size in {path.stat().st_ino: path.stat().st_size for path in files()}.values())

    def files() -> list[Path]:
        return [*run.directory.glob("model-*"), *(run.directory / "checkpoint").glob("epoch-*")]

    (found,) = removable(RunStore(run.directory.parents[1]))
    before = on_disk()
    assert found.size == os.path.getsize(run.model_path("test")) + before - on_disk() + sum(
        path.stat().st_size for path in (run.directory / "checkpoint").glob("epoch-*")
    )
    found.remove()
    assert before - on_disk() == found.size


def test_what_stays_of_a_finished_cell_is_as_it_was_written(run: CellRun) -> None:
    checksums = dict(run.checksums)
    invoke(run, "--yes", "--keep", "test")
    assert run.status.state == "done"
    assert run.altered(thorough=True) == {}
    assert run.kept_models == ("val", "test")
    assert not run.model_path("last").exists()
    assert run.checksums == {n: kept for n, kept in checksums.items() if n != "model-last.safetensors"}
    assert "nothing to remove" in invoke(run, "--keep", "test")


def test_an_altered_file_stays_altered_when_others_are_removed(run: CellRun) -> None:
    (run.directory / "history.jsonl").write_text("forged\n")
    invoke(run, "--yes")
    assert run.altered() == {"history.jsonl": "is not as it was written"}


def test_only_what_a_cell_has_is_named_as_removed(run: CellRun) -> None:
    def named(*arguments: str) -> list[str]:
        (cell,) = json.loads(invoke(run, "--json", *arguments))["cells"]
        return list(cell["what"])

    assert named("--keep", "checkpoint") == ["model-last", "model-test"]
    assert named("--keep", "last", "--keep", "test") == ["checkpoint"]
    run.drop_checkpoint()
    assert named() == ["model-last", "model-test"]
    assert named("--keep", "last", "--yes") == ["model-test"]
    assert not run.model_path("test").exists()


@pytest.mark.parametrize("removed", [True, False])
def test_the_sizes_of_the_cells_add_up_to_what_is_said_to_be_freed(
    removed: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = {"one": 2_500_000_000, "two": 750_000_000}
    entries = [{"cell": name, "what": ["checkpoint"], "bytes": size} for name, size in sizes.items()]
    free.render(entries, removed=removed)
    *cells, total = capsys.readouterr().out.splitlines()
    assert cells == ["one: checkpoint (2.500 GB)", "two: checkpoint (0.750 GB)"]
    assert total.startswith("removed 3.250 GB" if removed else "3.250 GB would be removed")
    free.render([], removed=removed)
    assert "nothing to remove" in capsys.readouterr().out


def test_an_unfinished_cell_loses_nothing(run: CellRun) -> None:
    run.set_status("queued")
    assert removable(RunStore(run.directory.parents[1])) == []


def test_a_word_that_names_nothing_to_keep_is_refused(run: CellRun) -> None:
    done = CliRunner().invoke(app, ["free", str(run.directory.parents[1]), "--keep", "best"])
    assert done.exit_code == 2
    assert "--keep best: must be one of val, last, test, checkpoint" in done.output


def test_list_runs_shows_cells_and_size(run: CellRun, monkeypatch: pytest.MonkeyPatch) -> None:
    home = run.directory.parents[2]
    (home / "runs").mkdir()
    (home / "out").rename(home / "runs" / "small")
    monkeypatch.chdir(home)
    done = CliRunner().invoke(app, ["list", "runs", "--json"])
    (entry,) = json.loads(done.stdout)["runs"]
    assert (entry["name"], entry["cells"]) == ("runs/small", {"done": 1})
    assert entry["bytes"] == bytes_of(home / "runs" / "small") > 8000
