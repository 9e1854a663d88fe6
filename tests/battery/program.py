"""A program as a real process: its limits, the CPU time it has used, and its end."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
AS_NOBODY = (
    *("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups"),
    # The interpreter may lie in root's home: the user may read everything and do nothing else.
    *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),
)
PRELOAD = "LD_PRELOAD"
PAUSE = 0.05
HARNESS = (sys.executable, "-m", "harness")
IDLE_SECONDS = 240.0
"""Seconds without CPU use after which a program hangs; a search waits up to 90 s for its database."""
ORPHAN_SECONDS = 60.0
"""Seconds that workers may idle after their parent has died."""


@dataclass(frozen=True)
class Conditions:
    """Environment, limits and user under which a program is started."""

    environment: Mapping[str, str] = field(default_factory=dict)
    limits: tuple[tuple[int, int], ...] = ()
    """Of `resource.setrlimit`, each the soft limit and the hard one."""
    umask: int = 0o022
    as_nobody: bool = False
    """Whether the program runs as a user without rights; only root can ask for it."""

    def joined(self, other: Conditions) -> Conditions:
        """Both sets of conditions; `other` wins where both set a value."""
        umask = other.umask if other.umask != 0o022 else self.umask
        environment = {**self.environment, **other.environment}
        return Conditions(environment, self.limits + other.limits, umask, self.as_nobody or other.as_nobody)


ORDINARY = Conditions()


@dataclass
class Strike:
    """An action on a running program once it has used a number of CPU seconds."""

    after: float
    act: Callable[[Program], None]
    struck: bool = False
    """Whether the program was still running at that time."""


class Hang(Exception):
    """A program that neither uses the processor nor ends."""


class Program:
    """A running program in a session of its own, so that nothing it started is overlooked."""

    def __init__(self, words: Sequence[object], conditions: Conditions, log: Path) -> None:
        self.log = log
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [*_prefix(conditions), *map(str, words)],
                cwd=ROOT,
                env={name: value for name, value in conditions.environment.items() if name != PRELOAD},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=conditions.umask,
                preexec_fn=lambda: _limit(conditions.limits),
            )

    def members(self) -> dict[int, tuple[str, int]]:
        """State and CPU ticks of every live process of the session."""
        return session(self.process.pid)

    def cpu(self) -> float:
        """CPU seconds used so far by what still runs."""
        return sum(ticks for _, ticks in self.members().values()) / os.sysconf("SC_CLK_TCK")

    def signal(self, number: int, pids: Iterable[int] | None = None) -> None:
        """Send a signal to some of its processes, by default to all."""
        for pid in self.members() if pids is None else pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def wait(self, strikes: Sequence[Strike] = (), most_cpu: float = float("inf")) -> int:
        """Wait until all its processes have ended, with each strike at its time; returns the exit code.

        Raises `Hang` when it idles, or works for more than `most_cpu` seconds. Time in which any of it is
        stopped, by whomever, does not count.
        """
        left, idle, before = sorted(strikes, key=lambda strike: strike.after), 0.0, -1
        while True:
            ended = self.process.poll() is not None
            members = self.members()
            if ended and not members:
                return self.process.returncode
            ticks = sum(used for _, used in members.values())
            while left and not ended and ticks / os.sysconf("SC_CLK_TCK") >= left[0].after:
                left[0].struck = True
                left.pop(0).act(self)
            stopped = any(state == "T" for state, _ in members.values())
            idle = 0.0 if stopped or ticks != before else idle + PAUSE
            before = ticks
            if idle > (ORPHAN_SECONDS if ended else IDLE_SECONDS):
                self._hangs(f"{len(members)} processes idle for {idle:.0f} s")
            if ticks / os.sysconf("SC_CLK_TCK") > most_cpu:
                self._hangs(f"used more than {most_cpu:.0f} s of CPU")
            time.sleep(PAUSE)

    def _hangs(self, how: str) -> NoReturn:
        """Abort it, so that faulthandler prints every thread's stack, and raise `Hang`."""
        self.signal(signal.SIGABRT)
        time.sleep(1)
        raise Hang(how)

    def end(self) -> None:
        """Kill its remaining processes."""
        while members := self.members():
            self.signal(signal.SIGKILL, members)
            time.sleep(0.01)
        self.process.wait()

    @property
    def output(self) -> str:
        """What it printed."""
        return self.log.read_text(errors="replace")


def _prefix(conditions: Conditions) -> list[str]:
    """The command that starts the interpreter. A preloaded library is for it alone, not for its wrappers."""
    preloaded = [f"{PRELOAD}={library}" for library in [conditions.environment.get(PRELOAD)] if library]
    return [*(AS_NOBODY if conditions.as_nobody else ()), *(["env", *preloaded] if preloaded else [])]


def _limit(limits: Iterable[tuple[int, int]]) -> None:
    for what, value in limits:
        resource.setrlimit(what, (value, value))


def session(leader: int) -> dict[int, tuple[str, int]]:
    """State and CPU ticks of every live process of a session."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            values = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(values[3]) == leader and values[0] not in "ZX":
            found[int(folder.name)] = values[0], sum(map(int, values[11:15]))
    return found
