"""What an exception is: a user's mistake, a failed cell, or a failed disk. Imports nothing heavy."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, TypeGuard

if TYPE_CHECKING:
    from harness.cellrun import Reason


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
    if isinstance(error, OSError) and error.errno in _DISK | _LIMITS:
        return [in_words(error)]
    return None


_REFUSED = {
    *("StoreError", "NewerFormatError", "StorageError"),
    *("LauncherError", "WeightsNotFoundError", "CheckpointError"),
}
# A folder that may no longer be written is like a full disk: trials that failed of it would change a search.
_DISK = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.ESTALE),
    *(errno.EACCES, errno.EPERM),
}
_LIMITS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
# By name: their modules import torch, which a study that only evaluates stored results does not need.
_OOM = ("OutOfMemoryError",)
_NAN = ("TrainingDiverged", "NonFiniteFeatures")


def reason_of(error: BaseException) -> Reason:
    """The house's word for what ended a cell or a trial."""
    name = type(error).__name__
    if name == "ProcessRaisedException":  # one of several training processes; its own error is in the text
        name = next((kind for kind in (*_OOM, *_NAN, "TimeoutError") if kind in str(error)), name)
    if isinstance(error, MemoryError) or name in _OOM or getattr(error, "errno", None) == errno.ENOMEM:
        return "oom"
    if isinstance(error, FloatingPointError) or name in _NAN:
        return "nan"
    if name == "DataError":
        return "data"
    return "timeout" if name == "TimeoutError" else "error"


def is_of_the_machine(error: BaseException) -> TypeGuard[OSError]:
    """Whether what failed is the disk: full, read-only, forbidden, or broken.

    No cell is to blame for it, every other would fail too, and what was going on can go on once it is mended.
    """
    return isinstance(error, OSError) and error.errno in _DISK


def in_words(error: OSError) -> str:
    """A sentence about such an error, with the file where it is known."""
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what
