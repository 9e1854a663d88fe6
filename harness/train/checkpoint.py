"""The state of a run, from which it resumes as if it had never stopped."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._pytree import tree_map

from harness.machine.devices import cuda_in_use
from harness.train.best_epoch import BestEpoch, TrainingProgress, copy_to_cpu

SHARE_OF_TIME = 0.005
"""Of a run's time that checkpoints after epochs may take."""


def _copied(value: Any) -> Any:
    return value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else value


def pack(
    progress: TrainingProgress, model: torch.nn.Module, optimiser: torch.optim.Optimizer | None
) -> dict[str, Any]:
    """The full state as tensors and plain values, fit for a loader that executes nothing.

    All of it is a copy in main memory: training may continue while it is written. Where training is over,
    the `optimiser`, two thirds of what there is to write, is not needed.
    """
    present = progress.epoch if progress.step == 0 else None
    return {
        "epoch": progress.epoch,
        "step": progress.step,
        "best": {selection: asdict(best) for selection, best in progress.best.items()},
        # The weights of a best epoch that are the present ones are not written twice.
        "kept": {epoch: weights for epoch, weights in progress.kept.items() if epoch != present},
        "epoch_stats": progress.epoch_stats,
        "pair_values": None if progress.pair_values is None else copy_to_cpu(progress.pair_values),
        "model": copy_to_cpu(model.state_dict()),
        "optimiser": None if optimiser is None else tree_map(_copied, optimiser.state_dict()),
        "random": random_state(),
    }


def unpack(
    state: Mapping[str, Any], model: torch.nn.Module, optimiser: torch.optim.Optimizer
) -> TrainingProgress:
    """Put a packed state back; raises RuntimeError or ValueError when it belongs to another model."""
    model.load_state_dict(state["model"])
    if state["optimiser"] is not None:
        optimiser.load_state_dict(state["optimiser"])
    restore_random_state(state["random"])
    best = {selection: BestEpoch(**values) for selection, values in state["best"].items()}
    kept = dict(state["kept"])
    if state["step"] == 0 and state["epoch"] in {chosen.epoch for chosen in best.values()}:
        kept[state["epoch"]] = copy_to_cpu(model.state_dict())
    return TrainingProgress(
        state["epoch"], state["step"], best, kept, state["epoch_stats"], state["pair_values"]
    )


def random_state() -> dict[str, Any]:
    """The global generators of torch, CUDA, NumPy and Python."""
    name, keys, position, has_gauss, gauss = np.random.get_state()  # noqa: NPY002
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if cuda_in_use() else [],
        "numpy": (name, torch.from_numpy(np.asarray(keys, np.int64)), position, has_gauss, gauss),
        "python": random.getstate(),
    }


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Put `random_state` back; CUDA's only where there are as many devices."""
    torch.set_rng_state(state["torch"].cpu())
    if cuda_in_use() and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all([generator.cpu() for generator in state["cuda"]])
    name, keys, *rest = state["numpy"]
    np.random.set_state((name, keys.cpu().numpy().astype(np.uint32), *rest))  # noqa: NPY002
    random.setstate(state["python"])


class CheckpointWriter:
    """Writes full states in a thread, one after the other; training waits only where the disk is too slow."""

    def __init__(self, save: Callable[[dict[str, Any], int], None]) -> None:
        self._save = save
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def write(self, state: dict[str, Any], epoch: int) -> None:
        """Begin to write; raises what the write before this one raised (a full disk)."""
        self.wait()
        self._writing = self._thread.submit(self._save, state, epoch)

    def wait(self) -> None:
        """Until the last state is on the disk; raises what its write raised."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """Wait for the write that has begun; its error is not raised."""
        self._thread.shutdown(wait=True)


class CheckpointTimer:
    """When a checkpoint is worth the time that training waits for it.

    After an epoch: unless that would be more than 0.5 % of the run, judged by the last one. Within an epoch:
    every `minutes`. When they are written changes no number, since a run resumes exactly from any of them.
    """

    def __init__(self, minutes: float) -> None:
        self._minutes = minutes
        self._last = time.monotonic()
        self._cost = 0.0

    def due_after_epoch(self) -> bool:
        """Whether to write one now that an epoch is complete."""
        return time.monotonic() - self._last >= self._cost / SHARE_OF_TIME

    def due_within_epoch(self) -> bool:
        """Whether the last checkpoint is `minutes` old."""
        return time.monotonic() - self._last >= 60 * self._minutes

    def written(self, since: float) -> None:
        """Training waited for a checkpoint from `since` (monotonic) until now."""
        self._last = time.monotonic()
        self._cost = self._last - since
