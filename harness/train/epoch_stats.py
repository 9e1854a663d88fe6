"""Statistics of the epoch that runs, kept on the device: loss sums, the first step with NaN, and times."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed
from torch import Tensor

from harness.machine.errors import ExitCode, HarnessError


class TrainingDiverged(HarnessError):
    """A loss or a weight became NaN or infinite.

    `epoch` counts from 1; `step` is the first step of that epoch (from 1) whose loss was not finite, 0 when
    every loss was finite and the weights or features were not; `losses` are the epoch's mean losses so far.
    """

    exit_code = ExitCode.ERROR
    reason = "nan"

    def __init__(self, step: int, epoch: int, losses: Mapping[str, float]) -> None:
        self.step, self.epoch, self.losses = step, epoch, dict(losses)
        where = f"at step {step} of epoch {epoch}" if step else f"in epoch {epoch}"
        shown = ", ".join(f"{name} {value:g}" for name, value in losses.items())
        super().__init__(
            f"training diverged {where}: {'a loss' if step else 'a weight'} is not finite ({shown})"
        )


class EpochStats:
    """Sums of losses over an epoch; only `means`, `check` and `state` wait for the device."""

    def __init__(self, device: torch.device) -> None:
        self.names: list[str] = []
        self.steps = 0
        self.pairs = 0
        self.data_seconds = 0.0
        self._begun = time.perf_counter()
        self._sums = torch.zeros(0, dtype=torch.float64, device=device)
        self._first_bad = torch.zeros((), dtype=torch.int64, device=device)

    def add(self, losses: Mapping[str, Tensor], pairs: int) -> None:
        """Add one step's losses (scalars by name) over `pairs` pairs.

        Every step of an epoch has the same names.
        """
        if not self.names:
            self.names = list(losses)
            self._sums = self._sums.new_zeros(len(losses))
        values = torch.stack([losses[name].detach().double() for name in self.names])
        self.steps += 1
        self.pairs += pairs
        self._sums += values
        newly_bad = (self._first_bad == 0) & ~values.isfinite().all()
        self._first_bad.masked_fill_(newly_bad, self.steps)

    def means(self, *, over_processes: bool = False) -> dict[str, float]:
        """Mean of every loss over the steps so far.

        `over_processes`: over the processes, too; all of them have to call this together.
        """
        sums = self._sums / max(self.steps, 1)
        if over_processes and torch.distributed.is_initialized():
            torch.distributed.all_reduce(sums)
            sums /= torch.distributed.get_world_size()
        return dict(zip(self.names, sums.tolist(), strict=True))

    def check(self, epoch: int) -> None:
        """Raise `TrainingDiverged` when a loss of this epoch was NaN or infinite; waits for the device."""
        bad = int(self._first_bad)
        if bad:
            raise TrainingDiverged(bad, epoch, self.means())

    @property
    def seconds(self) -> float:
        """Time since the epoch began, without what lay between a kill and the resumption."""
        return time.perf_counter() - self._begun

    @property
    def pairs_per_second(self) -> float:
        """Throughput of the epoch so far, without evaluation.

        Right when nothing is left in the device's queue.
        """
        return self.pairs / self.seconds

    def costs(self) -> dict[str, float]:
        """What the history keeps of the time: pairs per second, seconds of training and of waiting."""
        seconds = self.seconds
        return {
            "pairs_per_second": self.pairs / seconds,
            "seconds": seconds,
            "data_seconds": self.data_seconds,
        }

    def state(self) -> dict[str, Any]:
        """Everything, as plain values."""
        plain = {"names": self.names, "steps": self.steps, "pairs": self.pairs}
        times = {"seconds": self.seconds, "data_seconds": self.data_seconds}
        return {**plain, **times, "sums": self._sums.to("cpu", copy=True), "first_bad": int(self._first_bad)}

    @classmethod
    def restored(cls, state: Mapping[str, Any] | None, device: torch.device) -> EpochStats:
        """The statistics of an epoch that was interrupted, or fresh ones."""
        stats = cls(device)
        if state is not None:
            stats.names, stats.steps, stats.pairs = list(state["names"]), state["steps"], state["pairs"]
            stats.data_seconds = state["data_seconds"]
            stats._begun -= state["seconds"]
            stats._sums = state["sums"].to(device)
            stats._first_bad.fill_(state["first_bad"])
        return stats
