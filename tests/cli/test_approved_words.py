"""What the program says without training anything, word by word, as it was last read and approved.

A change that was meant is approved by

    APPROVE=1 python -m pytest tests/cli/test_approved_words.py

and shows in the diff of `tests/cli/approved/`, where it is to be read.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from own_registry import without_plugins
from typer.main import get_command
from typer.testing import CliRunner

from harness.cli.verbs import app

APPROVED = Path(__file__).with_name("approved")
OF_THIS_MACHINE = re.compile(r"time of what is left|memory:|seconds|device_memory|GFLOP|needs [\d.]+ GB$")
WORDS = {
    **{f"help-{verb}": [verb, "--help"] for verb in get_command(app).commands},  # type: ignore[attr-defined]
    "help": ["--help"],
    "list-methods": ["list", "methods"],
    "list-studies": ["list", "studies"],
    "list-datasets": ["list", "datasets"],
    "check-smoke": ["check", "smoke"],
    "check-demo": ["check", "demo"],
    "check-search": ["check", "search"],
    "check-factorial": ["check", "factorial"],
}


@pytest.mark.parametrize("name", WORDS)
def test_the_program_says_what_was_approved(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_plugins(monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr("harness.cli.time_check.RUNS", tmp_path / "none")
    done = CliRunner().invoke(app, WORDS[name])
    assert done.exit_code == 0, done.output
    lines = [line.rstrip() for line in done.stdout.splitlines() if not OF_THIS_MACHINE.search(line)]
    file = APPROVED / f"{name}.txt"
    if os.environ.get("APPROVE") == "1":
        file.parent.mkdir(exist_ok=True)
        file.write_text("\n".join(lines) + "\n")
    assert lines == file.read_text().splitlines()
