"""A study whose data is not here names what runs instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.cli.run import run_study
from harness.launch.cells import LaunchOptions
from harness.machine.environment import Machine
from harness.machine.errors import StudyError
from harness.machine.progress import Progress
from harness.study.shipped import shipped_studies
from harness.study.study import load_study

BENCHMARKS = sorted(name for name in shipped_studies() if name.endswith("-benchmarks"))


@pytest.mark.parametrize("name", BENCHMARKS)
def test_a_study_of_benchmarks_without_data_says_in_two_lines_what_is_missing_and_what_runs_here(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_OFFLINE", "1")
    study = load_study(shipped_studies()[name])
    with pytest.raises(StudyError) as refusal:
        run_study(study, LaunchOptions(Machine(None, "cpu")), tmp_path / "out", Progress())
    first, second = refusal.value.lines
    assert "nothing was started" in first
    assert all(dataset in first for dataset in study.targets)
    named = second.split()[-1]
    assert named == name.removesuffix("-benchmarks")
    assert named in shipped_studies()
    assert not (tmp_path / "out").exists()


def test_with_a_folder_of_data_every_missing_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_OFFLINE", "1")
    study = load_study(shipped_studies()["overhead-benchmarks"])
    with pytest.raises(StudyError) as refusal:
        run_study(study, LaunchOptions(Machine(tmp_path, "cpu")), tmp_path / "out", Progress())
    assert "reid_raw.json" in "\n".join(refusal.value.lines)
