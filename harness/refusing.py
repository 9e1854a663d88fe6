"""Which exceptions are a user's mistake, and what to print for them. Imports nothing heavy."""

from __future__ import annotations

import errno
import os


def lines_of(error: Exception) -> list[str] | None:
    """One line per mistake, or None when the error is ours and deserves a traceback.

    By name where the class lives in a module that imports torch.
    """
    from harness.registry import PluginError, UnknownNameError
    from harness.studyfile import StudyError

    if isinstance(error, StudyError):
        return error.errors
    if isinstance(error, (PluginError, UnknownNameError)):
        return [str(error)]
    kind = type(error).__name__
    if kind == "DataError":
        return list(getattr(error, "problems", [str(error)]))
    if kind in {"StoreError", "StorageError", "LauncherError", "WeightsNotFoundError", "CheckpointError"}:
        return str(error).splitlines()
    if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)):
        return [f"{error.filename}: {error.strerror}"] if error.filename else [str(error)]
    return [no_room(error)] if is_no_room(error) else None


def is_no_room(error: BaseException) -> bool:
    """Whether a disk is full, its quota used up, or it can only be read."""
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def no_room(error: BaseException) -> str:
    """A sentence about a disk that takes no more."""
    place = getattr(error, "filename", None)
    return f"{place}: {os.strerror(getattr(error, 'errno', 0))}" if place else str(error)
