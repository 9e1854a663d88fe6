"""What a command that has nothing to train does not import: each of these packages takes seconds."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from study_files import write_study

SLOW_PACKAGES = (
    "open_clip",
    "lightning_fabric",
    "torch._dynamo",
    "torchvision",
    "nltk",
    "textblob",
    "optuna",
)
ONLY_FOR_WHAT_IS_NEW = ("torch", "pandas", "scipy.stats", "scipy.optimize", "scipy.fft")
"""What a run imports to train or to write something down for the first time."""
PROGRAM = """
import runpy, sys
sys.argv[0] = "harness"
try:
    runpy.run_module("harness", run_name="__main__", alter_sys=True)
except SystemExit as ended:
    assert not ended.code, ended.code
print("imported:", *(name for name in {names!r} if name in sys.modules))
"""


def imported(*command: str) -> list[str]:
    """Which of the slow packages a command imports."""
    program = PROGRAM.format(names=SLOW_PACKAGES + ONLY_FOR_WHAT_IS_NEW)
    done = subprocess.run(
        [sys.executable, "-c", program, *command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.mark.slow
def test_a_finished_study_is_found_finished_without_what_only_training_needs(tmp_path: Path) -> None:
    study = write_study(
        tmp_path,
        methods=["uit", "baseline"],
        datasets=["rendered-plaza"],
        seeds=1,
        train={
            "backbone": "tiny",
            "pretrained": "rendered",
            "image_size": [96, 32],
            "epochs": 1,
            "batch_size": 8,
            "precision": "fp32",
        },
    )
    command = ("run", str(study), "--subset", "4", "--device", "cpu", "--workers", "1")
    out = ("--out", str(tmp_path / "run"))
    assert "open_clip" in imported(*command, *out)
    assert imported(*command, *out) == []


def test_lists_import_nothing_that_is_slow() -> None:
    assert imported("list", "methods") == []
    assert imported("list", "studies") == []
