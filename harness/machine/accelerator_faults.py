"""Faults after which a process cannot use its accelerator any more: only a new process can.

A failed device assertion, an illegal memory access or a lost device leaves CUDA unusable for the rest of the
process: every later call fails with the same error, whatever cell makes it. Imports nothing heavy.
"""

from __future__ import annotations

import sys

_FATAL = ("device-side assert", "illegal memory access", "unspecified launch failure", "device is lost")
_seen: list[str] = []


def is_accelerator_fault(error: BaseException) -> bool:
    """Whether `error`, or what caused it, left the accelerator unusable for this process.

    To be out of memory is no such fault. An exception of torch's exists only where torch was imported.
    """
    torch = sys.modules.get("torch")
    kinds = (torch.AcceleratorError,) if torch is not None and hasattr(torch, "AcceleratorError") else ()
    seen: BaseException | None = error
    while seen is not None:
        text = str(seen)
        if isinstance(seen, kinds) and "out of memory" not in text:
            return True
        if isinstance(seen, RuntimeError) and any(fatal in text for fatal in _FATAL):
            return True
        seen = seen.__cause__
    return False


def note_fault(error: BaseException) -> None:
    """Remember the error when it is such a fault."""
    if is_accelerator_fault(error):
        _seen.append(str(error).splitlines()[0] if str(error) else type(error).__name__)


def process_has_fault() -> bool:
    """Whether this process met such a fault, so that the next unit of work needs another one."""
    return bool(_seen)
