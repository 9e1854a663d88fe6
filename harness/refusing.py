"""Which exceptions are a user's mistake, and what to print for them. Imports nothing heavy."""

from __future__ import annotations

import errno
from typing import TypeGuard


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
    if kind in _REFUSED:
        return str(error).splitlines()
    if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)):
        return [f"{error.filename}: {error.strerror}"] if error.filename else [str(error)]
    return [in_words(error)] if is_of_the_machine(error) else None


_REFUSED = {
    *("StoreError", "NewerFormatError", "StorageError"),
    *("LauncherError", "WeightsNotFoundError", "CheckpointError"),
}
_MACHINE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.ESTALE),
    *(errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN),
}


def is_of_the_machine(error: BaseException) -> TypeGuard[OSError]:
    """Whether what failed is the machine: a disk that is full or read-only, rights or limits that are gone.

    No cell is to blame for it, and what was going on can go on once it is mended.
    """
    return isinstance(error, OSError) and error.errno in _MACHINE


def in_words(error: OSError) -> str:
    """A sentence about such an error, with the file where it is known."""
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what
