"""Where training runs: device, precision, processes, determinism. Plumbing by Lightning Fabric."""

from __future__ import annotations

import logging
import os
import random
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
import torch.distributed
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from lightning_fabric.strategies.ddp import DDPStrategy
from torch import Tensor
from torch.distributed.nn.functional import all_gather

from harness.machine.seeds import seed_for
from harness.machine.terms import Precision

log = logging.getLogger(__name__)
# Fabric announces its precision and processes anew for every cell.
logging.getLogger("lightning_fabric").setLevel(logging.WARNING)


def make_fabric(precision: Precision, *, device: str = "auto", devices: int = 1) -> Fabric:
    """Fabric on `devices` devices of a kind.

    A kind is `auto` (CUDA where there is one), `cpu`, `cuda`, or one device such as `cuda:1`. With several
    devices, `fabric.launch(function, *arguments)` calls `function(fabric, *arguments)` in a fresh process
    each (`function` at the top level of a module), unless torchrun has started the processes already.

    bf16 is autocast over float32 weights. `released` weights are converted by `to_precision`, not by Fabric,
    whose half precision would also switch the default dtype of every loss. Raises ValueError for a device
    that is not there.
    """
    kind, _, index = device.partition(":")
    if kind not in ("auto", "cpu", "cuda"):
        raise ValueError(f"unknown device {device!r}: choose auto, cpu, cuda or cuda:N")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device {device!r} was asked for, and torch sees no CUDA device")
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "cpu"
    if kind == "cuda" and devices > torch.cuda.device_count():
        raise ValueError(f"{devices} devices were asked for, and there are {torch.cuda.device_count()}")
    if kind == "cpu" and precision == "released":
        log.warning("precision: released is float16 throughout, for which a CPU has no fast kernels: slow")
    use_full_float32()
    started = "TORCHELASTIC_RUN_ID" in os.environ
    ddp = DDPStrategy(start_method="popen" if started else "spawn", find_unused_parameters=True)
    fabric = Fabric(
        accelerator=kind,
        devices=[int(index)] if index else devices,
        strategy=ddp if devices > 1 else "auto",
        **_precision(kind, precision),
    )
    if kind == "cuda" and devices == 1:
        torch.cuda.set_device(fabric.device)  # for what names no device: generators, events, compiled code
    return fabric


def use_full_float32() -> None:
    """Let float32 mean float32: by default cuDNN computes convolutions in TF32, with ten bits of mantissa."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def _precision(kind: str, precision: Precision) -> dict[str, Any]:
    """Fabric's arguments for a precision."""
    if precision != "bf16":
        return {"precision": "32-true"}
    return {"plugins": Bf16Autocast("bf16-mixed", device=kind)}


class Bf16Autocast(MixedPrecision):
    """bf16 autocast inside `forward`; what goes in (images, noise, indices) keeps its dtype.

    Fabric's own plugin also casts every floating input: noise just below 1 becomes 1, of which a random index
    is one past the end, and equal numbers appear where all were different.
    """

    def convert_input(self, data: Any) -> Any:
        """The inputs as they are."""
        return data


def to_precision(module: torch.nn.Module, precision: Precision) -> None:
    """Give the weights the precision's dtype.

    float16 for `released` (so Adam's state is float16, too), else float32.
    """
    module.to(torch.float16 if precision == "released" else torch.float32)


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """The context in which features are computed: bf16 autocast for `bf16`, nothing otherwise."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16")


def gather_with_gradients(tensor: Tensor) -> Tensor:
    """Concatenate `tensor` [batch, ...] over all processes, in rank order, with gradients.

    Returns [processes × batch, ...]; gradients flow back to every process. Each process then computes the
    whole global loss. The backward pass sums the gradients that all processes have for a process's share, and
    DDP divides by their number: together that is the gradient of the one global loss.
    """
    if tensor.requires_grad:
        shares: tuple[Tensor, ...] = all_gather(tensor)  # type: ignore[no-untyped-call]
        return torch.cat(shares)
    parts = [torch.empty_like(tensor) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, tensor.contiguous())
    return torch.cat(parts)


def share_of(length: int, fabric: Fabric) -> slice:
    """This process's part of a global batch of `length` pairs.

    The shares are equal, so up to world size − 1 pairs at the end drop.
    """
    size = length // fabric.world_size
    return slice(fabric.global_rank * size, (fabric.global_rank + 1) * size)


def seed_everything(*axes: str | int) -> None:
    """Seed the global generators of torch, NumPy and Python, for whatever a method draws outside `draw`."""
    seed = seed_for(*axes)
    # torch.manual_seed would prepare every kind of device for its first use, a millisecond each time.
    torch.default_generator.manual_seed(seed)
    if cuda_in_use():
        torch.cuda.manual_seed_all(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the legacy generator is the one a plugin may use unseen
    random.seed(seed)


def cuda_in_use() -> bool:
    """Whether this process has started CUDA; asking does not start it."""
    return bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]


def use_deterministic_algorithms() -> None:
    """Bit-for-bit repeatable kernels, or an error from the operation that has none.

    To be called before CUDA starts: cuBLAS reads its workspace setting then.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    # Filling what no kernel reads costs time; determinism of results does not need it.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def peak_memory(device: torch.device) -> int:
    """Most memory in use so far, in bytes.

    On CUDA of the device since the last call, elsewhere of the process since its start.
    """
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        return int(peak)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
