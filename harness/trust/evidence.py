"""What a maintainer asks for when something fails: the software, the variables, the failed cells."""

from __future__ import annotations

import importlib
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import registry
from harness.machine import environment, paths
from harness.machine.errors import StoreError
from harness.machine.passwords import masked_text
from harness.machine.paths import OWN_PACKAGES
from harness.store.cell_run import CellRun
from harness.store.runs import RunStore

TRACEBACK = 6000
"""Characters of a traceback that are given, from its end."""
MOST_FAILURES = 50
VARIABLES = (
    "HARNESS_",
    "TIPR_",
    "CUDA",
    "CUBLAS",
    "OMP_",
    "MKL_",
    "PYTORCH_",
    "TORCH",
    "HF_",
    "SLURM_",
    "RAY_",
)
"""Beginnings of the environment variables that a run may depend on."""


def collected(out: Path) -> dict[str, Any]:
    """Everything, as plain values without passwords; `out` is a run's folder, or the one that holds runs."""
    return {
        "environment": environment.describe(),
        "imported_from": imported_from(),
        "command": environment.command(),
        "working_folder": os.getcwd(),
        "locale": {"encoding": sys.getfilesystemencoding(), "lang": os.environ.get("LANG", "")},
        "variables": variables(),
        "limits": limits(),
        "cache_folder": str(paths.cache_dir()),
        "plugins": [str(plugin) for plugin in registry.plugins()],
        "failed_cells": failed_cells(out),
    }


def imported_from() -> dict[str, str]:
    """By package of this project, the folder that it was imported from."""
    files = {name: importlib.import_module(name).__file__ for name in OWN_PACKAGES}
    return {name: str(Path(file).resolve().parent) if file else "?" for name, file in files.items()}


def variables() -> dict[str, str]:
    """Environment variables that a run may depend on, without passwords."""
    named = {name: value for name, value in os.environ.items() if name.startswith(VARIABLES)}
    return {name: _shown(name, value) for name, value in sorted(named.items())}


def _shown(name: str, value: str) -> str:
    secret = any(word in name for word in ("TOKEN", "PASSWORD", "SECRET", "KEY"))
    return "(hidden)" if secret else masked_text(value)


def limits() -> dict[str, int]:
    """What the system permits this user; -1 is no limit."""
    names = {"open_files": "NOFILE", "processes": "NPROC", "memory": "AS"}
    return {name: resource.getrlimit(getattr(resource, f"RLIMIT_{kind}"))[0] for name, kind in names.items()}


def failed_cells(out: Path) -> list[dict[str, Any]]:
    """The failed cells of a run, or of every run below a folder, with reason, settings and traceback."""
    return [_described(run) for run in _failed(out)][:MOST_FAILURES]


def _failed(out: Path) -> Iterator[CellRun]:
    folders = [out, *sorted(path.parent for path in out.glob("*/study.yaml"))]
    for folder in folders:
        yield from (run for run in RunStore(folder).cells() if run.status.state == "failed")


def _described(run: CellRun) -> dict[str, Any]:
    status = run.status
    described: dict[str, Any] = {
        "cell": str(run.directory),
        "reason": status.reason,
        "detail": masked_text(status.detail),
        "epoch": status.epoch,
        "notes": run.notes,
        "traceback": _traceback(run),
    }
    try:
        return {**described, "settings": run.cell.all_settings(), "recorded": run.recorded}
    except StoreError as error:
        return {**described, "description": str(error)}


def _traceback(run: CellRun) -> str:
    try:
        text = (run.directory / "error.txt").read_text("utf-8", errors="replace")
    except OSError:
        return ""
    return masked_text(text[-TRACEBACK:])
