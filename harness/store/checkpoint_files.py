"""The full state of a training run on disk: one file, named by its epoch and its own SHA-256.

`harness.train.checkpoint` says what such a state is made of.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from harness.machine import files

SetAside = Callable[[Path, str], None]
"""Called with a damaged file and what is wrong with it; moves it out of the way."""


def save(folder: Path, state: Mapping[str, Any], epoch: int) -> None:
    """Keep the full state after `epoch`; the one before goes when this one is safe on the disk."""
    import torch

    # Named like a temporary file: whoever takes up a killed writer's cell deletes it.
    new = folder / ".new.tmp"
    with files.atomic_file(new) as file, _true_cause(file) as watched:
        torch.save(dict(state), watched)
    path = folder / f"epoch-{epoch:05d}-{files.sha256(new)[:32]}.pt"
    os.replace(new, path)
    files.sync_folder(folder)
    for older in folder.glob("epoch-*.pt"):
        if older != path:
            older.unlink()


def load(folder: Path, set_aside: SetAside) -> dict[str, Any] | None:
    """The newest full state that is sound, or None. A damaged one is set aside, never used.

    Only tensors and plain values are read: a checkpoint cannot bring code along.
    """
    import torch

    for path in sorted(folder.glob("epoch-*.pt"), reverse=True):
        if not path.stem.endswith(files.sha256(path)[:32]):
            set_aside(path, "its content does not match its name")
            continue
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            return state
        except Exception as error:  # torch raises many kinds over foreign content
            set_aside(path, f"cannot be read ({type(error).__name__})")
    return None


def drop(folder: Path) -> None:
    """Delete the state."""
    for path in folder.glob("epoch-*.pt"):
        path.unlink(missing_ok=True)


class _Watched:
    """A file that remembers why it could not be written."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


@contextlib.contextmanager
def _true_cause(file: IO[bytes]) -> Iterator[Any]:
    """Of a full disk torch says `unexpected pos 334720 vs 334640`; raise what the disk said instead."""
    watched = _Watched(file)
    try:
        yield watched
    except RuntimeError:
        if watched.error is not None:
            raise watched.error from None
        raise
