"""What a cell ran on, and fingerprints of the code and the weights that can change its numbers."""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.registry import DatasetEntry, MethodEntry

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    *("torch", "torchvision", "open_clip_torch", "lightning-fabric", "numpy", "pillow", "safetensors"),
    *("optuna", "pandas", "pyarrow", "scipy", "textblob", "nltk", "pydantic"),
)

# Files that no number of a training run passes through: checks only read, costs are measured apart, released
# checkpoints are never trained. (Rendering is left out too: the pictures themselves are fingerprinted.)
_APART = ("harness/data/survey.py", "harness/data/leakage.py", "methods/cost.py", "methods/released.py")
_ROOMS = {
    "data": ("harness/data/*.py",),
    "train": (
        *("harness/train.py", "harness/optimiser.py", "harness/checkpoint.py", "harness/devices.py"),
        *("harness/context.py", "harness/meter.py"),
    ),
    "evaluate": ("harness/evaluate.py", "harness/metrics.py"),
    "seeds": ("harness/seeds.py",),
    "methods": ("methods/*.py", "methods/configs/*.json"),
}


@functools.cache
def code_fingerprint(method: Path | None = None, dataset: Path | None = None) -> dict[str, str]:
    """One fingerprint per room of the code that can change a number, and of the plugins a cell uses.

    Comments, docstrings, layout and the Python version do not count: only what is executed does.
    """
    rooms = {name: _digest(_files(patterns)) for name, patterns in _ROOMS.items()}
    for name, plugin in (("plugin (method)", method), ("plugin (dataset)", dataset)):
        if plugin is not None:
            rooms[name] = _digest([plugin])
    return rooms


def code_of(method: MethodEntry, dataset: DatasetEntry) -> dict[str, str]:
    """The code fingerprints of a cell that uses this method and this dataset."""
    return code_fingerprint(method.plugin, dataset.plugin)


def _files(patterns: tuple[str, ...]) -> list[Path]:
    found = {path for pattern in patterns for path in ROOT.glob(pattern)}
    return sorted(path for path in found if path.relative_to(ROOT).as_posix() not in _APART)


def _digest(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        text = path.read_text("utf-8")
        meaning = (
            source_meaning(text) if path.suffix == ".py" else json.dumps(json.loads(text), sort_keys=True)
        )
        digest.update(f"{path.name}\0{meaning}\0".encode())
    return digest.hexdigest()


def source_meaning(text: str) -> str:
    """What a Python source says without comments, docstrings and layout; equal on every Python version."""
    return "".join(_meaning(ast.parse(text)))


def _meaning(node: Any) -> Iterator[str]:
    if isinstance(node, ast.AST):
        yield f"({type(node).__name__}"
        for name, value in ast.iter_fields(node):
            # Empty fields come and go between Python versions.
            if name not in ("ctx", "kind", "type_comment") and value is not None and value != []:
                yield f" {name}="
                yield from _meaning(value)
        yield ")"
    elif isinstance(node, list):
        yield "["
        for item in node:
            is_text = isinstance(item, ast.Expr) and isinstance(item.value, ast.Constant)
            if not (is_text and isinstance(item.value.value, str)):
                yield from _meaning(item)
                yield ","
        yield "]"
    else:
        yield repr(node)


def weights_fingerprint(backbone: str, pretrained: str) -> str:
    """SHA-256 of the pretrained weights' file, wherever it lies; empty for `none`.

    Raises `methods.pretrained.WeightsNotFoundError` when it is not on this machine.
    """
    if pretrained == "none":
        return ""
    from methods.pretrained import find_weights

    path = find_weights(backbone, pretrained)
    status = path.stat()
    return _file_sha256(str(path), status.st_size, status.st_mtime_ns)


@functools.cache
def _file_sha256(path: str, size: int, changed: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe() -> dict[str, Any]:
    """This machine and its software, for the record: never part of an identity."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "packages": versions(),
        "accelerators": accelerators(),
        "commit": commit(),
    }


def versions() -> dict[str, str]:
    """Versions of the packages that a number may depend on."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "absent"
    return found


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
    }


def rooms() -> dict[str, tuple[str, ...]]:
    """Which files each room of the code fingerprint is made of, as patterns below the project's folder."""
    return dict(_ROOMS)


def accelerators() -> list[str]:
    """Names of the CUDA devices that torch sees; loads torch."""
    import torch

    return [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]


@functools.cache
def commit() -> str:
    """The commit this code is at, with `+` when the tree has changes; empty outside a git clone."""
    if not (ROOT / ".git").exists():
        return ""
    try:
        head = _git("rev-parse", "HEAD")
        changed = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return ""
    return head + ("+" if changed else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ("git", "-C", str(ROOT), *arguments), capture_output=True, text=True, timeout=10, check=True
    )
    return done.stdout.strip()


def command() -> str:
    """The command that runs now, fit to be typed again; passwords of storage URLs are left out."""
    from harness.search.urls import masked

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
