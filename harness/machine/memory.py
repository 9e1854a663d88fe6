"""How much memory a computation needs: what the CUDA allocator saw, or else the tensors alive at once."""

from __future__ import annotations

import ctypes
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_MMAP_THRESHOLD = 32 * 2**20
_KEPT = 2**30


def keep_freed_memory() -> bool:
    """Let the C library keep freed memory for the next step rather than give it back to the system.

    A training step on a CPU frees and asks for the same large tensors again and again; by default each time
    means new pages from the kernel. No number changes. Whether it took effect: only on Linux with glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_MMAP_THRESHOLD) and mallopt(_M_TRIM_THRESHOLD, _KEPT))


def held_bytes(module: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """What a model keeps between steps: weights, buffers and the optimiser's state."""
    state = (value for values in optimiser.state.values() for value in values.values())
    tensors = [*module.parameters(), *module.buffers(), *_tensors(list(state))]
    return sum(size for _, size in _storages(tensors))


def peak_bytes(step: Callable[[], object], device: torch.device) -> int:
    """Most memory that `step` takes on top of what is held before it begins.

    On CUDA as the allocator saw it. Elsewhere tensors are counted while they live (so no workspace inside a
    kernel); that slows the step down, and one that is compiled is not looked into.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        before = torch.cuda.memory_allocated(device)
        torch.cuda.reset_peak_memory_stats(device)
        step()
        torch.cuda.synchronize(device)
        return int(torch.cuda.max_memory_allocated(device) - before)
    with _LiveTensors() as living:
        step()
    return int(living.peak)


class _LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up the storages that operations make, and takes away those that die."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._alive: set[int] = set()

    def __torch_dispatch__(
        self, operation: Any, types: Any, arguments: Any = (), keywords: Any = None
    ) -> Any:
        known = {address for address, _ in _storages(_tensors((arguments, keywords)))}
        result = operation(*arguments, **(keywords or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            address = storage._cdata
            if address not in known and address not in self._alive:
                self._alive.add(address)
                self.now += storage.nbytes()
                weakref.finalize(storage, self._died, address, storage.nbytes())
        self.peak = max(self.peak, self.now)
        return result

    def _died(self, address: int, size: int) -> None:
        self._alive.discard(address)
        self.now -= size


def _tensors(values: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor)]


def _storages(tensors: Iterable[Tensor]) -> Iterator[tuple[int, int]]:
    """Address and size of every storage, each once."""
    sizes = {tensor.untyped_storage()._cdata: tensor.untyped_storage().nbytes() for tensor in tensors}
    yield from sizes.items()
