"""Checkpoints that hold code: whichever verb opens them, none of it runs, and one line says why."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from harness.cli.verbs import app


class Harmful:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def zipped(path: Path, harm: Harmful) -> None:
    torch.save({"model": {"weight": torch.zeros(2), "harm": harm}}, path)


def old_style(path: Path, harm: Harmful) -> None:
    torch.save({"state_dict": harm}, path, _use_new_zipfile_serialization=False)


def bare_pickle(path: Path, harm: Harmful) -> None:
    path.write_bytes(pickle.dumps(harm, protocol=2))


VERBS = {
    "evaluate": ["--dataset", "cuhk-pedes", "--device", "cpu"],
    "query": ["a man", "--dataset", "cuhk-pedes", "--device", "cpu"],
    "export": ["exported"],
}


@pytest.mark.parametrize("name", ["model.pth", "model.safetensors"])
@pytest.mark.parametrize("write", [zipped, old_style, bare_pickle])
@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_runs_code_that_a_checkpoint_holds(
    verb: str, write: Any, name: str, tmp_path: Path, cuhk_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HARNESS_DATA", str(cuhk_root))
    monkeypatch.chdir(tmp_path)
    write(tmp_path / name, Harmful(tmp_path / "harmed"))
    done = CliRunner().invoke(app, [verb, name, *VERBS[verb]])
    assert done.exit_code == 2
    assert "not a readable file of weights" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [name]
