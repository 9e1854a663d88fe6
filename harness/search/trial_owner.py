"""Which process runs a trial, and whether it still lives: else another worker may take the trial over."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True)
class TrialOwner:
    """A process on a machine. `started` tells it from a later process with the same number."""

    host: str
    pid: int
    started: int

    @classmethod
    def this_process(cls) -> TrialOwner:
        """The process asking."""
        return cls(_host(), os.getpid(), _started(os.getpid()) or 0)

    @classmethod
    def parse(cls, text: str) -> TrialOwner | None:
        """The owner written by `str`, or None when `text` is something else."""
        parts = text.rsplit("/", 2)
        if len(parts) != 3 or not (parts[1].isdigit() and parts[2].isdigit()):
            return None
        return cls(parts[0], int(parts[1]), int(parts[2]))

    def __str__(self) -> str:
        return f"{self.host}/{self.pid}/{self.started}"

    @property
    def is_local(self) -> bool:
        """Whether this machine, since its last start, can see the process at all."""
        return self.host == _host()

    @property
    def is_alive(self) -> bool:
        """Whether a local owner still runs; meaningless for one elsewhere."""
        started = _started(self.pid)
        return started is not None and started == self.started


@cache
def _host() -> str:
    # Containers may share a host name; numbers of processes mean nothing beyond their borders and restarts.
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text("utf-8").strip()[:8]
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:
        return socket.gethostname()
    return f"{socket.gethostname()}:{boot}:{namespace}"


def _started(pid: int) -> int | None:
    """When a process started, in ticks of the machine, which no jump of the clock changes; None when dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return _started_elsewhere(pid) if not Path("/proc/self/stat").exists() else None
    return None if fields[0] in "ZX" else int(fields[19])


def _started_elsewhere(pid: int) -> int | None:
    import psutil

    try:
        return int(psutil.Process(pid).create_time())
    except psutil.Error:
        return None
