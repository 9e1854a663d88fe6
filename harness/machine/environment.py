"""What a cell ran on: machine, packages, commit and command; a record, no part of an identity."""

from __future__ import annotations

import ctypes
import functools
import importlib.metadata
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.machine.paths import SOURCE

PACKAGES = (
    *("torch", "torchvision", "open_clip_torch", "lightning-fabric", "numpy", "pillow", "safetensors"),
    *("optuna", "pandas", "pyarrow", "scipy", "textblob", "nltk", "pydantic"),
)


def describe() -> dict[str, Any]:
    """This machine and its software, for the record: never part of an identity."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "packages": versions(),
        "accelerators": gpu_names(),
        "commit": commit(),
    }


def versions() -> dict[str, str]:
    """Versions of the packages that a number may depend on."""
    return {name: _version(name) for name in PACKAGES}


@functools.cache
def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "absent"


def arithmetic(device: Any) -> dict[str, Any]:
    """What the rounding of a run on this torch device depends on, beside its settings; loads torch."""
    import torch

    kind = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    known = versions()
    return {
        "device": kind,
        "processor": _processor(),
        "threads": torch.get_num_threads(),
        "packages": {name: known[name] for name in ("torch", "numpy", "pillow")},
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        **(_cuda_arithmetic() if device.type == "cuda" else {}),
    }


def arithmetic_moved(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Names of what two records of `arithmetic` do not agree on, or only the second one has.

    Whether a run was compiled is known of training alone, so it counts where both say so.
    """
    return [
        name
        for name, value in now.items()
        if then.get(name) != value and not (name in ("compiled", "mixed") and name not in then)
    ]


def _cuda_arithmetic() -> dict[str, Any]:
    """What chooses kernels on CUDA: library versions, and which attention may be used."""
    import torch

    backends: Any = torch.backends
    attention = {
        "flash": backends.cuda.flash_sdp_enabled(),
        "memory efficient": backends.cuda.mem_efficient_sdp_enabled(),
        "cudnn": backends.cuda.cudnn_sdp_enabled(),
        "math": backends.cuda.math_sdp_enabled(),
    }
    return {
        "cuda": torch.version.cuda,
        "cudnn": backends.cudnn.version(),
        "attention": [name for name, enabled in attention.items() if enabled],
    }


_DEVICE_FILES = ("nvidia*", "nvhost*", "nvgpu*", "nvmap", "dxg", "kfd")
"""Below /dev on Linux, one of them where there is an accelerator that torch calls CUDA: those of NVIDIA's
desktop and embedded drivers, of Windows' subsystem for Linux, and of AMD's driver."""


def surely_without_gpu() -> bool:
    """Whether torch cannot see a CUDA device here, known without importing torch, which takes two seconds.

    False where it is not known: then torch must be asked.
    """
    if sys.platform != "linux" or "torch" in sys.modules:
        return False
    if any(True for pattern in _DEVICE_FILES for _ in Path("/dev").glob(pattern)):
        return False
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return True
    return False


def gpu_names() -> list[str]:
    """Names of the CUDA devices that torch sees; loads torch where there may be one."""
    if surely_without_gpu():
        return []
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


@functools.cache
def commit() -> str:
    """The commit this code is at, with `+` when the tree has changes; empty outside a git clone."""
    if not (SOURCE / ".git").exists():
        return ""
    try:
        head = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return ""
    return head + ("+" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ("git", "-C", str(SOURCE), *arguments), capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()


def command() -> str:
    """The command that runs now, fit to be typed again; passwords of storage URLs are left out."""
    from harness.machine.passwords import masked

    program = Path(sys.argv[0]).name
    start = "python -m harness" if program in ("__main__.py", "harness", "-m", "-c") else program
    return shlex.join([*start.split(), *map(masked, sys.argv[1:])])


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


@dataclass(frozen=True)
class Machine:
    """Where and how to run; picklable, recorded with every cell, and part of no identity."""

    data_root: Path | None = None
    device: str = "auto"
    devices: int = 1
    """Devices that train one cell together."""
    threads: int = 1
    """Threads of a cell on a CPU, where another number rounds differently: it does not follow the workers."""
    deterministic: bool = False
    skip_broken: bool = False
    plugins: tuple[Path, ...] = ()
    command: str = ""
