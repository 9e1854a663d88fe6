"""Where a file will be made, and why one cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.machine.files import nearest_folder, why_not_writable


def test_the_disk_that_is_asked_is_that_of_the_folder_itself_or_of_its_nearest_parent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder may be where another disk is mounted: its parent's free space says nothing."""
    runs = tmp_path / "disk" / "runs"
    runs.mkdir(parents=True)
    assert nearest_folder(runs) == runs
    assert nearest_folder(runs / "demo" / "cells") == runs
    monkeypatch.chdir(runs)
    assert nearest_folder(Path("demo")) == runs
    assert nearest_folder(Path()) == runs
    assert nearest_folder(Path("/")) == Path("/")


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("")
    for folder in (tmp_path / "runs", tmp_path / "runs" / "demo"):
        assert why_not_writable(folder) == f"{tmp_path / 'runs'} is a file, not a folder"
    assert why_not_writable(tmp_path) == ""
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs"]
