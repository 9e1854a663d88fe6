"""Stores of the light method, made in a second: what tests of verification and of faults start from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from study_files import SMALL, write_study

from harness import registry
from harness.launch import cells
from harness.launch.cells import LaunchOptions
from harness.launch.context import Context
from harness.machine.environment import Machine
from harness.store.runs import RunStore
from harness.study.study import Study, load_study

PLUGIN = Path(__file__).with_name("light_method.py")
RECIPE = {**SMALL["train"], "epochs": 3, "batch_size": 8, "lr": 0.01, "warmup_epochs": 0}


def light_study(folder: Path, **changes: Any) -> Study:
    """A study of the light method on one dataset, written to `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    registry.load_plugin(PLUGIN)
    everything = ["val", "last", "test", "checkpoint"]
    default = {
        "methods": ["light"],
        "datasets": ["cuhk-pedes"],
        "seeds": 2,
        "train": RECIPE,
        "keep": everything,
    }
    return load_study(write_study(folder, **{**default, **changes}))


def light_machine(data_root: Path) -> Machine:
    """A CPU with one thread."""
    return Machine(data_root=data_root, device="cpu", plugins=(PLUGIN,))


def run_light(study: Study, out: Path, context: Context) -> RunStore:
    """Run a study in this process."""
    store = RunStore(out)
    cells.prepare_study(study, store, context)
    cells.run_cells(study.cells(), store, context, LaunchOptions(context.machine, workers=1))
    return store
