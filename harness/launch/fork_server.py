"""Where local workers come from: a server process that has imported once what they all need, and forks.

Importing torch, open_clip and Fabric takes four seconds of processor time, which each worker would spend
anew. The server can start while a study is still being checked. It runs one thread and holds no CUDA
context, so each of its children chooses its own device.
"""

from __future__ import annotations

import atexit
import logging
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import BaseContext
from typing import Any

log = logging.getLogger(__name__)

PRELOADED = "harness.launch.preloaded"
"""The module whose import prepares the server."""
_OF_THE_PROGRAM = "harness.cli.verbs"
"""What each worker of the program imports on top: the server as well where the program has it."""

_lock = threading.Lock()
_threads: str | None = None
"""`OMP_NUM_THREADS` of the server that runs, which libraries read as they are loaded."""
_gave_up = False


def start_server(threads: str) -> bool:
    """Start the server unless it runs already; whether workers with so many threads can come from it.

    It imports in the background. False on a platform without one, after a server that failed, and where one
    runs whose libraries were loaded for another number of threads.

    Args:
        threads: `OMP_NUM_THREADS` of the workers.
    """
    global _threads
    with _lock:
        if _gave_up or sys.flags.ignore_environment:
            return False
        if "forkserver" not in multiprocessing.get_all_start_methods():
            return False
        if _threads is None or not _is_alive():
            _threads = threads
            names = [PRELOADED, *([_OF_THE_PROGRAM] if _OF_THE_PROGRAM in sys.modules else [])]
            multiprocessing.get_context("forkserver").set_forkserver_preload(names)
            with _environment(_for_server(threads)), _interrupts_blocked():
                forkserver.ensure_running()
            atexit.unregister(_end_server)
            atexit.register(_end_server)
        return _threads == threads


def start_process(
    target: Callable[[Connection, dict[str, str]], None],
    connection: Connection,
    environment: Mapping[str, str],
    name: str,
) -> Any:
    """A running process, from the server where it can be, else started anew.

    Args:
        target: called in it with the connection and all its variables.
        connection: passed to it.
        environment: what its variables are beside those of this process; `OMP_NUM_THREADS` at least.
        name: of the process.

    Raises:
        OSError: there are no more processes, files or memory.
    """
    global _gave_up
    from_server = start_server(environment["OMP_NUM_THREADS"])
    with _lock:  # not while the variables are those of a server that starts
        arguments = connection, {**os.environ, **environment}
    if from_server:
        process = _process(multiprocessing.get_context("forkserver"), target, arguments, name)
        try:
            process.start()
            return process
        except (EOFError, ConnectionError) as error:
            log.warning("the server of workers ended (%s); they are started one by one", error)
            _gave_up = True
    process = _process(multiprocessing.get_context("spawn"), target, arguments, name)
    process.start()
    return process


def server_pid() -> int | None:
    """The process id of the server, or None where none was started."""
    pid = getattr(getattr(forkserver, "_forkserver", None), "_forkserver_pid", None)
    return pid if isinstance(pid, int) else None


def _is_alive() -> bool:
    pid = server_pid()
    if pid is None:
        return False
    try:
        return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
    except OSError:
        return False


def _process(context: BaseContext, target: Any, arguments: tuple[Any, ...], name: str) -> Any:
    return context.Process(target=target, args=arguments, name=name)  # type: ignore[attr-defined]


def _for_server(threads: str) -> dict[str, str]:
    """What the server's environment has beside ours: it must find the same modules in the same places."""
    places = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
    return {"OMP_NUM_THREADS": threads, "PYTHONPATH": places, "PYTHONSAFEPATH": "1"}


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """What is started meanwhile never gets SIGINT: Ctrl-C reaches every process of a terminal."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_server() -> None:
    """End the server with this process; of itself it would first import to the end.

    It is waited for, so that its processor time counts as that of this program.
    """
    pid = server_pid()
    if pid is not None:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
