"""What an exception is: a user's mistake, a failed cell, a failed disk, a shortage. Imports nothing heavy."""

from __future__ import annotations

import errno
from collections.abc import Sequence
from typing import Literal

Reason = Literal["", "oom", "nan", "data", "timeout", "error"]
"""Why a cell or a trial failed; empty when it did not."""


def lines_of(error: Exception) -> list[str] | None:
    """One line per mistake, or None when the error is ours and deserves a traceback.

    By name where the class lives in a module that imports torch.
    """
    from harness.registry import PluginError, UnknownNameError

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
    if isinstance(error, OSError) and error.errno in _DISK:
        return [in_words(error)]
    return None


_REFUSED = {
    *("StoreError", "NewerFormatError", "StorageError"),
    *("LauncherError", "WeightsNotFoundError", "CheckpointError"),
}
# A folder that may no longer be written is like a full disk: trials that failed of it would change a search.
_DISK = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO, errno.ESTALE),
    # So is a folder that stands in the place of a file.
    *(errno.EACCES, errno.EPERM, errno.EISDIR),
}
_LIMITS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN}
# What compiled code and the loader of libraries say, each by an exception of its own.
_NO_MEMORY = (
    *("allocate memory", "not enough memory", "bad_alloc", "failed to map segment"),
    *("out of memory", "Unable to allocate", "CUBLAS_STATUS_ALLOC_FAILED"),
)
_NO_THREAD = ("can't start new thread",)
# By name: their modules import torch, which a study that only evaluates stored results does not need.
_OOM = ("OutOfMemoryError",)
_NAN = ("TrainingDiverged", "NonFiniteFeatures")


def reason_of(error: BaseException) -> Reason:
    """The house's word for what ended a cell or a trial."""
    name = type(error).__name__
    if name == "ProcessRaisedException":  # one of several training processes; its own error is in the text
        name = next((kind for kind in (*_OOM, *_NAN, "TimeoutError") if kind in str(error)), name)
    if name in _OOM or _lacks_memory(error):
        return "oom"
    if isinstance(error, FloatingPointError) or name in _NAN:
        return "nan"
    if name == "DataError":
        return "data"
    return "timeout" if name == "TimeoutError" else "error"


def shortage(error: BaseException) -> str:
    """What the process could get no more of, in a sentence; empty when something else went wrong.

    Also where the shortage is the cause of the error, as when a library cannot be loaded for it.
    """
    seen: BaseException | None = error
    while seen is not None:
        if _lacks_memory(seen):
            return "out of memory: the process could not get as much as it needs"
        if _lacks_threads(seen):
            return "no more threads: the user has as many processes and threads as the system permits"
        if isinstance(seen, OSError) and seen.errno in _LIMITS:
            return in_words(seen)
        seen = seen.__cause__
    return ""


def _lacks_memory(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno == errno.ENOMEM
    said = isinstance(error, (RuntimeError, ImportError, OSError)) and str(error)
    return isinstance(error, MemoryError) or bool(said and any(text in said for text in _NO_MEMORY))


def _lacks_threads(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_THREAD)


def is_of_the_machine(error: BaseException) -> bool:
    """Whether what failed is the disk (full, read-only, forbidden, broken), or no more threads are permitted.

    No cell is to blame for it, every other would fail too, and what was going on can go on once it is mended.
    """
    return (isinstance(error, OSError) and error.errno in _DISK) or _lacks_threads(error)


def in_words(error: BaseException) -> str:
    """A sentence about such an error, with the file where it is known."""
    if not isinstance(error, OSError):
        return shortage(error)
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what


class StudyError(Exception):
    """What is wrong with a study, all of it: `errors` holds one `place: key: message` per mistake."""

    def __init__(self, errors: Sequence[str]) -> None:
        self.errors = list(errors)
        super().__init__("\n".join(self.errors))


class StoreError(Exception):
    """A store that cannot be used: unreadable, unwritable, or of another kind; says which file and why."""


class NewerFormatError(Exception):
    """A store that a later version wrote: no damage, and not to be mended."""


class LockedError(Exception):
    """Another process holds the lock."""
