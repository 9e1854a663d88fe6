"""Stub objectives with a known optimum, so that searches are tested without training anything."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.machine.errors import Pruned
from harness.search.plan import ReportEpoch, SearchPlan, TrialFailed
from harness.search.space import Parameter

SPACE = {
    "mask_ratio": Parameter("mask_ratio", 0.3, 0.9),
    "temperature": Parameter("temperature", 0.01, 0.1, log=True),
}
RECIPE = {"mask_ratio": 0.7, "temperature": 0.02}
OPTIMUM = {"mask_ratio": 0.45, "temperature": 0.05}


def height(settings: Mapping[str, Any]) -> float:
    """A hill of height 100 whose top is at `OPTIMUM`."""
    ratio = (float(settings["mask_ratio"]) - OPTIMUM["mask_ratio"]) / 0.6
    temperature = (float(settings["temperature"]) - OPTIMUM["temperature"]) / 0.09
    return 100 * (1 - ratio**2 - temperature**2)


@dataclass(frozen=True)
class Hill:
    """Climbs to its height over the epochs. Keeps a checkpoint and a diary of trained epochs in `folder`."""

    folder: Path
    epochs: int = 3
    epoch_seconds: float = 0.0
    fails: str = ""
    """`nan`, `oom` or `error`: what happens to trials with a mask ratio above 0.8."""
    late: bool = False
    """Whether trials are equal until their last epoch."""
    kills: bool = False
    """Whether the process kills itself once, after the first epoch of each trial."""

    def __call__(self, settings: Mapping[str, Any], report_epoch: ReportEpoch) -> float:
        cell = self.folder / f"{settings['mask_ratio']:.12f}-{settings['temperature']:.12f}"
        cell.mkdir(parents=True, exist_ok=True)
        checkpoint = cell / "checkpoint"
        begun = int(checkpoint.read_text()) if checkpoint.exists() else 0
        self._misfortune(settings)
        for epoch in range(1, begun + 1):  # as training does: a worker may die between checkpoint and report
            with suppress(Pruned):
                report_epoch(epoch, self._known(settings, epoch))
        for epoch in range(begun + 1, self.epochs + 1):
            with (cell / "diary").open("a") as diary:
                diary.write(json.dumps({"epoch": epoch, "pid": os.getpid(), "began": time.time()}) + "\n")
            time.sleep(self.epoch_seconds)
            checkpoint.write_text(str(epoch))
            report_epoch(epoch, self._known(settings, epoch))
            if self.kills and begun == 0 and epoch == 1:
                os.kill(os.getpid(), signal.SIGKILL)
        return height(settings)

    def _known(self, settings: Mapping[str, Any], epoch: int) -> float:
        known = height(settings) if epoch == self.epochs or not self.late else 50.0
        return known * epoch / self.epochs

    def _misfortune(self, settings: Mapping[str, Any]) -> None:
        if self.fails and float(settings["mask_ratio"]) > 0.8:
            if self.fails == "oom":
                raise MemoryError("64 GiB wanted")
            if self.fails == "nan":
                raise TrialFailed("nan", "the loss is nan at step 3")
            raise RuntimeError("planted")


def search(folder: Path, **changes: Any) -> SearchPlan:
    """A search on the hill, kept in SQLite below `folder` unless `url` says otherwise."""
    values: dict[str, Any] = {
        "name": "stub/uit/hill",
        "url": f"sqlite:///{folder / 'search.db'}",
        "space": SPACE,
        "recipe": RECIPE,
        "trials": 8,
        "epochs": 3,
        "objective": Hill(folder / "cells"),
        "sampler": "tpe",
        "pruner": "none",
        "seed": 0,
        "grid_points": 8,
        "about": {"method": "uit", "dataset": "hill", "metric": "R1"},
    }
    return SearchPlan(**{**values, **changes})


__all__ = ["OPTIMUM", "RECIPE", "SPACE", "Hill", "Pruned", "height", "search"]
