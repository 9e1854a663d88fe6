"""What a training run is given beside its method and recipe: data, options, and who observes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.data.loader import DeviceData
from harness.data.sampler import IdentityBatches
from harness.machine.terms import Compiling, TieOrder

AfterEpoch = Callable[[int, Mapping[str, float]], None]
"""Called with an epoch (from 1) and its validation scores; what it raises ends the run."""


class TrainingObserver(Protocol):
    """Who watches a run (`harness.machine.progress.Progress`, among others)."""

    def on_step(
        self, epoch: int, step: int, steps: int, losses: Mapping[str, float], pairs_per_second: float
    ) -> None:
        """`step` of the `steps` of `epoch` (both from 1) are done; mean losses of the epoch so far."""
        ...

    def on_epoch(self, line: Mapping[str, Any]) -> None:
        """An epoch is done; `line` is what the history has of it."""
        ...


@dataclass(frozen=True)
class TrainingData:
    """A dataset on the device: pairs, their batches, and the splits to validate on and to disclose."""

    train: DeviceData
    batches: IdentityBatches
    val: DeviceData
    test: DeviceData
    moved: NDArray[np.bool_] | None = None
    """Which training captions [captions] were moved to other images; None where none was."""


@dataclass(frozen=True)
class TrainingOptions:
    """How a run goes about its work.

    But for `metric` and `tie_order`, nothing here is part of what is measured.
    """

    metric: str = "R1"
    """The text-to-image metric that chooses the best epochs."""
    tie_order: TieOrder = "index"
    compile: Compiling = "auto"
    """`torch.compile` of the step; `auto`: on one CUDA device, for runs of at least `COMPILED_FROM` steps."""
    checkpoint_minutes: float = 10.0
    """A checkpoint within an epoch after so long."""
    report_seconds: float = 1.0
    """Progress, and the search for NaN, at most so often within an epoch: each waits for the device."""
    progress: TrainingObserver | None = None
    """Who watches; what it raises ends the run (a deadline)."""
    after_epoch: AfterEpoch | None = None
    """Called with (epoch, validation scores) after each evaluation; what it raises ends the run (pruning)."""
    on_start: Callable[[bool], None] | None = None
    """Called once before the first step with whether the step runs compiled."""
