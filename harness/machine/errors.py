"""What an error means: a user's mistake, a failed cell, a failing disk, a shortage. Imports nothing heavy."""

from __future__ import annotations

import enum
import errno
import sys
import traceback
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any, Literal

Reason = Literal["", "oom", "nan", "data", "timeout", "error"]
"""Why a cell or a trial failed; empty when it did not."""


class ExitCode(enum.IntEnum):
    """What the program ends with."""

    DONE = 0
    ERROR = 1
    BAD_INPUT = 2
    """Nothing was started."""
    INCOMPLETE = 3
    """Some cells failed, or a search lacks trials."""
    DIFFERS = 4
    """A claim is contradicted, a plan changed after its lock, or a verification differs."""
    UNDECIDED = 5
    """With `--check`: a claim is undecided, or was not run."""


class HarnessError(Exception):
    """An error that a user may meet: its lines are printed without a traceback, its code ends the program.

    The family, with exit code and reason of failure where they are not 2 and `error`:

        HarnessError
        ├── StudyError              a study, or an option of the command line
        ├── UnknownNameError        a name that is not registered               (registry)
        ├── PluginError             a plugin that cannot be imported            (registry)
        ├── DataError               a dataset that cannot be used: data         (data.dataset)
        ├── BrokenImageError        an image that cannot be decoded: data       (data.decoding)
        ├── StoreError              a stored file that cannot be used
        ├── NewerFormatError        a store that a later version wrote
        ├── LockedError             a lock that another process holds: 1
        ├── CheckpointError         a checkpoint that cannot be opened          (launch.models)
        ├── WeightsNotFoundError    pretrained weights that are not here        (methods.pretrained)
        ├── LauncherError           a launcher that cannot be used here         (launch.units)
        ├── WorkerDied              a worker that was killed from outside: 1    (launch.units)
        ├── ProcessFailed           one of several training processes failed: 1 (launch.cell)
        ├── TrainingDiverged        a loss or a weight is not finite: 1, nan    (train.epoch_stats)
        ├── NonFiniteFeatures       features are not finite: 1, nan             (evaluate.metrics)
        ├── StorageError            a search's database that cannot be used     (search.database)
        │   └── NoSearchYet         … because it is empty                       (search.database)
        ├── SearchIncomplete        methods had unequal budgets: 3              (search.study)
        ├── PluginFailed            a plugin that failed in its first trial     (search.search_loop)
        ├── TrialFailed             a trial without a score: 1, its own reason  (search.plan)
        ├── TrialLost               a trial that another worker took over: 1    (search.plan)
        ├── Pruned                  a trial that its pruner ends: 1
        ├── ClaimsError             a file of claims that cannot be used        (reports.sections.claims)
        └── RunError                a run whose study cannot be read            (reports.stored_runs)

    Attributes:
        lines: one per mistake, each with its place.
        exit_code: what the program ends with when nothing handles the error.
        reason: why a cell failed that was ended by the error.
    """

    exit_code: ExitCode = ExitCode.BAD_INPUT
    reason: Reason = "error"
    lines: list[str]

    def __init__(
        self, lines: str | Iterable[str], *, exit_code: ExitCode | None = None, reason: Reason | None = None
    ) -> None:
        self.lines = lines.splitlines() if isinstance(lines, str) else list(lines)
        if exit_code is not None:
            self.exit_code = exit_code
        if reason is not None:
            self.reason = reason
        super().__init__("\n".join(self.lines))

    def __reduce__(self) -> tuple[Any, ...]:
        # Python pickles an exception by calling its class with the message alone, which loses the rest.
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(kind: type[HarnessError], arguments: tuple[Any, ...], state: dict[str, Any]) -> HarnessError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class StudyError(HarnessError):
    """What is wrong with a study or the command line: one `place: key: message` per mistake."""


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


def described(error: BaseException, files: Collection[Path] = ()) -> str:
    """`ValueError: …`; after `my_method.py:12: ` when one of `files`, plugins mostly, is where it arose.

    The innermost line of those files counts: what they call may lie deep in a library.
    """
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename) in files:
        return f"{Path(error.filename).name}:{error.lineno}: {type(error).__name__}: {error.msg}"
    place = place_in(error, files)
    return f"{place[0].name}:{place[1]}: {text}" if place else text


def place_in(error: BaseException, files: Collection[Path]) -> tuple[Path, int] | None:
    """File and line of the innermost of `files` that an error came through; None when through none."""
    places = [
        (Path(frame.filename), frame.lineno or 0)
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) in files
    ]
    return places[-1] if places else None


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
