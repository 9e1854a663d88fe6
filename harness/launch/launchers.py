"""Where units of work run: in this process, in local workers, on a Ray cluster, or as Slurm jobs.

Each launcher is a `concurrent.futures.Executor` with a number of `slots`; a unit of work is a picklable
call that trains one cell or one trial. None of them schedules: Ray and Slurm do that, and local workers
take turns.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import pickle
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

_MINUTES = 24 * 60
"""A Slurm job's limit; a training run that needs longer is submitted again and resumes."""


class LauncherError(Exception):
    """A launcher that cannot be used here; says what is missing."""


class WorkerDied(RuntimeError):
    """The worker was killed from outside; its unit of work resumes from its checkpoint when started again."""


@dataclass(frozen=True)
class Resources:
    """What a launcher may use, and what one unit of work needs."""

    workers: int | None = None
    """Units at once; None means one per device slot."""
    devices: tuple[str, ...] = ()
    """The accelerators of this machine by CUDA index (`"0"`, `"1"`); empty for a CPU."""
    per_device: int = 1
    """Units that share one accelerator."""
    folder: Path | None = None
    """Where Slurm's job files go."""

    @property
    def slots(self) -> int:
        """Units at once on this machine."""
        return self.workers or max(1, len(self.devices)) * self.per_device

    @property
    def gpus_per_unit(self) -> float:
        """The share of an accelerator that one unit asks for."""
        return 1 / self.per_device if self.devices else 0.0


def open_launcher(name: str, resources: Resources) -> Executor:
    """The launcher `local`, `ray` or `slurm`; `local` with one slot runs everything in this process.

    Raises `LauncherError` when the extra that it needs is not installed or no cluster answers.
    """
    if name == "local":
        return InProcess() if resources.slots == 1 else LocalWorkers(resources)
    if name == "ray":
        return RayCluster(resources)
    if name == "slurm":
        return Slurm(resources)
    raise LauncherError(f"unknown launcher {name!r}: known: local, ray, slurm")


class InProcess(Executor):
    """Runs each unit at once in this process: nothing to start, nothing to pickle."""

    slots = 1

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run `fn` now; the future is done when this returns."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class LocalWorkers(Executor):
    """Processes of this machine, each with its own device; one that is killed is replaced, the others go on.

    `concurrent.futures.ProcessPoolExecutor` gives up all its workers when one of them dies, which is the one
    thing that a search with a trial too large for the memory must survive.
    """

    def __init__(self, resources: Resources) -> None:
        self.slots = resources.slots
        self._work: queue.SimpleQueue[_Unit | None] = queue.SimpleQueue()
        self._context = multiprocessing.get_context("spawn")
        self._closed = False
        self._workers: dict[int, Any] = {}
        self._threads = [
            threading.Thread(target=self._serve, args=(slot, _environment(slot, resources)), daemon=True)
            for slot in range(self.slots)
        ]
        for thread in self._threads:
            thread.start()
        # A program that forgets to shut down, or dies of an error, must not wait for its workers for ever.
        atexit.register(self.shutdown, wait=False, cancel_futures=True)

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Queue `fn` for the next free worker. The future raises `WorkerDied` when its worker is killed."""
        if self._closed:
            raise RuntimeError("the workers are shut down")
        future: Future[T] = Future()
        self._work.put(_Unit(future, fn, args, kwargs))
        return future

    def pids(self) -> list[int]:
        """Process ids of the workers that live."""
        return [worker.pid for worker in list(self._workers.values()) if worker.is_alive()]

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Let the workers end after what they have begun; with `cancel_futures`, end them now."""
        self._closed = True
        atexit.unregister(self.shutdown)
        if cancel_futures:
            for worker in list(self._workers.values()):
                worker.terminate()
        for _ in self._threads:
            self._work.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _serve(self, slot: int, environment: Mapping[str, str]) -> None:
        """A slot's life: take a unit, see that a worker lives, let it run the unit."""
        connection: Connection | None = None
        while (unit := self._work.get()) is not None:
            if not unit.future.set_running_or_notify_cancel():
                continue
            if connection is None or not self._workers[slot].is_alive():
                try:
                    connection = self._start(slot, environment)
                except Exception as error:  # no more processes, files or memory: whoever waits must know
                    unit.settle(True, error)
                    continue
            try:
                connection.send((unit.fn, unit.args, unit.kwargs))
                unit.settle(*connection.recv())
            except (EOFError, OSError):
                connection.close()
                connection = None
                self._workers[slot].join()
                code = self._workers[slot].exitcode
                unit.settle(True, WorkerDied(f"worker {slot} ended with exit code {code}"))
            except Exception as error:  # what cannot be pickled, or unpickled here, says so to the caller
                unit.settle(True, error)
        if connection is not None:
            connection.close()
            self._workers[slot].join(timeout=10)
            self._workers[slot].kill()

    def _start(self, slot: int, environment: Mapping[str, str]) -> Connection:
        ours, theirs = self._context.Pipe()
        worker = self._context.Process(target=_work, args=(theirs, dict(environment)), name=f"worker-{slot}")
        worker.start()
        theirs.close()
        self._workers[slot] = worker
        return ours


