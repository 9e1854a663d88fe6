"""What was written is on the disk before anything relies on it: a death leaves old or new, never a half."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from harness.machine import files
from harness.store import checkpoint_files, weights


class Journal:
    """The order in which files are flushed and renamed; the rename of `dies_at` never happens."""

    def __init__(self, patch: pytest.MonkeyPatch, dies_at: str = "") -> None:
        self.events: list[tuple[str, str]] = []
        self._fsync, self._replace, self._dies_at = os.fsync, os.replace, dies_at
        patch.setattr(os, "fsync", self.fsync)
        patch.setattr(os, "replace", self.replace)

    def fsync(self, descriptor: int) -> None:
        self.events.append(("flushed", Path(os.readlink(f"/proc/self/fd/{descriptor}")).name))
        self._fsync(descriptor)

    def replace(self, source: Any, target: Any) -> None:
        if self._dies_at and self._dies_at in Path(target).name:
            raise KeyboardInterrupt
        self.events.append(("renamed", Path(target).name))
        self._replace(source, target)


def test_a_file_is_flushed_before_it_gets_its_name_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = Journal(monkeypatch)
    files.atomic_write(tmp_path / "file", "content")
    (flushed, temporary), renamed, folder = journal.events
    assert flushed == "flushed"
    assert temporary.endswith(".tmp")
    assert renamed == ("renamed", "file")
    assert folder == ("flushed", tmp_path.name)


def test_a_line_is_flushed_when_it_is_appended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(monkeypatch)
    files.append_line(tmp_path / "history.jsonl", {"epoch": 1})
    assert journal.events == [("flushed", "history.jsonl")]


def loaded(folder: Path) -> dict[str, Any] | None:
    return checkpoint_files.load(folder, lambda path, why: pytest.fail(f"{path}: {why}"))


def test_a_death_at_the_rename_of_a_checkpoint_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint_files.save(tmp_path, {"epoch": 1}, 1)
    with monkeypatch.context() as patch:
        Journal(patch, dies_at="epoch-00002")
        with pytest.raises(KeyboardInterrupt):
            checkpoint_files.save(tmp_path, {"epoch": 2}, 2)
    assert loaded(tmp_path) == {"epoch": 1}
    checkpoint_files.save(tmp_path, {"epoch": 2}, 2)
    assert loaded(tmp_path) == {"epoch": 2}
    assert [path.name[:11] for path in tmp_path.glob("epoch-*")] == ["epoch-00002"]


def test_the_checkpoint_before_goes_only_when_the_new_ones_name_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint_files.save(tmp_path, {"epoch": 1}, 1)
    journal = Journal(monkeypatch)
    unlink = Path.unlink

    def unlinked(path: Path, *arguments: Any, **options: Any) -> None:
        journal.events.append(("deleted", path.name))
        unlink(path, *arguments, **options)

    monkeypatch.setattr(Path, "unlink", unlinked)
    checkpoint_files.save(tmp_path, {"epoch": 2}, 2)
    kinds = [(kind, name[:11]) for kind, name in journal.events]
    named, deleted = kinds.index(("renamed", "epoch-00002")), kinds.index(("deleted", "epoch-00001"))
    assert ("flushed", tmp_path.name[:11]) in kinds[named + 1 : deleted]


def test_a_death_at_the_rename_of_a_model_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model-val.safetensors"
    weights.save(path, {"weight": torch.ones(3)}, 1)
    with monkeypatch.context() as patch:
        Journal(patch, dies_at="model-val")
        with pytest.raises(KeyboardInterrupt):
            weights.save(path, {"weight": torch.zeros(3)}, 2)
    assert weights.epoch_of(path) == 1
    assert torch.equal(weights.load(path)["weight"], torch.ones(3))
    assert sorted(os.listdir(tmp_path)) == [path.name]


def left_by_killed_writers(folder: Path, epochs: int) -> list[Path]:
    """States of several epochs: each writer was killed before it could delete the one before."""
    for epoch in range(1, epochs + 1):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Path, "unlink", lambda *_, **__: None)
            checkpoint_files.save(folder, {"epoch": epoch}, epoch)
    return sorted(folder.glob("epoch-*.pt"))


def test_of_several_checkpoints_the_newest_sound_one_is_resumed_from(tmp_path: Path) -> None:
    paths = left_by_killed_writers(tmp_path, 12)
    assert len(paths) == 12
    assert loaded(tmp_path) == {"epoch": 12}
    aside: list[tuple[Path, str]] = []

    def set_aside(path: Path, why: str) -> None:
        aside.append((path, why))

    paths[-1].write_bytes(paths[-1].read_bytes() + b"\0")
    foreign = tmp_path / "foreign"
    foreign.write_bytes(b"no checkpoint")
    foreign.rename(paths[-2].with_name(f"epoch-00011-{files.sha256(foreign)[:32]}.pt"))
    paths[-2].unlink()
    assert checkpoint_files.load(tmp_path, set_aside) == {"epoch": 10}
    (changed, why), (unreadable, reason) = aside
    assert (changed, why) == (paths[-1], "its content does not match its name")
    assert unreadable.name.startswith("epoch-00011-")
    assert reason.startswith("cannot be read (")


def test_a_new_checkpoint_takes_the_place_of_all_before_it_and_dropping_leaves_none(tmp_path: Path) -> None:
    left_by_killed_writers(tmp_path, 3)
    checkpoint_files.save(tmp_path, {"epoch": 4}, 4)
    assert [path.name[:11] for path in tmp_path.iterdir()] == ["epoch-00004"]
    left_by_killed_writers(tmp_path, 3)
    checkpoint_files.drop(tmp_path)
    assert list(tmp_path.glob("epoch-*")) == []
