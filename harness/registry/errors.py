"""The base of every error that a user may meet, exit codes, and an error's place in a plugin."""

from __future__ import annotations

import difflib
import enum
import traceback
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

OWN_PACKAGES = ("harness", "methods", "reports")
"""The packages of this project."""
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
        ├── UnknownNameError        a name that is not registered               (registry.errors)
        ├── PluginError             a plugin that fails, on import or when used (registry.errors)
        ├── DataError               a dataset that cannot be used: data
        ├── BrokenImageError        an image that cannot be decoded: data       (data.decoding)
        ├── StoreError              a stored file that cannot be used
        ├── NewerFormatError        a store that a later version wrote
        ├── LockedError             a lock that another process holds: 1
        ├── BundleError             an archive that is no sound bundle          (exchange.archives)
        ├── ScoreFileError          a file of scores that cannot be used        (exchange.score_files)
        ├── CheckpointError         a checkpoint that cannot be opened          (launch.models)
        ├── WeightsNotFoundError    pretrained weights that are not here        (methods.pretrained)
        ├── UnknownTimeError        a method whose time `check` cannot know     (cli.time_check)
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


class UnknownNameError(HarnessError):
    """A name that nothing is registered under, with the nearest name that exists."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        self.kind, self.name = kind, name
        self.known = tuple(known)
        self.nearest = nearest(name, self.known)
        hint = f": did you mean {self.nearest!r}?" if self.nearest else ":"
        own = {
            "method": "; one of your own needs --plugin FILE",
            "dataset": "; one of your own needs --dataset-file FILE, or that file in the --data-root",
        }.get(kind, "")
        super().__init__(f"unknown {kind} {name!r}{hint} known: {', '.join(self.known) or 'none'}{own}")


class PluginError(HarnessError):
    """A fault of a user's plugin: it cannot be imported, fails, or returns what cannot be used.

    Attributes:
        place: file and line of its code, where they are known.
    """

    place: tuple[Path, int] | None = None

    def __init__(self, lines: str | Iterable[str], *, place: tuple[Path, int] | None = None) -> None:
        text = lines if isinstance(lines, str) else "\n".join(lines)
        super().__init__(f"{place[0].name}:{place[1]}: {text}" if place else text)
        self.place = place


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`, or None when nothing is similar."""
    folded = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(str(name).lower(), folded, n=1, cutoff=0.5)
    return folded[close[0]] if close else None


def mistyped(name: str, known: Iterable[str]) -> str | None:
    """The known name that an unknown `name` probably stands for; None where it is a name of its own.

    Letters and digits alone are compared, in lower case: a known name was meant by its start (`cuhk`) and by
    what has three quarters of its characters in the same order (difflib's ratio).
    """
    folded = {_letters(candidate): candidate for candidate in known}
    typed = _letters(name)
    starts = [candidate for letters, candidate in folded.items() if typed and letters.startswith(typed)]
    close = difflib.get_close_matches(typed, folded, n=1, cutoff=0.75)
    return folded[close[0]] if close else starts[0] if starts else None


def _letters(name: str) -> str:
    return "".join(filter(str.isalnum, name.lower()))


def described(error: BaseException, files: Collection[Path] = ()) -> str:
    """`ValueError: …`; after `my_method.py:12: ` when one of `files`, plugins mostly, is where it arose.

    The innermost line of those files counts: what they call may lie deep in a library.
    """
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, PluginError):
        return str(error)
    if isinstance(error, SyntaxError) and error.filename and Path(error.filename) in files:
        return f"{Path(error.filename).name}:{error.lineno}: {type(error).__name__}: {error.msg}"
    place = place_in(error, files)
    return f"{place[0].name}:{place[1]}: {text}" if place else text


def place_in(error: BaseException, files: Collection[Path]) -> tuple[Path, int] | None:
    """File and line of the innermost of `files` that an error came through; None when through none."""
    if isinstance(error, PluginError) and error.place is not None:
        return error.place
    places = [
        (Path(frame.filename), frame.lineno or 0)
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename) in files
    ]
    return places[-1] if places else None


def fault_in(
    error: BaseException, plugins: Collection[Path], methods: Mapping[str, tuple[Path | None, object]]
) -> PluginError | None:
    """An exception that arose in the code of `plugins`, as an error with its place and method, or None.

    `methods` are registered ones by name: the plugin that each came from, and its class.
    """
    place = place_in(error, plugins)
    if isinstance(error, PluginError) or place is None:
        return error if isinstance(error, PluginError) else None
    text, kinds = f"{type(error).__name__}: {error}", [type(value) for value in _callers(error, place[0])]
    names = [
        repr(name)
        for name, (plugin, built) in methods.items()
        if plugin == place[0] and any(built in kind.__mro__ for kind in kinds)
    ]
    return PluginError(f"method {' or '.join(names)}: {text}" if names else text, place=place)


def _callers(error: BaseException, file: Path) -> list[object]:
    """The objects in whose functions of `file` an error arose or through which it came, outermost first."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    inside = [frame for frame in frames if Path(frame.f_code.co_filename) == file]
    return [frame.f_locals["self"] for frame in inside if "self" in frame.f_locals]
