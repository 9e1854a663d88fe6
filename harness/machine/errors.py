"""What an error means: a user's mistake, a failed cell, a failing disk, a shortage. Imports nothing heavy."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable

from harness.registry.errors import ExitCode as ExitCode
from harness.registry.errors import HarnessError as HarnessError
from harness.registry.errors import Reason as Reason
from harness.registry.errors import described as described


class StudyError(HarnessError):
    """What is wrong with a study or the command line: one `place: key: message` per mistake."""


class DataError(HarnessError):
    """A dataset cannot be used. Ends a command with exit code 2, one line per problem.

    Attributes:
        lines: every problem found, each saying what was looked for, where, and how to repair it.
        remedy: what the machine needs, where the data themselves are sound; empty otherwise.
    """

    reason = "data"

    def __init__(self, problems: Iterable[str], remedy: str = "") -> None:
        super().__init__(problems)
        self.remedy = remedy


class StoreError(HarnessError):
    """A store that cannot be used: unreadable, unwritable, or of another kind; says which file and why."""


class NewerFormatError(HarnessError):
    """A store that a later version wrote: not damaged, and not to be repaired."""


class LockedError(HarnessError):
    """Another process holds the lock."""

    exit_code = ExitCode.ERROR


class Pruned(HarnessError):
    """Training ends after `epoch` because its search sees no hope for it; no failure of the cell."""

    exit_code = ExitCode.ERROR

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch
        super().__init__(f"pruned after epoch {epoch}")


# -- other exceptions -----------------------------------------------------------------------------

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


def refusal_of(error: Exception) -> HarnessError | None:
    """The error as a member of the family; None for a fault of the program, which deserves a traceback.

    A missing or forbidden file, a failing disk, and a shortage (of memory, files, threads) have their words.
    """
    if lacking := shortage(error):
        return HarnessError(lacking, exit_code=ExitCode.ERROR)
    if isinstance(error, HarnessError):
        return error
    if isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)):
        return HarnessError(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    if isinstance(error, OSError) and error.errno in _DISK:
        return HarnessError(in_words(error))
    return None


def reason_of(error: BaseException) -> Reason:
    """The one word for what ended a cell or a trial."""
    if isinstance(error, HarnessError):
        return error.reason
    if _lacks_memory(error):
        return "oom"
    if isinstance(error, FloatingPointError):
        return "nan"
    return "timeout" if isinstance(error, TimeoutError) else "error"


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
    torch = sys.modules.get("torch")  # an exception of torch's exists only where torch was imported
    if torch is not None and isinstance(error, torch.OutOfMemoryError):
        return True
    said = isinstance(error, (RuntimeError, ImportError, OSError)) and str(error)
    return isinstance(error, MemoryError) or bool(said and any(text in said for text in _NO_MEMORY))


def _lacks_threads(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _NO_THREAD)


def is_of_the_machine(error: BaseException) -> bool:
    """Whether what failed is the disk (full, read-only, forbidden, broken), or no more threads are permitted.

    No cell is to blame for it, every other would fail too, and work can go on once it is repaired.
    """
    return (isinstance(error, OSError) and error.errno in _DISK) or _lacks_threads(error)


def in_words(error: BaseException) -> str:
    """A sentence about such an error, with the file where it is known."""
    if not isinstance(error, OSError):
        return shortage(error)
    what = error.strerror or str(error)
    return f"{error.filename}: {what}" if error.filename else what
