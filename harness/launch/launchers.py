"""Where units of work run: in this process, in local workers, on a Ray cluster, or as Slurm jobs.

Each launcher is a `concurrent.futures.Executor` with a number of `slots`; a unit of work is a
picklable call that trains one cell or one trial. None of them schedules: Ray and Slurm do that, and
local workers take turns.
"""

from __future__ import annotations

from concurrent.futures import Executor

from harness.launch.local import InProcess, LocalWorkers, Watch
from harness.launch.ray import RayCluster
from harness.launch.slurm import Slurm
from harness.launch.units import LauncherError, Resources


def open_launcher(name: str, resources: Resources, watch: Watch | None = None) -> Executor:
    """The launcher `local`, `ray` or `slurm`; `local` with one slot runs everything in this process.

    `watch` is called with what local workers report; those of Ray and Slurm write lines into their own logs.

    Raises `LauncherError` when the extra that it needs is not installed or no cluster answers.
    """
    if name == "local":
        return (InProcess if resources.slots == 1 else LocalWorkers)(resources, watch)
    if name == "ray":
        return RayCluster(resources)
    if name == "slurm":
        return Slurm(resources)
    raise LauncherError(f"unknown launcher {name!r}: known: local, ray, slurm")
