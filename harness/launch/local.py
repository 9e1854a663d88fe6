"""Units of work on this machine: in this process, or in workers of which each has its own device."""

from __future__ import annotations

import atexit
import io
import logging
import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from typing import Any, TypeVar

from harness.launch import fork_server
from harness.launch.units import Resources, WorkerDied
from harness.machine.accelerator_faults import note_fault, process_has_fault
from harness.machine.progress import Event, Progress, RelayedProgress, WorkerProgress

log = logging.getLogger(__name__)
T = TypeVar("T")
Watch = Callable[[int, Event], None]
"""What is called with a worker's slot and what it reports, in a thread of the parent."""


class InProcess(Executor):
    """Runs each unit at once in this process: nothing to start, nothing to pickle.

    After a fault that left the accelerator unusable here, units run in a worker instead, which sees the
    devices that this process sees: what was planned before the fault names its device by the same number.
    """

    slots = 1

    def __init__(self, resources: Resources | None = None, watch: Watch | None = None) -> None:
        self._resources, self._watch = resources or Resources(), watch
        self._worker: LocalWorkers | None = None

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Run `fn` now; the future is done when this returns."""
        if process_has_fault():
            if self._worker is None:
                alone = replace(self._resources, workers=1, devices=())
                self._worker = LocalWorkers(alone, self._watch)
            return self._worker.submit(fn, *args, **kwargs)
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            note_fault(error)
            future.set_exception(error)
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the worker, where there is one."""
        if self._worker is not None:
            self._worker.shutdown(wait, cancel_futures=cancel_futures)
            self._worker = None


class LocalWorkers(Executor):
    """Processes of this machine, each with its own device; one that is killed is replaced alone.

    `concurrent.futures.ProcessPoolExecutor` gives up all its workers when one of them dies, which is the one
    thing that a search with a trial too large for the memory must survive.
    """

    def __init__(self, resources: Resources, watch: Watch | None = None) -> None:
        self.slots = resources.slots
        self._watch = watch
        self._work: queue.SimpleQueue[_Unit | None] = queue.SimpleQueue()
        self._closed = False
        self._workers: dict[int, Any] = {}
        self._threads = [
            threading.Thread(
                target=self._serve, args=(slot, worker_environment(slot, resources)), daemon=True
            )
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
        """Serve a slot in a thread: take a unit, start a worker where none lives, let it run the unit."""
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
                failed, answer, is_last = self._answer(slot, connection)
                if is_last:  # before anybody acts on the answer: the next unit needs a new worker
                    connection.close()
                    connection = None
                    self._workers[slot].join()
                unit.settle(failed, answer)
            except (EOFError, OSError):
                if connection is not None:
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

    def _answer(self, slot: int, connection: Connection) -> tuple[bool, Any, bool]:
        """What a worker's unit ended with; its reports until then are passed on."""
        try:
            while isinstance(message := connection.recv(), _Report):
                self._report(slot, message.event)
        finally:
            self._report(slot, ("idle", ()))
        failed, answer, is_last = message
        return failed, answer, is_last

    def _report(self, slot: int, event: Event) -> None:
        try:
            if self._watch is not None:
                self._watch(slot, event)
            elif event[0] == "say":
                print(*event[1], file=sys.stderr)
        except Exception:  # a display that fails must not fail the work it shows
            log.exception("what worker %d reported could not be shown", slot)

    def _start(self, slot: int, environment: Mapping[str, str]) -> Connection:
        ours, theirs = multiprocessing.Pipe()
        try:
            worker = fork_server.start_process(work, theirs, environment, f"worker-{slot}")
        finally:
            theirs.close()
        self._workers[slot] = worker
        return ours


@dataclass(frozen=True)
class _Report:
    """What a worker tells its parent before its answer."""

    event: Event


@dataclass(frozen=True)
class _Unit:
    future: Future[Any]
    fn: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def settle(self, failed: bool, answer: Any) -> None:
        """Give the answer, or the error, to whoever waits for it."""
        if failed:
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)


def worker_environment(slot: int, resources: Resources) -> dict[str, str]:
    """The variables of a worker: its device, and its share of the processor's cores."""
    threads = str(max(1, (os.cpu_count() or 1) // resources.slots))
    environment = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", threads)}
    if resources.devices:
        environment["CUDA_VISIBLE_DEVICES"] = resources.devices[slot % len(resources.devices)]
    return environment


def work(connection: Connection, environment: dict[str, str]) -> None:
    """Run units in a worker's process, one after the other, until the parent ends.

    Args:
        connection: brings units, takes answers.
        environment: all variables of the process.
    """
    global _parent
    os.environ.clear()
    os.environ.update(environment)
    _parent, sys.stderr = connection, _RelayedLines()
    # Ctrl-C reaches every process of a terminal; the parent is the one to end its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # a server of workers blocks it
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
            connection.send((True, error, False))
            continue
        try:
            failed, answer = False, fn(*args, **kwargs)
        except Exception as error:
            note_fault(error)
            failed, answer = True, error
        _send(connection, failed, answer)
        if process_has_fault():
            return


_parent: Connection | None = None
"""In a worker's process, the connection to its parent."""
_sending = threading.Lock()


def progress_of_worker() -> Progress:
    """Where a unit reports: to the parent of a worker, who shows it, or as lines where there is none."""
    return WorkerProgress() if _parent is None else RelayedProgress(_report_to_parent)


def _report_to_parent(event: Event) -> None:
    if _parent is not None:
        with _sending:
            _parent.send(_Report(event))


class _RelayedLines(io.TextIOBase):
    """A worker's standard error: whole lines go to the parent, so that none is written into its display."""

    def __init__(self) -> None:
        self._rest = ""

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, text: str) -> int:
        """Send the lines that are complete."""
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            try:
                _report_to_parent(("say", (line,)))
            except OSError:  # the parent has gone
                print(line, file=sys.__stderr__)
        return len(text)


def _send(connection: Connection, failed: bool, answer: Any) -> None:
    """Send a unit's answer, whether it is an error, and whether the worker ends after it."""
    is_last = process_has_fault()
    try:
        with _sending:
            connection.send((failed, answer, is_last))
    except (TypeError, AttributeError, ValueError) as error:
        text = f"{type(answer).__name__}: {answer} ({error})"
        connection.send((True, RuntimeError(text), is_last))


def _end_with_parent() -> None:
    """A worker whose parent was killed must not train on, owning trials that nobody reads."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
