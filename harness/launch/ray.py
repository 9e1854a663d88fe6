"""Units of work as tasks of a Ray cluster."""

from __future__ import annotations

import os
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, TypeVar

from harness.launch.units import LauncherError, Resources, WorkerDied, carried_environment, run_remote_unit

T = TypeVar("T")


class RayCluster(Executor):
    """One Ray task per unit, with its share of a GPU: on the cluster of `RAY_ADDRESS`, or on this machine."""

    def __init__(self, resources: Resources) -> None:
        try:
            import ray
        except ImportError:
            raise LauncherError("--launcher ray needs Ray: pip install 'tipr-harness[ray]'") from None
        self._ray = ray
        self._started = not ray.is_initialized()
        if self._started:
            try:
                ray.init(address=os.environ.get("RAY_ADDRESS"), include_dashboard=False, log_to_driver=False)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise LauncherError(f"--launcher ray: no cluster answers: {error}") from None
        self._gpus = resources.gpus_per_unit
        cluster: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call,unused-ignore]
        fits = cluster.get("GPU", 0) / self._gpus if self._gpus else cluster.get("CPU", 1)
        self.slots = resources.workers or max(1, int(fits))

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Queue `fn` on the cluster. The future raises `WorkerDied` when its worker or machine is lost."""
        # Never retried by Ray itself: what to do after a death is decided where checkpoints are known.
        # A task with a GPU gets a process of its own (`options` would lose that): CUDA that another unit has
        # started there sees that unit's device, or none after a fault.
        task = self._ray.remote(
            num_cpus=1, num_gpus=self._gpus, max_retries=0, max_calls=1 if self._gpus else 0
        )(run_remote_unit)
        answer: Future[T] = Future()
        answer.set_running_or_notify_cancel()
        task.remote(
            list(sys.path), carried_environment(), pickle.dumps((fn, args, kwargs))
        ).future().add_done_callback(lambda done: self._pass_on(done, answer))
        return answer

    def _pass_on(self, done: Future[Any], answer: Future[Any]) -> None:
        error = done.exception()
        if error is None:
            failed, result = done.result()
            answer.set_exception(result) if failed else answer.set_result(result)
        elif isinstance(error, self._ray.exceptions.RayTaskError):
            answer.set_exception(RuntimeError(str(error).strip().splitlines()[-1]))
        else:
            answer.set_exception(WorkerDied(str(error).splitlines()[0]))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Leave the cluster; one that was started here is stopped."""
        if self._started and self._ray.is_initialized():
            self._ray.shutdown()