@dataclass(frozen=True)
class _Unit:
    future: Future[Any]
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def settle(self, failed: bool, answer: Any) -> None:
        """Hand the answer, or the error, to whoever waits for it."""
        if failed:
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)


def _environment(slot: int, resources: Resources) -> dict[str, str]:
    """What sets a worker apart: its device, and its share of the processor's cores."""
    threads = str(max(1, (os.cpu_count() or 1) // resources.slots))
    environment = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads)}
    if resources.devices:
        environment["CUDA_VISIBLE_DEVICES"] = resources.devices[slot % len(resources.devices)]
    return environment


def _work(connection: Connection, environment: dict[str, str]) -> None:
    """A worker's life: take a unit, run it, answer; end when the parent does."""
    os.environ.update(environment)
    # Ctrl-C reaches every process of a terminal; the parent is the one to end its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    except RuntimeError as error:  # no more threads
        sys.exit(f"a worker cannot begin its work: {error}")
    while True:
        try:
            fn, args, kwargs = connection.recv()
        except (EOFError, OSError):
            return
        except Exception as error:  # a call that cannot be unpickled here
            connection.send((True, error))
            continue
        try:
            answer: tuple[bool, Any] = (False, fn(*args, **kwargs))
        except Exception as error:
            answer = (True, error)
        _send(connection, answer)


def _send(connection: Connection, answer: tuple[bool, Any]) -> None:
    try:
        connection.send(answer)
    except (TypeError, AttributeError, ValueError) as error:
        text = f"{type(answer[1]).__name__}: {answer[1]} ({error})"
        connection.send((True, RuntimeError(text)))


def _end_with_parent() -> None:
    """A worker whose parent was killed must not train on, owning trials that nobody reads."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _carried() -> dict[str, str]:
    """The variables that a unit needs wherever it runs."""
    wanted = ("TIPR_DATA", "TIPR_CACHE", "HARNESS_OFFLINE", "PGPASSWORD")
    return {name: os.environ[name] for name in wanted if name in os.environ}


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
        task = self._ray.remote(_remote_unit).options(num_cpus=1, num_gpus=self._gpus, max_retries=0)
        answer: Future[T] = Future()
        answer.set_running_or_notify_cancel()
        task.remote(list(sys.path), _carried(), pickle.dumps((fn, args, kwargs))).future().add_done_callback(
            lambda done: self._pass_on(done, answer)
        )
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


def _remote_unit(path: Sequence[str], environment: Mapping[str, str], unit: bytes) -> tuple[bool, Any]:
    """Run a pickled unit where neither the import path nor the environment is the caller's."""
    sys.path.extend(entry for entry in path if entry not in sys.path)
    os.environ.update(environment)
    try:
        fn, args, kwargs = pickle.loads(unit)
        return False, fn(*args, **kwargs)
    except Exception as error:
        return True, error


class Slurm(Executor):
    """One Slurm job per unit, through submitit.

    Partition, account and the like come from Slurm's own `SBATCH_PARTITION`, `SBATCH_ACCOUNT`, …
    `TIPR_SLURM_CLUSTER=local` runs the jobs as processes of this machine, as submitit's own tests do.
    """

    def __init__(self, resources: Resources) -> None:
        try:
            import submitit
        except ImportError:
            raise LauncherError(
                "--launcher slurm needs submitit: pip install 'tipr-harness[slurm]'"
            ) from None
        cluster = os.environ.get("TIPR_SLURM_CLUSTER")
        try:
            self._executor = submitit.AutoExecutor(
                folder=(resources.folder or Path("slurm")) / "%j", cluster=cluster or "slurm"
            )
        except RuntimeError as error:
            raise LauncherError(f"--launcher slurm: {error}") from None
        self._executor.update_parameters(
            name="tipr",
            gpus_per_node=1 if resources.devices else 0,
            cpus_per_task=4,
            timeout_min=_MINUTES,
        )
        self._failures: tuple[type[Exception], ...] = (submitit.core.utils.FailedJobError,)
        self.slots = resources.workers or 64
        self._jobs: list[Any] = []

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Submit a job. The future raises `WorkerDied` when the job is killed or lost."""
        answer: Future[T] = Future()
        answer.set_running_or_notify_cancel()
        # Slurm hands the environment on by itself; written into the job's file, a password would stay there.
        job = self._executor.submit(_remote_unit, list(sys.path), {}, pickle.dumps((fn, args, kwargs)))
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
