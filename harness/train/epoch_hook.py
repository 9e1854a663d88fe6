"""The hook of a method before an epoch: a pass over all training pairs, and what it gives each of them.

The pass is a pure function of (weights, seed, epoch): a run that is killed inside it starts it again from the
last checkpoint and gets the same values. A checkpoint within the epoch holds the values, so that they are
never computed from weights that the epoch has changed already.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.data.loader import Indices
from harness.data.sampler import IdentityBatches
from harness.machine.devices import autocast
from harness.machine.seeds import seed_for
from harness.train.step_inputs import StepInputs

PASS = "examined "
"""Stands before the purpose of every seed of the pass, which so shares no draw with the epoch's steps."""


def values_before_epoch(inputs: StepInputs, batches: IdentityBatches, epoch: int) -> dict[str, Tensor]:
    """What the method's hook gives every training pair for `epoch`: by name [captions, …], on the device.

    Args:
        inputs: of the run; its method is left in evaluation mode.
        batches: of the run; the pass has batches of its own, by the same rule.
        epoch: from 0.

    Raises:
        ValueError: a value has not one row a training pair.
    """
    examined = _examined(inputs, batches, epoch) if inputs.method.examines_pairs else {}
    generator = torch.Generator().manual_seed(seed_for(inputs.seed, "before epoch", epoch))
    captions = len(inputs.pairs.split.captions)
    values = inputs.method.before_epoch(epoch, examined, generator)
    for name, value in values.items():
        if value.ndim == 0 or len(value) != captions:
            raise ValueError(
                f"before_epoch: {name!r} has shape {list(value.shape)}; wanted one row for each of the "
                f"{captions} training pairs"
            )
    return {name: value.detach().to(inputs.fabric.device) for name, value in values.items()}


def pair_statistics(
    values: Mapping[str, Tensor], moved: NDArray[np.bool_] | None
) -> dict[str, dict[str, float]]:
    """Means of the values that the hook gave the pairs, by name, for the history.

    `all`; and where captions were moved to other images, those pairs (`moved`) and the others (`in_place`).

    Args:
        values: by name [captions, …]; those of more than one number a pair are left out.
        moved: [captions], None where none was.
    """
    single = {name: value.double().cpu() for name, value in values.items() if value.ndim == 1}
    if moved is None or not moved.any() or moved.all():
        return {name: {"all": float(value.mean())} for name, value in single.items()}
    rows = torch.from_numpy(moved)
    return {
        name: {
            "all": float(value.mean()),
            "moved": float(value[rows].mean()),
            "in_place": float(value[~rows].mean()),
        }
        for name, value in single.items()
    }


def _examined(inputs: StepInputs, batches: IdentityBatches, epoch: int) -> dict[str, Tensor]:
    """What `examine` says of every pair, by name [captions, …], on the CPU."""
    method, captions = inputs.method, len(inputs.pairs.split.captions)
    method.eval()
    found: dict[str, Tensor] = {}
    listed = [_for_every_process(indices, inputs) for indices in batches.every_pair(epoch)]
    inputs.pairs.schedule([indices[inputs.share(indices)] for indices in listed])
    with torch.no_grad(), autocast(inputs.fabric.device, inputs.settings.precision):
        for step, indices in enumerate(listed):
            batch, noise = inputs.draw(indices, epoch, step, before=PASS)
            rows = torch.from_numpy(indices)
            for name, value in method.examine(batch, noise).items():
                kept = found.setdefault(name, torch.zeros(captions, *value.shape[1:], dtype=value.dtype))
                kept[rows] = value.cpu()
    return found


def _for_every_process(indices: Indices, inputs: StepInputs) -> Indices:
    """`indices` [pairs], with the first ones again at the end until every process has as many."""
    size, processes = len(indices), inputs.fabric.world_size
    return indices[np.arange(-(-size // processes) * processes) % size]
