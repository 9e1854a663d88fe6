"""A trained model's weights on disk: a safetensors file labelled with its epoch and its own SHA-256."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.machine.errors import StoreError
from harness.machine.files import atomic_file, sync_folder

if TYPE_CHECKING:
    import torch


def save(
    path: Path,
    state: Mapping[str, torch.Tensor],
    epoch: int,
    others: Iterable[Path] = (),
) -> None:
    """Keep a model's weights by name after `epoch`; a hard link when one of `others` is this model."""
    from safetensors.torch import save as packed

    weights = {name: value.detach().cpu().contiguous().clone() for name, value in state.items()}
    digest = _sha256(weights)
    if any(_holds(other, epoch, digest) and _linked(other, path) for other in others):
        return
    with atomic_file(path) as file:
        label = {"epoch": str(epoch), "sha256": digest}
        file.write(packed(weights, metadata=label))


def _holds(path: Path, epoch: int, digest: str) -> bool:
    """Whether a file has these weights to the bit: a damaged one must not get a second name."""
    label = _label(path)
    if (label.get("epoch"), label.get("sha256")) != (str(epoch), digest):
        return False
    try:
        load(path)
    except StoreError:
        return False
    return True


def epoch_of(path: Path) -> int | None:
    """The epoch after which a model was kept, or None when there is no sound one."""
    try:
        return int(_label(path)["epoch"])
    except (KeyError, ValueError):
        return None


def _label(path: Path) -> dict[str, str]:
    """What a file says about itself; nothing when it is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "np") as file:  # not "pt": no weight is read, and torch not imported
            return file.metadata() or {}
    except (OSError, SafetensorError):
        return {}


def load(path: Path) -> dict[str, torch.Tensor]:
    """A model's weights by name.

    Raises:
        StoreError: they are missing or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), "pt") as file:
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            expected = (file.metadata() or {}).get("sha256")
    except (OSError, SafetensorError) as error:
        raise StoreError(f"{path}: {error}") from error
    if expected != _sha256(weights):
        raise StoreError(f"{path}: its weights are not the ones that were written")
    return weights


def digest(path: Path) -> str:
    """SHA-256 of a file's weights, computed, not taken from its label; empty when it has none."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return _sha256(load_file(path))
    except (OSError, SafetensorError):
        return ""


def _linked(source: Path, path: Path) -> bool:
    """Make `path` another name of `source`; False where the file system has no hard links."""
    temporary = path.with_name(f".{path.name}.link.tmp")
    temporary.unlink(missing_ok=True)
    try:
        os.link(source, temporary)
    except OSError:
        return False
    os.replace(temporary, path)
    # Renaming one name of a file over another of its names leaves both.
    temporary.unlink(missing_ok=True)
    sync_folder(path.parent)
    return True


def _sha256(weights: Mapping[str, torch.Tensor]) -> str:
    """Hash of names, shapes, types and bits: a safetensors file carries no checksum of its own."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(weights):
        value = weights[name]
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}\0".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
