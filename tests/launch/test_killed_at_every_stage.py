"""Real signals to the real program in the midst of every stage: it resumes, to the same digits."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import halting_program
import pytest
from halting_program import STAGES
from light_runs import PLUGIN, light_study

from harness.store.runs import RunStore

pytestmark = pytest.mark.usefixtures("own_fork_server")

SEARCH = {
    "trials": 2,
    "sampler": "random",
    "pruner": "none",
    "space": {"lr": {"low": 0.001, "high": 0.1}},
}


def arguments(folder: Path, out: Path, data_root: Path) -> list[object]:
    words = ["run", folder / "study.yaml", "--out", out, "--data-root", data_root]
    return [*words, "--device", "cpu", "--workers", "1", "--plugin", PLUGIN]


def leftovers(*folders: Path) -> list[Path]:
    """Files that only a writer at work has."""
    return [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.name.startswith(".") or path.suffix in (".tmp", ".building")
    ]


@pytest.fixture(scope="module")
def undisturbed(cuhk_root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("undisturbed")
    light_study(folder, search=SEARCH)
    process = halting_program.start(arguments(folder, folder / "out", cuhk_root), folder / "errors")
    process.join()
    assert process.exitcode == 0, (folder / "errors").read_text()
    return (folder / "out" / "results.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("harsh", [True, False], ids=["kill -9", "asked to stop"])
def test_a_study_stopped_in_the_midst_of_every_stage_ends_with_the_same_table(
    harsh: bool, tmp_path: Path, cuhk_root: Path, undisturbed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    light_study(tmp_path, search=SEARCH)
    words = arguments(tmp_path, tmp_path / "out", cuhk_root)
    for stage in STAGES:
        flag, errors = tmp_path / stage, tmp_path / f"{stage}.txt"
        process = halting_program.start(words, errors, halt_in=stage, flag=flag)
        while not flag.exists() and process.is_alive():
            time.sleep(0.01)
        assert flag.exists(), f"{stage}: {errors.read_text()}"
        assert process.pid is not None
        # Ctrl-C once, in training, where `test_cli` has SIGTERM.
        asked = signal.SIGINT if stage == "training" else signal.SIGTERM
        kind = signal.SIGKILL if harsh else asked
        os.kill(process.pid, kind)
        process.join()
        assert process.exitcode == (-kind if harsh else 128 + kind)
        assert all(run.status.state != "running" for run in RunStore(tmp_path / "out").all_cells())
        if not harsh:
            assert "To resume: " in errors.read_text()
            assert "Traceback" not in errors.read_text()
            assert leftovers(tmp_path / "out", tmp_path / "cache") == []
    process = halting_program.start(words, tmp_path / "last.txt")
    process.join()
    assert process.exitcode == 0, (tmp_path / "last.txt").read_text()
    assert (tmp_path / "out" / "results.csv").read_text() == undisturbed
    assert leftovers(tmp_path / "out", tmp_path / "cache") == []
