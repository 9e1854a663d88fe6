"""Units of work as Slurm jobs, through submitit."""

from __future__ import annotations

import math
import pickle
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from pathlib import Path
from typing import Any, TypeVar

from harness.launch.units import LauncherError, Resources, WorkerDied, run_remote_unit
from harness.machine.paths import variable

T = TypeVar("T")

JOB_MINUTES = 24 * 60
"""A Slurm job's limit; a training run that needs longer is submitted again and resumes."""


class Slurm(Executor):
    """One Slurm job per unit, through submitit.

    Partition, account and the like come from Slurm's own `SBATCH_PARTITION`, `SBATCH_ACCOUNT`, …
    `HARNESS_SLURM_CLUSTER=local` runs the jobs as processes of this machine, as submitit's own tests do.
    """

    def __init__(self, resources: Resources) -> None:
        try:
            import submitit
        except ImportError:
            raise LauncherError(
                "--launcher slurm needs submitit: pip install 'tipr-harness[slurm]'"
            ) from None
        cluster = variable("SLURM_CLUSTER") or None
        try:
            self._executor = submitit.AutoExecutor(
                folder=(resources.folder or Path("slurm")) / "%j", cluster=cluster or "slurm"
            )
        except RuntimeError as error:
            raise LauncherError(f"--launcher slurm: {error}") from None
        self._executor.update_parameters(
            name="tipr",
            gpus_per_node=math.ceil(resources.gpus_per_unit),
            cpus_per_task=4,
            timeout_min=JOB_MINUTES,
        )
        self._failures: tuple[type[Exception], ...] = (submitit.core.utils.FailedJobError,)
        self.slots = resources.workers or 64
        self._jobs: list[Any] = []

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Submit a job. The future raises `WorkerDied` when the job is killed or lost."""
        answer: Future[T] = Future()
        answer.set_running_or_notify_cancel()
        # Slurm passes the environment by itself; written into the job's file, a password would stay there.
        job = self._executor.submit(run_remote_unit, list(sys.path), {}, pickle.dumps((fn, args, kwargs)))
        self._jobs.append(job)
        threading.Thread(target=self._follow, args=(job, answer), daemon=True).start()
        return answer

    def _follow(self, job: Any, answer: Future[Any]) -> None:
        while not job.done():
            time.sleep(0.5)
        try:
            failed, result = job.result()
            answer.set_exception(result) if failed else answer.set_result(result)
        except Exception as error:
            kind = RuntimeError if isinstance(error, self._failures) else WorkerDied
            answer.set_exception(kind(str(error).strip().splitlines()[-1]))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Wait for the jobs; with `cancel_futures`, cancel what has not ended."""
        for job in self._jobs:
            if cancel_futures and not job.done():
                job.cancel()
            elif wait:
                job.wait()
